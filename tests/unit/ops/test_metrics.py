"""Counting and the exposition: bounded labels, everything present from the start, workers that add up."""

import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.causes import Cause, Fault
from sidecar.core.events import (
    Decision,
    LoginFailed,
    LogoutFailed,
    RequestDone,
    SecretUsed,
    StoreChanged,
    StoreUsed,
    TokenIssued,
    TokenRevoked,
    UserLoggedIn,
    UserLoggedOut,
)
from sidecar.core.reasons import Plane, Reason
from sidecar.ops.exposition import render
from sidecar.ops.metrics import Metrics
from sidecar.ops.snapshots import Accumulator, Readings, Snapshot, without_gauges

ALONE = {
    "sidecar_bad_requests_total": Plane.REQUEST,
    "sidecar_upstream_failures_total": Plane.UPSTREAM,
    "sidecar_own_failures_total": Plane.SIDECAR,
}

COUNTED = ("cache_hits", "cache_misses", "log_lines_dropped")


def metrics(**values: Any) -> Metrics:
    """Metrics of a worker whose other parts say this: `cache_hits` and the like."""
    names = {"cache_hits": "sidecar_token_cache_hits_total", "cache_misses": "sidecar_token_cache_misses_total"}
    names["log_lines_dropped"] = "sidecar_log_lines_dropped_total"
    counters = {names[name]: {"": values.get(name, 0)} for name in COUNTED}
    gauges = {f"sidecar_{name}": {"": value} for name, value in values.items() if name not in COUNTED}
    return Metrics(lambda: Readings(counters, gauges))


def done(
    decision: Decision = Decision.ADMITTED,
    status: int = 200,
    reason: Reason | None = None,
    seconds: float = 0.002,
    upstream: float | None = None,
    **more: Any,
) -> RequestDone:
    return RequestDone(decision, status, seconds, upstream, reason, "GET", "/x", None, "127.0.0.1", **more)


def samples(*snapshots: Snapshot) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample: its name and its labels' values in the order of their names."""
    through_json = [json.loads(json.dumps(snapshot)) for snapshot in snapshots]
    text = render(through_json).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_every_reason_is_there_from_the_start_at_zero() -> None:
    found = samples(metrics().snapshot())

    def shown(name: str) -> dict[tuple[str, ...], float]:
        return {labels: value for (found_name, labels), value in found.items() if found_name == name}

    assert shown("sidecar_auth_failures_total") == {
        (r.plane.value, r.word): 0 for r in Reason if r.plane in (Plane.PROTECTED, Plane.TOKEN)
    }
    for name, plane in ALONE.items():
        assert shown(name) == {(r.word,): 0 for r in Reason if r.plane is plane}
    assert found["sidecar_tokens_issued_total", ("client_credentials",)] == 0
    assert found["sidecar_upstream_failures_total", ("upstream_unreachable",)] == 0


def test_a_refusal_is_counted_by_plane_and_reason() -> None:
    counter = metrics()
    counter.on_event(done(Decision.REFUSED, 401, Reason.EXPIRED))
    counter.on_event(done(Decision.REFUSED, 503, Reason.STORE_UNAVAILABLE))
    counter.on_event(done(Decision.LOCAL, 503, Reason.STORE_UNAVAILABLE))
    found = samples(counter.snapshot())
    assert found["sidecar_auth_failures_total", ("protected", "expired")] == 1
    assert found["sidecar_own_failures_total", ("store_unavailable",)] == 2
    assert sum(value for (name, _), value in found.items() if name == "sidecar_auth_failures_total") == 1
    assert found["sidecar_requests_total", ("401", "refused")] == 1


def test_an_upstreams_fault_is_no_authentication_failure() -> None:
    counter = metrics()
    counter.on_event(done(status=502, reason=Reason.UPSTREAM_INVALID))
    found = samples(counter.snapshot())
    assert found["sidecar_upstream_failures_total", ("upstream_invalid",)] == 1
    assert not any(value for (name, _), value in found.items() if name == "sidecar_auth_failures_total")


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_failure_is_counted_where_those_look_who_can_mend_it(reason: Reason) -> None:
    """One counter goes up by one, in the worker, in the sum of several, and after a worker's death; every other stays."""
    counter, past = metrics(), Accumulator()
    counter.on_event(done(status=reason.status, reason=reason))
    past.add(counter.snapshot())
    found = samples(counter.snapshot(), *past.snapshots())
    counters = {"sidecar_auth_failures_total", *ALONE}
    raised = {key: value for key, value in found.items() if key[0] in counters and value}
    ((name, labels),) = raised
    assert raised[name, labels] == 2
    assert labels[-1] == reason.word
    assert ALONE.get(name, reason.plane) is reason.plane
    assert (name == "sidecar_auth_failures_total") == (reason.plane in (Plane.PROTECTED, Plane.TOKEN))


