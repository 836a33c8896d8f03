"""core.placeholders: what is surely no secret, and what may be one."""

import base64
import random
import string

import pytest

from sidecar.core.oauth.secrets import hash_secret
from sidecar.core.oauth.users import hash_password
from sidecar.core.placeholders import holds_reference, secret_fault

UNRESOLVED = [
    "${SECRET}", "${ENV:X}", "${env.X}", "${X:-default}", "${{ secrets.X }}", "${{secrets.X}}", "${vault:secret/data/x#y}", "$SECRET",
    "$CLIENT_SECRET_1", "$client_secret", "$env:X", "$Env:SECRET", "$(SECRET)", "$(my-secret)", "{{ env.X }}", "{{.Values.secret}}",
    "{{ lookup('env', 'X') }}", "{% env X %}", "%SECRET%", "%my_secret%", "<%= ENV['X'] %>", "#{SECRET}", "#{SECRET}#", "@SECRET@",
    "@project.secret@", "{SECRET}", "env:SECRET", "ENV:SECRET", "file:/run/secrets/x", "file:secret", "file:///run/secrets/x", "env://X",
    "vault:secret/data/x#y", "vault://secret/x", "secretKeyRef", "secretKeyRef: {name: x, key: y}", "valueFrom: x", "ref+vault://x/y",
    "ref+awsssm://x", "op://vault/item/field", "arn:aws:secretsmanager:eu-west-1:1:secret:x", "arn:aws-cn:ssm:cn:1:parameter/x",
    "projects/p/secrets/s/versions/1", "@Microsoft.KeyVault(SecretUri=https://v/x)", "https://v.vault.azure.net/secrets/x", "gcp-sm://x",
    "awssm://x", "secret://x", "ssm:/a/b", "__SECRET__", "__my_secret__", "<your-secret>", "<insert secret here>", "<SECRET>",
    "[your secret]", "!env X", "!vault |", "ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]", "ENC(abc)", "{cipher}abc", "process.env.X",
    "env.SECRET", "secrets.SECRET", "os.environ['X']", "os.getenv('X')", "ENV['X']", "env('X')", ".Values.secret", " ${SECRET}\n",
    "$ANSIBLE_VAULT;1.1;AES256\n61",
]  # fmt: skip
HASHES = [
    hash_secret("s", bytes(16), "sha256"), hash_secret("s", bytes(16), "scrypt"), hash_password("s"), "$2b$12$" + "a" * 53, "$2y$10$x",
    "$argon2i$v=19$m=1,t=1,p=1$x$y", "$scrypt$ln=16,r=8,p=1$x$y", "$pbkdf2-sha256$29000$x$y", "pbkdf2_sha256$600000$x$y",
    "pbkdf2:sha256:600000$x$y", "scrypt:32768:8:1$x$y", "argon2$argon2id$v=19$x$y", "bcrypt$$2b$12$x", "{SSHA}abcd", "{SHA256}abcd",
    "{PBKDF2-SHA512}1$x", "{bcrypt}$2a$10$x", "{noop}x", "{CRYPT}$6$x", "$1$x$y", "$5$x$y", "$6$rounds=5000$x$y", "$y$j9T$x$y", "$apr1$x$y",
    "SCRAM-SHA-256$4096:x$y:z",
]  # fmt: skip
PUBLISHED = [
    "changeme", "ChangeMe", "change-me", "changeit", "your-256-bit-secret", "your-secret-here", "REPLACE_ME", "todo",
    "a-string-secret-at-least-256-bits-long", "a-valid-string-secret-that-is-at-least-384-bits-long", "gX1fBat3bV",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long", "7Fjfp0ZBr1KtDRbnfVdmIw",
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
]  # fmt: skip
PEMS = [
    "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
    "\n-----BEGIN AGE ENCRYPTED FILE-----",
]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (UNRESOLVED, "write ${env:NAME} for an environment variable, or ${file:/path} for a file"),
        (HASHES, "client_secret_hash"),
        (PUBLISHED, "openssl rand -hex 32"),
        (PEMS, "is the text of a PEM"),
        (["", " ", "\n", "\t\r\n"], "must not be empty"),
    ],
)
def test_what_is_no_secret_is_told_what_to_do(texts: list[str], says: str) -> None:
    assert [text for text in texts if says not in (secret_fault(text) or "")] == []


@pytest.mark.parametrize(
    "secret",
    [
        "s", "secret", "s3cret", "password", "hunter2", "reporting-secret", "canary", "x" * 32, "0" * 32, "0123456789abcdef" * 2,
        "pa$$word", "a$b", "$ecret", "$3cret", "100%", "%41%42", "a{b}c", "{", "}", "{}", "${", "$(", "{{", "a{{b}}c", "<3", "a<b>c", "@home",
        "user@host", "#1", "a#{b", "env", "file", "file: x", "environment:", "vault", "https://example.com/x", "correct horse battery staple",
        "!important", "!Env", "sha256", "sha256$", "scrypt$", "$2b", "$1$", "{SSHA", "changeme2", "not-changeme", "__", "_x_", "[", "[]", "[1]",
        "-----", "BEGIN", "op:", "arn:aws", "$", "$$", "%%", "@@", "äöü", "\U0001f600", "x\nchangeme",
    ],
)  # fmt: skip
def test_what_may_be_a_secret_is_none_of_our_business(secret: str) -> None:
    assert secret_fault(secret) is None


def test_no_generated_secret_is_refused() -> None:
    """Of the alphabets that generators use, at any length from 12 on; the seed is fixed."""
    chance = random.Random(20261126)  # noqa: S311  the same secrets in every run
    printable = string.ascii_letters + string.digits + string.punctuation
    for length in [12, 16, 20, 24, 32, 48, 64] * 3000:
        data = chance.randbytes(length)
        for secret in (data.hex(), base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
            assert secret_fault(secret) is None
        assert secret_fault("".join(chance.choices(printable, k=length))) is None


@pytest.mark.parametrize(
    "text",
    [
        "https://${HOST}", "${HOST:-x}", "a ${{ x }}", "{{ x }}", "redis://:{{ x }}@h", "{% if x %}", "<%= x %>", "$env:X", "$(HOST)", "op://a/b",
        "ref+vault://a", "ENC[AES256_GCM,data:x]", "arn:aws:secretsmanager:x",
    ],
)  # fmt: skip
def test_what_nobody_writes_is_a_reference_in_any_text(text: str) -> None:
    assert holds_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "Example Orders", "See {your} orders for 5 $ (50 % off)", "{sidecar}", "{a{b}}", "$5", "a$b", "redis://:p%40ss%7Bword@h/0",
        "$argon2id$v=19$m=65536,t=3,p=1$kX$m1", "https://user:$(x)@h", "/things/{id}", "/odata/$metadata", "<b>", "100 %", "a -> {b}", "ENC",
        "env:X", "changeme", "com.example.app:/callback", "-----BEGIN PUBLIC KEY-----", "${", "{{", "}}",
    ],
)  # fmt: skip
def test_what_somebody_may_mean_is_a_text(text: str) -> None:
    assert not holds_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "((x))", "secretref:x", "%{ENV:X}", "%(ENV_X)s", "%env(X)%", "[[X]]", "<<X>>", "##X##", "$(cat /run/secrets/x)", "`cat x`",
        "{env:CLIENT_SECRET}", "{resolve:ssm:x}", "sm://x", "berglas://x", "/run/secrets/client_secret", "@/run/secrets/x",
    ],
)  # fmt: skip
def test_references_of_further_tools_are_none_of_ours(text: str) -> None:
    assert secret_fault(text) is not None
