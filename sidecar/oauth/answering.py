"""The code that all endpoints share: refuse other methods, turn a refusal into a reply, and answer 503 when the store is
unavailable."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import TRY_THE_SAME_AGAIN, Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, refusal


class Refusing(Protocol):
    """Makes the error replies of an endpoint."""

    def refuse(self, refused: Refused) -> Reply:
        """The reply to a refusal."""

    def not_allowed(self, methods: tuple[str, ...]) -> Reply:
        """405, with the allowed methods (RFC 9110 section 15.5.6)."""

    def unavailable(self) -> Reply:
        """503: the store does not answer."""


async def answer(
    request: EndpointRequest,
    work: Callable[[EndpointRequest], Awaitable[Reply]],
    *,
    methods: tuple[str, ...],
    refusing: Refusing,
) -> Reply:
    """The reply of `work`, or an error reply in its place. Every exception that this raises is a defect."""
    if request.method not in methods:
        return refusing.not_allowed(methods)
    return await settled(work(request), refusing)


async def settled(work: Awaitable[Reply], refusing: Refusing) -> Reply:
    """The reply of `work`, or an error reply in its place."""
    try:
        return await work
    except Refused as exc:
        return refusing.refuse(exc)
    except StoreUnavailable:
        return refusing.unavailable()


class JsonRefusing:
    """Error replies for clients, in the JSON of RFC 6749 section 5.2. `refuse` adds the headers that client authentication
    needs."""

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