def test_statuses_that_http_does_not_know_are_one_label() -> None:
    counter = metrics()
    for status in (0, 99, 600, 999, 10**6):
        counter.on_event(done(status=status))
    assert samples(counter.snapshot())["sidecar_requests_total", ("other", "admitted")] == 5


def test_tokens_are_counted() -> None:
    counter = metrics()
    counter.on_event(TokenIssued("client_credentials", "c", "j"))
    counter.on_event(TokenRevoked("c", "j"))
    found = samples(counter.snapshot())
    assert found["sidecar_tokens_issued_total", ("client_credentials",)] == 1
    assert found["sidecar_tokens_revoked_total", ()] == 1


def test_logins_and_logouts_are_counted_by_what_came_of_them() -> None:
    first, second, dead, past = metrics(), metrics(), metrics(), Accumulator()
    words = {reason.word for reason in Reason} | {"success"}
    for name in ("sidecar_logins_total", "sidecar_logouts_total"):
        found = samples(first.snapshot())
        shown = {labels[0]: value for (each, labels), value in found.items() if each == name}
        assert set(shown.values()) == {0}
        assert {"success", "stale_form", "store_unavailable"} <= shown.keys() <= words
    for counter in (first, second, second, dead):
        counter.on_event(UserLoggedIn("anna", "c", "p"))
        counter.on_event(LoginFailed(Reason.BAD_CREDENTIALS, "anna", "c", "p"))
        counter.on_event(UserLoggedOut("anna", "p"))
        counter.on_event(LogoutFailed(Reason.STALE_FORM, None, "p"))
    second.on_event(LogoutFailed(Reason.ACCESS_DENIED, None, "p"))
    past.add(dead.snapshot())
    found = samples(first.snapshot(), second.snapshot(), *past.snapshots())
    for kind, result in (
        ("logins", "success"),
        ("logins", "bad_credentials"),
        ("logouts", "success"),
        ("logouts", "stale_form"),
    ):
        assert found[f"sidecar_{kind}_total", (result,)] == 4
    assert found["sidecar_logouts_total", ("access_denied",)] == 1, "also what nobody thought of"
    assert not any("anna" in label for _, labels in found for label in labels)


def test_the_last_use_of_a_secret_is_the_latest_of_all_workers() -> None:
    used = "sidecar_client_secret_last_used_timestamp_seconds"
    first, second, dead, past = metrics(), metrics(), metrics(), Accumulator()
    assert not any(name == used for name, _ in samples(first.snapshot())), "nothing that was never used"
    for counter, event in (
        (first, SecretUsed("a b", 1, 5.0)),
        (first, SecretUsed("a b", 1, 9.5)),
        (first, SecretUsed("c", 2, 1.0)),
        (second, SecretUsed("a b", 1, 7.0)),
        (second, SecretUsed("c", 2, 2.0)),
        (dead, SecretUsed("a b", 2, 3.0)),
        (dead, SecretUsed("c", 2, 1.5)),
    ):
        counter.on_event(event)
    past.add(dead.snapshot())
    found = samples(first.snapshot(), second.snapshot(), *past.snapshots())
    shown = {labels: value for (name, labels), value in found.items() if name == used}
    assert shown == {("a b", "1"): 9.5, ("a b", "2"): 3.0, ("c", "2"): 2.0}


def test_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    counter = metrics()
    for seconds in (0.0, 0.001, 0.0011, 0.3, 99.0):
        counter.on_event(done(seconds=seconds, upstream=seconds))
    found = samples(counter.snapshot())
    for name, labels in (("request", ("admitted",)), ("upstream", ())):
        bounds = ("0.0001", "0.0005", "0.001", "0.0025", "0.25", "0.5", "30.0", "+Inf")
        bucket = f"sidecar_{name}_duration_seconds_bucket"
        assert [found[bucket, (*labels, bound)] for bound in bounds] == [1, 1, 2, 3, 3, 4, 4, 5]
        assert found[f"sidecar_{name}_duration_seconds_count", labels] == 5
        assert abs(found[f"sidecar_{name}_duration_seconds_sum", labels] - 99.3021) < 1e-9


def test_a_request_without_an_upstream_is_not_in_its_histogram() -> None:
    counter = metrics()
    counter.on_event(done())
    assert samples(counter.snapshot())["sidecar_upstream_duration_seconds_count", ()] == 0


