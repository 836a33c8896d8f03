"""One reader of request targets: what is matched is what is forwarded.

Rules:
- The path goes to the upstream byte for byte as it was sent; it is never rewritten.
- Servers read a path differently: some decode `%2f`, drop `;parameters`, merge `//` or treat `\\` as `/`. So a path has
  one or more *readings*, and `core.policy` lets it pass only when the same rule holds in each. Most paths are plain
  and have one.
- What no two servers need agree on is refused whatever the rules are: dot segments in any reading, `%00`, broken
  percent-encoding, bytes that RFC 3986 does not allow.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from sidecar.core.reasons import Reason, Refused

# Segments of unreserved characters and harmless delimiters, none empty, none a dot segment.
_PLAIN = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9\-._~!$&'()*+,=:@]+)*/?")
_FORBIDDEN = re.compile(r"[^\x21-\x7e]|#")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)
_MAX_DECODES = 3


class Target(NamedTuple):
    """A request target in parts (RFC 9112 section 3.2): `query` is `None` when there is no `?`.

    `authority` is set for the absolute form only, where it takes the place of `Host`.
    """

    path: str
    query: str | None
    authority: str | None


def split_target(raw: str, method: str = "GET") -> Target:
    """Split origin-form, absolute-form or `*`, which is for OPTIONS only. Raises `Refused(MALFORMED_REQUEST)` for anything
    else."""
    authority = None
    if raw == "*" and method != "OPTIONS":
        raise Refused(Reason.MALFORMED_REQUEST, "The request target * is for OPTIONS.")
    if not raw.startswith("/") and raw != "*":
        match = _ABSOLUTE.fullmatch(raw)
        if match is None or not valid_authority(match[1]):
            raise Refused(Reason.MALFORMED_REQUEST, "The request target cannot be read.")
        authority, raw = match[1], match[2]
        if not raw and method == "OPTIONS":
            raw = "*"  # the last proxy writes it so (RFC 9112 section 3.2.4)
        elif not raw.startswith("/"):
            raw = "/" + raw
    if _FORBIDDEN.search(raw):
        raise Refused(Reason.MALFORMED_REQUEST, "The request target holds bytes that must be percent-encoded.")
    path, mark, query = raw.partition("?")
    return Target(path, query if mark else None, authority)


def valid_authority(value: str) -> bool:
    """Whether `value` is a host with an optional port, and without userinfo (RFC 9110 section 4.2.4)."""
    return _AUTHORITY.fullmatch(value) is not None


def readings(path: str) -> tuple[str, ...]:
    """Every way in which a server may read `path`, the literal one first. Raises `Refused(AMBIGUOUS_PATH)`."""
    if _PLAIN.fullmatch(path) or path == "*":
        return (path,)
    if _BROKEN_ESCAPE.search(path) or "%00" in path:
        raise Refused(Reason.AMBIGUOUS_PATH)
    literal = _decode_once(path)
    found = dict.fromkeys([literal, _without_parameters(literal), _merged(literal), _loosest(path)])
    for reading in found:
        if any(segment in (".", "..") for segment in reading.split("/")):
            raise Refused(Reason.AMBIGUOUS_PATH)
    return tuple(found)


def _decode_once(path: str) -> str:
    # An encoded slash stays encoded here: in the literal reading it is data within a segment.
    parts = re.split(r"(%2[fF])", path)
    return "".join("%2F" if index % 2 else unquote(part, errors="surrogateescape") for index, part in enumerate(parts))


def _without_parameters(path: str) -> str:
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


def _merged(path: str) -> str:
    return re.sub(r"/+", "/", path.replace("%2F", "/").replace("\\", "/"))


def _loosest(path: str) -> str:
    for _ in range(_MAX_DECODES):
        if not _ESCAPE.search(path):
            break
        path = unquote(path, errors="surrogateescape")
    else:
        if _ESCAPE.search(path):
            raise Refused(Reason.AMBIGUOUS_PATH)
    if "\x00" in path:
        raise Refused(Reason.AMBIGUOUS_PATH)
    return _merged(_without_parameters(_merged(path)))
