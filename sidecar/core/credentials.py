"""Finding an access token where TapData's clients put it, and taking it away from there.

Rules:
- Bearer header (RFC 6750 section 2.1, scheme in any case), `access_token` header, form or JSON field, query parameter.
- The same token twice is one token; two different ones are refused (RFC 6750 section 2).
- An empty parameter counts as absent (RFC 6749 section 3.1) and is taken away all the same.
- Only the bytes of the token's own field are cut; everything around it stays as it was sent.
"""

import json
import re
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

FIELD: Final = "access_token"
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class Found(NamedTuple):
    """The tokens that stood somewhere, in order, and what is left without them."""

    tokens: tuple[str, ...]
    rest: str


def bearer_token(authorization: str) -> str | None:
    """The token of an `Authorization` value; `""` when Bearer came without one, `None` for another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else None


def from_pairs(text: str) -> Found:
    """Tokens of a query string or a form body (WHATWG URL section 5.1: `&` separates)."""
    if "%" not in text and FIELD not in text:
        return Found((), text)
    tokens, rest = [], []
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == FIELD:
            tokens.append(unquote_plus(value))
        else:
            rest.append(pair)
    return Found(tuple(filter(None, tokens)), "&".join(rest) if tokens else text)


def from_json(text: str) -> Found:
    """Tokens of the top level of a JSON object; members named so are cut out with one comma.

    Anything that is not one well-formed object is left alone: whether it is an error is for the API to say.
    """
    try:
        return _cut_members(text)
    except (ValueError, RecursionError):
        return Found((), text)


def _cut_members(text: str) -> Found:
    """Walk the object's members. Raises `ValueError` or `RecursionError` when it is none."""
    tokens: list[str] = []
    kept: list[str] = []  # the members that stay, each with the white space around it
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        raise ValueError
    head = text[: position + 1]
    position += 1
    if text[_skip(text, position) :].startswith("}"):
        return Found((), text)
    while True:
        start = position
        name, position = _DECODER.raw_decode(text, _skip(text, position))
        position = _skip(text, position)
        if not isinstance(name, str) or text[position : position + 1] != ":":
            raise ValueError
        value, position = _DECODER.raw_decode(text, _skip(text, position + 1))
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
    if text[position + 1 :].strip(" \t\n\r"):
        raise ValueError
    rest = head + ",".join(kept) + text[position:]
    return Found(tuple(filter(None, tokens)), rest if len(rest) != len(text) else text)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