def test_workers_add_up_and_the_worst_speaks_for_all() -> None:
    stale = "revocation_feed_staleness_seconds"
    first = metrics(in_flight_requests=1, cache_hits=5, cache_misses=1, store_up=True, revocations=3, **{stale: 0.1})
    second = metrics(in_flight_requests=2, cache_hits=7, cache_misses=2, store_up=False, revocations=2, **{stale: 4.0})
    for counter in (first, second, second):
        counter.on_event(done())
    found = samples(first.snapshot(), second.snapshot())
    expected = {
        ("sidecar_requests_total", ("200", "admitted")): 3,
        ("sidecar_in_flight_requests", ()): 3,
        ("sidecar_token_cache_hits_total", ()): 12,
        ("sidecar_token_cache_misses_total", ()): 3,
        ("sidecar_store_up", ()): 0,
        ("sidecar_revocation_feed_staleness_seconds", ()): 4,
        ("sidecar_revocations", ()): 3,
        ("sidecar_workers", ()): 2,
        ("sidecar_request_duration_seconds_count", ("admitted",)): 3,
    }
    assert {key: found[key] for key in expected} == expected


def test_what_dead_workers_counted_stays_counted_and_their_gauges_go() -> None:
    past = Accumulator()
    assert past.snapshots() == []
    past.add(None)
    for _ in range(2):
        dead = metrics(in_flight_requests=9, cache_hits=4)
        dead.on_event(done())
        past.add(dead.snapshot())
    alive = metrics(in_flight_requests=1, cache_hits=1)
    found = samples(alive.snapshot(), *past.snapshots())
    assert found["sidecar_requests_total", ("200", "admitted")] == 2
    assert found["sidecar_token_cache_hits_total", ()] == 9
    assert found["sidecar_in_flight_requests", ()] == 1
    assert found["sidecar_workers", ()] == 1


def test_a_worker_that_does_not_answer_adds_its_counters_and_no_gauge() -> None:
    here, silent = metrics(in_flight_requests=1, cache_hits=3), metrics(in_flight_requests=5, cache_hits=4)
    for each in (here, silent):
        each.on_event(TokenIssued("client_credentials", "app", "j"))
    found = samples(here.snapshot(), without_gauges(silent.snapshot()))
    assert found["sidecar_in_flight_requests", ()] == 1
    assert found["sidecar_workers", ()] == 1
    assert found["sidecar_token_cache_hits_total", ()] == 7
    assert found["sidecar_tokens_issued_total", ("client_credentials",)] == 2


def test_the_representation_is_short() -> None:
    counter = metrics()
    counter.on_event(done())
    assert repr(counter) == "<Metrics of 1 requests>"


def test_dropped_log_lines_of_all_workers_and_dead_ones_add_up() -> None:
    past = Accumulator()
    for _ in range(2):
        past.add(metrics(log_lines_dropped=5).snapshot())
    alive = [metrics(log_lines_dropped=count).snapshot() for count in (1, 2)]
    assert samples(*alive, *past.snapshots())["sidecar_log_lines_dropped_total", ()] == 13
    assert samples(metrics().snapshot())["sidecar_log_lines_dropped_total", ()] == 0


def test_the_memory_of_workers_is_added_up() -> None:
    found = samples(*[metrics(memory_held_bytes=held, memory_limit_bytes=100).snapshot() for held in (1, 20)])
    assert found["sidecar_memory_held_bytes", ()] == 21
    assert found["sidecar_memory_limit_bytes", ()] == 200


def test_a_decision_has_its_own_durations() -> None:
    """Thousands of refusals in no time do not make admitted requests look faster."""
    counter = metrics()
    counter.on_event(done(seconds=0.2))
    for _ in range(5):
        counter.on_event(done(Decision.REFUSED, 401, Reason.EXPIRED, seconds=0.00005))
    found = samples(counter.snapshot())
    name = "sidecar_request_duration_seconds"
    assert (found[f"{name}_count", ("admitted",)], found[f"{name}_bucket", ("admitted", "0.1")]) == (1, 0)
    assert (found[f"{name}_count", ("refused",)], found[f"{name}_bucket", ("refused", "0.0001")]) == (5, 5)
    assert found[f"{name}_count", ("local",)] == 0


def test_an_answer_is_counted_as_its_event_would_be() -> None:
    """The short way, and the way of a worker that logs admitted requests."""
    short, long = metrics(), metrics()
    for seconds in (0.00007, 0.002, 40.0):
        short.count_whole(Decision.ADMITTED, 200, seconds, seconds / 2)
        long.on_event(done(seconds=seconds, upstream=seconds / 2, first_byte_seconds=seconds / 2))
        short.count_streamed(Decision.PUBLIC, 206, seconds, seconds / 2, seconds / 4, None)
        long.on_event(done(Decision.PUBLIC, 206, None, seconds, seconds / 2, first_byte_seconds=seconds / 4))
        short.count_streamed(Decision.ADMITTED, 200, seconds, seconds / 2, seconds / 4, "stream")
        long.on_event(done(seconds=seconds, upstream=seconds / 2, first_byte_seconds=seconds / 4, stream="stream"))
    assert short.snapshot() == long.snapshot()
    assert samples(short.snapshot())["sidecar_upstream_first_byte_seconds_count", ()] == 9


