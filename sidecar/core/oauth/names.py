"""What may stand in the names that tokens, headers and pages carry: identifiers, scopes, roles and names for display.

Each function returns the fault as a text, or `None`.
"""

import re
from typing import Final

SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""One scope (RFC 6749 section 3.3)."""
LONGEST_IDENTIFIER: Final = 255
"""Characters of a `client_id`, a user name or a `kid`."""
_IDENTIFIER: Final = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A.1


def identifier_fault(text: str) -> str | None:
    """The fault of a `client_id`, a user name or a `kid`."""
    if not _IDENTIFIER.fullmatch(text) or text != text.strip():
        return "use printable ASCII characters only (RFC 6749 appendix A), with no space around them"
    return None


def role_fault(text: str) -> str | None:
    """The fault of a role, beyond that of an identifier."""
    return "must not hold a comma, which separates roles in X-Auth-Roles" if "," in text else None


def display_name_fault(text: str) -> str | None:
    """The fault of a name that users see."""
    if not text.isprintable() or text != text.strip():
        return "use printable characters, with no space around them: it is shown on the consent page"
    return None


def scope_fault(scope: object) -> str | None:
    """The fault of scopes, which are one text separated by spaces (RFC 6749 section 3.3)."""
    if not isinstance(scope, str) or not all(map(SCOPE_TOKEN.fullmatch, scope.split())):
        return 'write scopes as one string separated by spaces, without " or \\, such as orders:read orders:write'
    return None


def token_fault(text: str) -> str | None:
    """The fault of a text that must be one scope token: printable, in one word and without quotes."""
    if not SCOPE_TOKEN.fullmatch(text):
        return 'use printable ASCII characters without spaces, " and \\'
    return None
