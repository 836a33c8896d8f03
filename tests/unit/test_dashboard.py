"""The dashboard: nothing on it is about a metric that does not exist, and nothing lies over something else."""

import re
from pathlib import Path

import pytest

from tests.support.dashboard import Panel, dashboard, panels

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
KNOWN = set(re.findall(r"`(sidecar_[a-z_]+)", REFERENCE))


@pytest.mark.parametrize("panel", list(panels()), ids=lambda panel: panel.title)
def test_every_metric_exists_and_every_panel_is_explained(panel: Panel) -> None:
    for query in panel.queries:
        used = set(re.findall(r"\b(sidecar_[a-z_]+?)(?:_bucket|_count|_sum)?\{", query.expr))
        assert used
        assert used <= KNOWN
        assert '{job=~"$job", instance=~"$instance"' in query.expr
    assert panel.about.endswith(".")


def test_titles_and_ids_are_unique() -> None:
    titles = [panel.title for panel in panels()]
    assert len(titles) == len(set(titles))
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_overlap_and_fit() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
