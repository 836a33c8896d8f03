"""Finds an access token wherever TapData's clients send it, and removes it.

Rules:
- A token may be in a Bearer header (RFC 6750 section 2.1, scheme in any letter case), in an `access_token` header, in a form or
  JSON field, or in a query parameter.
- The same token twice counts as one token. Two different tokens are refused (RFC 6750 section 2), and so is Bearer without a
  token together with a token elsewhere, because its meaning is unknown.
- An empty parameter counts as absent (RFC 6749 section 3.1), but is removed too.
- Only the bytes of the token's own field are removed; everything around it stays as it was sent.
"""

import json
import re
from typing import Final, NamedTuple

from sidecar.core.http.percent import BROKEN_ESCAPE, percent_decoded
from sidecar.core.reasons import Reason, Refused

FIELD: Final = "access_token"
# The name of the scheme, and the character after it unless that is a space (RFC 9110 section 5.6.2: the token ends here).
_BEARER: Final = re.compile(r"bearer(?![!#$%&'*+.^_`|~0-9A-Za-z-])([^ ]?)", re.IGNORECASE | re.ASCII)
_MOST_MEMBERS: Final = 1000
_BOM: Final = (
    "\xef\xbb\xbf"  # a BOM, read as latin-1: some clients send one, and a parser may ignore it (RFC 8259 section 8.1)
)
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SPACES: Final = frozenset(" \t\n\r")
_SCAN: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # what raw_decode calls, without its overhead
# The field's name with any of its characters escaped, and its value. One expression instead of a loop over the fields: a body
# may have as many fields as bytes, and a loop over them would block the event loop.
_PAIR: Final = re.compile(
    "&" + "".join(f"(?:{char}|%(?i:{ord(char):02x}))" for char in FIELD) + r"(?:=([^&]*))?(?![^&])"
)


class Found(NamedTuple):
    """The tokens that were found in a text, in order, and the `rest` of the text without them."""

    tokens: tuple[str, ...]
    rest: str


def bearer_token(authorization: str) -> str | None:
    """The token of an `Authorization` value; `""` for Bearer without a token, `None` for another scheme.

    Raises `Refused(MALFORMED_REQUEST)` when anything but spaces follows the scheme, such as a tab (RFC 9110 section 11.4): if
    it were treated as another scheme, it would be forwarded with its token.
    """
    match = _BEARER.match(authorization)
    if match is None:
        return None
    if match[1]:
        raise Refused(Reason.MALFORMED_REQUEST, "Write Authorization: Bearer, a space and the token.")
    return authorization[match.end() :].strip(" ")


def may_be_in(text: str) -> bool:
    """Whether a query string or a form body may hold a token."""
    return "%" in text or FIELD in text


def from_pairs(text: str) -> Found:
    """Find the tokens of a query string or a form body (WHATWG URL section 5.1: `&` separates fields)."""
    if not may_be_in(text):
        return Found((), text)
    marked = "&" + text  # every field begins with the same character then
    tokens: list[str] = []
    kept: list[str] = []
    position = 0
    for match in _PAIR.finditer(marked):
        kept.append(marked[position : match.start()])
        position = match.end()
        if match[1]:
            tokens.append(_decoded(match[1]))
    kept.append(marked[position:])
    return Found(tuple(tokens), "".join(kept)[1:])


def _decoded(value: str) -> str:
    """A decoded form value. One that cannot be decoded is returned as it is: it is not a valid token either way."""
    if ("%" not in value and "+" not in value) or BROKEN_ESCAPE.search(value):
        return value
    return percent_decoded(value.replace("+", " ").encode("latin-1")).decode("latin-1")


def from_json(text: str) -> Found:
    """Find the tokens at the top level of a JSON object. Each such member is removed with one comma.

    Anything but a well-formed object is left alone: the API decides whether it is an error. Raises
    `Refused(MALFORMED_REQUEST)` for an object that may contain a token, but has too many members to search.
    """
    if FIELD not in text and "\\u" not in text:  # the only escape that can encode a character of the name
        return Found((), text)
    try:
        return _cut_members(text)
    except (ValueError, RecursionError, StopIteration):
        return Found((), text)


def _cut_members(text: str) -> Found:
    """Walk the members of an object. Raises `ValueError`, `RecursionError` or `StopIteration` if `text` is not one."""
    tokens: list[str] = []
    kept: list[str] = []  # the other members, each with the white space around it
    position = _skip(text, len(_BOM) if text.startswith(_BOM) else 0)
    if text[position : position + 1] != "{":
        raise ValueError
    head = text[: position + 1]
    position += 1
    if text.startswith("}", _skip(text, position)):
        return Found((), text)
    for _ in range(_MOST_MEMBERS):
        start = position
        position = _skip(text, position)
        if text[position : position + 1] != '"':
            raise ValueError
        name, position = _SCAN(text, position)
        position = _skip(text, position)
        if text[position : position + 1] != ":":
            raise ValueError
        value, position = _SCAN(text, _skip(text, position + 1))
        position = _skip(text, position)
        if name != FIELD:
            kept.append(text[start:position])
        elif isinstance(value, str):
            tokens.append(value)
        else:
            return Found((), text)  # not a token: a field of the API with the same name
        end = text[position : position + 1]
        if end == "}":
            break
        if end != ",":
            raise ValueError
        position += 1
    else:
        raise Refused(Reason.MALFORMED_REQUEST, "The body has too many fields to look for a token in it.")
    if text[position + 1 :].strip(" \t\n\r"):
        raise ValueError
    rest = head + ",".join(kept) + text[position:]
    return Found(tuple(filter(None, tokens)), rest if len(rest) != len(text) else text)


def _skip(text: str, position: int) -> int:
    if text[position : position + 1] not in _SPACES:
        return position
    match = _SPACE.match(text, position)
    return match.end() if match else position
