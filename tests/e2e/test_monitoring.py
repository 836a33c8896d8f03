"""A real Prometheus scrapes the real process: every panel of the dashboard shows something, and alerts fire in an outage."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certificates import Authority
from tests.support.dashboard import dashboard, panels
from tests.support.people import Browser, clients, code_request, users
from tests.support.process import SECRET, UNTHROTTLED, Sidecar, configuration, get
from tests.support.prometheus import PrometheusServer
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

GRAFANA = Path(__file__).parents[1] / "grafana"
CALLBACK = "https://app.example/cb"


class Watched(NamedTuple):
    """A sidecar with everything around it."""

    sidecar: Sidecar
    redis: RedisServer
    upstream: Upstream
    prometheus: PrometheusServer


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    folder = tmp_path_factory.mktemp("watched")
    authority = Authority(folder / "tls")
    authority.issue("client", "client")
    document = configuration("http://127.0.0.1:1", workers=2, users=users(), throttling=UNTHROTTLED)
    document["clients"] = [document["clients"][0], *clients(CALLBACK)]
    with RedisServer() as redis, Upstream() as upstream:
        # The certificate is the one for the API, which is not asked for here: it counts all the same.
        document["upstream"] = {
            "url": upstream.url,
            "tls": {"certificate": str(folder / "tls" / "client.pem"), "key": str(folder / "tls" / "client.key")},
        }
        document["store"] = {"url": redis.url, "timeout": "500ms", "max_staleness": "2s"}
        with Sidecar(folder, document) as sidecar:
            target = sidecar.admin.removeprefix("http://")
            with PrometheusServer(folder, target) as prometheus:
                yield Watched(sidecar, redis, upstream, prometheus)


def traffic(sidecar: Sidecar) -> None:
    """A little of everything."""
    token = sidecar.token()
    for path, bearer in (("/x", token), ("/x", "a.b.c"), ("/x", None)):
        get(f"{sidecar.public}{path}", **({"Authorization": f"Bearer {bearer}"} if bearer else {}))
    get(
        f"{sidecar.public}/oauth/token",
        {"grant_type": "client_credentials", "client_id": "reporting", "client_secret": "wrong"},
    )
    get(f"{sidecar.public}/oauth/revoke", {"client_id": "reporting", "client_secret": SECRET, "token": token})
    browser = Browser(sidecar.public)
    browser.log_in(code_request(CALLBACK))


def test_every_panel_shows_something(watched: Watched) -> None:
    """Under a little traffic, each query of the dashboard has a result."""
    waiting = {(panel.title, query.plain) for panel in panels() for query in panel.queries}

    def all_answered() -> bool:
        traffic(watched.sidecar)
        waiting.difference_update([each for each in waiting if watched.prometheus.query(each[1])])
        return not waiting

    deadline = time.monotonic() + 60
    while not all_answered():
        assert time.monotonic() < deadline, f"without a result: {sorted(waiting)}"
        time.sleep(0.2)  # Prometheus looks twice a second


def test_a_healthy_sidecar_fires_nothing(watched: Watched) -> None:
    wait_until(lambda: bool(watched.prometheus.query("up == 1")), within=20)
    # The traffic of these tests fails to authenticate, and their certificate is for a day.
    expected = {"SidecarGuessing", "SidecarCertificateExpires", "SidecarCertificateExpiresSoon"}
    assert set(watched.prometheus.firing()) <= expected


def test_alerts_fire_in_a_rehearsed_outage_and_end_with_it(watched: Watched) -> None:
    sidecar, redis, _, prometheus = watched

    def rehearsed(*names: str) -> bool:
        get(f"{sidecar.public}/x", Authorization=f"Bearer {token}")
        return set(names) <= prometheus.firing().keys()

    token = sidecar.token()
    redis.kill()
    wait_until(lambda: rehearsed("SidecarStoreDown", "SidecarErrorBudgetBurnFast"), within=60)
    alert = prometheus.firing()["SidecarStoreDown"]
    assert "does not reach its store" in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#sidecarstoredown"
    assert "SidecarUpstreamDown" not in prometheus.firing(), "the API is not blamed"
    assert "SidecarRefusalsSurging" not in prometheus.firing(), "nor are the callers"
    redis.start()
    wait_until(lambda: "SidecarStoreDown" not in prometheus.firing(), within=60)


def test_an_api_that_is_away_is_told_with_its_address(watched: Watched) -> None:
    sidecar, _, upstream, prometheus = watched
    token = sidecar.token()
    upstream.close()

    def told() -> bool:
        get(f"{sidecar.public}/x", Authorization=f"Bearer {token}")
        return "SidecarUpstreamDown" in prometheus.firing()

    wait_until(told, within=60)
    assert prometheus.firing()["SidecarUpstreamDown"]["labels"]["address"] == upstream.url


def test_the_dashboard_has_the_types_of_grafana(tmp_path: Path) -> None:
    """Checked by TypeScript against @grafana/schema, in which enumerations stand as their texts."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    if not (GRAFANA / "node_modules" / "@grafana").is_dir():
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=GRAFANA, check=True, timeout=120)
    checked = GRAFANA / "node_modules" / ".checked"
    checked.mkdir(exist_ok=True)
    head = """import type { Dashboard } from "@grafana/schema";
type AsJson<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: AsJson<T[K]> } : T;
export const dashboard: AsJson<Dashboard> = """
    words = [
        "npx",
        "tsc",
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--moduleResolution",
        "bundler",
        "--module",
        "esnext",
    ]
    for right, document in ((True, dashboard()), (False, {**dashboard(), "refresh": 30})):
        file = checked / "dashboard.ts"
        file.write_text(head + json.dumps(document))
        done = subprocess.run(
            [*words, str(file)], cwd=GRAFANA, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode == 0) == right, done.stdout
