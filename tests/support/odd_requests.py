"""Requests that mix the usual with what an attacker would send, as data: fields, lines, bodies, and what is odd about one."""

import itertools
from typing import Final, NamedTuple

from sidecar.core.jose.keys import KeyRing, SigningKey
from sidecar.core.tokens import TokenRules
from tests.support.decided import NOW, token

GOOD, OTHER = token().encode(), token(scope=("b",), jti="k", client_id="other").encode()
FOREIGN = TokenRules(
    issuer="https://else", audience="api", access_token_ttl=600, leeway=0,
    ring=KeyRing([SigningKey.hmac("f", "HS256", "f" * 32)]),
).issue(client_id="app", subject="anna", roles=(), scope=("a",), now=NOW, jti="f")[0].encode()  # fmt: skip
OLD = token(now=NOW - 5000, jti="old").encode()
TOKENS = (GOOD, OTHER, FOREIGN, OLD, GOOD[:-2] + b"xx", b"x", b"", b"a b", GOOD + b"=", GOOD + b"," + OTHER)
ODD = (
    b"", b" ", b"x", b" x", b"x ", b"\tx", b"x\t", b"a\tb", b"caf\xe9", b"\xff", b"\x80", b"\x85", b"a\x00b", b"a\x01", b"a\x7f", b"a\rb",
    b"a\nb", b"a\r\n b", b"a\r\n\tb", b"a\r\nHost: evil", b"a\r\nX-Auth-Client-Id: x", b"a\r\n\r\nGET / HTTP/1.1", b"x" * 900, b"x" * 5000,
    b":", b": x", b"x, y", b'"', b"a\x0bb", b"a\x0cb", b"a\r\n", b"a\r", b"a\n",
)  # fmt: skip
_BEARERS = tuple(b"Bearer " + each for each in TOKENS)