@pytest.mark.parametrize("kind", ["stream", "tunnel"])
def test_what_flows_for_long_has_a_duration_of_its_own(kind: Any) -> None:
    """It says nothing about speed; its first byte does."""
    counter = metrics()
    counter.on_event(done(seconds=7200.0, upstream=7199.0, first_byte_seconds=0.02, stream=kind))
    found = samples(counter.snapshot())
    assert found["sidecar_stream_duration_seconds_bucket", (kind, "14400.0")] == 1
    assert found["sidecar_stream_duration_seconds_bucket", (kind, "3600.0")] == 0
    assert found["sidecar_request_duration_seconds_count", ("admitted",)] == 0
    assert found["sidecar_upstream_duration_seconds_count", ()] == 0
    assert found["sidecar_upstream_first_byte_seconds_bucket", ("0.025",)] == 1
    assert found["sidecar_requests_total", ("200", "admitted")] == 1


def test_an_endpoint_has_its_own_rate_errors_and_durations() -> None:
    first, second = metrics(), metrics()
    for counter in (first, second):
        counter.on_event(done(Decision.LOCAL, 200, seconds=0.02, endpoint="token"))
        counter.on_event(done(Decision.LOCAL, 401, Reason.BAD_CLIENT_SECRET, endpoint="token"))
        counter.on_event(done(Decision.REFUSED, 503, Reason.OVERLOADED, endpoint="jwks"))
        counter.on_event(done())
    found = samples(first.snapshot(), second.snapshot())
    requests = {labels: n for (name, labels), n in found.items() if name == "sidecar_oauth_requests_total"}
    assert requests == {("200", "token"): 2, ("401", "token"): 2, ("503", "jwks"): 2}
    failures = {labels: n for (name, labels), n in found.items() if name == "sidecar_oauth_failures_total" and n}
    assert failures == {("token", "bad_client_secret"): 2, ("jwks", "overloaded"): 2}
    assert found["sidecar_oauth_failures_total", ("authorize", "store_unavailable")] == 0, "from the start"
    assert ("sidecar_oauth_failures_total", ("jwks", "bad_client_secret")) not in found
    assert found["sidecar_oauth_request_duration_seconds_count", ("token",)] == 4
    assert found["sidecar_oauth_request_duration_seconds_count", ("logout",)] == 0


def test_the_cause_of_a_failure_is_counted() -> None:
    counter = metrics()
    counter.on_event(done(status=502, reason=Reason.UPSTREAM_UNREACHABLE, fault=Fault(Cause.REFUSED)))
    counter.on_event(done(status=503, reason=Reason.OVERLOADED, fault=Fault(Cause.ALL_CONNECTIONS_BUSY)))
    found = samples(counter.snapshot())
    shown = {labels: n for (name, labels), n in found.items() if name == "sidecar_failure_causes_total"}
    assert len(shown) == len(Cause)
    assert {labels for labels, n in shown.items() if n} == {
        ("refused", "upstream_unreachable"),
        ("all_connections_busy", "overloaded"),
    }


def test_operations_of_the_store_are_timed_and_their_failures_counted() -> None:
    counter = metrics()
    counter.on_event(StoreUsed("refresh", 0.0004, answered=True))
    counter.on_event(StoreUsed("refresh", 0.5, answered=False))
    for up in (True, False, True):
        counter.on_event(StoreChanged(up, ""))
    found = samples(counter.snapshot())
    assert found["sidecar_store_duration_seconds_bucket", ("0.0005", "refresh")] == 1
    assert found["sidecar_store_duration_seconds_count", ("refresh",)] == 1
    assert found["sidecar_store_duration_seconds_count", ("heartbeat",)] == 0
    assert found["sidecar_store_errors_total", ("refresh",)] == 1
    assert found["sidecar_store_errors_total", ("throttle",)] == 0
    assert (found["sidecar_store_changes_total", ("up",)], found["sidecar_store_changes_total", ("down",)]) == (2, 1)


def test_the_lag_of_the_event_loop_is_a_histogram() -> None:
    counter = metrics()
    for seconds in (0.0, 0.0007, 2.0):
        counter.observe_lag(seconds)
    found = samples(counter.snapshot())
    buckets = [found["sidecar_event_loop_lag_seconds_bucket", (bound,)] for bound in ("0.0001", "0.001", "2.5")]
    assert buckets == [1, 2, 3]
