"""The types of values in the file: durations, sizes, moments, addresses, networks, names, scopes and local files.

A duration becomes seconds (`float`), a size becomes bytes (`int`), and a moment becomes epoch seconds (`float`). When a
parser cannot read a value, it raises a fault that describes how to write it. The fault never shows the given value.
"""

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from sidecar.core.http.fields import proxy_header_fault
from sidecar.core.oauth.names import LONGEST_IDENTIFIER, identifier_fault, role_fault, scope_fault

_T = TypeVar("_T")
_DURATION: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(ms|s|m|h|d)")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MOMENT: Final = re.compile(  # RFC 3339 section 5.6: a time always has an offset
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_PORT: Final = re.compile(r"[0-9]{1,9}")
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  what a listener on any address is reached at
_SIZE: Final = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)")
_SIZE_UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

KIND: Final = "x-kind"
"""In the JSON Schema of a value: its kind, such as `duration`, by which `config.written` writes it as in the file."""
FAULT: Final = "setting"
"""The type of the errors that `invalid` creates. The sidecar wrote their messages, so it shows them unchanged."""


def invalid(message: str) -> PydanticCustomError:
    """Create the error that a validator raises for a value. The message describes a correct value."""
    return PydanticCustomError(FAULT, "{message}", {"message": message})


def checked_by(fault_of: Callable[[Any], str | None]) -> AfterValidator:
    """A validator that accepts a value when `fault_of` returns `None`, and otherwise reports the text that it returns."""

    def check(value: _T) -> _T:
        if (message := fault_of(_revealed(value))) is not None:
            raise invalid(message)
        return value

    return AfterValidator(check)


def accepted_by(read: Callable[[Any], object], refusal: type[ValueError]) -> AfterValidator:
    """A validator that accepts a value that `read` can read, and otherwise reports the `refusal` that `read` raises."""

    def check(value: _T) -> _T:
        try:
            read(_revealed(value))
        except refusal as exc:
            raise invalid(str(exc)) from None
        return value

    return AfterValidator(check)


