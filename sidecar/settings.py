"""The YAML file as frozen models: read once at the start, checked whole, every fault reported with its path.

`load(path)` returns `Settings` or raises `SettingsError` with all faults. Durations become seconds (`float`), sizes
bytes (`int`), secrets `SecretStr`. No fault text contains a configured value, for any value may be a secret.
"""

import difflib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from sidecar.core import keys
from sidecar.core.policy import Access, InvalidPattern, compile_pattern
from sidecar.core.secrets import InvalidSecretHash, parse_secret_hash
from sidecar.tls import InvalidTls, server_context, upstream_context
from sidecar.yamlfile import Fault, read_document

_T = TypeVar("_T")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)")
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_IDENTIFIER = re.compile(r"[\x20-\x7e]+")
_HS_MINIMUM = {"HS256": 32, "HS384": 48, "HS512": 64}
_MAX_ACCESS_TOKEN_TTL = 86400.0
_MAX_REFRESH_TOKEN_TTL = 365 * 86400.0
_STORE_OPTIONS = ("db", "username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


class SettingsError(Exception):
    """The file is not usable: `faults` holds every reason."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


def _fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{message}", {"message": message})


def parse_duration(value: object) -> float:
    """`30s`, `15m`, `14d`, `1.5h`, `250ms` as seconds. Raises a fault that says how to write one."""
    if isinstance(value, float):  # a default of ours
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _fault("write a duration with its unit, such as 500ms, 30s, 15m, 12h or 14d")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def parse_size(value: object) -> int:
    """`512B`, `64KiB`, `10MiB`, `1GiB` as bytes. Raises a fault that says how to write one."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _fault("write a size with its unit, such as 512B, 64KiB, 10MiB or 1GiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


class Address(NamedTuple):
    """Where to listen: an IP address (or name) and a port; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """`0.0.0.0:3030`, `127.0.0.1:0` or `[::1]:3030`. Raises a fault that says how to write one."""
    text = value if isinstance(value, str) else ""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host) != bracketed:
        raise _fault("write an address as HOST:PORT, such as 0.0.0.0:3030 or [::1]:3030")
    return Address(host, int(port))


def _network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise _fault("write a network as an address or in CIDR form, such as 10.0.0.0/8 or 127.0.0.1") from None


def _scope(value: object) -> tuple[str, ...]:
    if not isinstance(value, str) or not all(_SCOPE_TOKEN.fullmatch(token) for token in value.split()):
        raise _fault(
            'write scopes as one string separated by spaces, without " or \\, such as orders:read orders:write'
        )
    return tuple(dict.fromkeys(value.split()))


def _identifier(value: str) -> str:
    if not _IDENTIFIER.fullmatch(value) or value != value.strip():
        raise _fault("use printable ASCII characters only (RFC 6749 appendix A), with no space around them")
    return value


def _plain(value: str) -> str:
    if not _SCOPE_TOKEN.fullmatch(value):
        raise _fault('use printable ASCII characters without spaces, " and \\')
    return value


def _not_empty(value: tuple[_T, ...]) -> tuple[_T, ...]:
    if not value:
        raise _fault("name at least one")
    return value


def _role(value: str) -> str:
    if "," in value:
        raise _fault("must not hold a comma, which separates roles in X-Auth-Roles")
    return value


def _positive(value: float) -> float:
    if value <= 0:
        raise _fault("must be more than zero")
    return value


def _at_most(limit: float, text: str) -> AfterValidator:
    def check(value: float) -> float:
        if value > limit:
            raise _fault(f"must be at most {text}")
        return value

    return AfterValidator(check)


Duration = Annotated[float, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
Size = Annotated[int, BeforeValidator(parse_size)]
Scope = Annotated[tuple[str, ...], BeforeValidator(_scope)]
Identifier = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_identifier)]
Role = Annotated[Identifier, AfterValidator(_role)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
ListenAddress = Annotated[Address, BeforeValidator(parse_address)]
Place = Literal["bearer", "header", "query", "body"]
GrantType = Literal["client_credentials", "refresh_token", "authorization_code", "implicit"]


class Model(BaseModel):
    """A section of the file: immutable, unknown keys are faults, nothing is coerced from another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Admin(Model):
    """The listener of `/metrics`, `/healthz` and `/readyz`; keep it off the public network."""

    listen: ListenAddress = Address("127.0.0.1", 9464)


def _local_file(value: object, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    path = folder / value if isinstance(value, str) and value else None
    if path is None or not path.is_file():
        raise _fault("is no file that can be read; a relative path is taken from the configuration's folder")
    return path


LocalFile = Annotated[Path, BeforeValidator(_local_file)]


class Tls(Model):
    """TLS on the public listener. The files are read again when they change."""

    certificate: LocalFile
    key: LocalFile
    client_ca: LocalFile | None = None

    @model_validator(mode="after")
    def _usable(self) -> Self:
        try:
            server_context(self.certificate, self.key, self.client_ca)
        except InvalidTls as exc:
            raise _fault(str(exc)) from None
        return self


class UpstreamTls(Model):
    """How we speak TLS to an https upstream, whose certificate is always checked."""

    ca: LocalFile | None = None
    certificate: LocalFile | None = None
    key: LocalFile | None = None
    server_name: str | None = None

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise _fault("certificate and key belong together")
        try:
            upstream_context(self.ca, self.certificate, self.key)
        except InvalidTls as exc:
            raise _fault(str(exc)) from None
        return self


def _upstream_url(value: object) -> str:
    if not isinstance(value, str):
        raise _fault("must be an address, or a list of them")
    parts = urlsplit(value)
    if parts.scheme == "unix":
        if parts.netloc or not parts.path:
            raise _fault("write a Unix socket with three slashes, such as unix:///run/api.sock")
        return value
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _fault("write an address such as http://127.0.0.1:3080, https://api.internal or unix:///run/api.sock")
    try:
        parts.port  # noqa: B018  raises for a port that is none
    except ValueError:
        raise _fault("the port must be a number from 1 to 65535") from None
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _fault("only scheme, host and port belong here: paths are forwarded as they come")
    return value


def _upstream_urls(value: object) -> tuple[str, ...]:
    return tuple(_upstream_url(url) for url in (value if isinstance(value, list) else [value]))


class Upstream(Model):
    """The API server that is protected, or several servers of the same API."""

    url: Annotated[tuple[str, ...], BeforeValidator(_upstream_urls), AfterValidator(_not_empty)]
    tls: UpstreamTls = UpstreamTls()
    max_connections: Annotated[int, Field(ge=1, le=65535)] = 1024
    idle: PositiveDuration = 4.0


def _check_store_options(query: str) -> None:
    """redis-py takes every option from the address, also such as would undo our time limits or the check of a certificate."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _STORE_OPTIONS:
            raise _fault(f"only these options may follow the address: {', '.join(_STORE_OPTIONS)}")
        if name.startswith("ssl_") and not Path(value).is_absolute():
            raise _fault(f"{name} must be an absolute path")


class Store(Model):
    """Where revocations are kept."""

    url: SecretStr = SecretStr("memory://")
    prefix: Annotated[str, Field(max_length=64), AfterValidator(_plain)] = "{sidecar}"
    timeout: PositiveDuration = 1.0
    max_staleness: PositiveDuration = 5.0

    @field_validator("url")
    @classmethod
    def _url(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            parts.port  # noqa: B018  raises for a port that is none
        except ValueError:
            raise _fault("the host or port cannot be read") from None
        if parts.scheme in ("redis+sentinel", "redis+cluster"):
            raise _fault("Sentinel and Cluster are not supported yet: use redis://, rediss:// or unix://")
        if parts.scheme not in ("memory", "redis", "rediss", "unix"):
            raise _fault("write memory://, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///path/to/redis.sock")
        if parts.scheme in ("redis", "rediss"):
            if not parts.hostname:
                raise _fault("the host is missing")
            if not re.fullmatch(r"/?[0-9]*", parts.path):  # redis-py would take any other for database 0
                raise _fault("write the database as a number, such as redis://127.0.0.1:6379/0")
        elif parts.scheme == "unix" and not parts.path:
            raise _fault("write the socket's path, such as unix:///run/redis.sock")
        _check_store_options(parts.query)
        return value


class SigningKey(Model):
    """One key of the ring: the first of the list signs, all verify."""

    kid: Identifier
    alg: Literal["HS256", "HS384", "HS512"]
    secret: SecretStr

    @field_validator("secret")
    @classmethod
    def _strong(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        minimum = _HS_MINIMUM.get(info.data.get("alg", ""), 32)
        if len(value.get_secret_value().encode()) < minimum:
            # RFC 7518 section 3.2: a key of at least the size of the hash.
            raise _fault(f"must be at least {minimum} bytes long; make one with: openssl rand -hex {minimum}")
        try:
            keys.SigningKey.hmac("", "HS256", value.get_secret_value())
        except keys.InvalidKey as exc:
            raise _fault(str(exc)) from None
        return value


class Tokens(Model):
    """What is issued and accepted."""

    issuer: Annotated[str, Field(max_length=512), AfterValidator(_plain)]
    audience: Annotated[str, Field(min_length=1, max_length=512)]
    access_token_ttl: Annotated[Duration, _at_most(_MAX_ACCESS_TOKEN_TTL, "24h")] = 1800.0
    refresh_token_ttl: Annotated[PositiveDuration, _at_most(_MAX_REFRESH_TOKEN_TTL, "365d")] = 14 * 86400.0
    refresh_idle: PositiveDuration = 7 * 86400.0
    refresh_grace: Annotated[Duration, _at_most(60, "60s")] = 10.0
    leeway: Annotated[Duration, _at_most(30, "30s")] = 0.0
    cache_size: Annotated[int, Field(ge=0, le=10_000_000)] = 20_000
    signing_keys: Annotated[tuple[SigningKey, ...], Field(strict=False), AfterValidator(_not_empty)]

    @field_validator("access_token_ttl")
    @classmethod
    def _whole_seconds(cls, value: float) -> float:
        if value < 1 or value != int(value):
            raise _fault("must be a whole number of seconds, at least 1s")  # expires_in is an integer
        return value


class Client(Model):
    """Who may ask for tokens (names of RFC 7591)."""

    client_id: Identifier
    client_name: str | None = None
    client_secret: SecretStr | None = None
    client_secret_hash: SecretStr | None = None
    grant_types: Annotated[tuple[GrantType, ...], Field(strict=False)] = ("client_credentials",)
    scope: Scope = ()
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    redirect_uris: Annotated[tuple[str, ...], Field(strict=False)] = ()
    disabled: bool = False

    @field_validator("client_secret")
    @classmethod
    def _present(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value():
            raise _fault("must not be empty")
        return value

    @field_validator("client_secret_hash")
    @classmethod
    def _readable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parse_secret_hash(value.get_secret_value())
            except InvalidSecretHash as exc:
                raise _fault(str(exc)) from None
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.client_secret is None) == (self.client_secret_hash is None):
            raise _fault("give exactly one of client_secret and client_secret_hash")
        return self


class Route(Model):
    """A rule for paths and methods: the first that matches decides."""

    path: str
    methods: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_not_empty)] | None = None
    access: Literal["public", "token", "deny"] = Access.TOKEN.value
    scope: Scope = ()

    @field_validator("path")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            compile_pattern(value)
        except InvalidPattern as exc:
            raise _fault(str(exc)) from None
        return value

    @field_validator("methods")
    @classmethod
    def _methods(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for method in value or ():
            if not re.fullmatch(r"[A-Z-]+", method):
                raise _fault("write methods in capitals, such as [GET, POST]")
        return value

    @model_validator(mode="after")
    def _scope_needs_token(self) -> Self:
        if self.scope and self.access != Access.TOKEN.value:
            raise _fault(f"scope has no meaning with access: {self.access}")
        return self


class Timeouts(Model):
    """How long we wait. Client side: `request_header`, `idle`; upstream side: `connect`, `response`, `stream`."""

    request_header: PositiveDuration = 10.0
    idle: PositiveDuration = 75.0
    connect: PositiveDuration = 5.0
    response: PositiveDuration = 60.0
    stream: PositiveDuration = 300.0
    drain: PositiveDuration = 25.0


class Limits(Model):
    """How much a worker takes on (`connections`, `in_flight`, `tunnels`), and what a request may weigh."""

    connections: Annotated[int, Field(ge=1)] = 20_000
    in_flight: Annotated[int, Field(ge=1)] = 2000
    tunnels: Annotated[int, Field(ge=0)] = 1000
    body: Annotated[Size, Field(ge=1)] | None = None
    request_line: Annotated[Size, Field(ge=256, le=1024**2)] = 8 * 1024
    headers: Annotated[Size, Field(ge=1024, le=1024**2)] = 32 * 1024
    header_count: Annotated[int, Field(ge=8, le=1000)] = 128


class Credentials(Model):
    """Where an access token is looked for, and how much of a body is read to find one."""

    places: Annotated[tuple[Place, ...], Field(strict=False), AfterValidator(_not_empty)] = (
        "bearer",
        "header",
        "query",
        "body",
    )
    body_limit: Size = 64 * 1024

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, value: Any) -> Any:
        return {"places": value} if isinstance(value, list) else value


class Streams(Model):
    """Responses that go on for long, and tunnels such as WebSocket."""

    end_with_token: bool = True


class Logging(Model):
    """What is written to stderr. `admitted` is the level at which admitted requests are logged, or `off`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    admitted: Literal["off", "debug", "info"] = "debug"


class Settings(Model):
    """The whole file."""

    listen: ListenAddress = Address("0.0.0.0", 3030)  # noqa: S104  the public listener
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    admin: Admin = Admin()
    upstream: Upstream
    store: Store = Store()
    tokens: Tokens
    clients: Annotated[tuple[Client, ...], Field(strict=False)] = ()
    users: Annotated[tuple[Any, ...], Field(strict=False)] = ()
    routes: Annotated[tuple[Route, ...], Field(strict=False)] = ()
    trusted_proxies: Annotated[tuple[Network, ...], Field(strict=False)] = ()
    credentials: Credentials = Credentials()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    streams: Streams = Streams()
    tls: Tls | None = None
    logging: Logging = Logging()

    @field_validator("users")
    @classmethod
    def _no_users_yet(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if value:
            raise _fault("the login page is not available yet: leave the list empty")
        return value


def load(path: Path) -> Settings:
    """Read, resolve and check the file. Raises `SettingsError` with every fault found."""
    document, faults = read_document(path)
    if document is None:
        raise SettingsError(faults)
    known = {fault.path for fault in faults}
    try:
        settings = Settings.model_validate(document, context={"folder": path.parent})
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_context=True, include_input=False)
        # A value that could not be resolved was reported already, with the better reason.
        faults += [fault for fault in map(_describe, details) if fault.path not in known]
        settings = None
    faults += cross_faults(document)
    if faults or settings is None:
        raise SettingsError(faults)
    return settings


def cross_faults(document: dict[str, Any]) -> list[Fault]:
    """Faults between sections. Works on the raw document, so that they show beside the faults within sections."""
    clients = _items(document.get("clients"))
    tokens = document.get("tokens")
    keys = _items(tokens.get("signing_keys")) if isinstance(tokens, dict) else []
    return [
        *_duplicates(clients, "clients", "client_id"),
        *_duplicates(keys, "tokens.signing_keys", "kid"),
        *_workers_share_state(document),
        *_upstream_is_ourselves(document),
    ]


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _duplicates(items: list[Any], where: str, key: str) -> list[Fault]:
    first: dict[str, int] = {}
    faults = []
    for index, item in enumerate(items):
        name = item.get(key) if isinstance(item, dict) else None
        if not isinstance(name, str):
            continue
        if name in first:
            faults.append(Fault(f"{where}[{index}].{key}", f"is the same as {where}[{first[name]}].{key}"))
        first.setdefault(name, index)
    return faults


def _workers_share_state(document: dict[str, Any]) -> list[Fault]:
    workers, store = document.get("workers", 1), document.get("store") or {}
    url = store.get("url", "memory://") if isinstance(store, dict) else ""
    if isinstance(workers, int) and workers > 1 and isinstance(url, str) and url.startswith("memory:"):
        text = "more than one worker needs a store they share: set store.url to redis://…, or workers to 1"
        return [Fault("workers", text)]
    return []


def _upstream_is_ourselves(document: dict[str, Any]) -> list[Fault]:
    upstream, admin = document.get("upstream"), document.get("admin") or {}
    url = upstream.get("url") if isinstance(upstream, dict) else None
    ours = {"listen": document.get("listen", "0.0.0.0:3030")}
    if isinstance(admin, dict):
        ours["admin.listen"] = admin.get("listen", "127.0.0.1:9464")
    return [
        Fault("upstream.url", f"is the sidecar's own listener ({name}): name the API server's address")
        for each in (url if isinstance(url, list) else [url])
        for name, address in ours.items()
        if _is_at(each, address)
    ]


def _is_at(url: object, listener: object) -> bool:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        address = parse_address(listener)
    except (ValueError, PydanticCustomError):
        return False
    return parts.hostname is not None and address.port == port and _same_host(parts.hostname, address.host)


def _same_host(upstream: str, listener: str) -> bool:
    def kind(host: str) -> str:
        if host == "localhost":
            return "loopback"
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host.lower()
        if address.is_unspecified:
            return "any"
        return "loopback" if address.is_loopback else str(address)

    left, right = kind(upstream), kind(listener)
    return left == right or "any" in (left, right)


def _path_of(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _describe(error: ErrorDetails) -> Fault:
    path = _path_of(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return Fault(path, "unknown key" + _did_you_mean(error["loc"]))
        case "missing":
            return Fault(path, "is required")
        case "string_type":
            return Fault(path, "must be a string; put quotes around a number or a date")
        case "literal_error":
            return Fault(path, f"must be one of {error.get('ctx', {}).get('expected', '')}")
        case "model_type" | "dict_type":
            return Fault(path, "must be a section with keys")
        case "tuple_type" | "list_type":
            return Fault(path, "must be a list")
        case "setting":
            return Fault(path, error["msg"])
        case _:
            return Fault(path, error["msg"][:1].lower() + error["msg"][1:])


def _did_you_mean(location: tuple[int | str, ...]) -> str:
    model: Any = Settings
    for part in location[:-1]:
        if isinstance(part, str):
            annotation = str(model.model_fields[part].annotation)
            model = next((m for m in Model.__subclasses__() if re.search(rf"\b{m.__name__}\b", annotation)), Settings)
    close = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(model.model_fields)}"
