"""Paths that some servers read as another one: with everything public but a closed part, none of them opens it.

The recording upstream shows that nothing was forwarded. The servers below are real ones that do read a path so: each is asked
without the sidecar first, where it does give its closed page.
"""

import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import Response, exchange
from tests.support.redis import free_port
from tests.support.servers import serving
from tests.support.upstream import Upstream

ROUTES: Final[list[dict[str, Any]]] = [
    {"path": "/internal/**", "access": "deny"},
    {"path": "/Reports/**", "scope": "reports:read"},
    {"path": "/caf\u00e9/**", "access": "deny"},
    {"path": "/**", "access": "public"},
]


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {"routes": ROUTES}


def ask(address: tuple[str, int], target: str, method: str = "GET") -> Response:
    return exchange(address, f"{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode("latin-1"), method)


# (who reads it as /internal/…, what is sent)
AMBIGUOUS = [
    ("an authority: Node's URL, CherryPy, the JDK", "//x/internal/secret"),
    ("an authority", "///x/internal/secret"),
    ("an authority", "//x:80/internal/secret"),
    ("an authority", "//u@x/internal/secret"),
    ("an authority", "//[::1]/internal/secret"),
    ("an authority, after a backslash", "/\\x/internal/secret"),
    ("an authority, after two", "/\\\\x/internal/secret"),
    ("an authority, all of it", "/\\x\\internal\\secret"),
    ("an authority, decoded first", "/%5cx/internal/secret"),
    ("an authority, decoded first", "/%2fx/internal/secret"),
    ("an authority, decoded first", "/%2f%2fx%2finternal/secret"),
    ("an authority that is empty", "///internal/secret"),
    ("an authority in absolute form", "http://h//x/internal/secret"),
    ("an authority, and more", "//x/internal;a=b/secret"),
    ("an authority, and more", "//x//INTERNAL/secret"),
    ("an authority, when parameters are gone", "/;/x/internal/secret"),
    ("letter case: Express, Koa, nginx ~*, ASP.NET", "/INTERNAL/secret"),
    ("letter case", "/Internal"),
    ("letter case", "/internaL/"),
    ("letter case, encoded", "/%49nternal/secret"),
    ("letter case of a rule with capitals", "/reports/1"),
    ("letter case of a rule with capitals", "/REPORTS/1"),
    ("letter case: dotted I of Java and Python", "/%C4%B0nternal/secret"),
    ("letter case: dotless i", "/%C4%B1nternal/secret"),
    ("letter case of what is not ASCII", "/CAF%C3%89/1"),
    ("no UTF-8, dropped: Bottle", "/%ffinternal/secret"),
    ("no UTF-8, dropped", "/intern%c0al/secret"),
    ("no UTF-8, dropped", "/internal%80/secret"),
    ("no UTF-8, dropped, encoded twice", "/%25ffinternal/secret"),
    ("overlong", "/%c0%afinternal/secret"),
    ("overlong", "/x%c0%af..%c0%afinternal/secret"),
    ("overlong", "/x/%c0%ae%c0%ae/internal/secret"),
    ("overlong", "/%c1%a9nternal/secret"),
    ("overlong, three bytes", "/%e0%81%a9nternal/secret"),
    ("overlong NUL", "/internal%c0%80/secret"),
    ("latin-1", "/caf%e9/1"),
    ("full width: best fit of IIS", "/%EF%BD%89nternal/secret"),
    ("full-width slash", "/x/..%EF%BC%8Finternal/secret"),
    ("full-width dots", "/x/%EF%BC%8E%EF%BC%8E/internal/secret"),
    ("accents apart from their letters", "/cafe%CC%81/1"),
    ("control characters, dropped: WHATWG, urlsplit", "/int%09ernal/secret"),
    ("control characters, dropped", "/%0ainternal/secret"),
    ("a query, decoded first", "/internal%3Fx/secret"),
    ("a fragment, decoded first", "/internal%23/secret"),
    ("spaces at the end: Windows", "/internal%20/secret"),
    ("spaces at the beginning", "/%20internal/secret"),
    ("dots at the end: Windows", "/internal./secret"),
    ("dots at the end", "/internal..."),
    ("dots and spaces", "/internal%20./secret"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "target"), AMBIGUOUS)
def test_two_readings_that_meet_different_rules_are_refused(
    sidecar: Sidecar, upstream: Upstream, why: str, target: str
) -> None:
    response = ask(sidecar.address, target)
    assert (response.status, b'"ambiguous_path"' in response.body) == (400, True), (why, response)
    assert upstream.take() == []


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "PROPFIND"])
def test_so_they_are_for_any_method(sidecar: Sidecar, upstream: Upstream, method: str) -> None:
    for target in ("//x/internal/secret", "/INTERNAL/secret", "/%ffinternal/secret"):
        assert ask(sidecar.address, target, method).status == 400
    assert upstream.take() == []


