"""A bar chart as SVG, that follows the reader's dark or light scheme and brings its own background."""

import html
from collections.abc import Sequence

from benchmarks.report import Bar

_WIDTH, _ROW, _TOP, _LEFT, _RIGHT = 920, 34, 56, 420, 90
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
    """One bar below the other, in the order given."""
    scale = (_WIDTH - _LEFT - _RIGHT) / max(max(bar.high, bar.median + bar.besides) for bar in bars)
    rows = "\n".join(_row(bar, _TOP + number * _ROW, scale) for number, bar in enumerate(bars))
    height = _TOP + len(bars) * _ROW + 12
    return _SVG.format(width=_WIDTH, height=height, title=_TITLE, legend=_LEGEND, bars=rows)


def _row(bar: Bar, top: int, scale: float) -> str:
    length, besides, middle = bar.median * scale, bar.besides * scale, top + 15
    low, high = _LEFT + bar.low * scale, _LEFT + bar.high * scale
    kind = ' class="ours"' if bar.ours else ""
    end = max(high, _LEFT + length + besides) + 8
    return (
        f'<g{kind}><text class="name" x="{_LEFT - 10}" y="{top + 20}">{html.escape(bar.name)}</text>'
        f'<rect class="bar" x="{_LEFT}" y="{top + 4}" width="{length:.1f}" height="22" rx="2"/>'
        f'<rect class="redis" x="{_LEFT + length:.1f}" y="{top + 4}" width="{besides:.1f}" height="22"/>'
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<text x="{end:.1f}" y="{top + 20}">{bar.median:.1f}</text></g>'
    )
