"""The YAML file as frozen models: read once at the start, checked whole, every fault reported with its path.

`load(path)` returns `Settings` or raises `SettingsError` with all faults. Durations become seconds (`float`), sizes
bytes (`int`), secrets `SecretStr`. No fault text contains a configured value, for any value may be a secret: except that
the pattern of a route, which anybody can find out, is shown as it should be.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from sidecar.config.document import Fault, read_document, with_name
from sidecar.config.references import placeholder_faults
from sidecar.config.templates import template_fault
from sidecar.core import policy
from sidecar.core.http.fields import proxy_header_fault
from sidecar.core.http.paths import valid_authority
from sidecar.core.jose import keys
from sidecar.core.jose.client_keys import InvalidClientKey, from_secret, read_jwk, read_pem
from sidecar.core.oauth.clients import PUBLIC, AuthMethod
from sidecar.core.oauth.issuer import InvalidIssuer, issuer_path
from sidecar.core.oauth.redirect_uris import redirect_uri_fault
from sidecar.core.oauth.secrets import InvalidSecretHash, parse_secret_hash
from sidecar.core.oauth.users import InvalidPasswordHash, check_password_hash
from sidecar.core.policy import Access, InvalidPattern, compile_pattern
from sidecar.core.throttling import Rate
from sidecar.tls import InvalidTls, server_context, upstream_context

_T = TypeVar("_T")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MOMENT = re.compile(  # RFC 3339 section 5.6: always with its offset
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_RATE = re.compile(r"([0-9]{1,9})/([0-9.]+(?:ms|s|m|h|d))")
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)")
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_IDENTIFIER = re.compile(r"[\x20-\x7e]+")
_MAX_ACCESS_TOKEN_TTL = 86400.0
_MAX_REFRESH_TOKEN_TTL = 365 * 86400.0
_MAX_SESSION_TTL = 30 * 86400.0
_MAX_CONSENT_TTL = 365 * 86400.0
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
        raise _fault("write a date such as 2026-11-24, or a time such as 2026-11-24T08:30:00Z (RFC 3339)") from None


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
        raise _fault("write an address as HOST:PORT, such as 0.0.0.0:3030 or [::1]:3030")
    return Address(host, int(port))


def _network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise _fault("write a network as an address or in CIDR form, such as 10.0.0.0/8 or 127.0.0.1") from None


def _proxy_header(value: str) -> str:
    fault = proxy_header_fault(value)
    if fault is not None:
        raise _fault(fault)
    return value


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


def _issuer(value: str) -> str:
    try:
        issuer_path(value)
    except InvalidIssuer as exc:
        raise _fault(str(exc)) from None
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
Moment = Annotated[float, BeforeValidator(parse_moment)]
Scope = Annotated[tuple[str, ...], BeforeValidator(_scope)]
Identifier = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_identifier)]
Role = Annotated[Identifier, AfterValidator(_role)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
ProxyHeader = Annotated[str, AfterValidator(_proxy_header)]
ListenAddress = Annotated[Address, BeforeValidator(parse_address)]
Place = Literal["bearer", "header", "query", "body"]
GrantType = Literal["client_credentials", "refresh_token", "authorization_code", "implicit"]


class Model(BaseModel):
    """A section of the file: immutable, unknown keys are faults, nothing is coerced from another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Listen(Model):
    """The public listener. With `proxy_protocol` each of the `trusted_proxies` begins a connection by saying whose it is."""

    address: ListenAddress = Address("0.0.0.0", 3030)  # noqa: S104  the public listener
    proxy_protocol: bool = False


def _listen(value: object) -> object:
    return Listen(address=parse_address(value)) if isinstance(value, str) else value


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


def _upstream_host(value: str) -> str:
    if value not in ("keep", "upstream") and not valid_authority(value):
        raise _fault(
            "write keep (as the client sent it), upstream (as upstream.url names it), or a name such as api.internal"
        )
    return value


