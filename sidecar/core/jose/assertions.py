"""Client assertions (RFC 7523 section 3): JWTs by which a client proves who it is, each of them once.

Rules, in this order:

1. the size, and three base64url segments in their canonical spelling
2. a header with `alg`, `typ` and `kid` alone: what a header could smuggle in (`jwk`, `jku`, `crit`, `b64`) is refused;
   `alg` is one that some client could use, `typ` not that of another kind of token
3. `iss` and `sub` are one client id; `aud` names us and nobody else; `exp` is ahead, but not by more than an hour; `iat`
   and `nbf`, which may be missing, are not ahead; there is a `jti`
4. the signature, by a key that is registered for this client and for this algorithm
5. the client may authenticate in this way, and is not disabled
6. `jti` is new: the caller sees to it, for that takes a store

Until the third a refusal says what is wrong, for it depends on what was sent alone. From the fourth on it says nothing, and
for an unknown client, too, as many signatures are checked as for the client with the most keys.

`aud` is our issuer identifier, as is recommended since audiences that several servers share were found to be a hole
(draft-ietf-oauth-rfc7523bis), or the URL of our token endpoint, as RFC 7523 has it and most libraries do. A list that names
anybody else is refused: whoever that is could use the assertion with us.
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
"""Seconds by which a client's clock may be ahead of ours."""
REPLAY_MARGIN: Final = 60
"""Seconds for which a `jti` is remembered after `exp`: the clocks of our replicas may differ."""

_HEADER_MEMBERS: Final = frozenset(["alg", "typ", "kid"])
_TYPES: Final = (None, "jwt", "client-authentication+jwt", "application/client-authentication+jwt")
_METHODS: Final[Mapping[str, AuthMethod]] = {
    **dict.fromkeys(ASYMMETRIC, "private_key_jwt"),
    **dict.fromkeys(SYMMETRIC, "client_secret_jwt"),
}
_LONGEST_ID: Final = 255


class Assertion(NamedTuple):
    """An assertion that could be read and is not out of date; nothing is proven yet. `exp` is epoch seconds."""

    client_id: str
    jti: str
    exp: float
    alg: str
    kid: str | None
    signed: bytes
    signature: bytes

    @property
    def replay_key(self) -> str:
        """The key under which a store remembers that it was used."""
        return f"jti:{self.client_id}:{digest(self.jti)}"

    def remembered_for(self, now: float) -> int:
        """For how many seconds from `now` it must not be used again."""
        return math.ceil(self.exp - now) + REPLAY_MARGIN


class AssertionRules:
    """Reads and verifies. `issuer` is our identifier, `token_endpoint` the URL of our endpoint: the audiences."""

    def __init__(self, clients: ClientRegistry, *, issuer: str, token_endpoint: str) -> None:
        self._clients = clients
        self._audiences = frozenset([issuer, token_endpoint])
        self._decoys = dict(filter(None, (_decoys(clients, alg) for alg in _METHODS)))

    def __repr__(self) -> str:
        return f"<AssertionRules {' '.join(self._decoys) or 'without keys'}>"

    def read(self, text: str, now: float) -> Assertion:
        """Rules 1 to 3. Raises `Refused(BAD_CLIENT_ASSERTION)`, saying what is wrong."""
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
        """Rules 4 and 5. Raises `Refused`: `UNKNOWN_CLIENT`, `BAD_CLIENT_ASSERTION`, `WRONG_AUTH_METHOD`,
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
        """Whether a key of the client made the signature; with signatures checked in vain to make up the number."""
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
    """`exp`, when it and the other times are in order."""
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
    """Whether to try a key: it is for the algorithm, and no key of another id."""
    return assertion.alg in key.algs and (key.kid is None or assertion.kid is None or key.kid == assertion.kid)


def _decoys(clients: Iterable[Client], alg: str) -> tuple[str, tuple[ClientKey, int]] | None:
    """The key that takes the longest for an algorithm, and how many keys for it the client with the most of them has."""
    keys = [[key for key in client.keys if alg in key.algs] for client in clients]
    most = max(map(len, keys), default=0)
    if not most:
        return None
    return alg, (max((key for each in keys for key in each), key=lambda key: key.cost), most)


def _refuse(what: str) -> NoReturn:
    raise Refused(Reason.BAD_CLIENT_ASSERTION, f"The client assertion {what}.")