# Name, usual value, odd values of its own.
FIELDS: tuple[tuple[bytes, bytes, tuple[bytes, ...]], ...] = (
    (b"Host", b"api.example", (b"a:80", b"[::1]", b"a@b", b"a/b", b"a:123456", b"a,b", b"a b", b"\xe9", b"A%20", b"[::1")),
    (b"hOST", b"h", (b"i",)),
    (b"Accept", b"*/*", ()),
    (b"X-Request-Id", b"0af7651916cd43dd", ()),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ()),
    (b"!#$%&'*+.^_`|~", b"1", ()),
    (b"Authorization", b"Bearer " + GOOD, (*_BEARERS, b"bEaReR " + GOOD, b"Bearer  " + GOOD, b"Bearer\t" + GOOD, b"Bearer", b"Basic eDp5")),
    (b"authorization", b"Bearer " + GOOD, _BEARERS),
    (b"Authorization", b"Basic eDp5", ()),
    (b"X-Authorization", b"Bearer " + GOOD, ()),
    (b"access_token", GOOD, TOKENS),
    (b"Access_Token", OTHER, TOKENS),
    (b"access-token", GOOD, TOKENS),
    (b"X-Auth-Client-Id", b"admin", ()),
    (b"x_auth_subject", b"root", ()),
    (b"X.Auth.Scope", b"all", ()),
    (b"X-Forwarded-For", b"10.1.1.1", (b"10.1.1.1, 10.2.2.2",)),
    (b"x-forwarded-for", b"10.3.3.3", ()),
    (b"X_Forwarded_For", b"10.4.4.4", ()),
    (b"X-Forwarded-Proto", b"https", ()),
    (b"X-Forwarded-Host", b"outer.example", ()),
    (b"X-Forwarded-Client-Cert", b"Hash=1", ()),
    (b"X-Forwarded-Anything", b"1", ()),
    (b"Forwarded", b"for=1.1.1.1", ()),
    (b"X-Original-URL", b"/admin", ()),
    (b"X-Edge", b"edge", ()),
    (b"X_Edge", b"edge", ()),
    (b"Connection", b"keep-alive", (b"close", b"Keep-Alive", b"KEEP-ALIVE", b"Close", b"close, x-request-id", b"X-Request-Id", b"Authorization",
                                    b"upgrade", b"Host", b"content-length", b"keep-alive, close", b"TE", b"cookie", b",", b"close,")),
    (b"connection", b"close", (b"accept",)),
    (b"Keep-Alive", b"timeout=5", (b"close",)),
    (b"Proxy-Connection", b"keep-alive", (b"close", b"Close", b"upgrade", b"keep-alive, close")),
    (b"Proxy-Authorization", b"Basic eDp5", ()),
    (b"TE", b"trailers", (b"gzip",)),
    (b"Trailer", b"X-Sum", ()),
    (b"Transfer-Encoding", b"chunked", (b"identity", b"gzip, chunked", b"Chunked", b"chunked ", b"xchunked")),
    (b"Transfer_Encoding", b"chunked", ()),
    (b"Content_Length", b"5", ()),
    (b"Content-Length", b"5", (b"0", b"4", b"05", b"+5", b"-5", b"5,5", b"5 ", b" 5", b"6", b"70000", b"0x5", b"9" * 16, b"5\x0b")),
    (b"content-length", b"5", (b"0", b"4")),
    (b"Upgrade", b"websocket", (b"h2c", b"tls/1.0")),
    (b"Expect", b"100-continue", (b"x",)),
    (b"Cookie", b"a=1; b=2", (b"__Host-sidecar=x; a=1", b"a=1; sidecar=y", b"sidecar", b"xsidecary=1")),
    (b"cookie", b"c=3", (b"sidecar=" + b"A" * 43,)),
    (b"Content-Type", b"application/x-www-form-urlencoded", (b"application/json", b"text/plain", b"application/x+json; a=b", b"APPLICATION/JSON")),
    (b"content-type", b"application/json", ()),
    (b"Content-Encoding", b"gzip", (b"identity",)),
    (b"X-HTTP-Method-Override", b"DELETE", (b"GET", b"?")),
    (b"x_method_override", b"PUT", ()),
    (b"Sec-WebSocket-Key1", b"x", ()),
    (b"Origin", b"https://page.example", (b"https://other.example",)),
    (b"Access-Control-Request-Method", b"POST", (b"DELETE",)),
    (b"If-None-Match", b'"x"', ()),
    (b"User-Agent", b"curl/8", ()),
)  # fmt: skip
# Those that a shape may have, each in one spelling.
SHAPED = tuple(
    number
    for number, (name, value, _) in enumerate(FIELDS)
    if not value.startswith(b"Basic") and name not in (b"hOST", b"authorization", b"X_Forwarded_For", b"connection", b"TE", b"Trailer", b"Transfer-Encoding", b"Upgrade",
                    b"Transfer_Encoding", b"Content_Length", b"content-length", b"Expect", b"cookie", b"content-type", b"Content-Encoding",
                    b"X-HTTP-Method-Override", b"x_method_override", b"Sec-WebSocket-Key1", b"Access_Token")
)  # fmt: skip
BEARER: Final = 6  # its place in `FIELDS`
LENGTH: Final = next(number for number, (name, _, _) in enumerate(FIELDS) if name == b"Content-Length")
TYPES: Final = tuple(number for number, (name, _, _) in enumerate(FIELDS) if name.lower() == b"content-type")
SENT_TO: Final = (b"POST /x", b"POST /public/a", b"POST /closed", b"POST /oauth/token")
LINES = (
    b"GET /x", b"GET /x?a=b%20c&d", b"GET /x?", b"GET /", b"POST /x", b"PUT /x/y", b"DELETE /x", b"PATCH /x", b"HEAD /x", b"OPTIONS /x",
    b"OPTIONS *", b"TRACE /x", b"CONNECT h:1", b"PROPFIND /x", b"GET /scoped/a", b"POST /scoped", b"GET /closed", b"GET /public/a",
    b"POST /public/a", b"GET /public/?access_token=" + GOOD, b"GET /public?access_token=" + FOREIGN, b"POST /oauth/token",
    b"OPTIONS /oauth/token", b"GET /x?access_token=" + GOOD, b"GET /x?a=1&access%5ftoken=" + GOOD + b"&b", b"GET /x?access_token=",
    b"GET /x?access_token=" + OTHER, b"GET /x?access_token=" + OTHER + b"&access_token=" + GOOD, b"GET http://h/x", b"GET http://a@h/x", b"GET https:///x",
    b"GET //x/y", b"GET /x//y", b"GET /a/../x", b"GET /a/%2e%2e/x", b"GET /x%2fy", b"GET /x%00", b"GET /x%", b"GET /x;a=b", b"GET /public;/x",
    b"GET /X", b"GET /PUBLIC/a", b"GET /x\\y", b"GET /x#y", b"GET /x?a#b", b"GET /\xe9", b"GET /x y", b"GET  /x", b"get /x", b"GET x",
    b"GET /x[", b'GET /x?"<>^`{|}', b"GET /" + b"x" * 1100, b"GET /x?" + b"y" * 1001, b"\r\nGET /x", b"GET /x\t", b"GET /x?\x00",
    b"GET /a:b@c/x=1,2;3", b"GET /x?a=/b?c:d@e", b"GET /x%0d%0a", b"GET /public/..;/x", b"GET /:1", b"GET //a:99999999/",
)  # fmt: skip
VERSIONS = (
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/1.1\n",
    b" HTTP/1.2\r\n",
    b" HTTP/2.0\r\n",
    b" RTSP/1.0\r\n",
    b"\r\n",
)
_FORM, _JSON = b"access_token=" + GOOD + b"&a=1", b'{"access_token":"' + GOOD + b'","a":1}'
BODIES = (
    b"", b"hello", _FORM, _JSON, b"access_token=" + GOOD, b"access_token=" + OTHER + b"&" + _FORM, b"5\r\nhello\r\n0\r\n\r\n", b"a=1", b"\0" * 9,
    b"grant_type=client_credentials", b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", b"x" * 66_000, b"{}", b'{"access_token":"x"}',
)  # fmt: skip
AFTER = (b"", b"\r\n", b"\n", b"G", b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n", b"\0")
ACTIONS = ("revoke", "revoke and check", "pause", "resume", "swap", "drain", "check", "end", "leave", "late")
SPICE = (
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b",", b"\xff", b"_", b"\x0b", b"\r\n ", b"\r\n\r\n", b"\x85", b"%", b"#", b"0",
    b"Host: i\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"X-A: b\r\n",
)  # fmt: skip


class Change(NamedTuple):
    """One field of a request says something else: an odd value of its own, or one that is odd in any field."""

    field: int
    own: bool
    value: int


class Asked(NamedTuple):
    """A request: its line, how it differs from the usual section, and its body. `split` is where it is cut, in sixteenths of
    its length; what happens `between` comes after its first part. `spice`, if any, is put into it or instead of a part of it."""

    line: bytes
    version: bytes
    changes: list[Change]
    body: bytes
    declared: bool
    after: bytes
    split: list[int]
    between: str
    spice: tuple[int, int, bytes] | None


class Case(NamedTuple):
    """What is tried: the fields of the usual section, and what comes on one connection."""

    fields: list[int]
    rules: int
    body_limit: int | None
    trusted: bool
    steps: list[Asked | str]


USUAL = Asked(b"POST /x", VERSIONS[0], [], b"", True, b"", [], "", None)
"""A request with nothing odd."""


def section(fields: list[int], changes: list[Change], length: int | None) -> bytes:
    """The header section of a request, with a `Host`, and with the length of its body where it says one."""
    pairs = [FIELDS[number][:2] for number in fields]
    if b"host" not in [name.lower() for name, _ in pairs]:
        pairs.insert(len(pairs) // 2, FIELDS[0][:2])
    if length is not None:
        pairs = [(name, b"%d" % length if name.lower() == b"content-length" else value) for name, value in pairs]
    for place, own, value in changes:
        place %= len(pairs)  # noqa: PLW2901
        name = pairs[place][0]
        odd = next(each for named, _, each in FIELDS if named == name) if own else ODD
        odd = odd or ODD
        pairs[place] = (name, odd[value % len(odd)])
    return b"".join(b"%b: %b\r\n" % pair for pair in pairs) + b"\r\n"


def reads(asked: Asked, fields: list[int]) -> list[bytes]:
    """A request as it comes, in one read or several."""
    said = any(FIELDS[number][0].lower() == b"content-length" for number in fields)
    length = len(asked.body) if asked.declared and said else None
    body = asked.body if said or length is not None or b"5\r\n" in asked.body else b""
    data = asked.line + asked.version + section(fields, asked.changes, length) + body + asked.after
    if asked.spice is not None:
        place, less, spice = asked.spice
        place = place * min(len(data), 600) // 1024
        data = data[:place] + spice + data[place + less :]
    cuts = [0, *sorted(len(data) * each // 16 for each in asked.split), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(cuts) if start < end]