def _revealed(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def parse_duration(value: object) -> float:
    """Parse a duration such as `30s`, `15m`, `14d`, `1.5h` or `250ms` to seconds. Raises a fault that describes the format."""
    if isinstance(value, float):  # a default of a model
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid("write a duration with its unit, such as 500ms, 30s, 15m, 12h or 14d")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def parse_size(value: object) -> int:
    """Parse a size such as `512B`, `64KiB`, `10MiB` or `1GiB` to bytes. Raises a fault that describes the format."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid("write a size with its unit, such as 512B, 64KiB, 10MiB or 1GiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_moment(value: object) -> float:
    """Parse a moment to epoch seconds. Raises a fault that describes the format.

    The forms are `2026-11-24`, which means the start of that day in UTC, and `2026-11-24T08:30:00Z`.
    """
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
    """An IP address (or name) and a port to listen on. With port 0 the system chooses a port."""

    host: str
    port: int

    @property
    def nearby(self) -> "Address":
        """Where a process on the same machine reaches a listener at this address."""
        return Address(_ANY.get(self.host, self.host), self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """Parse an address such as `0.0.0.0:3030`, `127.0.0.1:0` or `[::1]:3030`. Raises a fault that describes the format."""
    if isinstance(value, Address):  # a default of a model
        return value
    text = value if isinstance(value, str) else ""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or not _PORT.fullmatch(port) or int(port) > 65535 or (":" in host) != bracketed:
        raise invalid("write an address as HOST:PORT, such as 0.0.0.0:3030 or [::1]:3030")
    return Address(host, int(port))


def _network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise invalid("write a network as an address or in CIDR form, such as 10.0.0.0/8 or 127.0.0.1") from None


def _scope(value: object) -> tuple[str, ...]:
    if (message := scope_fault(value)) is not None:
        raise invalid(message)
    return tuple(dict.fromkeys(str(value).split()))


def _positive(value: float) -> float:
    if value <= 0:
        raise invalid("must be more than zero")
    return value


def at_most(limit: float, text: str) -> AfterValidator:
    """A validator that accepts a number up to `limit`. `text` is the limit as an operator would write it."""
    return checked_by(lambda value: f"must be at most {text}" if value > limit else None)


def local_path(value: object, info: ValidationInfo) -> Path | None:
    """Return the path that a string names, relative to the folder of the file, or `None` for any other or empty value."""
    folder = Path((info.context or {}).get("file", "")).parent
    return folder / value if isinstance(value, str) and value else None


def is_there(path: Path | None, kind: Callable[[Path], bool]) -> bool:
    """Whether the path exists and is of this `kind`, which is `Path.is_file` or `Path.is_dir`."""
    try:
        return path is not None and kind(path)
    except OSError:  # such as a name that is too long, or a folder without permission to search it
        return False


def _local_file(value: object, info: ValidationInfo) -> Path:
    path = local_path(value, info)
    if path is None or not is_there(path, Path.is_file):
        raise invalid("is no file that can be read; a relative path is taken from the configuration's folder")
    return path


def _on_outage(value: object) -> float:
    if isinstance(value, float):  # a default of a model
        return value
    if value == "deny":
        return 0.0
    if isinstance(value, dict) and value.keys() == {"allow_cached"}:
        return _positive(parse_duration(value["allow_cached"]))
    raise invalid("write deny, or for how long the last known revocations suffice, such as {allow_cached: 5m}")


def written(kind: str, pattern: str, *examples: str) -> WithJsonSchema:
    """The JSON Schema of a value that is a string in the file and something else in the model."""
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$", "examples": list(examples), KIND: kind})


not_empty: Final = checked_by(lambda entries: None if entries else "name at least one")
"""A validator for a list that must have at least one entry."""

_OUTAGE: Final = {
    "enum": ["deny"],
    "type": "string",
}
_ALLOWED: Final = {
    "type": "object",
    "properties": {"allow_cached": {"type": "string", "pattern": f"^{_DURATION.pattern}$", KIND: "duration"}},
    "required": ["allow_cached"],
    "additionalProperties": False,
}

Duration = Annotated[
    float, BeforeValidator(parse_duration), written("duration", _DURATION.pattern, "500ms", "30s", "15m", "14d")
]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
OnOutage = Annotated[
    float,
    BeforeValidator(_on_outage),
    at_most(7 * 86400, "7d"),
    WithJsonSchema({"anyOf": [_OUTAGE, _ALLOWED], KIND: "on_outage"}),
]
Size = Annotated[int, BeforeValidator(parse_size), written("size", _SIZE.pattern, "64KiB", "10MiB")]
Moment = Annotated[
    float, BeforeValidator(parse_moment), written("moment", _MOMENT.pattern, "2026-12-01", "2026-12-01T08:00:00Z")
]
Scope = Annotated[
    tuple[str, ...],
    BeforeValidator(_scope),
    WithJsonSchema({"type": "string", "examples": ["orders:read orders:write"], KIND: "scope"}),
]
Identifier = Annotated[str, Field(min_length=1, max_length=LONGEST_IDENTIFIER), checked_by(identifier_fault)]
Role = Annotated[Identifier, checked_by(role_fault)]
Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    BeforeValidator(_network),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "127.0.0.1"], KIND: "network"}),
]
ProxyHeader = Annotated[str, checked_by(proxy_header_fault)]
ListenAddress = Annotated[
    Address, BeforeValidator(parse_address), written("address", r".+:[0-9]{1,5}", "0.0.0.0:3030", "[::1]:3030")
]
LocalFile = Annotated[
    Path, BeforeValidator(_local_file), WithJsonSchema({"type": "string", "minLength": 1, KIND: "file"})
]
Text = Annotated[str, Field(min_length=1, max_length=200)]
