"""The files that `sidecar init` writes: a configuration for one of several uses, and the secrets that it names.

A secret stands in a file of its own. The configuration names the file, or contains the hash of the secret.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import jinja2

from sidecar.core.jose.algorithms import SECRET_BYTES
from sidecar.core.jose.keys import generate_pem
from sidecar.core.oauth.secrets import hash_secret
from sidecar.core.oauth.users import hash_password

CONFIG_NAME: Final = "sidecar.yaml"
USES: Final[Mapping[str, str]] = {
    "programs": "Programs call the API, each with a client id and a secret.",
    "login": "People log in to an app, which calls the API in their name.",
    "kubernetes": "A sidecar in the pods of the API, for programs.",
    "tapdata": "Clients of a TapData API go on unchanged.",
}
STORE_FILE: Final = "redis-url"
_SECRET_FILE: Final = "reporting-secret"  # noqa: S105  the name of a file
_PASSWORD_FILE: Final = "anna-password"  # noqa: S105  likewise
_TEMPLATE: Final = Path(__file__).with_name("starter.yaml.jinja")
_QUOTED: Final = str.maketrans({'"': '\\"', "\\": "\\\\"})


class Answers(NamedTuple):
    """What the operator wants: the use (one of `USES`), the URLs of the API and of the store, and the issuer."""

    use: str
    upstream: str
    store: str
    issuer: str


def starting_files(answers: Answers) -> dict[str, str]:
    """The content of each file by its name. `sidecar.yaml` comes last, because it names the others."""
    files: dict[str, str] = {}
    alg = "HS256" if answers.use == "tapdata" else "ES256"
    key_file = "signing-key" if alg == "HS256" else "signing-key.pem"
    files[key_file] = os.urandom(SECRET_BYTES[alg]).hex() + "\n" if alg == "HS256" else generate_pem(alg)
    secret_hash = password_hash = ""
    if answers.use != "login":
        secret = secrets.token_hex(32)
        files[_SECRET_FILE] = secret + "\n"
        secret_hash = hash_secret(secret, os.urandom(16), "sha256")
    if answers.use in ("login", "tapdata"):
        password = secrets.token_hex(8)
        files[_PASSWORD_FILE] = password + "\n"
        password_hash = hash_password(password)
    store = _quoted(answers.store)
    if set("@?") & set(answers.store):  # it may contain a password, also among its options
        files[STORE_FILE] = answers.store + "\n"
        store = f"${{file:{STORE_FILE}}}"
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701  YAML
    files[CONFIG_NAME] = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        use=answers.use,
        title=USES[answers.use],
        name=CONFIG_NAME,
        upstream=_quoted(answers.upstream),
        store=store,
        in_process=answers.store.startswith("memory:"),
        issuer=_quoted(answers.issuer),
        alg=alg,
        key_file=key_file,
        secret_file=_SECRET_FILE,
        secret_hash=_quoted(secret_hash),
        password_file=_PASSWORD_FILE,
        password_hash=_quoted(password_hash) if password_hash else "",
    )
    return files


def _quoted(text: str) -> str:
    """A text as a YAML scalar: plain where that is safe, otherwise in double quotes."""
    plain = (
        text
        and text.isascii()
        and text.isprintable()
        and not set(text) & set("\"'#&*!|>%@`{}[], ")
        and ": " not in text
    )
    return text if plain and not text.endswith(":") else f'"{text.translate(_QUOTED)}"'
