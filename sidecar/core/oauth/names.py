"""Which characters are allowed in identifiers, scopes, roles and display names: tokens, headers and pages contain them.

Each function returns the fault as a text, or `None`.
"""

import re
from typing import Final

SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""One scope (RFC 6749 section 3.3)."""
LONGEST_IDENTIFIER: Final = 255
"""The longest `client_id`, user name or `kid`, in characters."""
_IDENTIFIER: Final = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A.1


def identifier_fault(text: str) -> str | None:
    """The fault of a `client_id`, a user name or a `kid`, apart from its length."""
    if not _IDENTIFIER.fullmatch(text) or text != text.strip():
        return "use printable ASCII characters only (RFC 6749 appendix A), with no space around them"
    return None


def role_fault(text: str) -> str | None:
    """The fault of a role that is a valid identifier."""
    return "must not hold a comma, which separates roles in X-Auth-Roles" if "," in text else None


def display_name_fault(text: str) -> str | None:
    """The fault of a name that users see on a page."""
    if not text.isprintable() or text != text.strip():
        return "use printable characters, with no space around them: it is shown on the consent page"
    return None


def scope_fault(scope: object) -> str | None:
    """The fault of a list of scopes, written as one text with spaces between them (RFC 6749 section 3.3)."""
    if not isinstance(scope, str) or not all(map(SCOPE_TOKEN.fullmatch, scope.split())):
        return 'write scopes as one string separated by spaces, without " or \\, such as orders:read orders:write'
    return None


def token_fault(text: str) -> str | None:
    """The fault of a text that must be one scope token: printable ASCII without spaces, quotes and backslashes."""
    if not SCOPE_TOKEN.fullmatch(text):
        return 'use printable ASCII characters without spaces, " and \\'
    return None
