"""The values of the file: durations, sizes, moments, addresses, scopes, names, networks and files.

Durations become seconds (`float`), sizes bytes (`int`), moments epoch seconds (`float`), networks and addresses their types. A
parser raises a fault that says how to write the value, and never shows the one that was given.
"""

import ipaddress
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from sidecar.core.http.headers import proxy_header_fault

_T = TypeVar("_T")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MOMENT = re.compile(  # RFC 3339 section 5.6: always with its offset
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)")
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_IDENTIFIER = re.compile(r"[\x20-\x7e]+")


def invalid(message: str) -> PydanticCustomError:
    """What a validator raises for a value that is refused. The message says what would be right."""
    return PydanticCustomError("setting", "{message}", {"message": message})


def parse_duration(value: object) -> float:
    """`30s`, `15m`, `14d`, `1.5h`, `250ms` as seconds. Raises a fault that says how to write one."""
    if isinstance(value, float):  # a default of ours
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid("write a duration with its unit, such as 500ms, 30s, 15m, 12h or 14d")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def parse_size(value: object) -> int:
    """`512B`, `64KiB`, `10MiB`, `1GiB` as bytes. Raises a fault that says how to write one."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid("write a size with its unit, such as 512B, 64KiB, 10MiB or 1GiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_moment(value: object) -> float:
    """`2026-11-24` (its first moment, in UTC) or `2026-11-24T08:30:00Z` as epoch seconds. Raises a fault that says how to
    write one."""
    try:
        if not isinstance(value, str) or not _MOMENT.fullmatch(value):
            raise ValueError
        if len(value) == len("2026-11-24"):
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        return datetime.fromisoformat(value.upper()).timestamp()
    except (ValueError, OverflowError):
        raise invalid("write a date such as 2026-11-24, or a time such as 2026-11-24T08:30:00Z (RFC 3339)") from None


class Address(NamedTuple):
    """An IP address (or name) and a port to listen on; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """`0.0.0.0:3030`, `127.0.0.1:0` or `[::1]:3030`. Raises a fault that says how to write one."""
    if isinstance(value, Address):  # a default of ours
        return value
    text = value if isinstance(value, str) else ""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host) != bracketed:
        raise invalid("write an address as HOST:PORT, such as 0.0.0.0:3030 or [::1]:3030")
    return Address(host, int(port))


def _network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise invalid("write a network as an address or in CIDR form, such as 10.0.0.0/8 or 127.0.0.1") from None


def _proxy_header(value: str) -> str:
    fault = proxy_header_fault(value)
    if fault is not None:
        raise invalid(fault)
    return value


def _scope(value: object) -> tuple[str, ...]:
    if not isinstance(value, str) or not all(_SCOPE_TOKEN.fullmatch(token) for token in value.split()):
        raise invalid(
            'write scopes as one string separated by spaces, without " or \\, such as orders:read orders:write'
        )
    return tuple(dict.fromkeys(value.split()))


def _identifier(value: str) -> str:
    if not _IDENTIFIER.fullmatch(value) or value != value.strip():
        raise invalid("use printable ASCII characters only (RFC 6749 appendix A), with no space around them")
    return value


def plain(value: str) -> str:
    if not _SCOPE_TOKEN.fullmatch(value):
        raise invalid('use printable ASCII characters without spaces, " and \\')
    return value


def not_empty(value: tuple[_T, ...]) -> tuple[_T, ...]:
    if not value:
        raise invalid("name at least one")
    return value


def _role(value: str) -> str:
    if "," in value:
        raise invalid("must not hold a comma, which separates roles in X-Auth-Roles")
    return value


def positive(value: float) -> float:
    if value <= 0:
        raise invalid("must be more than zero")
    return value


def at_most(limit: float, text: str) -> AfterValidator:
    def check(value: float) -> float:
        if value > limit:
            raise invalid(f"must be at most {text}")
        return value

    return AfterValidator(check)


def _local_file(value: object, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    path = folder / value if isinstance(value, str) and value else None
    if path is None or not path.is_file():
        raise invalid("is no file that can be read; a relative path is taken from the configuration's folder")
    return path


Duration = Annotated[float, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(positive)]
Size = Annotated[int, BeforeValidator(parse_size)]
Moment = Annotated[float, BeforeValidator(parse_moment)]
Scope = Annotated[tuple[str, ...], BeforeValidator(_scope)]
Identifier = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_identifier)]
Role = Annotated[Identifier, AfterValidator(_role)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
ProxyHeader = Annotated[str, AfterValidator(_proxy_header)]
ListenAddress = Annotated[Address, BeforeValidator(parse_address)]
LocalFile = Annotated[Path, BeforeValidator(_local_file)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
