"""runtime.sockets: how a listening socket begins and ends."""

import asyncio
import errno
import socket

import pytest

from sidecar.config.settings import Address
from sidecar.runtime.sockets import StartError, bind, binding_fault, claim, stop_listening, url_of
from tests.support.waiting import eventually


def test_a_socket_listens_on_a_free_port_and_says_where() -> None:
    with bind(Address("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        assert not sock.getblocking()
        assert url_of(sock) == f"http://127.0.0.1:{port}"
        assert url_of(sock, secure=True) == f"https://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.parametrize(("host", "bound"), [("localhost", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::", "[::]")])
def test_the_url_has_the_address_that_was_bound_and_not_its_name(host: str, bound: str) -> None:
    with bind(Address(host, 0)) as sock:
        port = sock.getsockname()[1]
        assert url_of(sock) in (f"http://{bound}:{port}", f"http://[::1]:{port}")


def test_whether_an_address_can_be_bound_is_found_out_without_listening() -> None:
    with bind(Address("127.0.0.1", 0)) as sock:
        address = Address("127.0.0.1", sock.getsockname()[1])
        fault = binding_fault(address)
        assert fault is not None
        assert fault.errno == errno.EADDRINUSE
    assert binding_fault(address) is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(tuple(address), timeout=5)


def test_an_address_in_use_is_named() -> None:
    with bind(Address("127.0.0.1", 0)) as sock:
        address = Address("127.0.0.1", sock.getsockname()[1])
        with pytest.raises(StartError, match=rf"cannot listen on 127\.0\.0\.1:{address.port}: Address already in use"):
            bind(address)


@pytest.mark.parametrize("host", ["256.1.1.1", "no-such-host.invalid", "203.0.113.1"])
def test_an_address_that_is_not_ours_is_named_at_once(host: str) -> None:
    with pytest.raises(StartError, match="cannot listen on"):
        claim(Address(host, 0), name="public", number=0)


async def test_an_address_that_is_left_in_time_is_claimed(caplog: pytest.LogCaptureFixture) -> None:
    first = bind(Address("127.0.0.1", 0))
    address = Address("127.0.0.1", first.getsockname()[1])
    waiting = asyncio.get_running_loop().create_task(asyncio.to_thread(claim, address, name="public", number=0))
    await eventually(lambda: bool(caplog.records))
    assert caplog.records[0].msg == "address_in_use"
    first.close()
    second = await waiting
    assert second.sock.getsockname()[1] == address.port
    second.close()


async def test_who_has_connected_is_still_taken_in_when_a_socket_ends() -> None:
    sock = bind(Address("127.0.0.1", 0))
    where = sock.getsockname()
    with socket.create_connection(where, timeout=5):
        ending = asyncio.get_running_loop().create_task(stop_listening(sock))
        await asyncio.sleep(0)
        assert not ending.done()  # it waits for who accepts
        taken, _ = sock.accept()
        await ending
        taken.close()
    with pytest.raises(OSError):  # noqa: PT011  refused, or never answered
        socket.create_connection(where, timeout=0.5)
    sock.close()
