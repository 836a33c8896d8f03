"""core.reasons: the closed list of refusals. Its words are a contract with dashboards and clients."""

import re

import pytest

from sidecar.core.reasons import Plane, Reason, Refused
from tests.support.documents import ROOT

CONTRACT = {
    Plane.PROTECTED: """
        missing_token malformed_token bad_signature unknown_key expired not_yet_valid wrong_issuer wrong_audience
        wrong_type revoked multiple_tokens insufficient_scope denied_by_route""",
    Plane.TOKEN: """
        unknown_client bad_client_secret client_disabled invalid_request unsupported_grant unauthorized_grant
        invalid_scope refresh_expired refresh_reused code_replayed throttled""",
    Plane.REQUEST: """
        malformed_request method_not_allowed request_timeout request_line_too_long headers_too_large body_too_large""",
    Plane.UPSTREAM: "upstream_unreachable upstream_invalid upstream_timeout",
    Plane.SIDECAR: "store_unavailable overloaded internal",
}
WORDS = [(plane, word) for plane, words in CONTRACT.items() for word in words.split()]

# Status and OAuth error code; RFC 6750 section 3.1, RFC 6749 section 5.2, RFC 7009 section 2.2.1.
ROWS = {
    Plane.PROTECTED: {
        "invalid_token": {401},
        "invalid_request": {400},
        "insufficient_scope": {403},
        "access_denied": {403},
    },
    Plane.TOKEN: {
        "invalid_client": {401},
        "invalid_request": {400},
        "invalid_scope": {400},
        "invalid_grant": {400},
        "unsupported_grant_type": {400},
        "unauthorized_client": {400, 403},
        "unsupported_response_type": {400},
        "access_denied": {403},
        "login_required": {403},
        "consent_required": {403},
        "temporarily_unavailable": {429},
    },
    Plane.REQUEST: {"invalid_request": {400, 405, 408, 413, 414, 431}},
    Plane.UPSTREAM: {"bad_gateway": {502}, "gateway_timeout": {504}},
    Plane.SIDECAR: {
        "temporarily_unavailable": {503},
        "server_error": {500},
    },
}


@pytest.mark.parametrize(("plane", "word"), WORDS)
def test_the_contracts_word_is_one_reason_of_its_plane(plane: Plane, word: str) -> None:
    assert len([reason for reason in Reason if (reason.plane, reason.word) == (plane, word)]) == 1


def test_no_two_reasons_share_a_plane_and_a_word() -> None:
    rows = [(reason.plane, reason.word) for reason in Reason]
    assert len(set(rows)) == len(rows)


def test_no_reason_is_another_name_of_one() -> None:
    """An enumeration turns two equal rows into one member with two names."""
    assert {name for name, reason in Reason.__members__.items() if name != reason.name} == set()


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_status_and_error_code_are_those_of_the_rfcs(reason: Reason) -> None:
    assert reason.status in ROWS[reason.plane][reason.error]


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_row_can_stand_in_a_label_and_in_a_challenge(reason: Reason) -> None:
    """RFC 6750 section 3: `error_description` holds neither quote nor backslash."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", reason.word)
    assert re.fullmatch(r"[A-Z][\x20\x21\x23-\x5b\x5d-\x7e]{1,98}\.", reason.sentence)
    assert reason.name.lower() in (reason.word, f"{reason.plane}_{reason.word}")


def test_a_store_that_is_down_is_never_the_callers_fault() -> None:
    down = {reason for reason in Reason if reason.word == "store_unavailable"}
    assert {(reason.name, reason.plane) for reason in down} == {("STORE_UNAVAILABLE", Plane.SIDECAR)}
    assert {reason.status for reason in down} == {503}


def test_who_probes_client_ids_reads_one_sentence() -> None:
    told_apart = [
        Reason.UNKNOWN_CLIENT,
        Reason.BAD_CLIENT_SECRET,
        Reason.WRONG_AUTH_METHOD,
        Reason.BAD_CLIENT_ASSERTION,
        Reason.REPLAYED_CLIENT_ASSERTION,
        Reason.CLIENT_DISABLED,
    ]
    assert len({(reason.status, reason.error, reason.sentence) for reason in told_apart}) == 1
    assert {reason for reason in Reason if reason.error == "invalid_client"} == set(told_apart)


def test_who_probes_refresh_tokens_reads_one_sentence() -> None:
    told_apart = [reason for reason in Reason if reason.word.startswith("refresh_")]
    assert len(told_apart) == 4
    assert len({(reason.status, reason.error, reason.sentence) for reason in told_apart}) == 1


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_refusal_says_the_sentence_unless_it_knows_better(reason: Reason) -> None:
    plain, detailed = Refused(reason), Refused(reason, "A detail.", client_id="c")
    assert (plain.reason, plain.detail, plain.client_id) == (reason, reason.sentence, None)
    assert (detailed.reason, detailed.detail, detailed.client_id) == (reason, "A detail.", "c")
    assert str(plain) == str(detailed) == reason.word, "a traceback shows the word alone"


def test_the_reference_explains_every_reason() -> None:
    reference = (ROOT / "docs/reference.md").read_text()
    assert not {reason.word for reason in Reason if f"`{reason.word}`" not in reference}
