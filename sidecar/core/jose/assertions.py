"""Client assertions (RFC 7523 section 3): JWTs with which a client authenticates. Each may be used once.

Rules, in this order:

1. The assertion is not too long, and consists of three segments of canonical base64url.
2. The header has no members but `alg`, `typ` and `kid`; others (`jwk`, `jku`, `crit`, `b64`) could change how the assertion is
   verified. `alg` is an accepted algorithm, and `typ` is not that of another kind of token.
3. `iss` and `sub` are the same client id. `aud` names the sidecar and no other server. `exp` is in the future, by at most an
   hour. `iat` and `nbf`, which are optional, are not in the future. There is a `jti`.
4. A key that is registered for this client and for this algorithm made the signature.
5. The client may use this authentication method, and is not disabled.
6. The `jti` has not been used before. The caller checks this, because it needs a store.

A refusal by rules 1 to 3 says what is wrong, because it depends only on what the client sent. A refusal by a later rule does
not. Even for an unknown client, as many signatures are checked as for the client with the most keys.

`aud` is either the sidecar's issuer identifier or the URL of its token endpoint. The former is recommended, because audiences
that several servers share turned out to be a vulnerability (draft-ietf-oauth-rfc7523bis). The latter is what RFC 7523 suggests
and most libraries send. A list that names another server is refused: that server could use the assertion at the sidecar.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

from sidecar.core.base64url import InvalidBase64url, decode
from sidecar.core.digests import digest
from sidecar.core.jose.algorithms import ASYMMETRIC, SYMMETRIC
from sidecar.core.jose.client_keys import ClientKey
from sidecar.core.jose.compact import COMPACT, MAX_TOKEN, Malformed, read_object
from sidecar.core.oauth.clients import AuthMethod, Client, ClientRegistry, Recognised
from sidecar.core.reasons import Reason, Refused

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_LIFE: Final = 3600
"""Seconds that `exp` may lie after `iat`: Authlib's default."""
CLOCK_TOLERANCE: Final = 30
"""Seconds by which a client's clock may be ahead of the sidecar's."""
REPLAY_MARGIN: Final = 60
"""Seconds for which a `jti` is remembered after `exp`, because the clocks of the replicas may differ."""

_HEADER_MEMBERS: Final = frozenset(["alg", "typ", "kid"])
_TYPES: Final = (None, "jwt", "client-authentication+jwt", "application/client-authentication+jwt")
_METHODS: Final[Mapping[str, AuthMethod]] = {
    **dict.fromkeys(ASYMMETRIC, "private_key_jwt"),
    **dict.fromkeys(SYMMETRIC, "client_secret_jwt"),
}
_LONGEST_ID: Final = 255


class Assertion(NamedTuple):
    """An assertion that is well-formed and has not expired. Its signature is not verified yet. `exp` is in epoch seconds."""

    client_id: str
    jti: str
    exp: float
    alg: str
    kid: str | None
    signed: bytes
    signature: bytes

    @property
    def replay_key(self) -> str:
        """The key under which the store records that the assertion was used."""
        return f"jti:{self.client_id}:{digest(self.jti)}"

    def remembered_for(self, now: float) -> int:
        """The number of seconds from `now` for which the store must remember the assertion."""
        return math.ceil(self.exp - now) + REPLAY_MARGIN


