"""The page: whole, in parts, and with whatever a hostile caller sends."""

import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sidecar.ops.console.facts import Facts
from sidecar.ops.console.history import Minute
from sidecar.ops.console.page import Page, clock, iso, moment
from tests.support.console import STORE, facts, minutes, refusals, troubled, worker

LOGIN_STYLE = Path(__file__).parents[4] / "sidecar/oauth/login/templates/style.css"
STYLE = Path(__file__).parents[4] / "sidecar/ops/console/templates/console.css"
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>{{ 7*7 }}\u202e"
VOID = {"meta", "link", "input", "img", "br"}


class Elements(HTMLParser):
    """The elements of a page, with their attributes; fails when one is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.fixture(scope="module")
def page() -> Page:
    return Page()


def whole(page: Page, shown: Facts, history: list[Minute] | None = None, *, asks: bool = True) -> str:
    return page.whole(shown, history or minutes(), covered=3600.0, asks=asks)


CASES = {
    "good": facts(),
    "troubled": troubled(),
    "nothing": facts(workers=[], clients=[], certificates=[], keys=[]),
    "a store that never answered": facts(
        workers=[worker(1, store=replace(STORE, up=False, known=False, staleness=1e9))]
    ),
    "draining": facts(draining=True, ready=False),
    "a rejected file": facts(configuration=replace(facts().configuration, faults=["a: b"])),
    "never reloaded": facts(configuration=replace(facts().configuration, tried_at=None)),
}


@pytest.mark.parametrize("case", CASES)
def test_each_page_is_well_formed_and_accessible(page: Page, case: str) -> None:
    html = whole(page, CASES[case])
    elements = Elements(html).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= set(ids)
        assert not {"style", "onclick", "onload"} & attributes.keys(), "the policy allows none"
    assert [tag for tag, _ in elements].count("h1") == 1


@pytest.mark.parametrize("case", CASES)
def test_each_part_has_its_element_and_is_what_the_page_has_there(page: Page, case: str) -> None:
    html, parts = whole(page, CASES[case]), page.parts(CASES[case], minutes(), covered=3600.0)
    ids = {attributes.get("id") for _, attributes in Elements(html).found}
    assert parts.keys() <= ids
    assert len(parts) > 12
    for name, part in parts.items():
        assert part in html, name


def hostile(value: Any) -> Any:
    """The same facts, with a hostile text in the place of every text."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: hostile(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, list):
        return [hostile(each) for each in value]
    if isinstance(value, dict):
        return {hostile(key): hostile(each) for key, each in value.items()}
    return HOSTILE if isinstance(value, str) else value


def test_nothing_that_anybody_sends_becomes_markup(page: Page) -> None:
    shown = hostile(replace(troubled(), replaced={"died": 1}))
    history = [Minute(0.0, 9, {f"protected {HOSTILE}": 3, f"upstream {HOSTILE}": 1})]
    parts = "".join(page.parts(shown, history, covered=1.0).values())
    for html, scripts in ((whole(page, shown, history), 1), (parts, 0)):
        elements = Elements(html).found
        assert [tag for tag, _ in elements].count("script") == scripts
        assert not [tag for tag, _ in elements if tag == "img"]
        assert not [attributes for _, attributes in elements if "onerror" in attributes]
        assert "alert(1)" in html
        assert "{{ 7*7 }}" in html
    assert HOSTILE not in page.login(HOSTILE)
    assert HOSTILE not in page.closed(HOSTILE, helped=True)


def test_empty_states_are_worth_reading(page: Page) -> None:
    html = whole(page, facts(), [Minute(0.0, 0, {})])
    assert "Nothing. The sidecar is ready, its store and the API answer" in html
    assert "No request was refused, and none failed, in the last hour." in html
    assert "No request was refused, and none failed, since the workers started." in html
    nobody = whole(page, facts(clients=[], certificates=[], workers=[]))
    assert "No client is configured" in nobody
    assert "No certificate is configured" in nobody
    assert "No worker answers" in nobody


def test_a_young_sidecar_says_how_far_back_it_sees(page: Page) -> None:
    for covered, text in ((5.0, "failed, since the start."), (720.0, "failed, in the 12 min since the start.")):
        assert text in page.whole(facts(), [Minute(0.0, 0, {})], covered=covered, asks=False)


def test_the_last_refusals_are_shown_the_newest_first(page: Page) -> None:
    html = whole(page, facts(workers=[worker(1, refusals=refusals())]))
    assert html.index("02:47:08") < html.index("02:47:03") < html.index("02:45:58")
    assert "refused: nothing listens at upstream.url: the connection was refused (http://10.0.4.18:8080)" in html
    assert "shop for anna" in html


def test_what_a_store_that_is_away_would_say_is_not_known(page: Page) -> None:
    for up, said in ((True, "yes"), (False, "not known")):
        away = facts(workers=[worker(1, store=replace(STORE, up=up, skew=-0.04))])
        part = page.parts(away, minutes(), covered=3600.0)["store"]
        assert f"<dt>Takes writes</dt><dd>{said}</dd>" in part
        assert "<dd>+0.0 s</dd>" in part


def test_failures_are_told_before_refusals(page: Page) -> None:
    part = page.parts(troubled(), minutes(), covered=3600.0)["reasons"]
    assert part.index("upstream_unreachable") < part.index("expired") < part.index("missing_token")


def test_more_reasons_than_colours_share_the_last_one(page: Page) -> None:
    many = [Minute(0.0, 99, {f"protected reason{number}": 9 - number for number in range(9)})]
    part = page.parts(facts(), many, covered=3600.0)["reasons_chart"]
    assert re.findall(r'</i>([^ ]+) <b>(\d+)', part) == [
        ("reason0", "9"), ("reason1", "8"), ("reason2", "7"), ("reason3", "6"), ("reason4", "5"), ("others", "10"),
    ]  # fmt: skip


def test_the_table_says_what_the_chart_shows(page: Page) -> None:
    history = [Minute((59 - number) * 60.0, number, {}) for number in range(60)]
    part = page.parts(facts(), history, covered=3600.0)["steps"]
    rows = re.findall(r'row">([^<]+)</th><td class="n">(\d+)', part)
    assert len(rows) == 12
    assert rows[0] == ("0 to 5 minutes ago", str(sum(range(55, 60))))
    assert sum(int(count) for _, count in rows) == sum(range(60))


def test_only_who_can_log_out_has_the_button(page: Page) -> None:
    assert "/console/logout" in whole(page, facts())
    assert "/console/logout" not in whole(page, facts(), asks=False)


def test_times_are_in_utc_and_a_far_one_is_no_fault() -> None:
    assert (clock(0.0), moment(0.0), iso(0.0)) == ("00:00:00", "1970-01-01 00:00", "1970-01-01T00:00:00Z")
    assert moment(1e20) == "9999-12-31 23:59"


def test_the_colours_are_those_of_the_login_page() -> None:
    def colours(path: Path) -> list[tuple[str, str]]:
        return re.findall(r"(--[a-z-]+): (#[0-9a-f]+);", path.read_text())

    assert len(colours(LOGIN_STYLE)) == 30
    assert set(colours(LOGIN_STYLE)) <= set(colours(STYLE))
