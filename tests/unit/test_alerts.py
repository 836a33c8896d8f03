"""The alerts: each is valid, tried, explained, and about metrics that exist."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.core.reasons import Reason

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((FOLDER / "sidecar.rules.yaml").read_text())
TESTS = yaml.safe_load((FOLDER / "sidecar.rules.test.yaml").read_text())
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@needs_promtool
@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "sidecar.rules.yaml"),
        ("test", "rules", "sidecar.rules.test.yaml"),
        ("check", "config", "prometheus.yaml"),
    ],
)
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    """Among others, each alert fires when it should, and not before; a healthy sidecar fires nothing."""
    done = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_how_bad_it_is_for_whom_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["labels"]["team"] in ("sidecar", "api", "security")
    assert re.fullmatch(r"\d+[mhd]", alert["for"])
    assert alert["annotations"]["summary"]
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    headings = [line.removeprefix("### ").lower() for line in RUNBOOK.splitlines() if line.startswith("### ")]
    assert anchor in headings
    assert anchor == alert["alert"].lower() or anchor in alert["alert"].lower().replace("soon", "")


def test_each_section_of_the_runbook_belongs_to_an_alert() -> None:
    headings = {line.removeprefix("### ") for line in RUNBOOK.splitlines() if line.startswith("### ")}
    assert headings <= {alert["alert"] for alert in ALERTS}


def test_each_alert_is_tried() -> None:
    tried = set(
        re.findall(r'alertname="(\w+)", alertstate="firing", ', (FOLDER / "sidecar.rules.test.yaml").read_text())
    )
    assert tried == {alert["alert"] for alert in ALERTS}
    assert len(TESTS["tests"]) > len(ALERTS)


def test_no_alert_is_about_a_metric_that_does_not_exist() -> None:
    """`reference.md` has all of them, which another test compares with a running sidecar."""
    known = set(re.findall(r"`(sidecar_[a-z_]+)", REFERENCE))
    used = set(
        re.findall(r"\b(sidecar_[a-z_]+?)(?:_bucket|_count|_sum)?\b[{\[ ]", (FOLDER / "sidecar.rules.yaml").read_text())
    )
    assert len(used) > 20
    assert used <= known


def test_every_reason_is_in_the_runbook() -> None:
    explained = set(re.findall(r"`(\w+)`", RUNBOOK[RUNBOOK.index("## By reason") :]))
    assert {reason.word for reason in Reason} <= explained
