"""Distribution and scatter plots as SVG, with axes and legends."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

WIDTH, HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 44
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8d5a97", "#c98a1b", "#444444", "#17a398", "#9c6644")


@dataclass(frozen=True)
class Series:
    """Named points; `x` alone for a distribution."""

    name: str
    x: Sequence[float]
    y: Sequence[float] = ()


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    whole: bool = False

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """About five round numbers within the axis; integers if `whole`."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        step = max(step, 1.0) if self.whole else step
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _axis(values: Sequence[float], start: float, end: float, *, from_zero: bool = False) -> _Axis:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    low = 0.0 if from_zero else low
    if high <= low:
        low, high = (0.0, 1.0) if from_zero else (low - 0.5, high + 0.5)
    margin = 0.04 * (high - low)
    return _Axis(low if from_zero else low - margin, high + margin, start, end)


def _frame(x: _Axis, y: _Axis, x_title: str, y_title: str, body: list[str]) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" xmlns="http://www.w3.org/2000/svg">']
    for tick in x.ticks():
        at = x.place(tick)
        parts.append(f'<path d="M{at:.1f} {_TOP}V{bottom}" class="grid"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 15}" text-anchor="middle">{tick:.4g}</text>')
    for tick in y.ticks():
        at = y.place(tick)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(x_title)}</text>')
    turned = f'transform="rotate(-90 12 {middle})" text-anchor="middle"'
    parts.append(f'<text x="12" y="{middle}" {turned}>{html.escape(y_title)}</text>')
    return "".join([*parts, *body, "</svg>"])


def _legend(names: Sequence[str]) -> str:
    items = (
        f'<span><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{html.escape(name)}</span>'
        for i, name in enumerate(names)
    )
    return f'<div class="legend">{"".join(items)}</div>'


def distribution(series: Sequence[Series], title: str) -> str:
    """Draws histograms of several series as outlines over common bins, with a legend; heights count pictures."""
    values = [v for s in series for v in s.x]
    x = _axis(values, _LEFT, WIDTH - _RIGHT)
    edges = np.linspace(x.low, x.high, 1 + max(6, min(30, round(math.sqrt(len(values) + 1) * 2))))
    counts = [np.histogram(s.x, edges)[0] for s in series]
    top = max((int(c.max()) for c in counts), default=1)
    y = replace(_axis([float(top)], HEIGHT - _BOTTOM, _TOP, from_zero=True), whole=True)
    body = []
    for i, count in enumerate(counts):
        path = f"M{x.place(edges[0]):.1f} {y.place(0):.1f}"
        for n, edge in zip(count, edges[1:], strict=True):
            path += f"V{y.place(float(n)):.1f}H{x.place(float(edge)):.1f}"
        colour = COLOURS[i % len(COLOURS)]
        body.append(f'<path d="{path}V{y.place(0):.1f}" fill="{colour}" fill-opacity="0.08" stroke="{colour}"/>')
    return _legend([s.name for s in series]) + _frame(x, y, title, "pictures", body)


def scatter(series: Sequence[Series], x_title: str, y_title: str) -> str:
    """Draws points of several series, with a legend."""
    x = _axis([v for s in series for v in s.x], _LEFT, WIDTH - _RIGHT)
    y = _axis([v for s in series for v in s.y], HEIGHT - _BOTTOM, _TOP)
    body = [
        f'<circle cx="{x.place(a):.1f}" cy="{y.place(b):.1f}" r="3" fill="{COLOURS[i % len(COLOURS)]}" opacity="0.6"/>'
        for i, s in enumerate(series)
        for a, b in zip(s.x, s.y, strict=True)
    ]
    return _legend([s.name for s in series]) + _frame(x, y, x_title, y_title, body)
