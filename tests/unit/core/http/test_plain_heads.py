"""core.http.plain_heads: what a shape gives is what the parser and `request_headers` give. The same over whole connections is
in tests/unit/proxy/client/test_connection.py, and over sockets in tests/fuzz."""

import gc
import timeit
import weakref
from typing import Any

import pytest

from sidecar.core.http.fields import request_kinds
from sidecar.core.http.plain_heads import SMALL, PlainHead, PlainHeads
from sidecar.core.http.request_headers import read_request_headers
from sidecar.core.policy import ANY_VALID_TOKEN

KINDS = request_kinds(["X-Edge"])
Pairs = list[tuple[bytes, bytes]]


def heads(*sections: Pairs, host: bytes | None = None, times: int = 16, **limits: int) -> PlainHeads:
    """Has seen these sections so often."""
    made = PlainHeads(KINDS, host=host, **{"line": 8190, "size": 32768, "count": 100, **limits})
    for section in sections:
        for _ in range(times):
            made.learn(section)
    return made


def request(fields: Pairs, line: bytes = b"GET /a HTTP/1.1", body: bytes = b"") -> bytes:
    return b"".join([line, b"\r\n", *(b"%b: %b\r\n" % field for field in fields), b"\r\n", body])


HOST = (b"Host", b"api.example")
USUAL: Pairs = [
    HOST, (b"X-Request-Id", b"1"), (b"x-forwarded-for", b"10.1.1.1"), (b"Accept", b"*/*"), (b"X-Edge", b"e"),
    (b"Authorization", b"Bearer a.b-c_d"), (b"Keep-Alive", b"timeout=5"), (b"Connection", b"keep-alive"),
    (b"Content-Type", b"application/json"), (b"X-Auth-Client-Id", b"forged"), (b"Content-Length", b"2"),
    (b"access_token", b"other"), (b"Cookie", b"a=1"), (b"X-Last", b"caf\xe9, \t1"),
]  # fmt: skip
SECTIONS: list[Pairs] = [
    [HOST], USUAL, USUAL[::-1], [HOST, (b"X-Odd", b"1")] * 1, [(b"Content-Length", b"0"), HOST],
    [(b"hOST", b"[::1]:80"), (b"authorization", b"bEARER t=")], [(b"Connection", b"close"), HOST],
    [(b"X_Auth_Scope", b"admin"), HOST], [(b"access_token", b"only"), HOST],
]  # fmt: skip


@pytest.mark.parametrize("host", [None, b"inner", b"\0"])
@pytest.mark.parametrize("section", SECTIONS)
def test_a_shape_gives_what_the_rules_for_headers_give(section: Pairs, host: bytes | None) -> None:
    known = heads(section, host=host)
    body = b"ab" if (b"Content-Length", b"2") in section else b""
    data = request(section, b"PUT /a/b%20c?d=e?f HTTP/1.1", body)
    head = known.read(data, None)
    assert head is not None
    assert head.section.headers == read_request_headers(
        section, kinds=KINDS, http_1_0=False, chunked=False, authority=None, default_host=b"", host=host
    )
    assert (head.method, head.target, head.path) == ("PUT", ("/a/b%20c", "d=e?f", None), "/a/b%20c?d=e?f")
    assert (head.line, head.raw_headers) == (b"PUT /a/b%20c?d=e?f HTTP/1.1\r\n", tuple(section))
    assert (data[head.start :], head.section.length) == (body, len(body))
    assert head.should_close == ((b"Connection", b"close") in section)


def test_a_section_that_repeats_is_not_read_again() -> None:
    known = heads([HOST, (b"X", b"")])
    first = known.read(request([HOST, (b"X", b"1")]), None)
    assert first is not None
    again = known.read(request([HOST, (b"X", b"1")], b"DELETE /b HTTP/1.1"), first.section)
    other = known.read(request([HOST, (b"X", b"2")]), first.section)
    assert again is not None
    assert other is not None
    assert again.section is first.section is not other.section
    assert (again.method, again.path, other.raw_headers[1]) == ("DELETE", "/b", (b"X", b"2"))


