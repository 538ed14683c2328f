"""Charts as SVG text, for pages that must stand alone.

No scripts, no fonts, nothing loaded from anywhere.

Colours come from CSS variables of the page (`--c0`, `--c1`, ..., `--ink`, `--muted`, `--grid`), so
that one drawing serves light and dark screens.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike

from wm_envs.data.display import counted as counted

_WIDTH, _HEIGHT = 720, 340
# Room on the right for the labels of the lines.
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 150, 16, 46


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        label: Written at the line's right end.
        x: Places [K].
        y: Values [K].
        low: Lower edge of the band [K], or None.
        high: Upper edge of the band [K], or None.
        colour: Number of the page's colour.
        is_dashed: For what is only there to compare with.
    """

    label: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    colour: int = 0
    is_dashed: bool = False


@dataclass(frozen=True)
class Frame:
    """The mapping from values to the picture; what lies above the frame is cut off."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    width: int = _WIDTH
    height: int = _HEIGHT
    clip: str = "inside"

    def x(self, value: float) -> float:
        """Horizontal place of a value, in pixels."""
        return _LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (
            self.width - _LEFT - _RIGHT
        )

    def y(self, value: float) -> float:
        """Vertical place of a value, in pixels from the top."""
        bottom = self.height - _BOTTOM
        return bottom - (value - self.y_low) / (self.y_high - self.y_low) * (bottom - _TOP)


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    description: str,
    y_limit: float | None = None,
    x_ticks: Sequence[float] | None = None,
    shaded: tuple[float, float, str] | None = None,
    threshold: tuple[float, str] | None = None,
) -> str:
    """Lines with bands, labelled at their right ends.

    Args:
        series: The lines; the last is drawn on top.
        x_label: Caption of the horizontal axis.
        y_label: Caption of the vertical axis.
        description: What the chart shows, for readers who cannot see it.
        y_limit: Upper end of the vertical axis; lines that pass it leave the picture. None takes
            the largest value.
        x_ticks: Places of the horizontal ticks; None chooses round numbers.
        shaded: An interval of x with a caption.
        threshold: A horizontal line with a caption.
    """
    # Ids of the clip have to differ between charts of one page, and be the same in every run.
    frame = _frame(series, y_limit, f"clip{crc32(description.encode())}")
    parts = [_axes(frame, x_label, y_label, x_ticks)]
    if shaded is not None:
        parts.append(_shade(frame, *shaded))
    if threshold is not None:
        parts.append(_threshold(frame, *threshold))
    parts += [
        _band(frame, line) for line in series if line.low is not None and line.high is not None
    ]
    parts += [_line(frame, line) for line in series]
    parts.append(_end_labels(frame, series))
    return _svg(frame, description, parts)


def number_line(
    marks: Sequence[tuple[str, float, int]], interval: tuple[float, float], description: str
) -> str:
    """Labelled marks on a line from the smallest to the largest.

    And a bar for the interval of one of them.

    Args:
        marks: Label, value and colour of each.
        interval: Ends of the bar, in the same unit.
        description: What it shows, for readers who cannot see it.
    """
    values = [value for _, value, _ in marks] + [value for value in interval if np.isfinite(value)]
    low, high = min(values), max(values)
    margin = 0.04 * (high - low or 1.0)
    frame = Frame(low - margin, high + margin, 0, 1, height=150)
    middle = 70
    parts = [
        f'<line class="axis" x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{middle}" y2="{middle}"/>'
    ]
    # An infinite end reaches to the edge.
    ends = [frame.x(min(max(value, low), high)) for value in interval]
    parts.append(
        f'<rect x="{ends[0]:.1f}" y="{middle - 9}" width="{max(ends[1] - ends[0], 1):.1f}" '
        'height="18" rx="4" '
        'fill="var(--c0)" opacity=".28"/>'
    )
    # Labels alternate above and below the line so that close marks stay legible.
    for place, (label, value, colour) in enumerate(sorted(marks, key=lambda mark: mark[1])):
        x, y = frame.x(value), middle - 28 if place % 2 else middle + 42
        parts.append(f'<circle cx="{x:.1f}" cy="{middle}" r="7" fill="var(--c{colour})"/>')
        parts.append(_text(x, y, f"{label} {short(value)}", "middle", "label"))
    return _svg(frame, description, parts)


def short(value: float) -> str:
    """A number in about three digits."""
    if np.isnan(value):
        return "\N{EN DASH}"
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e5):
        return f"{value:.0e}"
    if value == 0:
        return "0"
    # Fewer decimals for larger numbers; below a thousandth a fourth one says more than 0.
    for digits, smallest in enumerate((100, 10, 1, 0.001)):
        if abs(value) >= smallest:
            return f"{value:.{digits}f}"
    return f"{value:.4f}"


def percent(share: float) -> str:
    """A share in percent, with a decimal where a whole number would read as 0 or 1."""
    if np.isnan(share):
        return "\N{EN DASH}"
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    is_extreme = 0 < abs(share) < 0.05 or 0.95 < share < 1.05
    text = f"{share:.1%}" if is_extreme and share != 1 else f"{share:.0%}"
    return text.removeprefix("-") if text in ("-0%", "-0.0%") else text


def times_fewer(ratio: float, noun: str) -> str:
    """How many times fewer of something there are, or more.

    "2.0 times fewer steps", "as many steps".
    """
    if f"{ratio:.1f}" == "1.0":
        return f"as many {noun}"
    return f"{ratio:.1f} times fewer {noun}" if ratio > 1 else f"{1 / ratio:.1f} times more {noun}"


def _frame(series: Sequence[Series], y_limit: float | None, clip: str) -> Frame:
    places = np.concatenate([np.asarray(line.x, float) for line in series])
    tops = [np.asarray(line.high if line.high is not None else line.y, float) for line in series]
    highest = float(np.nanmax(np.concatenate(tops)))
    bottoms = [np.asarray(line.low if line.low is not None else line.y, float) for line in series]
    # Errors begin at 0; what may be negative begins below its smallest value.
    lowest = min(0.0, float(np.nanmin(np.concatenate(bottoms))))
    if lowest < 0:
        lowest -= 0.08 * (max(highest, 0.0) - lowest)
    top = y_limit if y_limit is not None else highest + 0.08 * max(highest - lowest, 0.0)
    x_low, x_high = float(places.min()), float(places.max())
    return Frame(
        x_low,
        x_high if x_high > x_low else x_low + 1,
        lowest,
        top if top > lowest else lowest + 1.0,
        clip=clip,
    )


def _svg(frame: Frame, description: str, parts: Sequence[str]) -> str:
    text = escape(description, quote=True)
    inside = f'width="{frame.width - _LEFT - _RIGHT}" height="{frame.height - _TOP - _BOTTOM}"'
    return (
        f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{text}">'
        f'<clipPath id="{frame.clip}"><rect x="{_LEFT}" y="{_TOP}" '
        f"{inside}/></clipPath>{''.join(parts)}</svg>"
    )


def _axes(frame: Frame, x_label: str, y_label: str, x_ticks: Sequence[float] | None) -> str:
    right, bottom = frame.width - _RIGHT, frame.height - _BOTTOM
    parts = []
    for tick in round_ticks(frame.y_low, frame.y_high):
        y = frame.y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:g}", "end", "tick"))
    ticks = round_ticks(frame.x_low, frame.x_high) if x_ticks is None else x_ticks
    parts += [_text(frame.x(tick), bottom + 18, f"{tick:g}", "middle", "tick") for tick in ticks]
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(_text((_LEFT + right) / 2, frame.height - 6, x_label, "middle", "caption"))
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text class="caption" text-anchor="middle" transform="translate(14 {middle}) '
        'rotate(-90)">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def round_ticks(low: float, high: float, num: int = 5) -> list[float]:
    """About `num` round numbers between two values."""
    if not high > low:
        return [low]
    raw = (high - low) / num
    power = 10.0 ** np.floor(np.log10(raw))
    # Rounding must not push a range that is a round number to the next step.
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    numbers = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-6) + 1)
    # Adding 0.0 turns a negative zero into a plain one.
    return [float(f"{number * step:.10g}") + 0.0 for number in numbers]


def _shade(frame: Frame, start: float, end: float, caption: str) -> str:
    x, width = frame.x(start), frame.x(end) - frame.x(start)
    height = frame.height - _TOP - _BOTTOM
    label = _text(x + 6, _TOP + 14, caption, "start", "note")
    size = f'width="{max(width, 2):.1f}" height="{height}"'
    return f'<rect class="shade" x="{x:.1f}" y="{_TOP}" {size}/>{label}'


def _threshold(frame: Frame, value: float, caption: str) -> str:
    y, right = frame.y(value), frame.width - _RIGHT
    line = f'<line class="threshold" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(right - 4, y - 5, caption, "end", "note")


def _band(frame: Frame, line: Series) -> str:
    assert line.low is not None
    assert line.high is not None
    upper = _points(frame, line.x, line.high)
    lower = _points(frame, line.x, line.low)[::-1]
    return (
        f'<polygon clip-path="url(#{frame.clip})" points="{" ".join(upper + lower)}" '
        f'fill="var(--c{line.colour})" '
        f'opacity="{0.1 if line.is_dashed else 0.25}"/>'
    )


def _line(frame: Frame, line: Series) -> str:
    points = " ".join(_points(frame, line.x, line.y))
    dash = ' stroke-dasharray="6 4"' if line.is_dashed else ""
    width = 2 if line.is_dashed else 3
    return (
        f'<polyline clip-path="url(#{frame.clip})" points="{points}" fill="none" '
        f'stroke="var(--c{line.colour})" '
        f'stroke-width="{width}" '
        f'stroke-linejoin="round"{dash}><title>{escape(line.label)}</title></polyline>'
    )


def _points(frame: Frame, x: ArrayLike, y: ArrayLike) -> list[str]:
    # Far outside the frame the exact place does not matter, and browsers dislike huge numbers.
    ceiling = frame.y_high + 4 * (frame.y_high - frame.y_low)
    pairs = zip(np.asarray(x, float), np.asarray(y, float), strict=True)
    return [f"{frame.x(a):.1f},{frame.y(min(b, ceiling)):.1f}" for a, b in pairs if b > -np.inf]


def _end_labels(frame: Frame, series: Sequence[Series]) -> str:
    """A label at the right end of each line, pushed apart where lines end close together."""
    last = [float(np.asarray(line.y, float)[-1]) for line in series]
    wanted = [frame.y(min(max(value, frame.y_low), frame.y_high)) for value in last]
    x, parts = frame.width - _RIGHT + 8, []
    for line, value, y in zip(
        series, last, spread_out(wanted, 16, frame.y(frame.y_low)), strict=True
    ):
        note = " ↑" if value > frame.y_high else ""
        parts.append(
            f'<text class="label" x="{x}" y="{y + 4:.1f}" fill="var(--c{line.colour})">'
            f"{escape(line.label + note)}</text>"
        )
    return "".join(parts)


def spread_out(places: Sequence[float], distance: float, limit: float) -> list[float]:
    """Places moved as little as needed to lie at least so far apart, none beyond the limit."""
    order, moved = np.argsort(places, kind="stable"), np.array(places, float)
    # Downwards first, then back from the limit.
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + distance)
    moved[order[-1]] = min(moved[order[-1]], limit)
    for after, before in itertools.pairwise(order[::-1]):
        moved[before] = min(moved[before], moved[after] - distance)
    return [float(place) for place in moved]


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
