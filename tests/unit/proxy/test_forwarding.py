"""proxy.forwarding: the head of a request as it goes on."""

import pytest

from sidecar.core.http.request_headers import read_request_headers
from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.forwarding import Upgrades, request_line
from tests.support.decided import Noted, rules


def noted(*lines: str, line: str = "GET /x HTTP/1.1") -> Noted:
    return Noted("\r\n".join([line, "Host: front", *lines, "", ""]).encode())


def headers(made: Noted) -> object:
    return read_request_headers(
        made.message.raw_headers, kinds=rules().kinds, http_1_0=False, chunked=False, authority=None, default_host=b"a"
    )


async def test_the_request_line_is_that_of_http_1_1() -> None:
    made = noted()
    assert request_line(made, "/a b", None) == b"GET /a b HTTP/1.1\r\n"  # type: ignore[arg-type]
    assert request_line(made, "/a", "") == b"GET /a? HTTP/1.1\r\n"  # type: ignore[arg-type]
    assert request_line(made, "/a", "q=1") == b"GET /a?q=1 HTTP/1.1\r\n"  # type: ignore[arg-type]


WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket")


async def test_an_upgrade_takes_a_place_among_the_tunnels() -> None:
    switching: set[object] = set()
    upgrades, first, second = Upgrades(switching, 1), noted(*WEBSOCKET), noted(*WEBSOCKET)  # type: ignore[arg-type]
    assert upgrades.ask(first, headers(first)) == b"Connection: Upgrade\r\nUpgrade: websocket\r\n"  # type: ignore[arg-type]
    assert (first.upgrade, switching) == (b"websocket", {first})
    with pytest.raises(Refused) as caught:
        upgrades.ask(second, headers(second))  # type: ignore[arg-type]
    assert caught.value.reason is Reason.OVERLOADED
    switching.clear()
    assert upgrades.ask(second, headers(second))  # type: ignore[arg-type]


@pytest.mark.parametrize("spoke_early", [True, False])
@pytest.mark.parametrize("extra", [[], ["Content-Length: 0"]])
async def test_where_a_tunnel_begins_is_never_in_doubt(spoke_early: bool, extra: list[str]) -> None:
    made = noted(*WEBSOCKET, *extra)
    made.connection.spoke_early = spoke_early
    asked = Upgrades(set(), 9).ask(made, headers(made))  # type: ignore[arg-type]
    assert bool(asked) is (not spoke_early and not extra)