class Upstream(Model):
    """The API server that is protected, or several servers of the same API."""

    url: Annotated[tuple[str, ...], BeforeValidator(_upstream_urls), AfterValidator(_not_empty)]
    tls: UpstreamTls = UpstreamTls()
    host: Annotated[str, AfterValidator(_upstream_host)] = "keep"
    max_connections: Annotated[int, Field(ge=1, le=65535)] = 1024
    idle: PositiveDuration = 4.0
    max_age: PositiveDuration = 300.0


def _check_store_options(query: str) -> None:
    """redis-py takes every option from the address, also such as would undo our time limits or the check of a certificate."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _STORE_OPTIONS:
            raise _fault(f"only these options may follow the address: {', '.join(_STORE_OPTIONS)}")
        if name.startswith("ssl_") and not Path(value).is_absolute():
            raise _fault(f"{name} must be an absolute path")


class Store(Model):
    """Where state is kept that outlives a request."""

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
    """One key of the ring (`core.jose.keys`): exactly one of `secret`, `private_key` and `public_key`, as `alg` asks for."""

    kid: Identifier
    alg: Literal["HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES384", "EdDSA"]
    secret: SecretStr | None = None
    private_key: SecretStr | None = None
    public_key: str | None = None
    not_before: Moment | None = None
    not_after: Moment | None = None

    @field_validator("secret")
    @classmethod
    def _strong(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        alg = info.data.get("alg", "")
        if value is None or alg in keys.ASYMMETRIC:  # `_material_fits` has more to say about the second
            return value
        minimum = keys.SECRET_BYTES.get(alg, 32)
        if len(value.get_secret_value().encode()) < minimum:
            raise _fault(f"must be at least {minimum} bytes long; make one with: openssl rand -hex {minimum}")
        _usable_key(keys.SigningKey.hmac, "HS256", value.get_secret_value())
        return value

    @field_validator("private_key")
    @classmethod
    def _private(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("alg") in keys.ASYMMETRIC:
            _usable_key(keys.SigningKey.private, info.data["alg"], value.get_secret_value())
        return value

    @field_validator("public_key")
    @classmethod
    def _public(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("alg") in keys.ASYMMETRIC:
            _usable_key(keys.SigningKey.public, info.data["alg"], value)
        return value

    @model_validator(mode="after")
    def _material_fits(self) -> Self:
        given = [name for name in ("secret", "private_key", "public_key") if getattr(self, name) is not None]
        if self.alg in keys.SYMMETRIC and given != ["secret"]:
            raise _fault(f"{self.alg} needs secret, and nothing else")
        if self.alg in keys.ASYMMETRIC and given not in (["private_key"], ["public_key"]):
            raise _fault(
                f"{self.alg} needs private_key, or public_key for a key that only verifies: exactly one of them"
            )
        if self.not_before is not None and self.not_after is not None and self.not_before >= self.not_after:
            raise _fault("not_after must be later than not_before")
        return self


def _usable_key(make: Callable[[str, str, str], keys.SigningKey], alg: str, text: str) -> None:
    try:
        make("", alg, text)
    except keys.InvalidKey as exc:
        raise _fault(str(exc)) from None


class Tokens(Model):
    """What is issued and accepted."""

    issuer: Annotated[str, Field(max_length=512), AfterValidator(_plain), AfterValidator(_issuer)]
    audience: Annotated[str, Field(min_length=1, max_length=512)]
    access_token_ttl: Annotated[Duration, _at_most(_MAX_ACCESS_TOKEN_TTL, "24h")] = 1800.0
    refresh_token_ttl: Annotated[PositiveDuration, _at_most(_MAX_REFRESH_TOKEN_TTL, "365d")] = 14 * 86400.0
    refresh_idle: PositiveDuration = 7 * 86400.0
    refresh_grace: Annotated[Duration, _at_most(60, "60s")] = 10.0
    leeway: Annotated[Duration, _at_most(30, "30s")] = 0.0
    cache_size: Annotated[int, Field(ge=0, le=10_000_000)] = 20_000
    signing_keys: Annotated[tuple[SigningKey, ...], Field(strict=False), AfterValidator(_not_empty)]

    @field_validator("signing_keys")
    @classmethod
    def _one_can_sign(cls, value: tuple[SigningKey, ...]) -> tuple[SigningKey, ...]:
        if all(key.public_key is not None for key in value):
            raise _fault("no key can sign: one must have a secret or a private_key")
        return value

    @field_validator("access_token_ttl")
    @classmethod
    def _whole_seconds(cls, value: float) -> float:
        if value < 1 or value != int(value):
            raise _fault("must be a whole number of seconds, at least 1s")  # expires_in is an integer
        return value


def _secret_hash(value: SecretStr) -> SecretStr:
    try:
        parse_secret_hash(value.get_secret_value())
    except InvalidSecretHash as exc:
        raise _fault(str(exc)) from None
    return value


def _one_or_two(value: tuple[_T, ...]) -> tuple[_T, ...]:
    if len(value) not in (1, 2):
        raise _fault("name one or two: the old one and the new one, while clients move from one to the other")
    if len(set(value)) != len(value):
        raise _fault("name different ones")
    return value


def _pem(value: str) -> str:
    try:
        read_pem(value)
    except InvalidClientKey as exc:
        raise _fault(str(exc)) from None
    return value


def _one_or_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _jwk(value: dict[str, Any]) -> dict[str, Any]:
    try:
        read_jwk(value)
    except InvalidClientKey as exc:
        raise _fault(str(exc)) from None
    return value


def _redirect_uri(value: str) -> str:
    if fault := redirect_uri_fault(value):
        raise _fault(fault)
    return value


def _client_name(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise _fault("use printable characters, with no space around them: it is shown on the consent page")
    return value


SecretHash = Annotated[SecretStr, AfterValidator(_secret_hash)]
Pem = Annotated[str, AfterValidator(_pem)]
Jwk = Annotated[dict[str, Any], AfterValidator(_jwk)]
RedirectUri = Annotated[str, AfterValidator(_redirect_uri)]
_REDIRECTING = frozenset(["authorization_code", "implicit"])


class Jwks(Model):
    """Public keys (RFC 7517 section 5)."""

    keys: Annotated[tuple[Jwk, ...], Field(strict=False), AfterValidator(_not_empty)]

    @field_validator("keys")
    @classmethod
    def _told_apart(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        kids = [jwk["kid"] for jwk in value if "kid" in jwk]
        if len(kids) != len(set(kids)):
            raise _fault("give each key a kid of its own")
        return value


class Client(Model):
    """Who may ask for tokens (names of RFC 7591). A field that depends on others stands after them."""

    client_id: Identifier
    client_name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_client_name)] | None = None
    client_secret: SecretStr | None = None
    client_secret_hash: SecretHash | None = None
    client_secret_hashes: Annotated[tuple[SecretHash, ...], Field(strict=False), AfterValidator(_one_or_two)] | None = (
        None
    )
    public_key: (
        Annotated[tuple[Pem, ...], Field(strict=False), BeforeValidator(_one_or_list), AfterValidator(_not_empty)]
        | None
    ) = None
    jwks: Jwks | None = None
    grant_types: Annotated[tuple[GrantType, ...], Field(strict=False)] = ("client_credentials",)
    token_endpoint_auth_method: Annotated[AuthMethod | None, Field(validate_default=True)] = None
    scope: Scope = ()
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    redirect_uris: Annotated[tuple[RedirectUri, ...], Field(strict=False, validate_default=True)] = ()
    introspect: bool = False
    disabled: bool = False

    @field_validator("client_secret")
    @classmethod
    def _present(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value():
            raise _fault("must not be empty")
        return value

    @field_validator("token_endpoint_auth_method")
    @classmethod
    def _possible(cls, value: AuthMethod | None, info: ValidationInfo) -> AuthMethod | None:
        if all(name in info.data for name in (*_SECRETS, *_KEYS, "grant_types")):
            _check_auth_method(value, info.data)
        return value

    @field_validator("redirect_uris")
    @classmethod
    def _somewhere_to_go(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        redirecting = _REDIRECTING & set(info.data.get("grant_types", ()))
        if redirecting and not value:
            raise _fault(
                f"name at least one for {' and '.join(sorted(redirecting))}, such as https://app.example.com/callback"
            )
        if len(set(value)) != len(value):
            raise _fault("name each only once")
        return value

    @field_validator("introspect")
    @classmethod
    def _authenticated(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  pydantic calls it
        if value and info.data.get("token_endpoint_auth_method") == PUBLIC:
            raise _fault("a public client may not ask about tokens (RFC 7662 section 2.1): give it a secret or a key")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        given = [name for name in _SECRETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise _fault(f"give exactly one of {', '.join(_SECRETS)}; client_secret_hashes takes two hashes")
        public = self.token_endpoint_auth_method == PUBLIC
        if not given and not public and self.public_key is None and self.jwks is None:
            raise _fault(
                "give exactly one of client_secret, client_secret_hash and client_secret_hashes; or a public_key or jwks; "
                "or token_endpoint_auth_method: none for an app that can keep no secret"
            )
        return self


_SECRETS = ("client_secret", "client_secret_hash", "client_secret_hashes")
_KEYS = ("public_key", "jwks")


def _check_auth_method(method: AuthMethod | None, client: Mapping[str, Any]) -> None:
    """Raise a fault when a client cannot authenticate by the method that is named, or has what it has no use for."""
    secrets = [name for name in _SECRETS if client[name] is not None]
    keys = [name for name in _KEYS if client[name] is not None]
    match method:
        case "none":
            if secrets or keys:
                raise _fault(f"a public client (none) has no {(secrets + keys)[0]}: drop it, or name another method")
            if "client_credentials" in client["grant_types"]:
                raise _fault(
                    "a public client (none) proves nothing, so it cannot have client_credentials: set grant_types to "
                    "[authorization_code, refresh_token], or give it a secret or a key"
                )
        case "private_key_jwt":
            if not keys:
                raise _fault("private_key_jwt needs the client's public_key or jwks")
            if secrets:
                raise _fault(f"{secrets[0]} has no use with private_key_jwt: drop it, or drop this key")
        case "client_secret_jwt":
            if client["client_secret"] is None:
                raise _fault("client_secret_jwt needs client_secret itself: a hash cannot check an HMAC (RFC 7518)")
            try:
                from_secret(client["client_secret"].get_secret_value())
            except InvalidClientKey as exc:
                raise _fault(f"client_secret {exc}") from None
        case "client_secret_basic" | "client_secret_post" if not secrets:
            raise _fault(f"{method} needs client_secret, client_secret_hash or client_secret_hashes")
    if keys and method not in ("private_key_jwt", "none", None):
        raise _fault(f"{keys[0]} has no use with {method}: drop it, or drop this key")


class User(Model):
    """Somebody who may log in. Without `scope`, clients get for them what the clients themselves may have."""

    username: Identifier
    password_hash: SecretStr
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    scope: Scope | None = None
    disabled: bool = False

    @field_validator("password_hash")
    @classmethod
    def _readable(cls, value: SecretStr) -> SecretStr:
        try:
            check_password_hash(value.get_secret_value())
        except InvalidPasswordHash as exc:
            raise _fault(str(exc)) from None
        return value


def _templates(value: object, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    path = folder / value if isinstance(value, str) and value else None
    if path is None or not path.is_dir():
        raise _fault("is no folder; a relative path is taken from the configuration's folder")
    if fault := template_fault(path):
        raise _fault(fault)
    return path


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", value):
        raise _fault("write an origin, such as https://app.example.com")
    return value


Text = Annotated[str, Field(min_length=1, max_length=200)]


class Login(Model):
    """The pages for people. `scopes` says what each scope means; `form_action` names the origins that a client's redirect URI
    redirects on to."""

    site: Text | None = None
    session_ttl: Annotated[PositiveDuration, _at_most(_MAX_SESSION_TTL, "30d")] = 12 * 3600.0
    consent_ttl: Annotated[PositiveDuration, _at_most(_MAX_CONSENT_TTL, "365d")] = 90 * 86400.0
    code_ttl: Annotated[PositiveDuration, _at_most(60, "60s")] = 60.0
    scopes: dict[str, Text] = {}
    templates_dir: Annotated[Path, BeforeValidator(_templates)] | None = None
    form_action: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], Field(strict=False)] = ()


def _rate(value: object) -> Rate | None:
    if value is None or isinstance(value, Rate):  # a default of ours
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if value == "off" or value is False:  # as which YAML reads off without quotes
        return None
    if match is None or int(match[1]) < 1 or parse_duration(match[2]) <= 0:
        raise _fault("write how many in which time, such as 60/1m, or off")
    return Rate(int(match[1]), parse_duration(match[2]))


RateOrOff = Annotated[Rate | None, BeforeValidator(_rate)]


class Throttling(Model):
    """How often secrets and passwords may be tried, before the answer is 429."""

    failures_per_address: RateOrOff = Rate(300, 60.0)
    failures_per_client: RateOrOff = Rate(300, 60.0)
    failures_per_client_and_address: RateOrOff = Rate(30, 60.0)
    failed_logins_per_address: RateOrOff = Rate(60, 300.0)
    failed_logins_per_user: RateOrOff = Rate(100, 300.0)
    failed_logins_per_user_and_address: RateOrOff = Rate(10, 300.0)
    requests_per_client: RateOrOff = None


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

    @property
    def rule(self) -> policy.Route:
        """The route as `core.policy` knows it."""
        methods = frozenset(self.methods) if self.methods else None
        return policy.Route(self.path, methods, Access(self.access), frozenset(self.scope))


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


def _off(value: object) -> object:
    return "off" if value is False else value  # as which YAML reads off without quotes


class Logging(Model):
    """What is written to stderr. `admitted` is the level at which admitted requests are logged, or `off`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    admitted: Annotated[Literal["off", "debug", "info"], BeforeValidator(_off)] = "debug"


