"""Reads plain request heads by their shape: all at once, with one strict expression.

Clients and proxies repeat the names of the fields that they send, in the same order; the values change with every request.
A *shape* describes all header sections with the same names in the same order as one expression. Its values cannot be read in
two ways, and what the sidecar needs is taken from the match: the runs of fields that are forwarded, the token, `Host`, and the
length of the body.

Rules:
- A shape is learnt from names that the full parser has accepted several times. `core.http.fields` says how each field is
  treated, as it does for `core.http.request_headers`; both ways of reading give the same result.
- Everything unusual is left to the full parser: another HTTP version, another target than a path, a body without a length, and
  fields that change what a connection or a message is. No shape accepts what the parser would refuse.
- A header section that repeats the previous one of its connection byte for byte is not read again. Neither is the request line
  before it, if it is remembered.
- The number of shapes is bounded, because clients choose the names of fields, and so is the length of the names in a shape:
  compiling long ones would block the event loop. A client that invents names is served by the parser, and pays for it itself.
  A shape that is in use outlasts invented ones.
"""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

from sidecar.core.http.cookies import MARK
from sidecar.core.http.fields import Kind, Kinds, RawHeaders
from sidecar.core.http.paths import AUTHORITY, RequestTarget
from sidecar.core.http.request_headers import NO_METHODS, NO_TRAILERS, RequestHeaders
from sidecar.core.policy import Route

SMALL: Final = 64 * 1024
"""The most bytes of a body that may arrive after its head."""

_SIGHTINGS: Final = 16  # of the same names before their shape is learnt: compiling costs as much as reading 20 heads
_MOST_SHAPES: Final = 128
_MOST_SEEN: Final = 512
_MOST_FIELDS: Final = 64
_MOST_LINES: Final = 4096
_LONGEST_LINE: Final = 256
_MOST_NAMES: Final = 2048  # bytes of all names together
# Nothing that two parsers could read differently: the characters of RFC 3986 without the fragment.
_TEXT: Final = rb"A-Za-z0-9\-._~!$&'()*+,;=:@%/"
_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[" + _TEXT + rb"]*+)(?:\?([" + _TEXT + rb"?]*+))? HTTP/1\.1\r\n"
).match
_METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_NAME: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NAMES: Final = re.compile(rb"\n(" + _NAME + rb"):").findall
_VALUE: Final = rb"[!-~\x80-\xff][\t -~\x80-\xff]*+(?<![\t ])"
_GROUP: Final = b"(" + _VALUE + b")"
_ALIVE: Final = rb"(?i:keep-alive)"
_TOKEN: Final = rb"([A-Za-z0-9\-._~+/=]++)"
_READ: Final = {
    Kind.HOST: b"((?>" + AUTHORITY.encode() + b"))",  # atomic: never read again when a later field does not match
    Kind.CONTENT_LENGTH: rb"(0|[1-9][0-9]{0,14})",
    Kind.AUTHORIZATION: b"(?i:bearer) " + _TOKEN,
    Kind.ACCESS_TOKEN: _TOKEN,
    Kind.CONNECTION: b"(keep-alive|Keep-Alive|close)",
    Kind.CONTENT_TYPE: _GROUP,
    Kind.COOKIE: _GROUP,
}
"""The values that are read, each with one group. A shape may have each of these fields once."""

_SENT: Final = frozenset([Kind.HOST, Kind.CONTENT_TYPE, Kind.COOKIE])
_FEW: Final = frozenset([Kind.HOST, Kind.AUTHORIZATION, Kind.ACCESS_TOKEN])
_PLAIN: Final = (False, False, b"", NO_METHODS, NO_TRAILERS)
"""What `RequestHeaders` says of a plain section from `content_coded` on."""

_HEAD_END: Final = b"\r\n\r\n"
# `NamedTuple` classes are slow to call with so many fields.
_new: Final = tuple.__new__


