"""Access tokens: JWTs of the profile of RFC 9068, issued and verified by one set of rules.

Rules of verification, in this order. The first that fails determines the reason:

1. The token is not too long, and consists of three segments of canonical base64url: no padding, no stray bits.
2. The header has no members but `alg`, `typ` and `kid`; others (`jwk`, `jku`, `crit`, `b64`) could change how the token is
   verified.
3. `kid` names a key of the ring, and `alg` is the algorithm of that key.
4. The signature is valid. The payload is not parsed before.
5. `typ` is `at+jwt`; then every claim has the right type; then issuer and audience are right; then the times.

PyJWT's `decode` is not used: it accepts padding, any `typ`, duplicate members and times of other types, and reads the
clock itself. Only its signature algorithms are used.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

from sidecar.core.base64url import InvalidBase64url, decode, encode
from sidecar.core.jose.compact import COMPACT, MAX_TOKEN, Malformed, read_object
from sidecar.core.jose.keys import KeyRing, SigningKey
from sidecar.core.oauth.names import SCOPE_TOKEN
from sidecar.core.reasons import Reason, Refused

FUTURE_TOLERANCE: Final = 5.0
"""Seconds by which `iat` and `nbf` may be in the future: another replica's clock may be slightly ahead."""
REVOCATION_MARGIN: Final = 60
"""Seconds for which a revocation is kept after `exp`: the largest leeway, and the differences between clocks."""

_TYPES: Final = ("at+jwt", "application/at+jwt")
_HEADER_MEMBERS: Final = frozenset(["alg", "typ", "kid"])
_LATEST: Final = 253402300799  # the last second of the year 9999
# What can be forwarded in a header field: latin-1 without control characters, and without a space at either end.
_VISIBLE: Final = re.compile(r"(?=[^ \xa0])[\x20-\x7e\xa0-\xff]{1,255}(?<![ \xa0])")
_TOKEN_ID: Final = re.compile(r"[\x21-\x7e]{1,255}")
_ANY_TEXT: Final = re.compile(r".*", re.DOTALL)  # a claim that is only compared
_HEADER_MEMO: Final = 64
_LASTING_MEMO: Final = 1024
# `json.dumps` makes an encoder for each call that has options.
_compact_json: Final = json.JSONEncoder(separators=(",", ":")).encode
_escaped: Final = json.encoder.encode_basestring_ascii


class AccessToken(NamedTuple):
    """The typed claims of a token. Times are in epoch seconds."""

    jti: str
    sub: str
    client_id: str
    scope: tuple[str, ...]
    roles: tuple[str, ...]
    iat: int
    exp: int
    kid: str = ""
    """The id of the key that signed the token."""

    @property
    def user(self) -> str | None:
        """The user for whom the client acts; `None` when it acts for itself (RFC 9068 section 2.2). No user has a client's
        name."""
        return None if self.sub == self.client_id else self.sub

    @property
    def remembered_until(self) -> int:
        """Until when a revocation of this token must be remembered, in epoch seconds."""
        return self.exp + REVOCATION_MARGIN


class Explanation(NamedTuple):
    """A parsed token for display: header and claims, if they can be read, and the reason why the token would be refused."""

    header: dict[str, Any] | None
    claims: dict[str, Any] | None
    reason: Reason | None


