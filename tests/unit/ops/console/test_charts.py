"""The charts, as SVG that a parser accepts."""

from xml.etree import ElementTree

import pytest

from sidecar.ops.console.charts import HEIGHT, Series, bars, top_of


@pytest.mark.parametrize(
    ("highest", "top"),
    [(0, 1), (1, 1), (2, 2), (7, 8), (11, 15), (12, 15), (16, 20), (27, 30), (280, 300), (9001, 10000)],
)
def test_the_scale_ends_at_a_number_that_is_easy_to_read(highest: int, top: int) -> None:
    assert top_of([Series("a", "s0", [highest, 0])]) == top
    assert top_of([]) == 1


def test_bars_are_stacked_from_the_floor_up() -> None:
    series = [Series("a", "s0", [4, 0]), Series("b", "s1", [4, 0])]
    svg = ElementTree.fromstring(bars("x", "Title", "Text", ["then", "now"], series))  # noqa: S314  our own
    then, now = svg.findall("g")
    low, high = then.findall("rect")[1:]
    assert (low.get("class"), float(low.get("y") or 0), float(low.get("height") or 0)) == ("s0", HEIGHT / 2, HEIGHT / 2)
    assert (high.get("class"), float(high.get("y") or 0)) == ("s1", 0.0)
    assert then.findtext("title") == "then: a 4, b 4"
    assert now.findtext("title") == "now: nothing"
    assert len(now.findall("rect")) == 1


def test_a_chart_says_what_it_shows_and_escapes_what_it_is_given() -> None:
    svg = bars("x", "<b>", "&", ["<i>"], [Series("<script>", "s0", [1])])
    assert "<script>" not in svg
    assert "<i>" not in svg
    tree = ElementTree.fromstring(svg)  # noqa: S314  our own
    assert (tree.get("role"), tree.get("aria-labelledby")) == ("img", "x-t x-d")
    assert (tree.findtext("title"), tree.findtext("desc")) == ("<b>", "&")
    assert " style=" not in svg