def test_a_section_of_other_rules_is_read_anew() -> None:
    old, new = heads([HOST], host=b"old"), heads([HOST], host=b"new")
    first = old.read(request([HOST]), None)
    assert first is not None
    second = new.read(request([HOST]), first.section)
    assert second is not None
    assert (first.section.headers.block, second.section.headers.block) == (b"Host: old\r\n", b"Host: new\r\n")


@pytest.mark.parametrize("extra", [[], [(b"Content-Length", b"2")]])
def test_a_line_that_is_remembered_comes_with_its_route(extra: Pairs) -> None:
    section: Pairs = [HOST, *extra]
    body = b"ab" if extra else b""
    known = heads(section)
    first = known.read(request(section, body=body), None)
    assert first is not None
    known.remember(first, ANY_VALID_TOKEN)
    for line, route in [(b"GET /a HTTP/1.1", ANY_VALID_TOKEN), (b"GET /a? HTTP/1.1", None), (b"PUT /a HTTP/1.1", None)]:
        again = known.read(request(section, line, body), first.section)
        assert again is not None
        assert (again.route, again.line) == (route, line + b"\r\n")
        assert known.read(request(section, line, body) + b"x", first.section) is None
    fresh = known.read(request(section, body=body), None)
    assert fresh is not None
    assert fresh.route is None  # a section that does not repeat is no reason to look


def test_lines_with_a_query_are_not_remembered_and_others_not_for_ever() -> None:
    known = heads([HOST])
    first = known.read(request([HOST], b"GET /?access_token=x HTTP/1.1"), None)
    assert first is not None
    known.remember(first, ANY_VALID_TOKEN)
    assert known._lines == {}
    for number in range(5000):
        head = known.read(request([HOST], b"GET /%d HTTP/1.1" % number), first.section)
        assert head is not None
        known.remember(head, ANY_VALID_TOKEN)
    assert 0 < len(known._lines) <= 4096
    long = known.read(request([HOST], b"GET /" + b"a" * 300 + b" HTTP/1.1"), None)
    assert long is not None
    known._lines.clear()
    known.remember(long, ANY_VALID_TOKEN)
    assert known._lines == {}


def test_names_are_learnt_after_some_sightings() -> None:
    assert heads([HOST], times=15).read(request([HOST]), None) is None
    assert heads([HOST], times=16).read(request([HOST]), None) is not None


UNUSUAL: list[Pairs] = [
    [], [(b"X", b"1")], [HOST, HOST], [HOST, (b"Transfer-Encoding", b"chunked")], [HOST, (b"Upgrade", b"h2c")],
    [HOST, (b"Expect", b"100-continue")], [HOST, (b"TE", b"trailers")], [HOST, (b"Trailer", b"X")],
    [HOST, (b"Content-Encoding", b"gzip")], [HOST, (b"X-HTTP-Method-Override", b"PUT")], [HOST, (b"Content_Length", b"1")],
    [HOST, *[(b"Content-Length", b"0")] * 2], [HOST, *[(b"Authorization", b"Bearer t")] * 2],
    [HOST, *[(b"Connection", b"close")] * 2], [HOST, *[(b"access_token", b"t")] * 2], [HOST, *[(b"Cookie", b"a=1")] * 2],
    [HOST, *[(b"Content-Type", b"text/plain")] * 2], [HOST, *[(b"X-%d" % number, b"1") for number in range(64)]],
]  # fmt: skip


