"""A bar chart as SVG, that follows the reader's dark or light scheme and brings its own background."""

import html
from collections.abc import Sequence

from benchmarks.report import Bar, Length

_WIDTH, _ROW, _GAP, _TOP, _NAMES, _LEFT, _RIGHT = 920, 22, 10, 60, 390, 460, 60
_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>{title}</title>
<style>
text {{ font: 13px system-ui, sans-serif; fill: #1f2328; }}
.title, .ours text {{ font-weight: 600; }}
.faint {{ fill: #59636e; }}
.name {{ text-anchor: end; }}
.back {{ fill: #ffffff; }}
.bar {{ fill: #8c959f; }}
.ours .bar {{ fill: #0969da; }}
.repeat {{ opacity: 0.55; }}
.redis {{ fill: #cf222e; }}
.range {{ stroke: #1f2328; stroke-width: 1.5; }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #f0f6fc; }}
.faint {{ fill: #9198a1; }}
.back {{ fill: #0d1117; }}
.bar {{ fill: #656c76; }}
.ours .bar {{ fill: #4493f8; }}
.redis {{ fill: #f85149; }}
.range {{ stroke: #f0f6fc; }}
}}
</style>
<rect class="back" width="{width}" height="{height}" rx="8"/>
<text class="title" x="20" y="26">{title}</text>
<text class="faint" x="20" y="44">{legend}</text>
{bars}
</svg>
"""
_TITLE = "µs of CPU per admitted request: less is better"
_LEGEND = "median of the rounds, with their range; red: what Redis uses besides"


def svg(bars: Sequence[Bar]) -> str:
    """One contender below the other, in the order given, each with its bars."""
    lengths = [length for bar in bars for length in bar.lengths]
    scale = (_WIDTH - _LEFT - _RIGHT) / max(max(each.high, each.median + each.besides) for each in lengths)
    rows, top = [], _TOP
    for bar in bars:
        rows.append(_contender(bar, top, scale))
        top += len(bar.lengths) * _ROW + _GAP
    return _SVG.format(width=_WIDTH, height=top + 6, title=_TITLE, legend=_LEGEND, bars="\n".join(rows))


def _contender(bar: Bar, top: int, scale: float) -> str:
    kind = "ours" if bar.ours else "other"
    name = f'<text class="name" x="{_NAMES}" y="{top + 15}">{html.escape(bar.name)}</text>'
    rows = "".join(_row(length, top + number * _ROW, scale) for number, length in enumerate(bar.lengths))
    return f'<g class="{kind}">{name}{rows}</g>'


def _row(length: Length, top: int, scale: float) -> str:
    width, besides, middle = length.median * scale, length.besides * scale, top + 10
    low, high = _LEFT + length.low * scale, _LEFT + length.high * scale
    end = max(high, _LEFT + width + besides) + 8
    return (
        f'<text class="faint name" x="{_LEFT - 10}" y="{top + 15}">{html.escape(length.workload)}</text>'
        f'<rect class="bar {html.escape(length.workload)}" x="{_LEFT}" y="{top + 1}" width="{width:.1f}" height="18" rx="2"/>'
        f'<rect class="redis" x="{_LEFT + width:.1f}" y="{top + 1}" width="{besides:.1f}" height="18"/>'
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<text x="{end:.1f}" y="{top + 15}">{length.median:.1f}</text>'
    )
