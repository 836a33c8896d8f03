"""What every endpoint does alike: refuse other methods, turn a refusal into a reply, and say 503 when the store is missing."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import TRY_THE_SAME_AGAIN, Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, refusal


class Refusing(Protocol):
    """Words the replies of an endpoint that does not do what it was asked."""

    def refuse(self, refused: Refused) -> Reply:
        """The reply to a refusal."""

    def not_allowed(self, methods: tuple[str, ...]) -> Reply:
        """405, with the methods that are (RFC 9110 section 15.5.6)."""

    def unavailable(self) -> Reply:
        """503: the store does not answer."""


async def answer(
    request: EndpointRequest,
    work: Callable[[EndpointRequest], Awaitable[Reply]],
    *,
    methods: tuple[str, ...],
    refusing: Refusing,
) -> Reply:
    """The reply of `work`, or the one in its place. Raises nothing but defects."""
    if request.method not in methods:
        return refusing.not_allowed(methods)
    try:
        return await work(request)
    except Refused as exc:
        return refusing.refuse(exc)
    except StoreUnavailable:
        return refusing.unavailable()


class JsonRefusing:
    """For clients: the JSON of RFC 6749 section 5.2. `refuse` adds what the client's authentication needs."""

    def __init__(self, refuse: Callable[[Refused], Reply]) -> None:
        self.refuse = refuse

    def not_allowed(self, methods: tuple[str, ...]) -> Reply:
        """405."""
        answered = " and ".join(methods)
        sentence = f"Only {answered} {'is' if len(methods) == 1 else 'are'} answered here."
        return refusal(Reason.METHOD_NOT_ALLOWED, sentence, ("Allow", ", ".join(methods)))

    def unavailable(self) -> Reply:
        """503."""
        return refusal(Reason.STORE_UNAVAILABLE, TRY_THE_SAME_AGAIN)
