"""The pictures of the dashboard's panels: `python -m tests.support.pictures docs` makes `dashboard.png` there anew.

A real sidecar has mixed traffic for three minutes, in the middle of which Redis is away. A real Prometheus draws each graph on its
own page (the classic one, which Debian's package has), and a browser puts them side by side.
"""

import base64
import html
import os
import random
import sys
import tempfile
import threading
import time
import urllib.parse
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright

from tests.support.dashboard import Panel, panels
from tests.support.people import Browser, clients, code_request, users
from tests.support.process import UNTHROTTLED, Sidecar, configuration, get
from tests.support.prometheus import PrometheusServer
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream

SECONDS: Final = int(os.environ.get("SECONDS", "180"))
OUTAGE: Final = (SECONDS * 0.45, SECONDS * 0.6)
CALLBACK: Final = "https://app.example/cb"
_LEGEND: Final = """
.rickshaw_legend { width: 640px; background: #fff !important; color: #222 !important } .rickshaw_legend .action { display: none }
.rickshaw_legend .line { font-size: 15px; padding: 1px; color: #222 !important }
"""
SHOWN: Final = (
    "Requests by decision", "Requests by status", "Refusals by reason",
    "Failures of the sidecar by reason", "Own endpoints", "Failed authentications",
    "Answers of the store (p99)", "Age of that knowledge", "CPU",
)  # fmt: skip
_STYLE: Final = """
body { margin: 0; padding: 16px; background: #f4f5f7; font: 14px system-ui, sans-serif; display: grid; gap: 12px;
       grid-template-columns: repeat(3, 460px); width: max-content }
figure { margin: 0; background: #fff; border: 1px solid #d9dce1; border-radius: 6px; padding: 10px }
figcaption { font-weight: 600; margin-bottom: 6px } small { display: block; color: #5b6470; font-weight: 400; margin-top: 2px }
img { width: 100%; display: block }
"""


def traffic(sidecar: Sidecar, done: threading.Event, seed: int) -> None:
    """Requests of every kind until `done`; what fails is a part of the picture."""
    chance, token = random.Random(seed), ""  # noqa: S311  traffic, not a secret
    while not done.wait(0.02 + 0.02 * chance.random()):
        with suppress(OSError, AssertionError, KeyError):
            if not token or chance.random() < 0.05:
                token = sidecar.token()
            bearer = token if chance.random() < 0.85 else chance.choice(["a.b.c", token[:-6] + "AAAAAA"])
            headers = {"Authorization": f"Bearer {bearer}"} if chance.random() < 0.93 else {}
            get(f"{sidecar.public}/orders/{chance.randrange(9)}", **headers)
            if chance.random() < 0.04:
                form = {"grant_type": "client_credentials", "client_id": "reporting", "client_secret": "guess"}
                get(f"{sidecar.public}/oauth/token", form)
            if chance.random() < 0.01:
                Browser(sidecar.public).log_in(code_request(CALLBACK))


def draw(page: Page, prometheus: PrometheusServer, panel: Panel) -> bytes:
    """A graph of the panel's first query."""
    expr = panel.queries[0].plain.replace("[1m]", "[10s]")
    asked = {
        "g0.expr": expr, "g0.tab": "0", "g0.range_input": f"{SECONDS}s", "g0.step_input": "1", "g0.stacked": str(int(panel.stacked)),
    }  # fmt: skip
    page.goto(f"{prometheus.url}/classic/graph?{urllib.parse.urlencode(asked)}")
    page.locator(".rickshaw_legend .line").first.wait_for(timeout=20_000)
    page.add_style_tag(content=_LEGEND)
    graph, legend = (page.locator(f".{name}").first.bounding_box() for name in ("graph_area", "legend"))
    assert graph
    assert legend
    lower = max(box["y"] + box["height"] for box in (graph, legend))
    area = {"x": graph["x"], "y": graph["y"], "width": graph["width"], "height": lower - graph["y"]}
    return page.screenshot(clip=area, full_page=True)  # type: ignore[arg-type]  a FloatRect


def main(folder: Path) -> None:
    with ExitStack() as stack, sync_playwright() as playwright:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis, upstream = stack.enter_context(RedisServer()), stack.enter_context(Upstream())
        document = configuration(upstream.url, workers=2, users=users(), throttling=UNTHROTTLED)
        document["clients"] = [document["clients"][0], *clients(CALLBACK)]
        document["store"] = {"url": redis.url}
        sidecar = stack.enter_context(Sidecar(work, document))
        prometheus = stack.enter_context(PrometheusServer(work, sidecar.admin.removeprefix("http://")))
        done = threading.Event()
        stack.callback(done.set)
        for seed in range(4):
            threading.Thread(target=traffic, args=(sidecar, done, seed), daemon=True).start()
        began = time.monotonic()
        for at, act in ((OUTAGE[0], redis.kill), (OUTAGE[1], redis.start), (SECONDS, done.set)):
            time.sleep(max(0, began + at - time.monotonic()))
            act()
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 700, "height": 900}, device_scale_factor=1)
        figures = []
        for panel in panels():
            if panel.title in SHOWN:
                picture = base64.b64encode(draw(page, prometheus, panel)).decode()
                caption = f"{html.escape(panel.title)}<small>{html.escape(panel.about)}</small>"
                figures.append(
                    f'<figure><figcaption>{caption}</figcaption><img src="data:image/png;base64,{picture}"></figure>'
                )
        page.set_content(f"<!doctype html><style>{_STYLE}</style>{''.join(figures)}")
        page.set_viewport_size({"width": 1460, "height": 900})
        page.screenshot(path=folder / "dashboard.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
