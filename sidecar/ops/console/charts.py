"""Bar charts as inline SVG: a bar for each minute, stacked from series.

A chart has a title and a description for those who do not see it, and each bar a tooltip. Colours come from the style sheet by
class (`s0`, `s1` …), because the policy of the page allows no style in the markup.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH: Final = 10  # of a bar with its gap
_GAP: Final = 2
HEIGHT: Final = 100
_STEPS: Final = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


class Series(NamedTuple):
    """A series: its name, its class in the style sheet, and a value for each bar."""

    name: str
    kind: str
    values: Sequence[int]

    @property
    def total(self) -> int:
        """The sum of its values."""
        return sum(self.values)


def top_of(series: Sequence[Series]) -> int:
    """The top of the scale: the highest bar, rounded up to a number that is easy to read."""
    highest = max((sum(bar) for bar in zip(*(each.values for each in series), strict=True)), default=0)
    if highest <= 1:
        return 1
    power = int(10 ** math.floor(math.log10(highest)))
    return next(int(step * power) for step in _STEPS if step * power >= highest and step * power % 1 == 0)


def bars(name: str, title: str, description: str, labels: Sequence[str], series: Sequence[Series]) -> "Markup":
    """The SVG. `name` makes its ids unique on the page; `labels` say which time each bar is about."""
    from markupsafe import Markup  # noqa: PLC0415  it comes with Jinja2, which is loaded for the first page

    top = top_of(series)
    parts = [
        Markup(
            '<svg class="chart" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
            'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{title}</title><desc id="{name}-d">{text}</desc>'
        ).format(width=_WIDTH * len(labels), height=HEIGHT, name=name, title=title, text=description)
    ]
    for index, label in enumerate(labels):
        parts.append(_bar(index, label, [(each, each.values[index]) for each in series], top))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _bar(index: int, label: str, values: Sequence[tuple[Series, int]], top: int) -> "Markup":
    from markupsafe import Markup  # noqa: PLC0415  as above

    told = ", ".join(f"{each.name} {count}" for each, count in values if count)
    parts = [Markup("<g><title>{}</title>").format(f"{label}: {told or 'nothing'}")]
    # The whole column reacts to the pointer, so that a low bar has its tooltip too.
    parts.append(
        Markup('<rect class="column" x="{}" y="0" width="{}" height="{}"/>').format(index * _WIDTH, _WIDTH, HEIGHT)
    )
    floor = float(HEIGHT)
    for each, count in values:
        if count:
            height = max(1.5, HEIGHT * count / top)
            floor -= height
            parts.append(
                Markup('<rect class="{}" x="{}" y="{:.2f}" width="{}" height="{:.2f}"/>').format(
                    each.kind, index * _WIDTH + _GAP / 2, floor, _WIDTH - _GAP, height
                )
            )
    parts.append(Markup("</g>"))
    return Markup("").join(parts)
