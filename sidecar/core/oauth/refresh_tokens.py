"""Refresh tokens (RFC 6749 section 6): families of opaque tokens, rotated at each use (RFC 9700 section 4.14.2).

A *family* consists of all tokens that were issued for one grant. A refresh token is `FAMILY.SECRET`, 128 and 256 random bits in
base64url; the store contains only digests. One token of a family is *current* at any time. Using it makes its successor the
current token, and itself the *previous* one.

Rules of a rotation, in this order. A store applies them in one atomic step (`rotate`, and an equivalent Lua function):

1. There is no such family: `UNKNOWN`. It belongs to another client: `FOREIGN`; nothing changes, so that a client cannot end
   the grants of another.
2. The family was ended: `ENDED`. Its lifetime is over: `EXPIRED`. A not-before time (`core.revocations`) covers the time at
   which it was granted: `ENDED`.
3. The token is the previous one: `REPEATED`. The current token was derived from it and has not been used, so a response was
   lost, or several requests were sent at once. The same successor is issued again, however late and however often. This rule
   does not apply where the operator allows each token only one use.
4. The token is neither the previous nor the current one: `REUSED`. Its successor was used, so two parties hold tokens of the
   family, and the whole family ends.
5. The request asks for a scope that the family does not have: `BEYOND_SCOPE`; nothing changes.
6. Otherwise: `ROTATED`.

The successor of a token is an HMAC of it, under a key that is not in the store. It can therefore be issued again without being
stored, and an attacker who reads the store cannot compute one. The key is derived from a signing key. While signing keys are
rotated, the issued successor is found by trying the key of each. The first token is derived in the same way: from the
authorization code (`of_code`), so that a lost response can be repeated (`open_again`), or from the client, for a grant that a
client gave itself.

A client can request many grants for itself and use none of them (RFC 6749 section 4.4.3 advises against refresh tokens there).
The newest `MOST_UNUSED` unused grants of each client are kept; older ones are removed. The refresh token of a removed grant can
still revoke the first access token, whose id is derived from that of the grant (`first_access`).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from sidecar.core.base64url import encode
from sidecar.core.digests import digest
from sidecar.core.reasons import Reason

_TOKEN: Final = re.compile(r"([A-Za-z0-9_-]{21}[AQgw])\.([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])")  # no stray bits
_LABEL: Final = b"auth-sidecar refresh token successor"
MOST_UNUSED: Final = 100
"""How many grants of each client, given to itself and not used yet, are kept."""
PLACE: Final = 4
"""So many characters at its beginning tell a store that is spread over several places where a token id or a family is."""


class Family(NamedTuple):
    """The unchanging part of a family. `issued` and `ends` are in epoch seconds."""

    client_id: str
    subject: str
    roles: tuple[str, ...]
    scope: tuple[str, ...]
    issued: int
    ends: int

    @property
    def own(self) -> bool:
        """Whether the client gave the grant to itself (RFC 6749 section 4.4). No user has the name of a client."""
        return self.subject == self.client_id


class FamilyAccess(NamedTuple):
    """An access token of a family: its `jti`, made by `access_id`, and until when a revocation of it must be remembered (epoch
    seconds)."""

    jti: str
    until: int


class FamilyState(NamedTuple):
    """A family and its state. `current` and `previous` are digests, empty when there is no such token; `idle_end` and
    `rotated` are in epoch seconds; `live` are the access tokens that may still be valid."""

    family: Family
    current: str
    idle_end: float
    previous: str = ""
    rotated: float = 0.0
    ended: bool = False
    live: tuple[FamilyAccess, ...] = ()

    def alive(self, now: float) -> bool:
        """Whether a refresh token of the family can be valid at `now` (epoch seconds)."""
        return not self.ended and now < min(self.family.ends, self.idle_end)

    def forgotten(self, now: float) -> bool:
        """Whether no token of the family can be valid at `now`, so that the store may forget the family."""
        return now >= max([min(self.family.ends, self.idle_end), *(access.until for access in self.live)])


class Rotation(NamedTuple):
    """A request to use a refresh token: the digests of the `presented` token and of its `successor`; the requested `scope`, if
    any; the access token that is to be issued; whether a previous token `repeats` its response; `idle` in seconds."""

    client_id: str
    presented: str
    successor: str
    scope: tuple[str, ...]
    access: FamilyAccess
    repeats: bool
    idle: int


class Outcome(StrEnum):
    """The outcome of a rotation; see the rules of this module."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    ENDED = "ended"
    EXPIRED = "expired"
    REUSED = "reused"
    BEYOND_SCOPE = "beyond_scope"


REFUSALS: Final = {
    Outcome.UNKNOWN: Reason.REFRESH_EXPIRED,  # the store forgets a family after its end
    Outcome.FOREIGN: Reason.FOREIGN_TOKEN,
    Outcome.ENDED: Reason.REFRESH_REVOKED,
    Outcome.EXPIRED: Reason.REFRESH_EXPIRED,
    Outcome.REUSED: Reason.REFRESH_REUSED,
    Outcome.BEYOND_SCOPE: Reason.INVALID_SCOPE,
}