class HeaderSection:
    """What was read from one header section. `raw` are its bytes, up to and with the empty line; `length` is that of the body.

    The last two attributes keep what follows from `headers` alone for a connection that repeats them: `block` is the part to
    forward for the token `block_of`.
    """

    __slots__ = ("block", "block_of", "headers", "length", "raw", "shape", "should_close")

    def __init__(self, raw: bytes, shape: "Shape", headers: RequestHeaders, length: int, should_close: bool) -> None:  # noqa: FBT001  once per request
        self.raw = raw
        self.shape = shape
        self.headers = headers
        self.length = length
        self.should_close = should_close
        self.block = b""
        self.block_of: object = None

    def __repr__(self) -> str:
        return f"<HeaderSection {len(self.raw)} bytes>"


class PlainHead:
    """A plain request head: an HTTP/1.1 request for a path. `line` are the bytes of the request line, with its end. `route` is
    what was decided about the line under the same rules, if it is remembered.

    It has the attributes of the message that the full parser creates, as far as they are used.
    """

    __slots__ = ("line", "method", "route", "section", "target")

    version = (1, 1)
    upgrade = False
    chunked = False

    def __init__(
        self, line: bytes, method: str, target: RequestTarget, route: Route | None, section: HeaderSection
    ) -> None:
        self.line = line
        self.method = method
        self.target = target
        self.route = route
        self.section = section

    def __repr__(self) -> str:
        return f"<PlainHead {self.method} {self.target.path}>"

    @property
    def start(self) -> int:
        """Where the body begins in the read."""
        return len(self.line) + len(self.section.raw)

    @property
    def should_close(self) -> bool:
        """Whether the client wants no further response on its connection."""
        return self.section.should_close

    @property
    def path(self) -> str:
        """The target as it was sent."""
        path, query, _ = self.target
        return path if query is None else f"{path}?{query}"

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The fields as they were sent."""
        pairs = (line.partition(b": ") for line in self.section.raw[: -len(_HEAD_END)].split(b"\r\n"))
        return tuple((name, value) for name, _, value in pairs)


class PlainHeads:
    """The shapes that were met under one set of rules. `kinds` says how each field is treated; `host`, if given, is forwarded
    instead of the client's. `line` and `size` limit the bytes of a request line and of a header section, `count` the number
    of its fields."""

    def __init__(self, kinds: Kinds, *, host: bytes | None, line: int, size: int, count: int) -> None:
        self._kinds = kinds
        self._host = host
        self._most_line = line + 2
        self._most_size = size + 2
        self._most_count = min(count, _MOST_FIELDS)
        self._shapes: dict[tuple[bytes, ...], Shape | None] = {}  # `None`: only the parser can read these
        self._recent: Shape | None = None  # the first to try for a new connection
        self._seen: dict[tuple[bytes, ...], int] = {}
        self._lines: dict[bytes, tuple[bytes, str, RequestTarget, Route]] = {}

    def __repr__(self) -> str:
        return f"<PlainHeads {len(self._shapes)} shapes>"

    def read(self, data: bytes, last: HeaderSection | None) -> PlainHead | None:
        """The head with which `data` begins. `None` unless it is plain, complete and of a known shape, and nothing follows it
        but its body or the beginning of a small one. `last` is the previous header section of the connection."""
        if last is not None and last.shape.owner is not self:
            last = None
        if last is not None and data.endswith(last.raw) and not last.length:
            known = self._lines.get(data[: -len(last.raw)])
            if known is not None:
                return PlainHead(*known, last)
        match = _LINE(data)
        if match is None:
            return None
        start = match.end()
        if last is not None and data.startswith(last.raw, start):
            section: HeaderSection | None = last
        else:
            shape = self._recent if last is None else last.shape
            found = None if shape is None else shape.match(data, start)
            section = self._look_up(data, start) if shape is None or found is None else shape.section(found, start)
        if section is None:
            return None
        raw = len(section.raw)
        surplus = len(data) - start - raw - section.length
        if start > self._most_line or raw > self._most_size or (surplus and (surplus > 0 or section.length > SMALL)):
            return None
        line, method, path, query = match.group(0, 1, 2, 3)
        if section is last and (known := self._lines.get(line)) is not None:
            return PlainHead(*known, section)
        target = _new(RequestTarget, (path.decode(), query and query.decode(), None))
        return PlainHead(line, _METHODS[method], target, None, section)

    def remember(self, head: PlainHead, route: Route) -> None:
        """Remember what was decided about the request line of `head`, because clients repeat their paths."""
        line = head.line
        if head.target.query is None and len(line) <= _LONGEST_LINE:  # a query varies, and may hold a token
            if len(self._lines) >= _MOST_LINES:
                self._lines.clear()  # a client requests random paths: start again instead of growing
            self._lines[line] = (line, head.method, head.target, route)

    def _look_up(self, data: bytes, start: int) -> HeaderSection | None:
        """The section at `start`, if the names of its fields are known."""
        end = data.find(_HEAD_END, start)
        if end < 0 or end > start + self._most_size:
            return None
        shape = self._shapes.get(tuple(_NAMES(data, start - 1, end)))
        match = None if shape is None else shape.match(data, start)
        if shape is None or match is None:
            return None
        self._recent = shape
        return shape.section(match, start)

    def learn(self, fields: RawHeaders) -> None:
        """Note the names of a header section that the parser has accepted."""
        names = tuple([name for name, _ in fields])
        if names in self._shapes or sum(map(len, names)) > _MOST_NAMES:
            return
        seen = self._seen.get(names, 0) + 1
        if seen < _SIGHTINGS:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()  # a client invents names: start again instead of growing
            self._seen[names] = seen
            return
        self._seen.pop(names, None)
        if len(self._shapes) >= _MOST_SHAPES:
            self._evict()
        self._shapes[names] = self._shape(names) if len(names) <= self._most_count else None

    def _evict(self) -> None:
        """Give up the oldest shape that was not used since this was last asked."""
        for names, shape in list(self._shapes.items()):
            del self._shapes[names]
            if shape is None or not shape.used:
                break
            shape.used = False
            self._shapes[names] = shape  # now the youngest
        else:
            del self._shapes[next(iter(self._shapes))]
        re.purge()  # the module `re` would keep hundreds of the expressions that were given up

    def _shape(self, names: Sequence[bytes]) -> "Shape | None":
        plan = _Plan(self._host)
        for name in names:
            if not plan.add(name, self._kinds[name]):
                return None
        return Shape(self, plan) if Kind.HOST in plan.of else None


class _Plan:
    """The expression for a sequence of names, built field by field, and the numbers of its groups.

    `sent` are the parts that are forwarded, in order: the index of a group, or the bytes themselves. `of` is the index of the
    group with the value, by kind; `framing` that of the whole field with the length; `forwarded` the names and indices of
    fields that proxies set.
    """

    def __init__(self, host: bytes | None) -> None:
        self.pattern = b""
        self.sent: list[int | bytes] = []
        self.of: dict[Kind, int] = {}
        self.framing = -1
        self.forwarded: list[tuple[bytes, int]] = []
        self._instead = host
        self._groups = 0
        self._open = False  # the pattern ends within a run of forwarded fields

    def add(self, name: bytes, kind: Kind) -> bool:
        """Add a field. Returns whether a shape may have it, here."""
        if kind is Kind.KEEP:
            self._keep(name, _VALUE)
        elif kind is Kind.DROP:
            # The parser obeys `Proxy-Connection: close`.
            self._drop(name, _ALIVE if name.lower() == b"proxy-connection" else _VALUE)
        elif kind is Kind.FORWARDED:
            self.forwarded.append((name, self._drop(name, _GROUP)))
        elif kind in self.of:
            return False
        elif kind is Kind.CONTENT_LENGTH:
            self._close()
            self.framing = self._groups
            self.sent.append(self.framing)
            self._groups += 1
            self.pattern += b"("
            self.of[kind] = self._field(name, _READ[kind])
            self.pattern += b")"
        elif kind is Kind.HOST and self._instead is not None:
            self.of[kind] = self._drop(name, _READ[kind])
            self.sent.append(b"%b: %b\r\n" % (name, self._instead))
        elif kind in _READ:
            self.of[kind] = (self._keep if kind in _SENT else self._drop)(name, _READ[kind])
        else:
            return False
        return True

    def finish(self) -> bytes:
        """The whole expression."""
        self._close()
        return self.pattern + rb"\r\n"

    def _keep(self, name: bytes, value: bytes) -> int:
        """A field that is forwarded. Returns the index of the group in `value`, if there is one."""
        if not self._open:
            self._open = True
            self.sent.append(self._groups)
            self._groups += 1
            self.pattern += b"("
        return self._field(name, value)

    def _drop(self, name: bytes, value: bytes) -> int:
        self._close()
        return self._field(name, value)

    def _field(self, name: bytes, value: bytes) -> int:
        self.pattern += re.escape(name) + b": " + value + rb"\r\n"
        self._groups += value is not _VALUE and value is not _ALIVE
        return self._groups - 1

    def _close(self) -> None:
        if self._open:
            self.pattern += b")"
        self._open = False


class Shape:
    """All header sections with the same names in the same order. `owner` is the object that learnt it; `used` is set with each
    use."""

    __slots__ = (
        "_bearer", "_before", "_connection", "_constants", "_content_type", "_cookie", "_framing", "_host", "_length", "_more",
        "_names", "_parts", "_proxies", "_token", "_tokens", "match", "owner", "used",
    )  # fmt: skip

    def __init__(self, owner: PlainHeads, plan: _Plan) -> None:
        self.owner = owner
        self.used = False
        expression = re.compile(plan.finish())
        self.match = expression.match
        # The parts that are not taken from the match follow its groups.
        self._constants = tuple([each for each in plan.sent if isinstance(each, bytes)])
        places = iter(range(expression.groups, expression.groups + len(self._constants)))
        sent = [next(places) if isinstance(each, bytes) else each for each in plan.sent]
        self._framing = plan.framing
        self._before = sent.index(plan.framing) if plan.framing >= 0 else 0
        self._parts = _picking(sent)
        self._names = tuple([name for name, _ in plan.forwarded])  # of fields that proxies set
        self._proxies = _picking([index for _, index in plan.forwarded])
        index = plan.of.get
        self._host = plan.of[Kind.HOST]
        self._length = index(Kind.CONTENT_LENGTH)
        self._connection = index(Kind.CONNECTION)
        self._content_type = index(Kind.CONTENT_TYPE)
        self._cookie = index(Kind.COOKIE)
        self._tokens = [plan.of[kind] for kind in (Kind.AUTHORIZATION, Kind.ACCESS_TOKEN) if kind in plan.of]
        self._token = self._tokens[0] if len(self._tokens) == 1 else None
        self._bearer = int(Kind.AUTHORIZATION in plan.of)
        # Whether there is more to read than the host, tokens and the fields of proxies.
        self._more = bool(self._constants) or not plan.of.keys() <= _FEW

    def __repr__(self) -> str:
        return f"<Shape of {self.match.__self__.pattern!r}>"  # type: ignore[attr-defined]  # the compiled expression

    def section(self, match: re.Match[bytes], start: int) -> HeaderSection | None:
        """What was read from a section that matched; `None` when only the parser can read one of its values."""
        self.used = True
        values = match.groups()
        length, framing, at, should_close, content_type = 0, b"", 0, False, ""
        if self._more:
            values += self._constants
            if self._cookie is not None and MARK in values[self._cookie]:
                return None  # the login cookie is among them
            if self._length is not None:
                length, framing = int(values[self._length]), values[self._framing]
                at = sum(map(len, self._parts(values)[: self._before]))
            if self._content_type is not None:
                content_type = values[self._content_type].decode("latin-1")
            should_close = self._connection is not None and values[self._connection] == b"close"
        tokens = (
            (values[self._token].decode(),)
            if self._token is not None
            else tuple([values[i].decode() for i in self._tokens])
        )
        forwarded = tuple(zip(self._names, self._proxies(values), strict=False)) if self._names else ()
        block, host = b"".join(self._parts(values)), values[self._host].decode()
        said = (block, framing, at, host, tokens, self._bearer, forwarded, content_type, *_PLAIN)
        raw = match.string[start : match.end()]
        return HeaderSection(raw, self, _new(RequestHeaders, said), length, should_close)


def _picking(indices: list[int]) -> Callable[[tuple[bytes, ...]], tuple[bytes, ...]]:
    """A function that picks these items of a tuple, as a tuple."""
    if len(indices) > 1:
        return itemgetter(*indices)
    first = indices[0] if indices else 0
    return itemgetter(slice(first, first + len(indices)))
