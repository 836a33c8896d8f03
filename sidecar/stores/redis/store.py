"""State in Redis, shared by all workers of all replicas.

Keys, all under the configured prefix, or under that of a partition, whose braces keep them in one slot of a Cluster
(`core.partitions`):

- `…:revoked`      a sorted set: each `jti` with the second until which it must be remembered; this is the state
- `…:cutoffs`      a hash: the not-before times (`core.revocations`), for the scripts that rotate refresh tokens
- `…:revocations`  a stream of new revocations, which workers follow (`stores.redis.feed`), trimmed to about 10,000
                   entries, in a storm to those of half a minute
- `…:state`        a hash about the set: the number of its entries, and the mark of a loss (`stores.redis.scripts`)
- `…:partitions`   in a Cluster, how many partitions there are (`stores.redis.partitioned`)
- `…:turn`         the process whose turn it is to restore what was lost
- `…:family:ID`    a family of refresh tokens, a hash; `:live` has its access tokens (`stores.redis.family_scripts`)
- `…:unused:ID`    a sorted set: the unused families of a client's own grants
- `…:KIND:ID`      a value that expires by itself

One Lua script writes all parts of a revocation, so a worker never hears of a revocation that is not stored, and never misses
a stored one.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sidecar.core.events import EventHandler
from sidecar.core.oauth.refresh_tokens import (
    MOST_UNUSED,
    Ended,
    Family,
    FamilyAccess,
    FamilyState,
    Outcome,
    Rotated,
    Rotation,
)
from sidecar.core.ports import StoreCondition, StoreUnavailable
from sidecar.core.revocations import NotBefore, family_end
from sidecar.core.throttling import Budget, Consumed
from sidecar.stores.redis import family_scripts, scripts
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.feed import name_of
from sidecar.stores.redis.lua import Argument, Command
from sidecar.stores.redis.revocations import STREAM_LENGTH, RedisRevocations
from sidecar.stores.redis.source import View


class RedisStore:
    """A `Store` in Redis. Times are in seconds; `interval` is the time between heartbeats."""

    def __init__(
        self,
        server: Server,
        *,
        prefix: str,
        interval: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        emit: EventHandler,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._prefix = prefix
        self._server = server
        self._redis = self._server.redis
        self.revocations = RedisRevocations(
            self._server,
            prefix=prefix,
            interval=interval,
            clock=clock,
            monotonic=monotonic,
            emit=emit,
            jitter=jitter,
        )
        self._open_family = self._server.script(family_scripts.OPEN_FAMILY)
        self._rotate = self._server.script(family_scripts.ROTATE)
        self._consume = self._server.script(scripts.CONSUME)
        self._end_family = self._server.script(family_scripts.END_FAMILY)
        self._forget_unused = self._server.script(family_scripts.FORGET_UNUSED)
        self._clock = clock
        self._view: View | None = None

    def __repr__(self) -> str:
        return f"<RedisStore {self.revocations.feed}>"

    # The implementation of `core.ports.RevocationStore`.

    async def revoke(self, jti: str, exp: int) -> None:
        await self.remember([(jti, exp)])
        self._note([(jti, exp)])

    async def set_not_before(self, not_before: NotBefore, until: int) -> None:
        await self.revoke(not_before.entry, until)

    async def remember(self, revocations: list[tuple[str, int]]) -> None:
        """Write revocations. When it raises `StoreUnavailable`, some may have been written."""
        await self.revocations.remember(revocations)

    def _note(self, revocations: list[tuple[str, int]]) -> None:
        """Apply what was just written, before the feed reports it."""
        self.revocations.feed.wrote(revocations)
        if self._view is not None:
            self._view.add(revocations)

    async def follow(self, view: View) -> None:
        self._view = view
        await self.revocations.feed.follow(view)

    def condition(self) -> StoreCondition:
        return self.revocations.condition()

    async def ping(self) -> None:
        await self._run(self._redis.ping, again=True)

    async def close(self) -> None:
        await self._server.close()

    # The implementation of `core.ports.Store`.

    async def add(self, key: str, seconds: int) -> bool:
        return bool(await self._run(lambda: self._redis.set(self._key(key), b"1", ex=seconds, nx=True)))

    async def put(self, key: str, value: str, seconds: int) -> None:
        encoded = value.encode()
        await self._run(lambda: self._redis.set(self._key(key), encoded, ex=seconds))

    async def get(self, key: str) -> str | None:
        value = await self._run(lambda: self._redis.get(self._key(key)), again=True)
        return None if value is None else str(value, "utf-8")

    async def pop(self, key: str) -> str | None:
        value = await self._run(lambda: self._redis.getdel(self._key(key)))
        return None if value is None else str(value, "utf-8")

    async def delete(self, key: str) -> None:
        await self._run(lambda: self._redis.delete(self._key(key)), again=True)

    def _key(self, key: str) -> str:
        return f"{self._prefix}:{key}"

    async def open_family(self, key: str, family: Family, current: str, access: FamilyAccess, idle: int) -> bool:
        args = {
            **self._family_args(key, ended=self._ended_by_not_before(family)),
            "client": family.client_id,
            "subject": family.subject,
            "roles": ",".join(family.roles),
            "scope": " ".join(family.scope),
            "issued": family.issued,
            "ends": family.ends,
            "left": family.ends - self._clock(),
            "idle": idle,
            "current": current,
            "jti": access.jti,
            "till": access.until,
            "most_unused": MOST_UNUSED if family.own and current else 0,
        }
        opened, *unused = await self._run(self._open_family(self._family_keys(key, family.client_id), args))
        if unused:
            forget = self._forget_unused({}, more_keys=[name for each in unused for name in (each, each + b":live")])
            with suppress(StoreUnavailable):  # they expire by themselves after a while
                await self._run(forget, again=True)
        return bool(opened)

    async def rotate(self, key: str, rotation: Rotation) -> Rotated:
        args = {
            **self._family_args(key),
            "asking": rotation.client_id,
            "presented": rotation.presented,
            "successor": rotation.successor,
            "repeats": int(rotation.repeats),
            "idle": rotation.idle,
            "jti": rotation.access.jti,
            "till": rotation.access.until,
        }
        keys = self._family_keys(key, rotation.client_id)
        word, rest = await self._run(self._rotate(keys, args, more_args=rotation.scope))
        outcome = Outcome(word.decode())
        if outcome not in (Outcome.ROTATED, Outcome.REPEATED):
            return Rotated(outcome, revoked=self._ended(rest))
        subject, roles, scope, issued, ends, current = [value.decode() for value in rest]
        family = _family(rotation.client_id, subject, roles, scope, issued, ends)
        if self._ended_by_not_before(family):  # the server does not know the not-before time, or has lost it
            return Rotated(Outcome.ENDED, revoked=(await self.end_family(key)).revoked)
        return Rotated(outcome, family, current)

    async def end_family(self, key: str, client_id: str | None = None, *, forbid: int = 0) -> Ended:
        args = {**self._family_args(key), "asking": client_id or "", "forbid": forbid}
        keys = self._family_keys(key, client_id or "")
        word, revoked = await self._run(self._end_family(keys, args))
        return Ended(Outcome(word.decode()), self._ended(revoked))

    async def read_family(self, key: str) -> FamilyState | None:
        fields = ("client", "subject", "roles", "scope", "issued", "ends", "idle_end", "current", "previous", "rotated",
                  "ended")  # fmt: skip

        async def ask() -> Any:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(self._key(f"family:{key}"), fields)
                pipe.time()
                return await pipe.execute()

        answer, (seconds, microseconds) = await self._run(ask, again=True)
        ahead = seconds + microseconds / 1e6 - self._clock()
        values = {name: value.decode() if value is not None else "" for name, value in zip(fields, answer, strict=True)}
        if not values["client"]:
            return None
        return FamilyState(
            _family(*(values[name] for name in ("client", "subject", "roles", "scope", "issued", "ends"))),
            values["current"],
            float(values["idle_end"]) - ahead,
            values["previous"],
            float(values["rotated"]) - ahead if values["rotated"] else 0.0,
            bool(values["ended"]),
        )

    async def consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
        rates = [value for _, rate in budgets for value in (rate.seconds, rate.interval)]
        keys = [self._key(key) for key, _ in budgets]
        values = await self._run(self._consume({}, more_keys=keys, more_args=rates))
        return [Consumed(bool(taken), float(wait), bool(fresh)) for taken, wait, fresh in values]

    def _family_keys(self, key: str, client_id: str) -> Mapping[str, str]:
        family = self._key(f"family:{key}")
        unused = self._key(f"unused:{client_id}")
        return {"family": family, "live": f"{family}:live", **self.revocations.keys, "unused": unused}

    def _family_args(self, key: str, *, ended: bool = False) -> Mapping[str, Argument]:
        """The arguments of every script about a family. This process may remember an end that the server has lost."""
        entry = family_end(key)
        known = ended or (self._view is not None and entry in self._view)
        return {"clock": self._clock(), "length": STREAM_LENGTH, "end_entry": entry, "end_known": int(known)}

    def _ended_by_not_before(self, family: Family) -> bool:
        """Whether this process knows a not-before time that ended the family."""
        return self._view is not None and self._view.issued_too_early(family.client_id, family.subject, family.issued)

    def _ended(self, revoked: list[bytes]) -> tuple[str, ...]:
        """The ids of the access tokens that a script revoked; `revoked` has pairs of entry and end."""
        entries = [name_of(entry) for entry in revoked[::2]]
        self._note(list(zip(entries, map(self.revocations.feed.end_of, revoked[1::2]), strict=True)))
        return tuple(entry for entry in entries if not entry.startswith(" "))

    async def _run(self, command: Command, *, again: bool = False) -> Any:
        return await self._server.run(command, again=again)


def _family(client_id: str, subject: str, roles: str, scope: str, issued: str, ends: str) -> Family:
    return Family(
        client_id, subject, tuple(filter(None, roles.split(","))), tuple(scope.split()), int(issued), int(ends)
    )
