"""Addresses of stores."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.store_address import Host, StoreAddress, Topology, read_store_address

VALID: dict[str, StoreAddress] = {
    "memory://": StoreAddress(topology=Topology.MEMORY),
    "redis://h": StoreAddress(topology=Topology.SERVER, hosts=(Host("h", 6379),)),
    "redis://H.example:1/": StoreAddress(topology=Topology.SERVER, hosts=(Host("h.example", 1),)),
    "redis://[::1]:1/15": StoreAddress(topology=Topology.SERVER, hosts=(Host("::1", 1),), db=15),
    "redis://h?db=2": StoreAddress(topology=Topology.SERVER, hosts=(Host("h", 6379),), db=2),
    "redis://:p%40%2F@h": StoreAddress(topology=Topology.SERVER, hosts=(Host("h", 6379),), password="p@/"),
    "redis://h?username=u&password=p": StoreAddress(
        topology=Topology.SERVER, hosts=(Host("h", 6379),), username="u", password="p"
    ),
    "rediss://u:p@h:1/2?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem": StoreAddress(
        topology=Topology.SERVER, hosts=(Host("h", 1),), db=2, tls=True, username="u", password="p",
        options={"ssl_ca_certs": "/ca.pem", "ssl_certfile": "/c.pem", "ssl_keyfile": "/k.pem"},
    ),
    "unix:///run/redis.sock?db=1": StoreAddress(topology=Topology.SOCKET, path="/run/redis.sock", db=1),
    "unix://u:p@/run/redis.sock": StoreAddress(topology=Topology.SOCKET, path="/run/redis.sock", username="u", password="p"),
    "redis+sentinel://a,b:1,[fe80::1%eth0]/main": StoreAddress(
        topology=Topology.SENTINEL, hosts=(Host("a", 26379), Host("b", 1), Host("fe80::1%eth0", 26379)), service="main"
    ),
    "rediss+sentinel://u:p@a/main/3?sentinel_username=s&sentinel_password=q": StoreAddress(
        topology=Topology.SENTINEL, hosts=(Host("a", 26379),), service="main", db=3, tls=True, username="u", password="p",
        sentinel_username="s", sentinel_password="q",
    ),
    "redis+cluster://a,b:1": StoreAddress(topology=Topology.CLUSTER, hosts=(Host("a", 6379), Host("b", 1))),
    "redis+cluster://a/0": StoreAddress(topology=Topology.CLUSTER, hosts=(Host("a", 6379),)),
    "rediss+cluster://u:p@a/": StoreAddress(
        topology=Topology.CLUSTER, hosts=(Host("a", 6379),), tls=True, username="u", password="p"
    ),
}  # fmt: skip

INVALID = {
    "": "write memory://", "redis": "write memory://", "mysql://root:canary@h": "write memory://",
    "Redis://h": "cannot be read", "redis://h\n": "cannot be read",
    "redis-sentinel://h/s": "write redis+sentinel://", "rediss-cluster://h": "write rediss+cluster://",
    "memory+cluster://h": "write memory://", "unixs:///a": "write memory://",
    "redis://": "the host is missing", "redis+cluster://u:canary@/": "the host is missing", "redis+sentinel:///s": "the host is",
    "redis://h:x": "cannot be read", "redis://h:0": "cannot be read", "redis://h:65536": "cannot be read",
    "redis://::1": "cannot be read", "redis://[::1": "cannot be read", "redis://h:1:2": "cannot be read",
    "redis://:canary/x@h": "cannot be read", "redis://:canary#x@h": "percent-encode", "redis://h h": "cannot be read",
    "redis+cluster://a,,b": "cannot be read", "redis+cluster://a,": "cannot be read", "redis+cluster://a,A": "names a host twice",
    "redis+cluster://a,a:6379": "names a host twice",
    "redis://a,b": "names several hosts", "redis://h/main": "write the database as a number", "redis://h/1/2": "as a number",
    "redis://h?db=x": "as a number", "unix://": "write the socket's path", "unix://h": "write the socket's path",
    "redis+sentinel://h": "name the service", "redis+sentinel://h/": "name the service", "redis+sentinel://h/0": "name the service",
    "redis+sentinel://h/s/x": "name the service", "redis+sentinel://h/s/1/2": "name the service",
    "redis+cluster://h/1": "only database 0", "redis+cluster://h?db=1": "only database 0", "redis+cluster://h/x": "only database",
    "redis://h?socket_timeout=9": "only these options may follow the address: db, username, password, ssl_ca_certs",
    "redis://h?sentinel_password=canary": "only these options", "rediss://h?ssl_cert_reqs=none": "only these options",
    "rediss://h?ssl_ca_certs=ca.pem": "ssl_ca_certs must be an absolute path",
    "redis://h?ssl_ca_certs=/ca.pem": "ssl_ca_certs needs TLS: write rediss", "rediss://h?ssl_keyfile=/k": "ssl_keyfile needs ssl_certfile",
}  # fmt: skip


@pytest.mark.parametrize("url", VALID)
def test_an_address_is_read(url: str) -> None:
    assert read_store_address(url) == VALID[url]


@pytest.mark.parametrize("url", INVALID)
def test_a_fault_says_what_to_write_and_quotes_nothing(url: str) -> None:
    with pytest.raises(ValueError, match=re.escape(INVALID[url])) as caught:
        read_store_address(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", [url for url in VALID if "redis" in url.partition(":")[0]])
def test_the_address_of_one_server_is_read_back_as_it_is(url: str) -> None:
    address = read_store_address(url)
    for host in (*address.hosts, Host("::2", 7)):
        at = address.at(host)
        assert read_store_address(at.url) == at
        assert (at.hosts, at.db, at.tls, at.password) == ((host,), address.db, address.tls, address.password)
        watcher = address.of_sentinel(host)
        assert read_store_address(watcher.url) == watcher
        assert (watcher.username, watcher.password) == (address.sentinel_username, address.sentinel_password)


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_and_password_survive(username: str, password: str) -> None:
    address = StoreAddress(topology=Topology.SERVER, hosts=(Host("h", 1),), username=username, password=password)
    try:
        address.url.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no address can have
        return
    assert read_store_address(address.url) == address
    assert password not in repr(address) or password in repr(
        StoreAddress(topology=Topology.SERVER, hosts=(Host("h", 1),))
    )


@given(st.text(max_size=40))
def test_any_other_text_is_a_fault(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+sentinel://h/{text}", f"rediss+cluster://{text}", f"unix:///x?{text}"):
        with contextlib.suppress(ValueError):
            assert read_store_address(url).topology


@pytest.mark.parametrize(("host", "text"), [(Host("h", 1), "h:1"), (Host("::1", 2), "[::1]:2")])
def test_a_host_is_shown_as_it_is_written(host: Host, text: str) -> None:
    assert str(host) == text