@pytest.mark.parametrize("section", UNUSUAL)
def test_unusual_fields_are_left_to_the_parser(section: Pairs) -> None:
    assert heads(section).read(request(section), None) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"Host", b""), (b"Host", b"a@b"), (b"Host", b"a b"), (b"Host", b"a\x00"), (b"Host", b"a/b"), (b"Host", b"a:123456"),
        (b"Authorization", b"Basic abc"), (b"Authorization", b"Bearer"), (b"Authorization", b"Bearer\tt"),
        (b"Authorization", b"Bearer t, u"), (b"Authorization", b"Bearer  t"), (b"Connection", b"close, X"),
        (b"Connection", b"upgrade"), (b"Connection", b"Close"), (b"Content-Length", b"+2"), (b"Content-Length", b"02"),
        (b"Content-Length", b"2 "), (b"Content-Length", b"-1"), (b"Content-Length", b"1" * 16), (b"Content-Length", b"2,2"),
        (b"X-Last", b" led"), (b"X-Last", b"trailed\t"), (b"X-Last", b""), (b"X-Last", b"a\x00b"), (b"X-Last", b"a\rb"),
        (b"X-Last", b"a\nb"), (b"X-Last", b"a\r\n b"), (b"X-Last", b"a\x7fb"), (b"X-Last", b"a\r\nb: c"),
        (b"Proxy-Connection", b"close"), (b"Proxy-Connection", b"keep-alive, close"), (b"Proxy-Connection", b"upgrade"),
        (b"Cookie", b"__Host-sidecar=x"), (b"Cookie", b"a=1; sidecar=x"), (b"access_token", b"a b"),
    ],
)  # fmt: skip
def test_unusual_values_are_left_to_the_parser(name: bytes, value: bytes) -> None:
    section = [*USUAL, (b"Proxy-Connection", b"keep-Alive")]
    known = heads(section)
    usual = known.read(request(section, body=b"ab"), None)
    assert usual is not None
    data = request([(each, value if each == name else said) for each, said in section], body=b"ab")
    assert known.read(data, None) is None
    assert known.read(data, usual.section) is None


@pytest.mark.parametrize(
    "line",
    [
        b"GET /a HTTP/1.0", b"GET /a HTTP/2.0", b"get /a HTTP/1.1", b"CONNECT /a HTTP/1.1", b"TRACE /a HTTP/1.1", b"GET a HTTP/1.1",
        b"GET  /a HTTP/1.1", b"GET /a  HTTP/1.1", b"GET /a HTTP/1.1 ", b"GET http://b/a HTTP/1.1", b"OPTIONS * HTTP/1.1",
        b"GET /a#b HTTP/1.1", b"GET /\xe9 HTTP/1.1", b"GET /a\\b HTTP/1.1", b"GET /a?b#c HTTP/1.1", b"\r\nGET /a HTTP/1.1",
        b"GET /a\x00 HTTP/1.1", b"GET /a\tHTTP/1.1", b"GET /a HTTP/1.1\r", b"", b"GET /a",
    ],
)  # fmt: skip
def test_unusual_request_lines_are_left_to_the_parser(line: bytes) -> None:
    known = heads([HOST])
    usual = known.read(request([HOST]), None)
    assert usual is not None
    assert known.read(request([HOST], line), usual.section) is None


@pytest.mark.parametrize("last", [True, False])
def test_only_whole_heads_are_read_and_nothing_may_follow_but_the_body(last: bool) -> None:
    posted: Pairs = [HOST, (b"Content-Length", b"5")]
    known = heads([HOST], posted)
    for data, bodies in ((request([HOST]), [b""]), (request(posted), [b"", b"1", b"12345"])):
        usual = known.read(data, None)
        assert usual is not None
        section = usual.section if last else None
        for end in range(len(data)):
            assert known.read(data[:end], section) is None
        for body in bodies:
            head = known.read(data + body, section)
            assert head is not None
            assert head.start == len(data)
        for more in (b"G", b"\r\n", data):
            assert known.read(data + bodies[-1] + more, section) is None


def test_a_body_that_is_not_small_must_come_with_its_head() -> None:
    known = heads([HOST, (b"Content-Length", b"")])
    for length, came, plain in [
        (SMALL, 0, True),
        (SMALL + 1, 0, False),
        (SMALL + 1, SMALL, False),
        (SMALL + 1, SMALL + 1, True),
    ]:
        data = request([HOST, (b"Content-Length", b"%d" % length)], body=b"b" * came)
        assert (known.read(data, None) is not None) == plain


