"""What every store promises, whichever it is: `core.ports.Store`."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from sidecar.core.events import Event, StoreChanged
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.revocations import RevocationView
from sidecar.stores import open_store
from tests.contract.conftest import address_of
from tests.support.redis import RedisServer, free_port
from tests.support.waiting import eventually

STALENESS = 1.0
NOW = 1_800_000_000.0
FUTURE = int(NOW) + 1000

Opener = Callable[[], Store]


def opened(url: str, events: list[Event] | None = None) -> Store:
    return open_store(
        url,
        prefix="{test}",
        timeout=2,
        max_staleness=STALENESS,
        clock=lambda: NOW,
        monotonic=time.monotonic,
        emit=(events if events is not None else []).append,
    )


@contextlib.asynccontextmanager
async def following(store: Store) -> AsyncIterator[RevocationView]:
    """A view that the store keeps current."""
    view = RevocationView(STALENESS)
    task = asyncio.get_running_loop().create_task(store.follow(view))
    try:
        await eventually(lambda: view.usable(time.monotonic()))
        yield view
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await store.close()


@pytest.fixture(scope="module")
def tls_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, str]]:
    """A server with TLS, and its address with the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key, port = folder / "cert.pem", folder / "key.pem", free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    options = ["--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key)]
    with RedisServer(*options, "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no") as server:
        yield server, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}"


@pytest.fixture(params=["memory", "redis", "unix", "rediss", "sentinel", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    match request.param:
        case "unix":
            return f"unix://{request.getfixturevalue('redis_server').unix_socket}"
        case "rediss":
            server, address = request.getfixturevalue("tls_redis")
            server.command("FLUSHALL")
            return str(address)
        case kind:
            return address_of(request, kind)


async def test_a_revocation_is_in_the_view_when_revoke_returns(url: str) -> None:
    store = opened(url)
    async with following(store) as view:
        assert "a" not in view
        await store.revoke("a", FUTURE)
        assert "a" in view
        assert view.live(NOW) == {"a": FUTURE}


async def test_revoking_twice_is_revoking_once(url: str) -> None:
    store = opened(url)
    async with following(store) as view:
        await store.revoke("a", FUTURE)
        await store.revoke("a", FUTURE)
        assert view.live(NOW) == {"a": FUTURE}


async def test_what_was_revoked_before_following_is_loaded(url: str) -> None:
    store = opened(url)
    await store.revoke("a", FUTURE)
    async with following(store) as view:
        assert "a" in view


async def test_strange_token_ids_are_kept_as_they_are(url: str) -> None:
    """A `jti` is any printable text of 1 to 255 characters."""
    names = ["*", "a b"[:1] + ":", "{x}", "\\", '"', "$(id)", "-1", "x" * 255]
    store = opened(url)
    async with following(store) as view:
        for name in names:
            await store.revoke(name, FUTURE)
        assert set(view.live(NOW)) == set(names)


async def test_many_revocations_at_once_are_all_kept(url: str) -> None:
    store = opened(url)
    async with following(store) as view:
        await asyncio.gather(*(store.revoke(f"t{number}", FUTURE) for number in range(500)))
        assert len(view) == 500


async def test_a_store_says_that_it_is_up(url: str) -> None:
    events: list[Event] = []
    async with following(opened(url, events)):
        assert [event.up for event in events if isinstance(event, StoreChanged)] == [True]


async def test_ping_answers_and_close_may_be_called_twice(url: str) -> None:
    store = opened(url)
    await store.ping()
    await store.close()
    await store.close()


async def test_following_ends_when_cancelled(url: str) -> None:
    store = opened(url)
    for _ in range(20):
        task = asyncio.get_running_loop().create_task(store.follow(RevocationView(STALENESS)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await store.close()


async def test_the_representation_shows_no_address(url: str) -> None:
    assert "://" not in repr(opened(url))


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="memory://"):
        opened("mysql://root:secret@db")


async def test_a_certificate_that_is_not_trusted_is_refused(tls_redis: tuple[RedisServer, str]) -> None:
    """`rediss://` checks the server's certificate, and says so when that is the fault."""
    store = opened(tls_redis[1].partition("?")[0])
    with pytest.raises(StoreUnavailable, match="certificate is not trusted"):
        await store.ping()
    await store.close()


def test_the_unix_socket_exists(redis_server: RedisServer) -> None:
    """The row `unix` of this file's table is what it says."""
    assert Path(redis_server.unix_socket).is_socket()