class Settings(Model):
    """The whole file."""

    listen: Annotated[Listen, BeforeValidator(_listen)] = Listen()
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    admin: Admin = Admin()
    upstream: Upstream
    store: Store = Store()
    tokens: Tokens
    clients: Annotated[tuple[Client, ...], Field(strict=False)] = ()
    users: Annotated[tuple[User, ...], Field(strict=False)] = ()
    login: Login = Login()
    compat: Literal["tapdata", "rfc"] = "tapdata"
    routes: Annotated[tuple[Route, ...], Field(strict=False)] = ()
    trusted_proxies: Annotated[tuple[Network, ...], Field(strict=False)] = ()
    proxy_headers: Annotated[tuple[ProxyHeader, ...], Field(strict=False)] = ()
    credentials: Credentials = Credentials()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    throttling: Throttling = Throttling()
    streams: Streams = Streams()
    tls: Tls | None = None
    logging: Logging = Logging()
    _path: Path | None = PrivateAttr(None)  # where it was read from


def load(path: Path, *, now: float | None = None) -> Settings:
    """Read, resolve and check the file. Raises `SettingsError` with every fault found.

    With `now` (epoch seconds) a key must be able to sign at that time: for who is about to.
    """
    document, faults = read_document(path)
    if document is None:
        raise SettingsError(faults)
    known = {fault.path for fault in faults}
    faults += [fault for fault in placeholder_faults(document) if fault.path not in known]
    known = {fault.path for fault in faults}
    try:
        settings = Settings.model_validate(document, context={"folder": path.parent})
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_context=True, include_input=False)
        # A value that could not be resolved, or stands for another, was reported already, with the better reason.
        faults += [
            fault for fault in map(_describe, details) if not known & {fault.path, fault.path.removesuffix("[0]")}
        ]
        settings = None
    faults += cross_faults(document)
    if settings is not None and now is not None:
        faults += _nobody_signs(settings.tokens.signing_keys, now)
    if faults or settings is None:
        raise SettingsError([with_name(fault, _names(document)) for fault in faults])
    settings._path = path  # noqa: SLF001  its own
    return settings


