"""Texts in the place of a secret that are not secret: unresolved references, hashes, keys, examples from documentation.

An attacker who knows such a text could log in with it, or forge a token. The configuration refuses the texts that are
recognised here, so a match must be certain: a generated secret may contain `$`, `%` and braces, and is only matched as a whole.
No message shows the text.
"""

import re
from typing import Final

_WHOLE: Final = re.compile(
    r"""
      \$[A-Z][A-Z0-9_]* | \$[a-z]+(?:_[a-z0-9]+)+                       # a shell: $SECRET, $client_secret
    | \$env:\w+ | \$Env:\w+ | %[A-Za-z_][\w.-]*%                        # PowerShell, cmd
    | \$\{.*\} | \$\([A-Za-z_][\w.-]*\)                                 # Compose, Spring, GitHub; Kubernetes, make
    | \{\{.*\}\} | \{%.*%\} | <%.*%>                                    # Jinja, Helm, Go; ERB, EJS
    | \#\{.*\}\#? | @[A-Za-z_][\w.-]*@ | \{[A-Za-z_][\w.-]*\}           # Octopus, Ruby; Maven, autoconf; Python
    | (?:process\.)?env\.[A-Za-z_]\w* | secrets\.[A-Z_][A-Z0-9_]*       # code that was meant to run
    | \.?Values\.[\w.]+ | os\.(?:environ|getenv)\b.* | (?:ENV|env|process\.env)\[.*\] | (?:env|getenv)\(.*\)
    | (?:env|Env|ENV):[A-Za-z_][\w.-]* | (?:file|File|FILE):\S+         # ours, without the braces
    | (?:secretKeyRef|valueFrom)\b.*                                    # Kubernetes
    | ref\+\w+://.* | vault:\S*[/\#]\S* | ssm:/\S* | arn:aws[\w-]*:(?:secretsmanager|ssm|kms):.*
    | (?:env|file|op|vault|keyvault|akv|azurekv|secretsmanager|awssm|aws-sm|gcpsm|gcp-sm|gsm|ssm|sops|bws|doppler|secret)://.*
    | @Microsoft\.KeyVault\(.* | https://[\w-]+\.vault\.azure\.net/.* | projects/[^/\s]+/secrets/\S+
    | ENC\[.*\] | ENC\(.*\) | \{cipher\}.* | \$ANSIBLE_VAULT;.*         # SOPS, Jasypt, Spring, Ansible: never decrypted
    | !(?:env|ENV|vault|secret|file|Ref|Sub|include)\b.*                # a tag of YAML within quotes
    | \(\([\w./:-]+\)\) | secretref:.* | %\{[\w:.]+\} | %\([A-Za-z_]\w*\)s | %env\(.*\)%  # Concourse, Azure, Log4j …
    | \[\[[\w\ .-]+\]\] | <<[\w\ .-]+>> | \#\#\w+\#\# | \$\([a-z]+\ .*\) | `[a-z]+\ .*` | \{(?:env|ENV):.*\} | \{resolve:.*\}
    | (?:sm|berglas|awsssm|kv)://.* | @?/(?:var/)?run/secrets/\S+
    | __[A-Za-z_][\w.-]*?__ | <[A-Za-z][\w\ .,:'/-]*> | \[[A-Za-z][A-Za-z\ _-]*\]    # to be filled in
    """,
    re.DOTALL | re.VERBOSE,
)
# Matched anywhere in a text: forms that occur neither in prose nor in URLs.
_ANYWHERE: Final = re.compile(
    r"""
      \$\{[A-Za-z_][^{}]*\} | \$\{\{[^{}]*\}\} | \{\{[^{}]*\}\} | \{%[^{}]*%\} | <%[^<>]*%> | \$env:\w+ | \$\([A-Z_][A-Z0-9_]*\)
    | \A(?:ref\+\w+://|op://|arn:aws[\w-]*:(?:secretsmanager|ssm):|ENC\[AES256_GCM,)
    """,
    re.VERBOSE,
)
_HASH: Final = re.compile(
    r"""
      sha256\$[\w-]{8,}\$[\w-]{20,} | scrypt\$ln=.+                                          # ours
    | \$(?:argon2(?:id?|d)|scrypt|pbkdf2[\w-]*|bcrypt-sha256)\$.+ | \$2[abxy]?\$\d\d\$.+     # PHC, bcrypt
    | \$(?:1|5|6|7|y|gy|md5|sha1|apr1)\$.+\$.+                                               # crypt(3), Apache
    | (?:pbkdf2|argon2|bcrypt|scrypt)(?:_\w+)?\$.+\$.+ | (?:pbkdf2:\w+|scrypt):[\d:]+\$.+\$.+    # Django, Werkzeug
    | \{(?:S?SHA(?:224|256|384|512)?|S?MD5|CRYPT|PBKDF2[\w-]*|bcrypt|scrypt|argon2|noop)(?:@\w+)?\}.+    # LDAP, Spring
    | SCRAM-SHA-\d+\$.+                                                                      # PostgreSQL
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
# Published examples, which attackers try first: whole texts in lower case, and only ones that no operator would choose.
_PUBLISHED: Final = frozenset(
    [
        "changeme", "change-me", "change_me", "changeit", "changethis", "change-this", "replaceme", "replace-me", "replace_me",
        "insert-secret-here", "your-secret", "your_secret", "your-secret-here", "your-secret-key", "your-client-secret",
        "your_client_secret", "todo", "fixme",
        # jwt.io
        "your-256-bit-secret", "your-384-bit-secret", "your-512-bit-secret", "a-string-secret-at-least-256-bits-long",
        "a-valid-string-secret-that-is-at-least-384-bits-long",
        "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
        # RFC 6749 sections 2.3.1 and 4.1.3; RFC 7515 appendix A.1
        "7fjfp0zbr1ktdrbnfvdmiw", "gx1fbat3bv",
        "aym1sysppbydfgzld3umj1qzkobwvmkoqq-estjqlr_t-1qs0gzh75aktmn3yj0ips4hcguutwjazzr1z9caow",
    ]
)  # fmt: skip

UNRESOLVED: Final = (
    "is a reference or a placeholder that nothing filled in: write ${env:NAME} for an environment variable, or "
    "${file:/path} for a file"
)


def stands_for_another(text: str) -> bool:
    """Whether a secret is, as a whole, a reference of any common kind, or a placeholder."""
    return _WHOLE.fullmatch(text.strip()) is not None


def holds_reference(text: str) -> bool:
    """Whether a text, secret or not, contains a reference in the syntax of another tool, which cannot be intended."""
    return _ANYWHERE.search(text) is not None


def secret_fault(text: str) -> str | None:
    """Why `text` cannot be a secret, and what to do instead; `None` if it may be one."""
    if not text.strip():
        return "must not be empty"
    if stands_for_another(text):
        return UNRESOLVED
    if "-----BEGIN" in text:
        return "is the text of a PEM or of another key, which is no secret between two: use a random one"
    if _HASH.fullmatch(text.strip()):
        return "is a hash, and would itself be the secret here: sidecar hash-secret makes a client_secret_hash"
    if text.strip().lower() in _PUBLISHED:
        return "is an example that anybody knows: make a secret with: openssl rand -hex 32"
    return None