@pytest.mark.parametrize(
    "target",
    [
        "/public/a%20b", "/Public/AbC", "/caf%C3%A8", "/%D0%BC%D0%B8%D1%80/x", "/a//b", "//x/y", "/a%2Fb", "/x/%ff", "/a;b=c/d",
        "/wiki/Inc.", "/x/%C2%BD", "/x/%E2%80%A6", "/x/%E6%97%A5%E6%9C%AC", "/REPORT/1", "/x/internal", "/x/INTERNAL", "/x/...",
    ],
)  # fmt: skip
def test_readings_that_meet_one_rule_pass_as_they_came(sidecar: Sidecar, upstream: Upstream, target: str) -> None:
    assert ask(sidecar.address, target).status == 200
    assert [received.target for received in upstream.take()] == [target]


def test_a_rule_with_capitals_holds_for_its_own_spelling(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    assert ask(sidecar.address, "/Reports/1").status == 401
    assert ask(sidecar.address, "/internal/1").status == 403
    assert ask(sidecar.address, "/caf%C3%A9/1").status == 403
    assert upstream.take() == []


@pytest.mark.parametrize("target", ["/OAUTH/TOKEN", "/OAuth/Introspect", "//x/oauth/token", "/%ffoauth/token"])
def test_our_own_endpoints_are_rules_too(tmp_path: Path, upstream: Upstream, target: str) -> None:
    with running(tmp_path, upstream.url) as sidecar:
        headers = f"Host: h\r\nAuthorization: Bearer {sidecar.token()}\r\nContent-Length: 0\r\n"
        response = exchange(sidecar.address, f"POST {target} HTTP/1.1\r\n{headers}\r\n".encode(), "POST")
        assert (response.status, b'"ambiguous_path"' in response.body) == (400, True)
        assert sidecar.token()
    assert upstream.take() == []


# Real servers, unmodified but for a closed page and an open one.

NODE: Final = """
const closed = /^\\/internal(\\/|$)/i;
require('http').createServer((request, response) => {
  const path = process.argv[2] === 'url' ? new URL(request.url, 'http://h').pathname : request.url.split('?')[0];
  response.end(closed.test(path) ? 'closed page' : 'open page');
}).listen(+process.argv[1], '127.0.0.1');
"""
BOTTLE: Final = """
import sys, bottle
bottle.route("/internal/<rest:path>")(lambda rest: "closed page")
bottle.route("/<rest:path>")(lambda rest: "open page")
bottle.run(host="127.0.0.1", port=int(sys.argv[1]), quiet=True)
"""
SERVERS: Final = {
    "Node, new URL": (["node", "-e", NODE], "url", "//x/internal/secret"),
    "Node, new URL, three slashes": (["node", "-e", NODE], "url", "///x/internal/secret"),
    "Node, new URL, a backslash": (["node", "-e", NODE], "url", "/\\x/internal/secret"),
    "Node, new URL, a port": (["node", "-e", NODE], "url", "//x:80/internal/secret"),
    "a router that ignores letter case": (["node", "-e", NODE], "plain", "/INTERNAL/secret"),
    "Bottle": ([sys.executable, "-c", BOTTLE], "", "/%ffinternal/secret"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_reads_the_path_otherwise_gives_nothing_away(tmp_path: Path, name: str) -> None:
    command, argument, target = SERVERS[name]
    port = free_port()
    with serving([*command, str(port), argument], port, tmp_path / "server.log") as url:
        assert ask(("127.0.0.1", port), target).body == b"closed page", "the server itself reads it so"
        with running(tmp_path, url, routes=ROUTES) as sidecar:
            response = ask(sidecar.address, target)
            assert (response.status, b'"ambiguous_path"' in response.body) == (400, True)
            assert ask(sidecar.address, "/elsewhere/secret").body == b"open page"
