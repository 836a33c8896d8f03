"""oauth.answering: what every endpoint does alike."""

import asyncio
import json
from typing import NoReturn

import pytest

from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, refusal
from sidecar.oauth.answering import JsonRefusing, answer, settled

REFUSING = JsonRefusing(lambda refused: refusal(refused.reason, refused.detail, ("X-Who", "client")))


def asked(method: str = "POST") -> EndpointRequest:
    return EndpointRequest(method, "/x", "", (), b"", "peer")


def ask(work: object, method: str = "POST", methods: tuple[str, ...] = ("POST",)) -> Reply:
    return asyncio.run(answer(asked(method), work, methods=methods, refusing=REFUSING))  # type: ignore[arg-type]


async def good(_: EndpointRequest) -> Reply:
    return Reply(200, (), b"good")


def raising(exc: Exception) -> object:
    async def work(_: EndpointRequest) -> NoReturn:
        raise exc

    return work


def test_the_reply_of_the_work_is_the_reply() -> None:
    assert ask(good) == Reply(200, (), b"good")


@pytest.mark.parametrize("methods", [("POST",), ("GET", "HEAD")])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "post"])
def test_another_method_is_not_even_tried(method: str, methods: tuple[str, ...]) -> None:
    reply = ask(raising(AssertionError()), method, methods)
    assert (reply.status, dict(reply.headers)["Allow"]) == (405, ", ".join(methods))


def test_a_refusal_is_worded_by_the_endpoint() -> None:
    reply = ask(raising(Refused(Reason.UNKNOWN_CLIENT)))
    assert (reply.status, dict(reply.headers)["X-Who"], reply.reason) == (401, "client", Reason.UNKNOWN_CLIENT)


def test_a_store_that_is_missing_is_503_and_never_401() -> None:
    reply = ask(raising(StoreUnavailable("no connection to secret.host")))
    assert (reply.status, json.loads(reply.body)["reason"]) == (503, "store_unavailable")
    assert b"secret.host" not in reply.body
    assert dict(reply.headers)["Retry-After"]


def test_a_defect_is_the_callers_to_log() -> None:
    with pytest.raises(ZeroDivisionError):
        ask(raising(ZeroDivisionError()))


async def test_work_that_has_begun_is_answered_likewise() -> None:
    async def fail() -> NoReturn:
        raise Refused(Reason.UNKNOWN_CLIENT)

    assert await settled(good(asked()), REFUSING) == Reply(200, (), b"good")
    assert (await settled(fail(), REFUSING)).reason is Reason.UNKNOWN_CLIENT
