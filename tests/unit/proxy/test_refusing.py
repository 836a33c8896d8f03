"""proxy.refusing: what a refusal says, and to whom."""

import pytest

from sidecar.core.events import Decision
from sidecar.core.reasons import Plane, Reason, Refused
from sidecar.core.tokens import AccessToken
from sidecar.proxy.refusing import refuse, refused_token, reply_to
from tests.support.decided import Noted, rules

RULES = rules()
TOKEN = AccessToken("j", "anna", "app", (), (), 0, 1)


def challenge(reason: Reason) -> str | None:
    return dict(reply_to(Refused(reason), RULES).headers).get("WWW-Authenticate")


def test_without_a_credential_the_challenge_names_no_error() -> None:
    """RFC 6750 section 3."""
    assert challenge(Reason.MISSING_TOKEN) == 'Bearer realm="https://issuer"'


@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if reason.error in ("invalid_token", "insufficient_scope")], ids=str
)
def test_a_bad_credential_is_challenged_with_the_error(reason: Reason) -> None:
    if reason is not Reason.MISSING_TOKEN:
        expected = f'Bearer realm="https://issuer", error="{reason.error}", error_description="{reason.sentence}"'
        assert challenge(reason) == expected


@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if reason.status in (500, 502, 503, 504, 413, 431)], ids=str
)
def test_what_is_no_credentials_fault_is_not_challenged(reason: Reason) -> None:
    assert challenge(reason) is None


def test_a_method_that_is_never_allowed_is_told_which_are() -> None:
    assert "PATCH" in dict(reply_to(Refused(Reason.METHOD_NOT_ALLOWED), RULES).headers)["Allow"]


def test_a_refusal_names_whose_token_it_was() -> None:
    refused = refused_token(Reason.REVOKED, TOKEN)
    reply = reply_to(refused, RULES)
    assert (reply.client_id, reply.user) == ("app", "anna")


@pytest.mark.parametrize(
    "reason", [Reason.EXPIRED, Reason.MALFORMED_REQUEST, Reason.OVERLOADED, Reason.UPSTREAM_TIMEOUT], ids=str
)
@pytest.mark.parametrize("decision", [Decision.ADMITTED, Decision.LOCAL])
async def test_only_what_was_kept_out_counts_as_refused(reason: Reason, decision: Decision) -> None:
    noted = Noted(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    noted.rules, noted.decision = RULES, decision
    refuse(noted, Refused(reason, client_id="app", user="anna"))  # type: ignore[arg-type]
    kept_out = reason.plane in (Plane.PROTECTED, Plane.REQUEST) and decision is not Decision.LOCAL
    assert noted.decision is (Decision.REFUSED if kept_out else decision)
    assert (noted.client_id, noted.user, noted.reason) == ("app", "anna", reason)
