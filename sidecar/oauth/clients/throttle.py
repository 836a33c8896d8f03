"""Limits on the guessing of client secrets and of passwords.

Rules:
- Only failures are counted: a client that gets thousands of tokens a second is not slowed down, and costs one dictionary
  lookup. `requests_per_client`, when the operator sets it, counts every request.
- There are budgets for each address, for each client or user, and for each pair of both. The budget of a client or user stops
  only an address that has failed before, so a storm from any number of addresses locks out nobody at another address.
- Many clients may share one address. A client whose secret cannot be guessed (32 characters or more, or a key) is never stopped
  when it presents the right one, because it needs no protection.
- Failures under names that do not exist are counted like the others.
- The number of attempts that are not counted yet is limited: guessing in parallel is no faster than guessing in sequence.
- All processes share the budgets. When a process learns that an address has to wait, it applies that without asking the store
  again. While the store is down each process counts for itself.
"""

import ipaddress
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final, NamedTuple, NoReturn, Protocol

from sidecar.core.base64url import InvalidBase64url, decode
from sidecar.core.digests import digest
from sidecar.core.jose.compact import Malformed, read_object
from sidecar.core.oauth.clients import Client
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, with_retry_after
from sidecar.core.throttling import Budget, Budgets, Consumed, Rate
from sidecar.oauth.clients.basic import InvalidBasic, basic_credentials
from sidecar.oauth.parameters import Parameters, form_decoded

_MOST_STOPPED: Final = 100_000
_MOST_OPEN: Final = 4  # attempts with one name from one address that are not counted yet


class Rates(NamedTuple):
    """How many failures are allowed; `None`: any number."""

    address: Rate | None
    name: Rate | None
    both: Rate | None


class Authenticator(Protocol):
    """See `oauth.clients.authentication.ClientAuthenticator`."""

    async def authenticate(self, request: EndpointRequest, parameters: Parameters) -> Client: ...
    def begin(self, request: EndpointRequest, parameters: Parameters) -> Client | Awaitable[Client]: ...
    def refuse(self, refused: Refused) -> Reply: ...


class KnowingAuthenticator(Authenticator, Protocol):
    """An `Authenticator` that knows the configured clients."""

    def name(self, claimed: str) -> str | None: ...


class Memory:
    """What a process knows about the names of one kind, independent of the rates. `alone` are the budgets while the store is
    down; `stopped` has the time (monotonic seconds) until which a key has to wait; `open` counts the attempts of each key that
    are not counted in a budget yet."""

    def __init__(self) -> None:
        self.alone = Budgets()
        self.stopped: dict[str, float] = {}
        self.open: Counter[str] = Counter()


class Throttle:
    """Counts failures by name, for names of one kind (`client`, `user`). `monotonic` gives seconds."""

    def __init__(
        self, kind: str, rates: Rates, *, memory: Memory, store: Store, monotonic: Callable[[], float]
    ) -> None:
        self._kind = kind
        self._rates = rates
        self._store = store
        self._monotonic = monotonic
        self._memory = memory
        self._alone = memory.alone
        self._open = memory.open

    def __repr__(self) -> str:
        return f"<Throttle {self._kind} {len(self._memory.stopped)} stopped>"

    @property
    def stops(self) -> bool:
        """Whether any caller may have to wait."""
        return bool(self._memory.stopped) or bool(self._open)

    def wait(self, name: str, address: str) -> float:
        """Seconds that an attempt has to wait, as far as this process knows; 0 when it is allowed now."""
        now = self._monotonic()
        of_address, of_both = self._key("", address), self._key(name, address)
        wait = max(self._memory.stopped.get(of_address, now), self._memory.stopped.get(of_both, now)) - now
        return max(0.0, wait, 1.0 if self._open[of_both] >= _MOST_OPEN else 0.0)

    @contextmanager
    def open(self, name: str, address: str) -> Iterator[None]:
        """Enclose an attempt that may still have to be counted."""
        key = self._key(name, address)
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    async def count(self, name: str, address: str) -> float:
        """Count a failure. Returns the seconds until the next attempt is allowed, 0 when it is allowed now."""
        named = [
            (self._key("", address), self._rates.address),
            (self._key(name, address), self._rates.both),
            (self._key(name, ""), self._rates.name),
        ]
        consumed = await self._consume([Budget(key, rate) for key, rate in named if rate is not None])
        by_key = dict(zip([key for key, rate in named if rate is not None], consumed, strict=True))
        of_address, of_both, of_name = (
            by_key.get(key, Consumed(taken=True, wait=0.0, fresh=False)) for key, _ in named
        )
        together = max(of_both.wait, 0.0 if of_both.fresh else of_name.wait)
        self._stop(named[0][0], of_address.wait)
        self._stop(named[1][0], together)
        return max(of_address.wait, together)

    async def consume(self, name: str, rate: Rate) -> float:
        """Count a request of a name, from any address. Returns the seconds to wait, 0 when the request is allowed."""
        (consumed,) = await self._consume([Budget(self._key(name, "") + ":all", rate)])
        return 0.0 if consumed.taken else consumed.wait

    async def _consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
        if not budgets:
            return []
        try:
            return await self._store.consume(budgets)
        except StoreUnavailable:
            return self._alone.consume(budgets, self._monotonic())

    def _stop(self, key: str, wait: float) -> None:
        if wait <= 0:
            return
        now = self._monotonic()
        if len(self._memory.stopped) >= _MOST_STOPPED:
            self._memory.stopped = {known: until for known, until in self._memory.stopped.items() if until > now}
        if len(self._memory.stopped) < _MOST_STOPPED:
            self._memory.stopped[key] = now + wait

    def _key(self, name: str, address: str) -> str:
        """Callers choose names and addresses freely: a digest limits their length, and keeps user names out of the store."""
        return f"throttle:{self._kind}:{digest(f'{len(name)}:{name}{address}')[:32]}"