def test_the_limits_of_a_head_are_kept() -> None:
    section: Pairs = [HOST, (b"X", b"1" * 50)]
    size = len(request(section)) - len(b"GET /a HTTP/1.1\r\n\r\n")
    assert heads(section, size=size).read(request(section), None) is not None
    assert heads(section, size=size - 1).read(request(section), None) is None
    assert heads(section, line=15).read(request(section), None) is not None
    assert heads(section, line=14).read(request(section), None) is None
    assert heads(section, count=2).read(request(section), None) is not None
    assert heads(section, count=1).read(request(section), None) is None
    known = heads(section, size=size)
    usual = known.read(request(section), None)
    assert usual is not None
    assert known.read(request([HOST, (b"X", b"1" * 51)]), usual.section) is None


def test_invented_names_do_not_accumulate() -> None:
    known = heads()
    for number in range(2000):
        known.learn([HOST, (b"X-%d" % number, b"1")])
    assert len(known._seen) <= 512
    for number in range(200):
        for _ in range(16):
            known.learn([HOST, (b"Y-%d" % number, b"1")])
    assert len(known._shapes) <= 128
    assert known.read(request([HOST, (b"Y-0", b"1")]), None) is None
    assert known.read(request([HOST, (b"Y-199", b"1")]), None) is not None


def test_long_names_are_not_learnt() -> None:
    """A stranger chooses them: compiling 32 KiB of names takes 30 ms, in which the worker does nothing else."""
    for length, known in ((2044, True), (2045, False)):
        section = [HOST, (b"X" * length, b"1")]
        made = heads(section, size=4096)
        assert (made.read(request(section), None) is not None) == known
        assert bool(made._shapes) == known
        assert not made._seen


def test_expressions_that_were_given_up_are_freed() -> None:
    """The module `re` keeps what it compiled."""
    known = heads(*([HOST, (b"Z-%d" % number, b"1")] for number in range(128)))
    given_up = weakref.ref(known._shapes[b"Host", b"Z-0"].match.__self__)  # type: ignore[union-attr]
    for _ in range(16):
        known.learn([HOST, (b"Z", b"1")])
    gc.collect()
    assert given_up() is None


def test_a_long_host_is_not_read_again_for_a_bad_field_behind_it() -> None:
    known = heads([HOST, (b"X", b"1")])
    usual = known.read(request([HOST, (b"X", b"1")]), None)
    assert usual is not None

    def seconds(value: bytes) -> float:
        data = request([(b"Host", b"a" * 32000), (b"X", value)])
        return min(timeit.repeat(lambda: known.read(data, usual.section), number=1, repeat=9))

    assert seconds(b"\0") < 10 * seconds(b"1")


def test_a_shape_that_is_in_use_outlasts_invented_ones() -> None:
    known = heads([HOST], [HOST, (b"Idle", b"1")])
    for number in range(300):
        for _ in range(16):
            known.learn([HOST, (b"Y-%d" % number, b"1")])
        assert known.read(request([HOST]), None) is not None
    assert known.read(request([HOST, (b"Idle", b"1")]), None) is None
    assert len(known._shapes) <= 128


def test_when_every_shape_is_in_use_one_goes_all_the_same() -> None:
    known = heads([HOST])
    for number in range(200):
        for _ in range(16):
            known.learn([HOST, (b"Y-%d" % number, b"1")])
        for shape in known._shapes.values():
            assert shape is not None
            shape.used = True
    assert len(known._shapes) == 128


def test_what_is_shown_of_them_names_no_value() -> None:
    known = heads(USUAL)
    head: Any = known.read(request(USUAL, body=b"ab"), None)
    assert isinstance(head, PlainHead)
    shown = f"{known!r} {head!r} {head.section!r} {head.section.shape!r}"
    assert "a.b-c_d" not in shown
    assert "<PlainHeads 1 shapes> <PlainHead GET /a>" in shown
