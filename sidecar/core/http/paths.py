"""The parser of request targets. The path that is matched is the path that is forwarded.

Rules:
- The path is forwarded to the upstream byte for byte as it was sent; it is never rewritten.
- Servers read a path differently: some decode `%2f`, drop `;parameters`, merge `//`, treat `\\` as `/`, or take the first
  segment of `//x/y` for a host. A path therefore has one or more *readings*, and `core.policy` admits it only when the same
  route applies to each of them. Most paths are plain and have one reading. `_STEPS` lists what servers may do, in this order;
  each server does each step or not. `core.policy` handles letter case, because it concerns patterns too.
- Paths on which servers often disagree are refused whatever the routes are: dot segments in any reading, NUL, broken
  percent-encoding, bytes that RFC 3986 does not allow, and paths with too many readings.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from sidecar.core.reasons import Reason, Refused

# Segments of unreserved characters and harmless delimiters: none is empty, none ends with a dot.
_PLAIN = re.compile(r"(?:/[A-Za-z0-9\-._~!$&'()*+,=:@]+(?<!\.))*/?")
_FORBIDDEN = re.compile(r"[^\x21-\x7e]|#")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_ENCODED_SLASH = re.compile(rb"%2[fF]")
AUTHORITY: Final = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
"""The expression for a host with an optional port, and without userinfo (RFC 9110 section 4.2.4)."""

_AUTHORITY = re.compile(AUTHORITY)
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)
_QUERY = re.compile(r"[?#]")
_HOST = re.compile(r"//+[^/]*/?")
_SLASHES = re.compile(r"//+")
_DOT_SEGMENTS: Final = frozenset([".", ".."])
_CONTROLS = re.compile(r"[\x01-\x1f\x7f]")
_BLANKS = "".join(map(chr, range(1, 0x21))) + "\x7f"
_BLANK = re.compile(r"[\x01-\x20\x7f]")
_PARAMETERS = re.compile(r";[^/]*")
# Overlong UTF-8: two bytes for ASCII, three for what fits into two, four for what fits into three.
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}")
# Characters that Windows ("best fit") and Unicode (NFKC) convert to characters with a meaning in a path.
_FITTED: Final = str.maketrans(
    {
        "\uff0f": "/", "\u2044": "/", "\u2215": "/", "\uff3c": "\\", "\u2216": "\\",
        "\uff0e": ".", "\u2024": ".", "\u2025": "..", "\uff1b": ";", "\u037e": ";", "\uff1f": "?", "\uff03": "#",
    }
)  # fmt: skip
_MAX_DECODES = 3
_MOST_READINGS: Final = 64
_MOST_CHARACTERS: Final = 16 * 1024


class RequestTarget(NamedTuple):
    """The parts of a request target (RFC 9112 section 3.2). `query` is `None` when there is no `?`.

    `authority` is set only for the absolute form, where it replaces `Host`.
    """

    path: str
    query: str | None
    authority: str | None


def split_target(raw: str, method: str = "GET") -> RequestTarget:
    """Split a target in origin-form, absolute-form or asterisk-form (`*`, for OPTIONS only). Raises
    `Refused(MALFORMED_REQUEST)` for anything else."""
    authority = None
    if raw == "*" and method != "OPTIONS":
        raise Refused(Reason.MALFORMED_REQUEST, "The request target * is for OPTIONS.")
    if not raw.startswith("/") and raw != "*":
        match = _ABSOLUTE.fullmatch(raw)
        if match is None or not valid_authority(match[1]):
            raise Refused(Reason.MALFORMED_REQUEST, "The request target cannot be read.")
        authority, raw = match[1], match[2]
        if not raw and method == "OPTIONS":
            raw = "*"  # the last proxy sends it in this form (RFC 9112 section 3.2.4)
        elif not raw.startswith("/"):
            raw = "/" + raw
    if _FORBIDDEN.search(raw):
        raise Refused(Reason.MALFORMED_REQUEST, "The request target holds bytes that must be percent-encoded.")
    path, separator, query = raw.partition("?")
    return RequestTarget(path, query if separator else None, authority)


def valid_authority(value: str) -> bool:
    """Whether `value` is a host with an optional port, and without userinfo (RFC 9110 section 4.2.4)."""
    return _AUTHORITY.fullmatch(value) is not None


def is_plain(path: str) -> bool:
    """Whether every server reads `path` literally."""
    return _PLAIN.fullmatch(path) is not None


def readings(path: str) -> tuple[str, ...]:
    """Every way in which a server may read `path`, the literal one first. Raises `Refused(AMBIGUOUS_PATH)`."""
    if is_plain(path) or path == "*":
        return (path,)
    if _BROKEN_ESCAPE.search(path):
        raise Refused(Reason.AMBIGUOUS_PATH)
    found = dict.fromkeys(_texts(path))
    most = _MOST_CHARACTERS + 4 * len(path)
    for step in _STEPS:
        found |= dict.fromkeys(map(step, found))
        if len(found) > _MOST_READINGS or sum(map(len, found)) > most:
            raise Refused(Reason.AMBIGUOUS_PATH)  # no client needs such a path, and each reading takes time
    if any("\0" in reading or not _DOT_SEGMENTS.isdisjoint(reading.split("/")) for reading in found):
        raise Refused(Reason.AMBIGUOUS_PATH)
    return tuple(found)


def fold(text: str) -> str:
    """Fold `text` for a case-insensitive comparison: any two texts that some server considers equal have the same result.

    It is coarser than every server on purpose: some treat the dotted I of Turkish as an i, some the long s as an s, some a
    full-width letter as a plain one. It maps letters only to letters, so that the segments stay the same.
    """
    if text.isascii():
        return text.lower()
    letters = unicodedata.normalize("NFD", text)
    if not unicodedata.is_normalized("NFKD", letters):
        letters = "".join(map(_nearest, letters))
    letters = letters.casefold().upper().casefold().replace("i\u0307", "i")
    return unicodedata.normalize("NFC", letters)


def _nearest(letter: str) -> str:
    plain = unicodedata.normalize("NFKC", letter)
    return plain if plain.isalnum() else letter


def _texts(path: str) -> Iterator[str]:
    """The path decoded once and repeatedly, as servers may do. Raises `Refused(AMBIGUOUS_PATH)` if it is encoded too often."""
    data = path.encode()
    # An encoded slash stays encoded here: in the literal reading it is data inside a segment.
    yield from _as_text(unquote_to_bytes(_ENCODED_SLASH.sub(b"%252F", data)))
    for _ in range(_MAX_DECODES):
        data = unquote_to_bytes(data)
        yield from _as_text(data)
        if not _ESCAPE.search(data):
            return
    raise Refused(Reason.AMBIGUOUS_PATH)


def _as_text(data: bytes) -> Iterator[str]:
    """How servers decode bytes: invalid UTF-8 is kept, dropped, replaced, or read as overlong UTF-8 or latin-1."""
    yield data.decode("utf-8", "surrogateescape")
    if _is_utf8(data):
        return
    yield data.decode("utf-8", "ignore")
    yield data.decode("utf-8", "replace")
    yield _OVERLONG.sub(_shortest, data).decode("utf-8", "surrogateescape")
    yield data.decode("latin-1")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shortest(overlong: re.Match[bytes]) -> bytes:
    first, *rest = overlong[0]
    code = first & (0x3F >> len(rest))
    for byte in rest:
        code = code << 6 | byte & 0x3F
    return chr(code).encode("utf-8", "surrogatepass")


def _fitted(path: str) -> str:
    return path if path.isascii() else path.translate(_FITTED)


def _without_controls(path: str) -> str:
    return _CONTROLS.sub("", path)


def _without_query(path: str) -> str:
    return _QUERY.split(path, maxsplit=1)[0]


def _without_parameters(path: str) -> str:
    return _PARAMETERS.sub("", path)


def _forward_slashes(path: str) -> str:
    return path.replace("\\", "/")


def _without_blanks(path: str) -> str:
    return "/".join(segment.strip(_BLANKS) for segment in path.split("/")) if _BLANK.search(path) else path


def _without_last_dots(path: str) -> str:
    return "/".join(segment.rstrip(". ") or segment for segment in path.split("/")) if "." in path else path


def _without_host(path: str) -> str:
    return _HOST.sub("/", path, count=1) if path.startswith("//") else path


def _merged(path: str) -> str:
    return _SLASHES.sub("/", path)


_STEPS: Final[tuple[Callable[[str], str], ...]] = (
    _fitted,
    _without_controls,
    _without_query,
    _without_parameters,
    _forward_slashes,
    _without_blanks,
    _without_last_dots,
    _without_host,
    _merged,
)
"""What a server may do to a decoded path."""