class AssertionRules:
    """Parses and verifies assertions. The audiences are `issuer`, the sidecar's identifier, and `token_endpoint`, a URL."""

    def __init__(self, clients: ClientRegistry, *, issuer: str, token_endpoint: str) -> None:
        self._clients = clients
        self._audiences = frozenset([issuer, token_endpoint])
        self._decoys = dict(filter(None, (_decoys(clients, alg) for alg in _METHODS)))

    def __repr__(self) -> str:
        return f"<AssertionRules {' '.join(self._decoys) or 'without keys'}>"

    def read(self, text: str, now: float) -> Assertion:
        """Apply rules 1 to 3. Raises `Refused(BAD_CLIENT_ASSERTION)`, which says what is wrong."""
        if len(text) > MAX_TOKEN or not COMPACT.fullmatch(text):
            _refuse("is not a signed JWT")
        signed, _, signature = text.rpartition(".")
        try:
            header, claims = (read_object(decode(segment)) for segment in signed.split("."))
            signature_bytes = decode(signature)
        except (InvalidBase64url, Malformed):
            _refuse("is not a signed JWT")
        alg, kid = _read_header(header)
        client_id, jti, exp = self._read_claims(claims, now)
        return Assertion(client_id, jti, exp, alg, kid, signed.encode("ascii"), signature_bytes)

    def verify(self, assertion: Assertion) -> Recognised:
        """Apply rules 4 and 5. Raises `Refused`: `UNKNOWN_CLIENT`, `BAD_CLIENT_ASSERTION`, `WRONG_AUTH_METHOD`,
        `CLIENT_DISABLED`."""
        client = self._clients.find(assertion.client_id)
        signed = self._is_signed(assertion, client)
        if client is None:
            raise Refused(Reason.UNKNOWN_CLIENT)
        if not client.keys:
            raise Refused(Reason.WRONG_AUTH_METHOD, client_id=client.client_id)
        if not signed:
            raise Refused(Reason.BAD_CLIENT_ASSERTION, client_id=client.client_id)
        return self._clients.admit(client, _METHODS[assertion.alg])

    def _read_claims(self, claims: Mapping[str, Any], now: float) -> tuple[str, str, float]:
        client_id, jti = claims.get("sub"), claims.get("jti")
        if not isinstance(client_id, str) or claims.get("iss") != client_id:
            _refuse("must have the client's id as iss and sub")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not audiences or not all(isinstance(each, str) and each in self._audiences for each in audiences):
            _refuse("must have our issuer identifier as aud, and nobody else")
        if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_ID:
            _refuse("must have a jti of 1 to 255 characters")
        return client_id, jti, _read_times(claims, now)

    def _is_signed(self, assertion: Assertion, client: Client | None) -> bool:
        """Whether a key of the client made the signature. A failure always checks the same number of signatures."""
        runs = 0
        for key in client.keys if client else ():
            if _may_be_for(key, assertion):
                if key.verify(assertion.alg, assertion.signed, assertion.signature):
                    return True
                runs += 1
        decoy, most = self._decoys.get(assertion.alg, (None, 0))
        for _ in range(most - runs):
            if decoy is not None:
                decoy.verify(assertion.alg, assertion.signed, assertion.signature)
        return False


def _read_header(header: Mapping[str, Any]) -> tuple[str, str | None]:
    """`alg` and `kid`."""
    alg, typ, kid = header.get("alg"), header.get("typ"), header.get("kid")
    if not header.keys() <= _HEADER_MEMBERS:
        _refuse("must have no header but alg, typ and kid")
    if not isinstance(alg, str) or alg not in _METHODS:
        _refuse("is signed by an algorithm that is not taken")
    if (typ.lower() if isinstance(typ, str) else typ) not in _TYPES:
        _refuse("must have JWT as typ")
    if not isinstance(kid, str | None):
        _refuse("must have a string as kid")
    return alg, kid


def _read_times(claims: Mapping[str, Any], now: float) -> float:
    """Return `exp`, after checking it and the other times."""
    exp = _time(claims.get("exp"))
    iat = now if claims.get("iat") is None else _time(claims["iat"])
    nbf = iat if claims.get("nbf") is None else _time(claims["nbf"])
    if exp <= now:
        _refuse("has expired")
    if max(iat, nbf) > now + CLOCK_TOLERANCE:
        _refuse("is not valid yet")
    if exp > now + LONGEST_LIFE + CLOCK_TOLERANCE or exp - iat > LONGEST_LIFE + CLOCK_TOLERANCE:
        _refuse("must expire within an hour")
    return exp


def _time(value: object) -> float:
    """A NumericDate (RFC 7519 section 2), which may have a fraction."""
    if type(value) not in (int, float) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        _refuse("must have exp, and all its times as seconds since 1970")
    return value


def _may_be_for(key: ClientKey, assertion: Assertion) -> bool:
    """Whether `key` may verify the assertion: it is for this algorithm, and `kid` does not name another key."""
    return assertion.alg in key.algs and (key.kid is None or assertion.kid is None or key.kid == assertion.kid)


def _decoys(clients: Iterable[Client], alg: str) -> tuple[str, tuple[ClientKey, int]] | None:
    """The slowest key for an algorithm, and the largest number of keys that one client has for it; `None` without any key."""
    keys = [[key for key in client.keys if alg in key.algs] for client in clients]
    most = max(map(len, keys), default=0)
    if not most:
        return None
    return alg, (max((key for each in keys for key in each), key=lambda key: key.cost), most)


def _refuse(what: str) -> NoReturn:
    raise Refused(Reason.BAD_CLIENT_ASSERTION, f"The client assertion {what}.")
