"""ops.deployment: the configuration in force, and the workers that there should be."""

from sidecar.ops.deployment import Configuration, Parent, deployment
from sidecar.ops.exposition import render
from sidecar.ops.snapshots import Readings, is_snapshot

CONFIGURATION = Configuration(successful=False, at=12.5, digest=2**48 - 1, reloads={"applied": 2, "rejected": 1})


def lines(parent: Parent | None = None, *, draining: bool = False) -> list[str]:
    made = deployment(CONFIGURATION, workers=2, draining=draining, parent=parent)
    assert is_snapshot(made)
    return render([made]).decode().splitlines()


def test_the_configuration_in_force_is_shown() -> None:
    assert {
        "sidecar_config_last_reload_successful 0.0",
        "sidecar_config_last_reload_success_timestamp_seconds 12.5",
        "sidecar_config_hash 2.81474976710655e+14",
        'sidecar_config_reloads_total{result="applied"} 2.0',
        'sidecar_config_reloads_total{result="rejected"} 1.0',
        'sidecar_config_reloads_total{result="unchanged"} 0.0',
    } <= set(lines())


def test_workers_that_do_not_answer_are_missing() -> None:
    assert {"sidecar_workers 0.0", "sidecar_workers_configured 2.0"} <= set(lines())


def test_going_away_is_shown() -> None:
    assert "sidecar_draining 0.0" in lines()
    assert "sidecar_draining 1.0" in lines(draining=True)


def test_replaced_workers_are_counted_by_cause() -> None:
    """A single worker is never replaced, and has the series all the same."""
    parent = Parent(3, {"hung": 1, "died": 2}, Readings({}, {"sidecar_process_open_fds": {"parent": 9}}))
    assert {
        'sidecar_workers_replaced_total{cause="died"} 2.0',
        'sidecar_workers_replaced_total{cause="hung"} 1.0',
        'sidecar_workers_replaced_total{cause="cannot_start"} 0.0',
        "sidecar_log_lines_dropped_total 3.0",
        'sidecar_process_open_fds{process="parent"} 9.0',
    } <= set(lines(parent))
    assert 'sidecar_workers_replaced_total{cause="died"} 0.0' in lines()
