"""Refresh tokens (RFC 6749 section 6): families of opaque tokens, rotated at each use (RFC 9700 section 4.14.2).

A *family* is all that came of one grant. Its tokens are `FAMILY.SECRET`, 128 and 256 random bits in base64url; the store has
digests of them only. At any time one token of a family is *current*; using it makes its successor the current one, and itself
the *previous* one.

Rules of a rotation, in this order; a store takes it as one step (`rotate`, and a Lua function that says the same):

1. No such family: `UNKNOWN`. Another client's: `FOREIGN`; nothing changes, so that nobody can end what is not theirs.
2. The family was ended: `ENDED`. Its time is over: `EXPIRED`. What was granted so early has ended (`core.revocations`):
   `ENDED`.
3. The previous token: `REPEATED`. The current one follows from it and was never used, so an answer was lost, or many requests
   were sent at once: the same successor is given again, however late and however often. Not where the operator wants each
   token to be good for one use whatever happens.
4. Any token but the current one: what came of it was used. Somebody has a copy, so all that the family gave ends: `REUSED`.
5. A scope is asked for that the family has not: `BEYOND_SCOPE`; nothing changes.
6. `ROTATED`.

The successor follows from the token by an HMAC whose key is not in the store. That is how it can be given again without being
kept, and why whoever reads the store cannot make one. The key follows from a signing key; while those are rotated, the
successor that was given is found by trying each. The first token follows the same way: from the code that it was given for
(`of_code`), so that a lost answer can be given again (`open_again`), or from its client, of a grant that a client gave itself.

A client may ask for many grants of its own and use none (RFC 6749 section 4.4.3 advises against refresh tokens there). The
newest `MOST_UNUSED` of a client are kept, and the oldest that was never used goes. Its first access token can be ended by the
refresh token all the same, for its id follows from the grant's (`first_access`).
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
"""Grants that a client gave itself and has not used yet, of each client."""


class Family(NamedTuple):
    """What a grant gave, which never changes. `issued` and `ends` are epoch seconds."""

    client_id: str
    subject: str
    roles: tuple[str, ...]
    scope: tuple[str, ...]
    issued: int
    ends: int

    @property
    def own(self) -> bool:
        """Whether the client gave it to itself (RFC 6749 section 4.4): no user is named like a client."""
        return self.subject == self.client_id


class FamilyAccess(NamedTuple):
    """An access token of a family: its `jti`, and when a revocation of it may be forgotten (epoch seconds)."""

    jti: str
    until: int


class FamilyState(NamedTuple):
    """A family and what became of it. `current` and `previous` are digests, empty when there is none; `idle_end` and
    `rotated` are epoch seconds, `live` the access tokens that may still be valid."""

    family: Family
    current: str
    idle_end: float
    previous: str = ""
    rotated: float = 0.0
    ended: bool = False
    live: tuple[FamilyAccess, ...] = ()

    def alive(self, now: float) -> bool:
        """Whether a token of the family can be valid at `now` (epoch seconds)."""
        return not self.ended and now < min(self.family.ends, self.idle_end)

    def forgotten(self, now: float) -> bool:
        """Whether nothing of the family can be valid at `now`, so that it need not be remembered."""
        return now >= max([min(self.family.ends, self.idle_end), *(access.until for access in self.live)])


class Rotation(NamedTuple):
    """A request to use a token: the digests of what was `presented` and of its `successor`; `scope`, if one was asked for;
    the access token that is to be issued; whether a token `repeats` what it gave; `idle` in seconds."""

    client_id: str
    presented: str
    successor: str
    scope: tuple[str, ...]
    access: FamilyAccess
    repeats: bool
    idle: int


class Outcome(StrEnum):
    """What became of a rotation; see the rules of this module."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    ENDED = "ended"
    EXPIRED = "expired"
    REUSED = "reused"
    BEYOND_SCOPE = "beyond_scope"


REFUSALS: Final = {
    Outcome.UNKNOWN: Reason.REFRESH_EXPIRED,  # a family is forgotten after its end
    Outcome.FOREIGN: Reason.FOREIGN_TOKEN,
    Outcome.ENDED: Reason.REFRESH_REVOKED,
    Outcome.EXPIRED: Reason.REFRESH_EXPIRED,
    Outcome.REUSED: Reason.REFRESH_REUSED,
    Outcome.BEYOND_SCOPE: Reason.INVALID_SCOPE,
}


