"""What needs attention, in words."""

from dataclasses import replace

import pytest

from sidecar.ops.console.attention import Level, notices
from sidecar.ops.console.facts import CertificateFacts, Facts
from sidecar.ops.console.history import Minute
from tests.support.console import DAY, NOW, STORE, UPSTREAMS, facts, minutes, troubled, worker

QUIET = [Minute(0.0, 0, {})]


def with_store(**changes: object) -> Facts:
    return facts(workers=[worker(1, store=replace(STORE, **changes)), worker(2)])  # type: ignore[arg-type]


def with_configuration(**changes: object) -> Facts:
    return facts(configuration=replace(facts().configuration, **changes))  # type: ignore[arg-type]


def test_nothing_needs_attention_when_all_is_well() -> None:
    assert notices(facts(), QUIET) == []


CASES: dict[str, tuple[Facts, Level, str, str]] = {
    "going away": (facts(draining=True, ready=False), Level.NOTE, "The sidecar is going away", "new requests elsewhere"),
    "not ready": (
        facts(ready=False, checks={"upstream": "the API is away", "store": "ok"}),
        Level.BAD, "The sidecar is not ready", "upstream: the API is away",
    ),
    "missing workers": (
        facts(workers=[worker(1)], cannot_start="no thread"), Level.BAD, "1 of 2 workers do not answer", "no thread",
    ),
    "a store that is away for a moment": (
        with_store(up=False, staleness=2.0, fault="redis:6379: refused"), Level.BAD, "The store does not answer", "still admitted",
    ),
    "a store that is away for long": (
        with_store(up=False, known=False, staleness=80.0, fault="redis:6379: refused"),
        Level.BAD, "The store does not answer", "get 503, unless on_outage allows more: what is known of revocations is 1 min old",
    ),
    "a store that never answered": (
        with_store(up=False, known=False, staleness=1e9), Level.BAD, "The store does not answer", "is not known yet",
    ),
    "a store without writes": (
        with_store(fault_of_writes="READONLY"), Level.BAD, "The store takes no writes", "READONLY",
    ),
    "another clock": (with_store(skew=-3.0), Level.WARNING, "The store's clock is 3 s behind", "synchronise"),
    "odd entries": (with_store(unreadable=2), Level.WARNING, "2 entries of the store cannot be read", "is refused"),
    "one address": (
        facts(workers=[worker(1, upstreams=UPSTREAMS)]), Level.WARNING, "An address of the API is passed over", "10.0.4.18",
    ),
    "all addresses": (
        facts(workers=[worker(1, upstreams=UPSTREAMS[1:])]), Level.BAD, "The API does not answer properly", "502 or 504",
    ),
    "a file with faults": (
        with_configuration(faults=["listen: x"]), Level.WARNING, "The configuration file has faults", "listen: x",
    ),
    "a change that waits": (with_configuration(at_restart=["workers"]), Level.NOTE, "Changes wait for a restart", "workers"),
    "an old certificate": (
        facts(certificates=[CertificateFacts("tls.certificate", "/c.pem", NOW - DAY)]),
        Level.BAD, "tls.certificate expired 1 d ago", "Renew /c.pem",
    ),
    "a certificate that ends soon": (
        facts(certificates=[CertificateFacts("tls.certificate", "/c.pem", NOW + DAY)]),
        Level.WARNING, "tls.certificate expires in 1 d", "Renew /c.pem",
    ),
    "an unreadable certificate": (
        facts(certificates=[CertificateFacts("tls.client_ca", "/c.pem", None, "cannot be read")]),
        Level.WARNING, "tls.client_ca: cannot be read", "/c.pem",
    ),
    "old keys": (facts(keys_lapsed=True), Level.BAD, "No signing key is within its time", "Add a key"),
    "memory": (
        facts(workers=[worker(1, memory_held=90, memory_limit=100), worker(2)]),
        Level.WARNING, "1 worker near the limit of memory", "limits.memory",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_with_what_follows(case: str) -> None:
    shown, level, title, text = CASES[case]
    found = [notice for notice in notices(shown, QUIET) if notice.title == title]
    assert len(found) == 1, notices(shown, QUIET)
    assert found[0].level is level
    assert text in " ".join([found[0].text, *found[0].more])


@pytest.mark.parametrize("case", ["a store that is away for long", "one address", "all addresses"])
def test_the_last_line_is_what_to_do(case: str) -> None:
    shown, _, title, _ = CASES[case]
    (found,) = [notice for notice in notices(shown, QUIET) if notice.title == title]
    assert "by itself. For the cause and the remedy: sidecar doctor --config " in found.more[-1]
    assert len(found.more) == 2


def test_failures_are_named_with_what_to_do() -> None:
    (notice,) = notices(facts(), [Minute(0.0, 50, {"sidecar internal": 3, "protected expired": 1})])
    assert notice.title == "3 requests failed in the last 5 minutes"
    assert notice.more == ["3 × internal: A defect of the sidecar: internal_error in the log has the traceback."]


@pytest.mark.parametrize(("refused", "told"), [(19, False), (20, True)])
def test_many_refusals_are_worth_a_look(refused: int, told: bool) -> None:
    found = notices(facts(), [Minute(0.0, 60, {"protected expired": refused})])
    assert bool(found) is told
    assert not notices(facts(), [Minute(0.0, 6000, {"protected expired": refused})])


def test_only_the_last_minutes_count() -> None:
    assert notices(facts(), [Minute(300.0, 9, {"sidecar internal": 9}), *QUIET * 5]) == []


def test_the_worst_comes_first() -> None:
    found = notices(replace(troubled(), keys_lapsed=True, draining=True), minutes())
    assert [notice.level for notice in found] == sorted(notice.level for notice in found)
    assert (found[0].level, found[-1].level) == (Level.BAD, Level.NOTE)
