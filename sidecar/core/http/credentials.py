"""Finding an access token where TapData's clients put it, and taking it away from there.

Rules:
- Bearer header (RFC 6750 section 2.1, scheme in any case), `access_token` header, form or JSON field, query parameter.
- The same token twice is one token; two different ones are refused (RFC 6750 section 2), and so is Bearer without a token
  beside a token elsewhere: what it was meant to say cannot be known.
- An empty parameter counts as absent (RFC 6749 section 3.1) and is taken away all the same.
- Only the bytes of the token's own field are cut; everything around it stays as it was sent.
"""

import json
import re
from typing import Final, NamedTuple

from sidecar.core.http.percent import BROKEN_ESCAPE, percent_decoded
from sidecar.core.reasons import Reason, Refused

FIELD: Final = "access_token"
# The whole name of the scheme, and what comes after it unless that is a space (RFC 9110 section 5.6.2: a token ends here).
_BEARER: Final = re.compile(r"bearer(?![!#$%&'*+.^_`|~0-9A-Za-z-])([^ ]?)", re.IGNORECASE | re.ASCII)
_MOST_MEMBERS: Final = 1000
_BOM: Final = (
    "\xef\xbb\xbf"  # UTF-8 read as latin-1: some clients begin with it; a reader may skip it (RFC 8259 section 8.1)
)
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SPACES: Final = frozenset(" \t\n\r")
_SCAN: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # what raw_decode calls, without its cost
# The field's name with any of its characters escaped, and its value. One expression instead of a loop over the fields:
# these may be as many as the body has bytes, and nobody else is served meanwhile.
_PAIR: Final = re.compile(
    "&" + "".join(f"(?:{char}|%(?i:{ord(char):02x}))" for char in FIELD) + r"(?:=([^&]*))?(?![^&])"
)


class Found(NamedTuple):
    """The tokens that stood somewhere, in order, and what is left without them."""

    tokens: tuple[str, ...]
    rest: str


def bearer_token(authorization: str) -> str | None:
    """The token of an `Authorization` value; `""` when Bearer came without one, `None` for another scheme.

    Raises `Refused(MALFORMED_REQUEST)` when something else than spaces follows the scheme, such as a tab (RFC 9110 section
    11.4): taken for another scheme it would go on, token and all.
    """
    match = _BEARER.match(authorization)
    if match is None:
        return None
    if match[1]:
        raise Refused(Reason.MALFORMED_REQUEST, "Write Authorization: Bearer, a space and the token.")
    return authorization[match.end() :].strip(" ")


def from_pairs(text: str) -> Found:
    """Tokens of a query string or a form body (WHATWG URL section 5.1: `&` separates)."""
    if "%" not in text and FIELD not in text:
        return Found((), text)
    marked = "&" + text  # so that every field begins with the same character
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
    """A form's value; one that cannot be decoded is no token either way."""
    if ("%" not in value and "+" not in value) or BROKEN_ESCAPE.search(value):
        return value
    return percent_decoded(value.replace("+", " ").encode("latin-1")).decode("latin-1")


def from_json(text: str) -> Found:
    """Tokens of the top level of a JSON object; members named so are cut out with one comma.

    Anything that is not one well-formed object is left alone: whether it is an error is for the API to say. Raises
    `Refused(MALFORMED_REQUEST)` for an object with too many members to be looked through, when one of them may be named so.
    """
    if FIELD not in text and "\\u" not in text:  # the one escape that can spell a character of the name
        return Found((), text)
    try:
        return _cut_members(text)
    except (ValueError, RecursionError, StopIteration):
        return Found((), text)


def _cut_members(text: str) -> Found:
    """Walk the object's members. Raises `ValueError`, `RecursionError` or `StopIteration` when it is none."""
    tokens: list[str] = []
    kept: list[str] = []  # the members that stay, each with the white space around it
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
            return Found((), text)  # not a token of ours: a field of the API's that has the same name
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