class Rotated(NamedTuple):
    """`family` and `current`, the digest of the token to give, when it is `ROTATED` or `REPEATED`; `revoked`, the ids of the
    access tokens that it ended."""

    outcome: Outcome
    family: Family | None = None
    current: str = ""
    revoked: tuple[str, ...] = ()


class Ended(NamedTuple):
    """The end of a family: `UNKNOWN`, `FOREIGN` (nothing changed) or `ENDED`, and the ids of the access tokens that ended."""

    outcome: Outcome
    revoked: tuple[str, ...] = ()


def new_token(grant_id: str, secret: bytes) -> str:
    """The first token of a family: its grant's id, which is 16 random bytes in base64url, and 32 random bytes."""
    return f"{grant_id}.{encode(secret)}"


def first_token(grant_id: str, seed: str, key: bytes) -> str:
    """The first token of a family, which follows from `seed`: `of_code` or `of_client`. Neither looks like a token, from which
    a successor follows."""
    return new_token(grant_id, hmac.digest(key, f"{seed} {grant_id}".encode(), "sha256"))


def of_code(code: str) -> str:
    """What the first token of a grant follows from that an authorization code was given for."""
    return f"code {code}"


def of_client(client_id: str) -> str:
    """What the first token of a grant follows from that a client gave itself."""
    return f"client {client_id}"


def grant_of_code(code: str) -> str:
    """The id of the grant that a code stands for: it can be ended when nothing is remembered of the code."""
    return _short(f"auth-sidecar grant of {code}")


def first_access_id(grant_id: str) -> str:
    """The `jti` of the first access token of a grant that a client gave itself. It does not show the grant's id."""
    return _short(f"auth-sidecar access token of {grant_id}")


def first_access(token: str, client_id: str, keys: Iterable[bytes]) -> str | None:
    """The `jti` of the access token that was given with `token`, if that is the first one of a grant that the client gave
    itself; it need not be known to the store any more."""
    grant_id = token.partition(".")[0]
    made = (first_token(grant_id, of_client(client_id), key) for key in keys)
    return first_access_id(grant_id) if any(hmac.compare_digest(each, token) for each in made) else None


def family_key(token: str) -> str | None:
    """The key in the store of the family of a token; `None` for what was never a refresh token."""
    match = _TOKEN.fullmatch(token)
    return digest(match[1]) if match else None


def derived_key(secret: bytes) -> bytes:
    """The key for successors that belongs to a signing key: HKDF-SHA256 (RFC 5869) without salt, one block."""
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), _LABEL + b"\1", "sha256")


def successor(token: str, key: bytes) -> str:
    """The token that comes after `token`, which is one."""
    return f"{token.partition('.')[0]}.{encode(hmac.digest(key, token.encode(), 'sha256'))}"


def given_successor(token: str, current: str, keys: Iterable[bytes]) -> str | None:
    """The successor whose digest is `current`; `None` when the key that made it is gone."""
    return next((after for after in (successor(token, key) for key in keys) if digest(after) == current), None)


def rotate(
    state: FamilyState, rotation: Rotation, *, issued_too_early: bool, now: float
) -> tuple[Outcome, FamilyState]:
    """Rules 1 to 6 for a family that is there; what it is afterwards. The caller revokes what was live of one that ended.

    `issued_too_early`: a not-before time has ended what was granted when the family was.
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
    """The family after its first answer was given again, with another access token; `None` when that is too late: something of
    the answer was used, or the family is another one or has ended."""
    same = state.family.client_id == family.client_id and state.current == current and not state.previous
    return state._replace(live=(*state.live, access)) if same and state.alive(now) else None


def ended(state: FamilyState) -> FamilyState:
    """The family, ended; remembered as such, so that a token of it is told from one that never was."""
    return state._replace(ended=True, current="", previous="", live=())


def _short(text: str) -> str:
    """An id of 128 bits that follows from something secret, and does not show it."""
    return encode(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])
