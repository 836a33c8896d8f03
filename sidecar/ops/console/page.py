"""Writes the page, and the parts of it that change.

Each block of `console.html` is a part: its name is the id of the element around it. Everything that is shown is escaped.
"""

import base64
import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sidecar.ops.console.attention import notices
from sidecar.ops.console.charts import Series, bars, top_of
from sidecar.ops.console.facts import Facts
from sidecar.ops.console.history import Minute, is_failure
from sidecar.ops.console.wording import amount, number, plural, size, words_of

if TYPE_CHECKING:
    from jinja2 import Environment, Template

TEMPLATES: Final = Path(__file__).parent / "templates"
_NOT_PARTS: Final = frozenset(["content"])  # blocks for templates that extend another
_COLOURS: Final = (
    "s0",
    "s1",
    "s2",
    "s3",
    "s4",
    "s5",
)  # classes in the style sheet; the last one is for all that are left
_REDS: Final = ("failed", "f1", "f2")  # likewise, for failures
_MOST_ROWS: Final = 100  # of a table
_STEP: Final = 5  # minutes, in the table beside the chart


class Row(NamedTuple):
    """The counts of one reason, or of several minutes."""

    key: str
    lately: int
    total: int
    kind: str = ""


class Page:
    """Renders the console. Templates are read for the first page: a sidecar that nobody looks at saves the memory of Jinja2."""

    @cached_property
    def _templates(self) -> "Environment":
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  see above

        made = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        made.filters.update(
            amount=amount, size=size, number=number, clock=clock, moment=moment, iso=iso, words=words_of
        )
        made.globals.update(plural=plural, version=self._version)
        # Not imported by the template: a part is rendered without the rest of it.
        macros: Any = made.get_template("macros.html").module
        made.globals.update(state=macros.state, legend=macros.legend, chart=macros.chart)
        return made

    @cached_property
    def _version(self) -> str:
        """Changes with the style sheet and the script, so that no browser uses old ones."""
        digest = hashlib.sha256(b"".join((TEMPLATES / name).read_bytes() for name in ("console.css", "console.js")))
        return base64.urlsafe_b64encode(digest.digest()[:9]).decode()

    @property
    def _console(self) -> "Template":
        return self._templates.get_template("console.html")

    def whole(self, facts: Facts, minutes: Sequence[Minute], *, covered: float, asks: bool) -> str:
        """The page. `covered` is for how many seconds there is a history; `asks`: a visitor can log out."""
        return self._console.render(**_values(facts, minutes, covered), asks=asks)

    def parts(self, facts: Facts, minutes: Sequence[Minute], *, covered: float) -> dict[str, str]:
        """The HTML of each part, by the id of its element."""
        template, values = self._console, _values(facts, minutes, covered)
        context = template.new_context({**values, "asks": False})
        return {
            name: "".join(block(context)).strip() for name, block in template.blocks.items() if name not in _NOT_PARTS
        }

    def login(self, fault: str = "") -> str:
        """The form that asks for the token."""
        return self._templates.get_template("login.html").render(fault=fault)

    def closed(self, text: str, *, helped: bool) -> str:
        """The page that says why the console is not shown; `helped`: a token would help."""
        return self._templates.get_template("closed.html").render(text=text, helped=helped)


def _values(facts: Facts, minutes: Sequence[Minute], covered: float) -> dict[str, Any]:
    rows = _reasons(minutes)
    by_decision, by_reason = _by_decision(minutes), _by_reason(minutes, rows)
    labels = [_ago(minute.ago) for minute in minutes]
    since = "in the last hour" if covered >= 3600 else f"in the {amount(covered)} since the start"
    since = since if covered >= 60 else "since the start"
    return {
        "facts": facts,
        "notices": notices(facts, minutes),
        "since": since,
        "reasons": rows,
        "by_decision": by_decision,
        "by_reason": by_reason,
        "tops": (top_of(by_decision), top_of(by_reason)),
        "lately": {each.name: sum(each.values[-_STEP:]) for each in by_decision},
        "requests_chart": bars(
            "requests",
            "Requests per minute",
            f"Bars for 60 minutes. {since.capitalize()}: "
            + ", ".join(f"{each.total} {each.name}" for each in by_decision),
            labels,
            by_decision,
        ),
        "reasons_chart": bars(
            "reasons",
            "Refusals and failures per minute, by reason",
            f"Bars for 60 minutes. {since.capitalize()}: "
            + (", ".join(f"{each.total} {each.name}" for each in by_reason) or "none"),
            labels,
            by_reason,
        ),
        "steps": _steps(minutes),
        "refusals": facts.refusals[:_MOST_ROWS],
        "clients": sorted(facts.clients, key=lambda each: (-(each.used or 0), each.client_id))[:_MOST_ROWS],
        "in_flight": sum(worker.in_flight for worker in facts.workers),
        "connections": sum(worker.connections for worker in facts.workers),
        "tunnels": sum(worker.tunnels for worker in facts.workers),
        "memory": max((w.memory_held / w.memory_limit for w in facts.workers if w.memory_limit), default=0.0),
        "upstreams": _upstreams(facts),
        "stores": [worker.store for worker in facts.workers],
    }


