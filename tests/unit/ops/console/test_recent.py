"""What a worker remembers for the console."""

from sidecar.core.causes import Cause, Fault
from sidecar.core.events import Decision, RequestDone, SecretUsed, StoreChanged, TokenIssued, TokenRevoked
from sidecar.core.reasons import Reason
from sidecar.ops.console.recent import Recent
from tests.support.console import Clock

TOKEN = "eyJ" + "a" * 80


def refused(path: str = "/orders", reason: Reason | None = Reason.EXPIRED, fault: Fault | None = None) -> RequestDone:
    return RequestDone(Decision.REFUSED, 401, 0.1, None, reason, "GET", path, "reporting", "10.0.0.1", fault, "anna")


def test_a_refusal_says_what_the_log_says() -> None:
    recent = Recent(Clock(5.0))
    fault = Fault(Cause.REFUSED, "the connection was refused", "http://10.0.0.2")
    recent.on_event(refused(reason=Reason.UPSTREAM_UNREACHABLE, fault=fault))
    (found,) = recent.refusals()
    assert (found.at, found.status, found.plane, found.reason) == (5.0, 401, "upstream", "upstream_unreachable")
    assert (found.method, found.path, found.peer) == ("GET", "/orders", "10.0.0.1")
    assert (found.client_id, found.user) == ("reporting", "anna")
    assert (found.cause, found.detail, found.upstream) == (Cause.REFUSED.word, fault.detail, fault.upstream)
    assert recent.upstreams == {"http://10.0.0.2": (5.0, f"{Cause.REFUSED.word}: {fault.detail}")}


def test_tokens_in_a_path_are_hidden_and_long_texts_are_cut() -> None:
    recent = Recent(Clock())
    recent.on_event(refused(f"/a/{TOKEN}"))
    recent.on_event(refused("/" + "x" * 5000))
    recent.on_event(refused("/" + "x" * 1000 + TOKEN))
    recent.on_event(refused("/\udcff"))
    odd, token, long, short = (each.path for each in recent.refusals())
    assert short == "/a/[token]"
    assert len(long) == 1024
    assert "eyJ" not in token
    assert odd == "/?"


def test_only_the_last_ones_are_kept_the_newest_first() -> None:
    clock = Clock()
    recent = Recent(clock, most=3)
    for clock.now in range(5):
        recent.on_event(refused())
    assert [each.at for each in recent.refusals()] == [4, 3, 2]
    assert repr(recent) == "<Recent 3 refusals>"


def test_what_was_not_refused_is_not_kept() -> None:
    recent = Recent(Clock())
    recent.on_event(refused(reason=None))
    recent.on_event(TokenRevoked("reporting", "x"))
    assert recent.refusals() == []


def test_the_last_use_of_a_configured_client_is_known() -> None:
    clock = Clock(1.0)
    recent = Recent(clock)
    recent.on_event(TokenIssued("client_credentials", "a", "x"))
    clock.now = 2.0
    recent.on_event(SecretUsed("b", 1, 2.0))
    assert recent.clients({"a": 1, "c": 1}) == {"a": 1.0}
    assert recent.used == {"a": 1.0, "b": 2.0}


def test_addresses_that_come_and_go_take_no_memory_for_ever() -> None:
    recent = Recent(Clock())
    for number in range(200):
        recent.on_event(refused(fault=Fault(Cause.REFUSED, "", f"http://10.0.0.{number}")))
    assert len(recent.upstreams) == 64
    assert "http://10.0.0.199" in recent.upstreams


def test_the_time_of_the_stores_last_change_is_kept() -> None:
    recent = Recent(Clock(7.0))
    assert recent.store_changed_at is None
    recent.on_event(StoreChanged(up=True, detail=""))
    assert recent.store_changed_at == 7.0
