"""core.causes: the closed list of what goes wrong between the sidecar and the API. Its words are for dashboards and logs."""

import re

import pytest

from sidecar.core.causes import Cause, Fault
from sidecar.core.reasons import Plane, Reason
from tests.support.documents import ROOT

DOCUMENT = (ROOT / "docs/failures.md").read_text()


def test_no_two_causes_share_a_word_and_none_is_another_name_of_one() -> None:
    assert len({cause.word for cause in Cause}) == len(Cause.__members__)
    assert all(cause.name.lower() == cause.word for cause in Cause)


@pytest.mark.parametrize("cause", Cause, ids=str)
def test_a_cause_is_a_word_and_a_sentence_behind_a_reason_of_the_api_or_of_ours(cause: Cause) -> None:
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", cause.word)
    assert re.fullmatch(r"[a-zA-Z][\x20-\x7e]{15,120}[^.]", cause.sentence)
    assert cause.reason.plane is Plane.UPSTREAM or cause.reason in (Reason.OVERLOADED, Reason.MALFORMED_REQUEST)
    assert cause.word != cause.reason.word


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.plane is Plane.UPSTREAM], ids=str)
def test_no_failure_of_the_api_is_without_a_cause(reason: Reason) -> None:
    assert {cause for cause in Cause if cause.reason is reason}


def test_a_fault_says_the_sentence_and_what_is_known_besides() -> None:
    assert Fault(Cause.CUT_SHORT).detail == Cause.CUT_SHORT.sentence
    assert Fault(Cause.CUT_SHORT, "reset").detail == f"{Cause.CUT_SHORT.sentence}: reset"
    assert Fault(Cause.CUT_SHORT).reason is Reason.UPSTREAM_INVALID


def test_the_documentation_has_every_cause_beside_its_reason() -> None:
    found, reason = {}, ""
    for line in DOCUMENT[DOCUMENT.index("## Causes") :].splitlines():
        if line.startswith("| ") and "---" not in line and "| cause |" not in line:
            first, causes = line.split("|")[1:3]
            reason = first.strip().strip("`") or reason
            found |= dict.fromkeys(re.findall("`([a-z0-9_]+)`", causes), reason)
    assert found == {cause.word: cause.reason.word for cause in Cause}
