"""Removes credentials from log texts.

An access token of the sidecar is a JWT, so it begins with `eyJ`, which is `{"` in base64url. A refresh token is 22 and 43
characters of base64url around a dot (`core.oauth.refresh_tokens`). A code looks like any other identifier and is not removed;
it is valid once, for a minute, and for one client. In a path each character may be percent-encoded, even more than once.
"""

import re
from typing import Final

from sidecar.core.http.percent import BROKEN_ESCAPE, percent_decoded

_HIDDEN: Final = "[token]"
_SHORTEST: Final = 60  # characters; every token is longer
_TIMES_ENCODED: Final = 3
_ENCODED_AGAIN: Final = re.compile(r"%(?:25)+")
_RUN: Final = re.compile(r"[\w.~%-]+")
_ACCESS_TOKEN: Final = re.compile(r"eyJ[\w-]+(?:\.[\w-]*)*")
# The pattern searches for the dot only: searching for 22 characters and a dot would examine each character 22 times.
_BEFORE_DOT: Final = 22
_REFRESH_TOKEN: Final = re.compile(r"(?<=[A-Za-z0-9_-]{22})\.[A-Za-z0-9_-]{43}")
_LONGEST_PART: Final = 22 + 1 + 42
_BEGUN: Final = re.compile(r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{0,42}\Z")
_SECRETS: Final = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',]+"), r"\1 [redacted]"),
    (
        # The pattern does not match the letters before the word: in a long text it would try them anew at each letter.
        re.compile(r"(?i)((?:token|secret|password|assertion)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;)}]+"),
        r"\1[redacted]",
    ),
    (re.compile(r"://[^\s/@]+@"), "://[redacted]@"),
)


def redact(text: str) -> str:
    """A text of a library or a traceback, without anything that looks like a token, a secret or a password."""
    text = _RUN.sub(lambda run: _encoded_tokens_hidden(run[0]), text) if "%" in text else text
    text = _tokens_hidden(text)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def without_tokens(text: str, most: int) -> str:
    """The first `most` characters of a text that a caller chose, such as a path, without access and refresh tokens. A
    percent-encoded text is decoded if it contains a token, and stays encoded otherwise."""
    if len(text) < _SHORTEST or not ("eyJ" in text or "%" in text or "." in text):
        return text[:most]
    return _encoded_tokens_hidden(text[:most], cut=len(text) > most)


def _encoded_tokens_hidden(text: str, *, cut: bool = False) -> str:
    """`cut`: the text was cut, so its end may be a part of a token, which is not much safer to log than the whole."""
    plain = text
    for _ in range(_TIMES_ENCODED):
        before, plain = plain, _decoded(plain) if "%" in plain else plain
        if plain == before:
            break
    hidden = _tokens_hidden(plain)
    if cut:
        hidden = hidden[:-_LONGEST_PART] + _BEGUN.sub(_HIDDEN, hidden[-_LONGEST_PART:])
    return text if hidden == plain else hidden


def _decoded(text: str) -> str:
    """Undo one level of percent-encoding, and any levels that only encode the percent signs again."""
    whole = BROKEN_ESCAPE.sub("%25", _ENCODED_AGAIN.sub("%", text))
    return percent_decoded(whole.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")


def _tokens_hidden(text: str) -> str:
    text = _ACCESS_TOKEN.sub(_HIDDEN, text) if "eyJ" in text else text
    kept, position = [], 0
    for match in _REFRESH_TOKEN.finditer(text):
        kept += [text[position : max(position, match.start() - _BEFORE_DOT)], _HIDDEN]
        position = match.end()
    return "".join([*kept, text[position:]]) if kept else text
