"""core.replies: what we say ourselves."""

import json

import pytest

from sidecar.core.reasons import Reason
from sidecar.core.replies import (
    JSON,
    NO_STORE,
    EndpointRequest,
    Reply,
    json_reply,
    refusal,
    shown_word,
    with_fields,
    with_retry_after,
    without_code,
)  # fmt: skip


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_refusal_has_the_members_of_rfc_6749_and_ours(reason: Reason) -> None:
    reply = refusal(reason)
    body = json.loads(reply.body)
    assert (reply.status, body["error"], body["code"]) == (reason.status, reason.error, reason.status)
    assert body["error_description"] == reason.sentence
    assert body["reason"] == shown_word(reason)
    assert NO_STORE in reply.headers
    assert ("Retry-After" in dict(reply.headers)) is (reason.status in (429, 503))


def test_why_a_client_was_not_recognised_is_not_told() -> None:
    words = {shown_word(reason) for reason in Reason if reason.error == "invalid_client"}
    assert words == {"invalid_client"}
    assert len({refusal(reason).body for reason in (Reason.UNKNOWN_CLIENT, Reason.BAD_CLIENT_SECRET)}) == 1


def test_a_refusal_says_the_detail_and_names_who_it_was_for_the_log_alone() -> None:
    reply = refusal(Reason.INVALID_REQUEST, "The parameter x is missing.", ("X-A", "b"), client_id="app", user="anna")
    assert json.loads(reply.body)["error_description"] == "The parameter x is missing."
    assert (reply.client_id, reply.user) == ("app", "anna")
    assert b"anna" not in reply.body
    assert ("X-A", "b") in reply.headers


def test_json_is_never_kept_by_a_cache() -> None:
    reply = json_reply(200, {"a": "ä"}, ("Pragma", "no-cache"), client_id="app")
    assert reply.headers == (JSON, NO_STORE, ("Pragma", "no-cache"))
    assert json.loads(reply.body) == {"a": "ä"}
    assert reply.body.endswith(b"\n")


def test_a_time_to_try_again_replaces_the_one_that_was_there() -> None:
    reply = refusal(Reason.THROTTLED)
    assert with_retry_after(reply, None) is reply
    assert [value for name, value in with_retry_after(reply, 42).headers if name == "Retry-After"] == ["42"]


def test_fields_are_added_once() -> None:
    reply = Reply(200, (("A", "1"),), b"")
    assert with_fields(reply, (("A", "1"),)) is reply
    assert with_fields(reply, (("A", "1"), ("B", "2"))).headers == (("A", "1"), ("B", "2"))


def test_the_integer_code_is_tapdatas_alone() -> None:
    reply = without_code(refusal(Reason.EXPIRED))
    assert json.loads(reply.body).keys() == {"error", "error_description", "reason"}
    assert reply.reason is Reason.EXPIRED
    good = json_reply(200, {"code": 7})
    assert without_code(good) is good
    page = Reply(400, (("Content-Type", "text/html"),), b"<p>", Reason.INVALID_REQUEST)
    assert without_code(page) is page


def test_headers_are_found_whatever_their_case_and_in_order() -> None:
    request = EndpointRequest("GET", "/", "", (("X-A", "1"), ("x-a", "2"), ("X-B", "3")), b"", "peer")
    assert request.header_values("x-a") == ["1", "2"]
    assert request.header_values("x-c") == []