def _names(document: dict[str, Any]) -> dict[str, list[str | None]]:
    """What the entries of each list are called, as far as they have a name."""
    tokens = document.get("tokens")
    lists = {
        "clients": (document.get("clients"), "client_id"),
        "users": (document.get("users"), "username"),
        "tokens.signing_keys": (tokens.get("signing_keys") if isinstance(tokens, dict) else None, "kid"),
    }
    return {where: [_name(entry, key) for entry in _items(entries)] for where, (entries, key) in lists.items()}


def _name(entry: object, key: str) -> str | None:
    name = entry.get(key) if isinstance(entry, dict) else None
    return name[:64] if isinstance(name, str) and name.isprintable() else None


def current_store_url(settings: Settings) -> str:
    """The store's address as file and environment say it now: its password may have been changed since. What cannot be read,
    or is another kind of fault, leaves it as it was."""
    before = settings.store.url.get_secret_value()
    if settings._path is None:  # noqa: SLF001  its own
        return before
    document, _ = read_document(settings._path)  # noqa: SLF001  its own
    try:
        return Store.model_validate((document or {}).get("store") or {}).url.get_secret_value()
    except ValidationError:
        return before


def cross_faults(document: dict[str, Any]) -> list[Fault]:
    """Faults between sections. Works on the raw document, so that they show beside the faults within sections."""
    clients = _items(document.get("clients"))
    tokens = document.get("tokens")
    keys = _items(tokens.get("signing_keys")) if isinstance(tokens, dict) else []
    return [
        *_duplicates(clients, "clients", "client_id"),
        *_duplicates(_items(document.get("users")), "users", "username"),
        *_users_named_like_clients(_items(document.get("users")), clients),
        *_duplicates(keys, "tokens.signing_keys", "kid"),
        *_workers_share_state(document),
        *_proxies_are_known(document),
        *_upstream_is_ourselves(document),
    ]