class Rotated(NamedTuple):
    """The result of a rotation. `family` and `current`, the digest of the token to issue, are set when it was `ROTATED` or
    `REPEATED`. `revoked` are the ids of the access tokens that the rotation revoked."""

    outcome: Outcome
    family: Family | None = None
    current: str = ""
    revoked: tuple[str, ...] = ()


class Ended(NamedTuple):
    """The result of ending a family: `UNKNOWN`, `FOREIGN` (nothing changed) or `ENDED`; and the ids of the revoked access
    tokens."""

    outcome: Outcome
    revoked: tuple[str, ...] = ()


def new_token(grant_id: str, secret: bytes) -> str:
    """The first token of a family, from its grant's id (16 random bytes in base64url) and a secret of 32 random bytes."""
    return f"{grant_id}.{encode(secret)}"


def first_token(grant_id: str, seed: str, key: bytes) -> str:
    """The first token of a family, derived from `seed`, which is that of `of_code` or `of_client`. No seed looks like a token,
    so that it cannot equal a token from which a successor is derived."""
    return new_token(grant_id, hmac.digest(key, f"{seed} {grant_id}".encode(), "sha256"))


def of_code(code: str) -> str:
    """The seed of the first token of a grant by authorization code."""
    return f"code {code}"


def of_client(client_id: str) -> str:
    """The seed of the first token of a grant that a client gave itself."""
    return f"client {client_id}"


def grant_of_code(code: str) -> str:
    """The id of a code's grant. It is derived from the code, so that the grant can be ended when the store has forgotten the
    code."""
    return _short(f"auth-sidecar grant of {code}")


def access_id(key: str, unique: str) -> str:
    """The `jti` of an access token of the family with this key. It begins like the key, so that a store finds both in one
    place; these 16 bits of a digest reveal nothing. `unique` is unguessable."""
    return key[:PLACE] + unique


def first_access_id(grant_id: str) -> str:
    """The `jti` of the first access token of a grant that a client gave itself. It does not reveal the grant's id."""
    return access_id(digest(grant_id), _short(f"auth-sidecar access token of {grant_id}"))


def first_access(token: str, client_id: str, keys: Iterable[bytes]) -> str | None:
    """The `jti` of the access token that was issued with `token`, if `token` is the first one of a grant that the client gave
    itself. The store need not know the grant any more."""
    grant_id = token.partition(".")[0]
    made = (first_token(grant_id, of_client(client_id), key) for key in keys)
    return first_access_id(grant_id) if any(hmac.compare_digest(each, token) for each in made) else None


def family_key(token: str) -> str | None:
    """The store's key for the family of a token; `None` for a text that cannot be a refresh token."""
    match = _TOKEN.fullmatch(token)
    return digest(match[1]) if match else None


def derived_key(secret: bytes) -> bytes:
    """The key for successors, derived from the secret of a signing key: HKDF-SHA256 (RFC 5869) without salt, one block."""
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), _LABEL + b"\1", "sha256")


def successor(token: str, key: bytes) -> str:
    """The successor of a well-formed `token`."""
    return f"{token.partition('.')[0]}.{encode(hmac.digest(key, token.encode(), 'sha256'))}"


def given_successor(token: str, current: str, keys: Iterable[bytes]) -> str | None:
    """The successor of `token` whose digest is `current`; `None` if none of `keys` made it."""
    return next((after for after in (successor(token, key) for key in keys) if digest(after) == current), None)


def rotate(
    state: FamilyState, rotation: Rotation, *, issued_too_early: bool, now: float
) -> tuple[Outcome, FamilyState]:
    """Apply rules 1 to 6 to an existing family; returns the outcome and the new state. If the family ends, the caller revokes
    the access tokens that were live.

    `issued_too_early`: a not-before time covers the time at which the family was granted.
    """
    if state.family.client_id != rotation.client_id:
        return Outcome.FOREIGN, state
    if state.ended:
        return Outcome.ENDED, state
    if not state.alive(now):
        return Outcome.EXPIRED, state
    if issued_too_early:
        return Outcome.ENDED, ended(state)
    again = rotation.repeats and rotation.presented == state.previous
    if not again and rotation.presented != state.current:
        return Outcome.REUSED, ended(state)
    if not set(rotation.scope) <= set(state.family.scope):
        return Outcome.BEYOND_SCOPE, state
    live = (*(access for access in state.live if now < access.until), rotation.access)
    if again:
        return Outcome.REPEATED, state._replace(live=live)
    return Outcome.ROTATED, state._replace(
        current=rotation.successor,
        previous=rotation.presented,
        rotated=now,
        idle_end=now + rotation.idle,
        live=live,
    )


def open_again(
    state: FamilyState, family: Family, current: str, access: FamilyAccess, *, now: float
) -> FamilyState | None:
    """The family after its first response was repeated with another access token. `None` when that is no longer possible: its
    refresh token was used, the family is a different one, or it has ended."""
    same = state.family.client_id == family.client_id and state.current == current and not state.previous
    return state._replace(live=(*state.live, access)) if same and state.alive(now) else None


def ended(state: FamilyState) -> FamilyState:
    """The state of the ended family. It is remembered, so that its tokens can be told from unknown ones."""
    return state._replace(ended=True, current="", previous="", live=())


def _short(text: str) -> str:
    """An id of 128 bits that is derived from a secret and does not reveal it."""
    return encode(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])