class TokenRules:
    """Issues and verifies tokens. `access_token_ttl` and `leeway` are in seconds; `tapdata` adds TapData's claims."""

    def __init__(
        self, *, issuer: str, audience: str, access_token_ttl: int, leeway: float, ring: KeyRing, tapdata: bool = True
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self.access_token_ttl = access_token_ttl
        self.leeway = leeway
        self._tapdata = tapdata
        self._ring = ring
        self._issued_headers: dict[str, str] = {}
        self._headers: dict[str, tuple[SigningKey, object]] = {}
        # Most clients get many tokens that differ only in their times and id.
        self._lasting = lru_cache(_LASTING_MEMO)(self._encode_lasting)

    @property
    def ring(self) -> KeyRing:
        """The keys in force."""
        return self._ring

    def __repr__(self) -> str:
        return f"<TokenRules of {self.issuer} for {self.audience}>"

    def issue(
        self,
        *,
        client_id: str,
        subject: str,
        roles: tuple[str, ...],
        scope: tuple[str, ...],
        now: float,
        jti: str,
    ) -> tuple[str, AccessToken]:
        """Issue a token; returns it and its claims. `subject` is a user, or the client itself (RFC 9068 section 2.2)."""
        iat = int(now)
        signer = self._ring.signer(now)
        token = AccessToken(jti, subject, client_id, scope, roles, iat, iat + self.access_token_ttl, signer.kid)
        first, last = self._lasting(client_id, subject, roles, scope)
        # TapData's own names, for APIs that read them
        more = f',"createdAt":{iat * 1000},"expiredate":{token.exp * 1000}' if self._tapdata else ""
        claims = f'{first},"iat":{iat},"nbf":{iat},"exp":{token.exp},"jti":{_escaped(jti)},{last}{more}}}'
        signed = f"{self._issued_header(signer)}.{encode(claims.encode())}"
        return f"{signed}.{encode(signer.sign(signed.encode()))}", token

    def _encode_lasting(
        self, client_id: str, subject: str, roles: tuple[str, ...], scope: tuple[str, ...]
    ) -> tuple[str, str]:
        """The claims that stay the same from token to token, as JSON: those before the times and the id, and those after."""
        before = {"iss": self.issuer, "sub": subject, "aud": self.audience, "client_id": client_id}
        after: dict[str, object] = {"scope": " ".join(scope)}
        if self._tapdata or roles:  # RFC 9068 section 2.2.3.1
            after["roles"] = roles
        if self._tapdata:
            after["clientId"] = client_id
        return _compact_json(before)[:-1], _compact_json(after)[1:-1]

    def remembered_until(self, now: float) -> int:
        """Until when a revocation of a token that is issued at `now` must be remembered, in epoch seconds."""
        return int(now) + self.access_token_ttl + REVOCATION_MARGIN

    def verify(self, token: str, now: float) -> AccessToken:
        """The claims of a token that is valid at `now` (epoch seconds). Revocation and routes are not checked. Raises `Refused`
        with the reason, and with the client and the user if the signature was valid."""
        access = self.read(token, now)
        if now >= access.exp + self.leeway:
            raise Refused(Reason.EXPIRED, client_id=access.client_id, user=access.user)
        return access

    def read(self, token: str, now: float) -> AccessToken:
        """As `verify`, without checking the expiry, which is left to the admission rule (`core.admission`)."""
        access, nbf = self._read(token)
        if max(nbf, access.iat) > now + max(self.leeway, FUTURE_TOLERANCE):
            raise Refused(Reason.NOT_YET_VALID, client_id=access.client_id, user=access.user)
        return access

    def read_signed(self, token: str) -> AccessToken:
        """The claims of a token of the sidecar, whatever its times, in order to revoke it. Raises `Refused`."""
        return self._read(token)[0]

    def recognises(self, token: str) -> bool:
        """Whether a key of the ring signed the token, valid or not."""
        try:
            self._open(token)
        except Refused:
            return False
        return True

    def _issued_header(self, signer: SigningKey) -> str:
        """The encoded header; computed once per key of the ring."""
        header = self._issued_headers.get(signer.kid)
        if header is None:
            header = _encode_json({"alg": signer.alg, "typ": _TYPES[0], "kid": signer.kid})
            self._issued_headers[signer.kid] = header
        return header

    def _read(self, token: str) -> tuple[AccessToken, int]:
        """The claims and `nbf` of a token whose signature is valid; its times are not checked."""
        kid, typ, payload = self._open(token)
        if not isinstance(typ, str) or typ.lower() not in _TYPES:
            raise Refused(Reason.WRONG_TYPE)
        claims = _Claims(_read_object(payload))
        issuer, audience = claims.text("iss", _ANY_TEXT), claims.audience()
        client_id, iat = claims.text("client_id"), claims.time("iat")
        access = AccessToken(
            jti=claims.text("jti", _TOKEN_ID),
            sub=claims.text("sub"),
            client_id=client_id,
            scope=claims.scope(),
            roles=claims.roles(),
            iat=iat,
            exp=claims.time("exp"),
            kid=kid,
        )
        if claims.text("clientId", default=client_id) != client_id:
            _malformed()
        claims.time("createdAt", default=0, latest=_LATEST * 1000)
        claims.time("expiredate", default=0, latest=_LATEST * 1000)
        if issuer != self.issuer:
            raise Refused(Reason.WRONG_ISSUER, client_id=client_id, user=access.user)
        if self.audience not in audience:
            raise Refused(Reason.WRONG_AUDIENCE, client_id=client_id, user=access.user)
        return access, claims.time("nbf", default=iat)

    def _open(self, token: str) -> tuple[str, object, bytes]:
        """The `kid`, the `typ` and the payload of a token, after verifying its signature."""
        if len(token) > MAX_TOKEN or not COMPACT.fullmatch(token):
            _malformed()
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        key, typ = self._headers.get(header) or self._read_header(header)
        if not key.verify(signed.encode("ascii"), _decode(signature)):
            raise Refused(Reason.BAD_SIGNATURE)
        return key.kid, typ, _decode(payload)

    def _read_header(self, segment: str) -> tuple[SigningKey, object]:
        header = _read_object(_decode(segment))
        if not header.keys() <= _HEADER_MEMBERS or not isinstance(header.get("alg"), str):
            _malformed()
        kid = header.get("kid")
        key = self._ring.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise Refused(Reason.UNKNOWN_KEY)
        if header["alg"] != key.alg:
            raise Refused(Reason.BAD_SIGNATURE)
        found = (key, header.get("typ"))
        if len(self._headers) < _HEADER_MEMO:
            self._headers[segment] = found
        return found


class _Claims:
    """Typed access to a payload. A claim of the wrong type is refused like a missing one."""

    __slots__ = ("_claims",)

    def __init__(self, claims: Mapping[str, Any]) -> None:
        self._claims = claims

    def text(self, name: str, pattern: re.Pattern[str] = _VISIBLE, default: str | None = None) -> str:
        value = self._claims.get(name, default)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            _malformed()
        return value

    def time(self, name: str, default: int | None = None, latest: int = _LATEST) -> int:
        value = self._claims.get(name, default)
        if type(value) is not int or not 0 <= value <= latest:  # a bool is an int to isinstance
            _malformed()
        return value

    def audience(self) -> tuple[str, ...]:
        """The audiences: one string, or a list of them (RFC 7519 section 4.1.3)."""
        value = self._claims.get("aud")
        return (value,) if isinstance(value, str) else self._texts("aud")

    def scope(self) -> tuple[str, ...]:
        value = self._claims.get("scope", "")
        scope = tuple(value.split(" ")) if isinstance(value, str) and value else ()
        if not isinstance(value, str) or not all(map(SCOPE_TOKEN.fullmatch, scope)):
            _malformed()
        return scope

    def roles(self) -> tuple[str, ...]:
        roles = self._texts("roles") if "roles" in self._claims else ()
        if not all(_VISIBLE.fullmatch(role) and "," not in role for role in roles):
            _malformed()
        return roles

    def _texts(self, name: str) -> tuple[str, ...]:
        value = self._claims.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            _malformed()
        return tuple(value)


def explain(token: str, rules: TokenRules | None, now: float) -> Explanation:
    """Parse a token without trusting it. With `rules`, also give the reason why it would be refused at `now`."""
    parts: list[dict[str, Any] | None] = []
    segments = token.split(".") if len(token) <= MAX_TOKEN else []
    for segment in [*segments, "", ""][:2]:
        try:
            parts.append(_read_object(_decode(segment)))
        except Refused:
            parts.append(None)
    reason = None
    if rules is not None:
        try:
            rules.verify(token, now)
        except Refused as exc:
            reason = exc.reason
    return Explanation(parts[0], parts[1], reason)


def _malformed() -> NoReturn:
    raise Refused(Reason.MALFORMED_TOKEN)


def _read_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises `Refused`."""
    try:
        return read_object(data)
    except Malformed:
        raise Refused(Reason.MALFORMED_TOKEN) from None


def _encode_json(value: Mapping[str, object]) -> str:
    return encode(_compact_json(value).encode())


def _decode(segment: str) -> bytes:
    """Decode canonical base64url. Raises `Refused`."""
    try:
        return decode(segment)
    except InvalidBase64url:
        raise Refused(Reason.MALFORMED_TOKEN) from None
