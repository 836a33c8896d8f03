"""The address of the store (`store.url`): the one parser for the check of the configuration and for the connections.

The forms (`[…]` may be left out)::

    memory://
    unix://[USER:PASSWORD@]/path/to/redis.sock
    redis://[USER:PASSWORD@]HOST[:6379][/DB]
    redis+sentinel://[USER:PASSWORD@]HOST[:26379][,HOST…]/SERVICE[/DB]
    redis+cluster://[USER:PASSWORD@]HOST[:6379][,HOST…][/]

`rediss` in the place of `redis` switches TLS on, for the sentinels too. An IPv6 address stands in brackets. Name, password and
options are percent-encoded. Options follow after `?`; all others are refused, because a client library would take options that
disable time limits or the check of certificates.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OPTIONS: Final = ("db", "username", "password", *_TLS)
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")
_URL: Final = re.compile(r"([a-z][a-z+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[^\]\s]+)?)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")
_DATABASE: Final = re.compile(r"/?([0-9]{0,9})")
_SERVICE: Final = re.compile(r"/([^/]+)(?:/([0-9]{0,9}))?")

FORMS: Final = (
    "write memory://, redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///path/to/redis.sock, "
    "redis+sentinel://HOST1,HOST2,HOST3/SERVICE or redis+cluster://HOST1,HOST2"
)


class Topology(StrEnum):
    """What is at the address."""

    MEMORY = "memory"
    SOCKET = "unix"
    SERVER = "redis"
    SENTINEL = "redis+sentinel"
    CLUSTER = "redis+cluster"


class Host(NamedTuple):
    """Name or IP address, and port, of one server."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class StoreAddress:
    """A parsed address. `hosts` are the sentinels, or some nodes of the Cluster. `options` are those for TLS. What a form does
    not have is empty. Its representation shows no password."""

    topology: Topology
    hosts: tuple[Host, ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    tls: bool = False
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    sentinel_username: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    def at(self, host: Host) -> "StoreAddress":
        """The address of one server of this topology, with the same name, password, database and TLS."""
        return replace(
            self,
            topology=Topology.SERVER,
            hosts=(host,),
            service="",
            sentinel_username="",
            sentinel_password="",
        )

    def of_sentinel(self, host: Host) -> "StoreAddress":
        """The address of one of the sentinels, with their name and password."""
        return replace(self.at(host), db=0, username=self.sentinel_username, password=self.sentinel_password)

    @property
    def url(self) -> str:
        """The address as text, with its password; for an address of one server."""
        user = f"{quote(self.username, '')}:{quote(self.password, '')}@" if self.username or self.password else ""
        options = f"?{urlencode(self.options)}" if self.options else ""
        return f"redis{'s' if self.tls else ''}://{user}{self.hosts[0]}/{self.db}{options}"


def read_store_address(url: str) -> StoreAddress:
    """Parse an address. Raises `ValueError` with what to write instead, which quotes no part of the address."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(FORMS if "://" not in url else "the host or port cannot be read: percent-encode the password")
    scheme, authority, path, query = match.groups(default="")
    topology, tls = _scheme(scheme)
    userinfo, _, hosts = authority.rpartition("@")
    username, _, password = userinfo.partition(":")
    options = _options(query, topology, tls=tls)
    address = StoreAddress(
        topology=topology,
        tls=tls,
        username=unquote(username) or options.get("username", ""),
        password=unquote(password) or options.get("password", ""),
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
        options={name: options[name] for name in _TLS if name in options},
    )
    return _placed(address, hosts, path, options.get("db", ""))


def _scheme(scheme: str) -> tuple[Topology, bool]:
    if scheme in ("redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"):
        raise ValueError(f"write {scheme.replace('-', '+')}://")
    tls = scheme.startswith("rediss")
    plain = scheme.replace("rediss", "redis", 1) if tls else scheme
    if plain not in list(Topology):
        raise ValueError(FORMS)
    return Topology(plain), tls


def _options(query: str, topology: Topology, *, tls: bool) -> dict[str, str]:
    allowed = (*_OPTIONS, *(_SENTINEL_OPTIONS if topology is Topology.SENTINEL else ()))
    found = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            raise ValueError(f"only these options may follow the address: {', '.join(allowed)}")
        if name in _TLS and not value.startswith("/"):
            raise ValueError(f"{name} must be an absolute path")
        if name in _TLS and not tls:
            raise ValueError(f"{name} needs TLS: write rediss in the place of redis")
        if name == "db" and not re.fullmatch("[0-9]{1,9}", value):
            raise ValueError("write the database as a number, such as redis://127.0.0.1:6379/0")
        found[name] = value
    if "ssl_keyfile" in found and "ssl_certfile" not in found:
        raise ValueError("ssl_keyfile needs ssl_certfile, the client certificate that belongs to it")
    return found


def _placed(address: StoreAddress, hosts: str, path: str, option: str) -> StoreAddress:
    """The address with its hosts or path. `option` is the database that an option names."""
    match address.topology:
        case Topology.MEMORY:
            return address
        case Topology.SOCKET:
            if not path.startswith("/"):
                raise ValueError("write the socket's path, such as unix:///run/redis.sock")
            return replace(address, path=unquote(path), db=int(option or 0))
        case Topology.SERVER:
            if "," in hosts:
                raise ValueError("names several hosts: write redis+sentinel:// or redis+cluster://, or one host")
            placed = replace(address, hosts=_hosts(hosts, 6379))
            numbered = _DATABASE.fullmatch(path)
            if numbered is None:
                raise ValueError("write the database as a number, such as redis://127.0.0.1:6379/0")
            return replace(placed, db=int(option or numbered[1] or 0))
        case Topology.SENTINEL:
            return _watched(replace(address, hosts=_hosts(hosts, 26379)), path, option)
        case Topology.CLUSTER:
            numbered = _DATABASE.fullmatch(path)
            if numbered is None or int(option or numbered[1] or 0) != 0:
                raise ValueError("a Cluster has only database 0: write nothing after the hosts")
            return replace(address, hosts=_hosts(hosts, 6379))


def _watched(address: StoreAddress, path: str, option: str) -> StoreAddress:
    match = _SERVICE.fullmatch(path)
    if match is None or match[1].isdigit():
        raise ValueError("name the service that the sentinels watch, such as redis+sentinel://h1,h2,h3/mymaster/0")
    return replace(address, service=unquote(match[1]), db=int(option or match[2] or 0))


def _hosts(text: str, port: int) -> tuple[Host, ...]:
    if not text:
        raise ValueError("the host is missing")
    found = []
    for each in text.split(","):
        match = _HOST.fullmatch(each)
        if match is None or int(match[3] or port) not in range(1, 65536):
            raise ValueError("the host or port cannot be read")
        found.append(Host(match[1] or match[2].lower(), int(match[3] or port)))
    if len(set(found)) != len(found):
        raise ValueError("names a host twice")
    return tuple(found)