def _nobody_signs(signing_keys: tuple[SigningKey, ...], now: float) -> list[Fault]:
    windows = [keys.Window(key.not_before, key.not_after) for key in signing_keys if key.public_key is None]
    if any(window.holds(now) for window in windows):
        return []
    text = "no key may sign now: each is retired (not_after) or not yet begun (not_before); see sidecar keys list"
    return [Fault("tokens.signing_keys", text)]


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


def _users_named_like_clients(users: list[Any], clients: list[Any]) -> list[Fault]:
    """Nobody could tell their tokens apart: both have the name as `sub` (RFC 9700 section 4.15)."""
    ids = {client.get("client_id"): index for index, client in enumerate(clients) if isinstance(client, dict)}
    return [
        Fault(
            f"users[{index}].username",
            f"is the same as clients[{ids[user['username']]}].client_id: name one of them otherwise",
        )
        for index, user in enumerate(users)
        if isinstance(user, dict) and isinstance(user.get("username"), str) and user["username"] in ids
    ]


def _workers_share_state(document: dict[str, Any]) -> list[Fault]:
    workers, store = document.get("workers", 1), document.get("store") or {}
    url = store.get("url", "memory://") if isinstance(store, dict) else ""
    if isinstance(workers, int) and workers > 1 and isinstance(url, str) and url.startswith("memory:"):
        text = "more than one worker needs a store they share: set store.url to redis://…, or workers to 1"
        return [Fault("workers", text)]
    return []


def _proxies_are_known(document: dict[str, Any]) -> list[Fault]:
    listen = document.get("listen")
    if isinstance(listen, dict) and listen.get("proxy_protocol") is True and not document.get("trusted_proxies"):
        text = "needs trusted_proxies: name the load balancers that may say who a client is, such as 10.0.0.0/8"
        return [Fault("listen.proxy_protocol", text)]
    return []


def _upstream_is_ourselves(document: dict[str, Any]) -> list[Fault]:
    upstream, admin = document.get("upstream"), document.get("admin") or {}
    url = upstream.get("url") if isinstance(upstream, dict) else None
    listen = document.get("listen", {})
    ours = {"listen": listen.get("address", "0.0.0.0:3030") if isinstance(listen, dict) else listen}
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