def _reasons(minutes: Sequence[Minute]) -> list[Row]:
    """Every reason that occurred: failures first, and the most frequent first. The first ones have a colour (`kind`): red for
    failures."""
    total, lately = Counter[str](), Counter[str]()
    for minute in minutes:
        total.update(minute.reasons)
    for minute in minutes[-_STEP:]:
        lately.update(minute.reasons)
    rows = []
    for failure, colours in ((True, _REDS), (False, _COLOURS)):
        keys = sorted((key for key in total if is_failure(key) is failure), key=lambda key: (-total[key], key))
        kinds = itertools.chain(colours, itertools.repeat(colours[-1]))
        rows += [Row(key, lately[key], total[key], kind) for key, kind in zip(keys, kinds, strict=False)]
    return rows


def _by_decision(minutes: Sequence[Minute]) -> list[Series]:
    return [
        Series("answered", "answered", [minute.answered for minute in minutes]),
        Series("refused", "refused", [minute.refused for minute in minutes]),
        Series("failed", "failed", [minute.failed for minute in minutes]),
    ]


def _by_reason(minutes: Sequence[Minute], rows: Sequence[Row]) -> list[Series]:
    """A series for each colour: of one reason, or of all that share the last one."""
    found = []
    for kind in dict.fromkeys(row.kind for row in rows):
        keys = [row.key for row in rows if row.kind == kind]
        name = words_of(keys[0]).word if len(keys) == 1 else "others"
        found.append(Series(name, kind, [sum(minute.reasons.get(key, 0) for key in keys) for minute in minutes]))
    return found


def _steps(minutes: Sequence[Minute]) -> list[tuple[str, int, int, int]]:
    """The counts of five minutes each, the newest first, for the table beside the chart."""
    found = []
    for begin in range(len(minutes) - _STEP, -1, -_STEP):
        chosen = minutes[begin : begin + _STEP]
        first = int(chosen[-1].ago // 60)
        sums = [sum(getattr(minute, name) for minute in chosen) for name in ("answered", "refused", "failed")]
        found.append((f"{first} to {first + _STEP} minutes ago", sums[0], sums[1], sums[2]))
    return found


def _upstreams(facts: Facts) -> list[Mapping[str, Any]]:
    """Each address, with what all workers see of it."""
    found: dict[str, dict[str, Any]] = {}
    for worker in facts.workers:
        for each in worker.upstreams:
            seen = found.setdefault(
                each.url,
                {
                    "url": each.url,
                    "exchanges": 0,
                    "idle": 0,
                    "skipped": 0.0,
                    "skipping": 0,
                    "fault": "",
                    "fault_at": 0.0,
                },
            )
            seen["exchanges"] += each.exchanges
            seen["idle"] += each.idle
            seen["skipped"] = max(seen["skipped"], each.skipped)
            seen["skipping"] += each.skipped > 0
            if each.fault and (each.fault_at or 0.0) >= seen["fault_at"]:
                seen["fault"], seen["fault_at"] = each.fault, each.fault_at or 0.0
    return list(found.values())


def _ago(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{plural(minutes, 'minute')} ago" if minutes else "this minute"


def clock(seconds: float) -> str:
    """The time of day in UTC."""
    return f"{_utc(seconds):%H:%M:%S}"


def moment(seconds: float) -> str:
    """Day and time in UTC."""
    return f"{_utc(seconds):%Y-%m-%d %H:%M}"


def iso(seconds: float) -> str:
    """For the attribute `datetime`."""
    return f"{_utc(seconds):%Y-%m-%dT%H:%M:%SZ}"


def _utc(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # such as a key that is valid for ever
        return datetime.max.replace(tzinfo=UTC)