class ThrottledClients:
    """An `Authenticator` that slows down repeated failures. `unguessable`: ids of the clients that can authenticate only with a
    credential that cannot be guessed."""

    def __init__(
        self,
        authenticator: KnowingAuthenticator,
        throttle: Throttle,
        *,
        unguessable: Container[str],
        requests: Rate | None,
    ) -> None:
        self._authenticator = authenticator
        self._throttle = throttle
        self._unguessable = unguessable
        self._requests = requests

    async def authenticate(self, request: EndpointRequest, parameters: Parameters) -> Client:
        """Like `ClientAuthenticator.authenticate`; also raises `Refused(THROTTLED)`."""
        begun = self.begin(request, parameters)
        return begun if isinstance(begun, Client) else await begun

    def begin(self, request: EndpointRequest, parameters: Parameters) -> Client | Awaitable[Client]:
        """Like `ClientAuthenticator.begin`; both also raise `Refused(THROTTLED)`. What is returned must be awaited, because a
        failure may have to be counted."""
        wait = self._wait(request, parameters) if self._throttle.stops else 0.0
        try:
            begun = self._authenticator.begin(request, parameters)
        except Refused as refused:
            return self._failed(request, parameters, refused, wait)
        if self._requests is None and isinstance(begun, Client):
            return begun
        return self._finish(request, parameters, begun, wait)

    async def _finish(
        self, request: EndpointRequest, parameters: Parameters, begun: Client | Awaitable[Client], wait: float
    ) -> Client:
        try:
            client = begun if isinstance(begun, Client) else await begun
        except Refused as refused:
            client = await self._failed(request, parameters, refused, wait)
        if self._requests is not None:
            wait = await self._throttle.consume(client.client_id, self._requests)
            if wait:
                _throttled(wait, client.client_id)
        return client

    def _failed(
        self, request: EndpointRequest, parameters: Parameters, refused: Refused, wait: float
    ) -> Awaitable[NoReturn]:
        """Count a failure, and raise `refused`. The attempt is open from now on and not from when the result is awaited: many
        attempts may begin before the first of them is counted."""
        if refused.reason.error != "invalid_client":
            raise refused
        name, network = claimed_id(request, parameters), network_of(request.peer)
        if wait:
            _throttled(wait, self._authenticator.name(name))
        with ExitStack() as attempt:
            attempt.enter_context(self._throttle.open(name, network))
            return self._count(name, network, refused, attempt.pop_all())

    async def _count(self, name: str, network: str, refused: Refused, attempt: ExitStack) -> NoReturn:
        with attempt:
            await self._throttle.count(name, network)
        raise refused

    def _wait(self, request: EndpointRequest, parameters: Parameters) -> float:
        """Seconds that the caller has to wait. Raises `Refused(THROTTLED)` unless it is 0 or the client is unguessable: such a
        client may still authenticate."""
        name = claimed_id(request, parameters)
        wait = self._throttle.wait(name, network_of(request.peer))
        if wait and name not in self._unguessable:
            _throttled(wait, self._authenticator.name(name))
        return wait

    def refuse(self, refused: Refused) -> Reply:
        """The reply to a refusal, with `Retry-After` when there is a time to wait."""
        return with_retry_after(self._authenticator.refuse(refused), refused.retry_after)


class ThrottledLogins:
    """Counts failed logins; see `oauth.login.passwords.LoginThrottle`."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    def check(self, username: str, peer: str) -> None:
        """Raises `Refused(THROTTLED)` when the user has to wait."""
        wait = self._throttle.wait(username, network_of(peer)) if self._throttle.stops else 0.0
        if wait:
            _throttled(wait)

    def open(self, username: str, peer: str) -> AbstractContextManager[None]:
        """Enclose an attempt."""
        return self._throttle.open(username, network_of(peer))

    async def failed(self, username: str, peer: str) -> None:
        """Count a failure."""
        await self._throttle.count(username, network_of(peer))


def _throttled(wait: float, client_id: str | None = None) -> NoReturn:
    seconds = math.ceil(wait)
    detail = f"Too many requests; try again in {seconds} second{'s' if seconds > 1 else ''}."
    raise Refused(Reason.THROTTLED, detail, client_id=client_id, retry_after=seconds)


def network_of(peer: str) -> str:
    """What counts as one address. For IPv6 it is the /64 network, because a host with one address of it can use all of them."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))


def claimed_id(request: EndpointRequest, parameters: Parameters) -> str:
    """The `client_id` that a request claims, not authenticated; empty when the request claims none."""
    if "client_id" in parameters:
        return parameters["client_id"]
    if "client_assertion" in parameters:
        return _subject_of(parameters["client_assertion"])
    try:
        text, _ = basic_credentials(next(iter(request.header_values("authorization")), ""))
    except InvalidBasic:
        return ""
    try:
        return form_decoded(text)
    except Refused:
        return text


def _subject_of(assertion: str) -> str:
    payload = assertion.split(".")[1:2]
    try:
        subject = read_object(decode("".join(payload))).get("sub")
    except (InvalidBase64url, Malformed):
        return ""
    return subject if isinstance(subject, str) else ""
