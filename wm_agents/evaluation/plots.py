"""Pictures of results: learning curves with bands, and intervals side by side.

Matplotlib is imported when the first picture is drawn, and used without its global state or any
window.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import ConfigError
from wm_agents.evaluation.statistics import (
    Interval,
    finite_array,
    interquartile_mean,
    stratified_bootstrap_band,
)
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path

if TYPE_CHECKING:
    from wm_agents.evaluation.open_loop_report import OpenLoopReport

# Okabe and Ito's palette, told apart by colour-blind readers; the line styles tell arms apart in
# grey as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
INK = "#1B1F24"
_GREY = "#5A5A5A"
GRID = "#E4E4E4"

# A picture in SVG is transparent, and takes these colours where the page around it is dark.
DARK = {
    INK: "#E3E6EA",
    _GREY: "#A9B1BB",
    GRID: "#333A43",
    "#0072B2": "#5CB2EC",
    "#D55E00": "#F0844A",
    "#009E73": "#3CC79C",
    "#CC79A7": "#E09BC3",
    "#E69F00": "#F0B43C",
    "#56B4E9": "#8CCBF2",
    "#000000": "#FFFFFF",
}


def plot_learning_curves(
    path: str | Path,
    curves: "Mapping[str, ArrayLike]",
    steps: "ArrayLike | Mapping[str, ArrayLike]",
    ylabel: str,
    threshold: float | None = None,
    xlabel: str = "Episodes",
    title: str = "",
    confidence: float = 0.95,
) -> Path:
    """Draws the interquartile mean over runs of each arm, with a stratified bootstrap band.

    Args:
        path: picture to write; its suffix chooses the format.
        curves: by label, scores [runs, K] or [tasks, runs, K]; a single run gets no band.
        steps: [K], the steps done before each evaluation, or by label when arms differ.
        ylabel: what the score is, with its unit.
        threshold: score that is marked by a line.
        xlabel: what the steps count.
        title: heading, which states the finding.
        confidence: coverage of the bands, in (0, 1).

    Returns:
        The path.

    Raises:
        ConfigError: on shapes that do not fit or a path that cannot be written.
        ImportError: when matplotlib is not installed.
    """
    # Before matplotlib is loaded, which takes a second.
    if not curves:
        raise ConfigError("curves is empty; give at least one arm")
    figure, axes = make_axes(7.2, 4.2)
    for number, (label, values) in enumerate(curves.items()):
        grid = np.asarray(steps[label] if isinstance(steps, Mapping) else steps, dtype=np.float64)
        colour, style = COLOURS[number % len(COLOURS)], LINE_STYLES[number % len(LINE_STYLES)]
        middle, low, high = _band(finite_array(values, label), grid, label, confidence)
        axes.fill_between(grid, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(grid, middle, color=colour, linestyle=style, linewidth=2.2, label=label)
    if threshold is not None:
        axes.axhline(threshold, color=_GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        place = axes.get_yaxis_transform()
        axes.text(
            0.995,
            threshold,
            f"{threshold:g}",
            color=_GREY,
            transform=place,
            ha="right",
            va="bottom",
            fontsize=10,
        )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_formatter(_short_numbers())
    axes.margins(x=0)
    _add_title(axes, title)
    # Below the axes, where no curve can run through it.
    figure.legend(
        loc="outside lower center",
        ncols=min(len(curves), 3),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        handlelength=3,
    )
    return save_figure(figure, path)


def plot_intervals(
    path: str | Path,
    intervals: Mapping[str, Interval | float],
    xlabel: str,
    reference: float | None = None,
    title: str = "",
) -> Path:
    """Draws estimates as dots on their intervals, one row each, the first on top.

    A limit that is infinite is drawn as an arrow to the edge of the picture, an estimate that is
    NaN not at all.

    Args:
        path: picture to write; its suffix chooses the format.
        intervals: by label; a number is an estimate without limits.
        xlabel: what is estimated, with its unit.
        reference: value that is marked by a line, such as 0.5 for no improvement.
        title: heading, which states the finding.

    Returns:
        The path.

    Raises:
        ConfigError: when there are no intervals or the path cannot be written.
        ImportError: when matplotlib is not installed.
    """
    if not intervals:
        raise ConfigError("intervals is empty; give at least one")
    figure, axes = make_axes(7.2, 1.3 + 0.45 * len(intervals))
    known = [
        value if isinstance(value, Interval) else Interval(value, value, value)
        for value in intervals.values()
    ]
    left, right = _limits(known, reference)
    for row, interval in enumerate(known):
        _draw_interval(axes, row, interval, left, right)
    if reference is not None:
        axes.axvline(reference, color=_GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    axes.set(xlabel=xlabel, xlim=(left, right), ylim=(len(intervals) - 0.5, -0.5))
    axes.set_yticks(range(len(intervals)), list(intervals))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    _add_title(axes, title)
    return save_figure(figure, path)


def plot_lines(
    path: str | Path,
    x: "ArrayLike",
    lines: "Mapping[str, ArrayLike]",
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Path:
    """Draws what one run noted on its way.

    Args:
        path: Picture to write; its suffix chooses the format.
        x: Where [T].
        lines: Label to values [T], which may have NaN.
        xlabel: What x is, with its unit.
        ylabel: What the values are, with their unit.
        title: Heading, which states the finding.

    Returns:
        The path.

    Raises:
        ConfigError: Without lines, or a path that cannot be written.
        ImportError: When matplotlib is not installed.
    """
    if not lines:
        raise ConfigError("lines is empty; give at least one")
    figure, axes = make_axes(7.2, 4.0)
    for number, (label, values) in enumerate(lines.items()):
        style = LINE_STYLES[number % len(LINE_STYLES)]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(x, values, color=colour, linestyle=style, marker=".", label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_formatter(_short_numbers())
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=10, labelcolor=INK)
    _add_title(axes, title)
    return save_figure(figure, path)


def plot_open_loop(
    path: str | Path,
    report: "OpenLoopReport",
    real: NDArray[Any],
    imagined: NDArray[Any],
    label: str = "the model",
    title: str = "",
) -> Path:
    """Draws error against horizon, and an episode as it was and as it was imagined from its start.

    Args:
        path: Picture to write; its suffix chooses the format.
        report: The errors.
        real: Observations [H + 1, O] of one episode; the three features that vary most are drawn.
        imagined: Observations [H + 1, O] under the same actions.
        label: Of the model.
        title: Heading of the errors.

    Returns:
        The path.

    Raises:
        ConfigError: A path that cannot be written.
        ImportError: When matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_errors(left, report, label, title)
    for feature, colour in zip(np.argsort(-real.std(0))[:3], COLOURS, strict=False):
        name = f"feature {feature}"
        right.plot(real[:, feature], color=colour, alpha=0.4, linewidth=4, label=f"{name}, real")
        right.plot(imagined[:, feature], color=colour, label=f"{name}, imagined")
    right.set(xlabel="step", title="an episode imagined from its first observation")
    right.legend(fontsize=7)
    return save_figure(figure, path)


def _draw_errors(axes: Any, report: "OpenLoopReport", label: str, title: str) -> None:
    """Both axes logarithmic, unless the model is exact."""
    horizons = list(report.horizons)
    errors = [report.error(horizon) for horizon in horizons]
    persistence = [report.error(horizon, "persistence") for horizon in horizons]
    axes.plot(horizons, persistence, "--", color=_GREY, label="nothing changes")
    axes.plot(horizons, errors, "o-", color=COLOURS[0], label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(horizons, [str(horizon) for horizon in horizons])
    if min(errors) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="steps ahead", ylabel="error [standard deviations]", title=title)
    axes.legend()


def _band(
    scores: NDArray[np.float64], grid: NDArray[np.float64], label: str, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    if scores.ndim not in (2, 3) or grid.shape != scores.shape[-1:]:
        raise ConfigError(
            f"curves[{label!r}] {scores.shape} and steps {grid.shape}; give [runs, K] and [K]"
        )
    if scores.shape[-2] == 1:
        # One run has no band.
        middle = interquartile_mean(scores, axis=tuple(range(scores.ndim - 1)))
        return middle, middle, middle
    return stratified_bootstrap_band(scores, confidence=confidence)


def _limits(intervals: list[Interval], reference: float | None) -> tuple[float, float]:
    """A range that shows every finite number with a margin."""
    numbers = [
        number
        for interval in intervals
        for number in (interval.estimate, interval.low, interval.high)
    ]
    finite = [
        number for number in [*numbers, reference] if number is not None and np.isfinite(number)
    ] or [0.0, 1.0]
    # Where all numbers are equal any margin does.
    margin = 0.06 * (max(finite) - min(finite)) or 0.5
    return min(finite) - margin, max(finite) + margin


def _draw_interval(axes: Any, row: int, interval: Interval, left: float, right: float) -> None:
    colour = COLOURS[row % len(COLOURS)]
    low, high = max(interval.low, left), min(interval.high, right)
    axes.plot([low, high], [row, row], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
    # An infinite limit is shown as an arrow at the edge.
    for limit, edge, marker in ((interval.low, left, "<"), (interval.high, right, ">")):
        if np.isinf(limit):
            axes.plot([edge], [row], marker=marker, color=colour, markersize=9, clip_on=False)
    if np.isfinite(interval.estimate):
        axes.plot([interval.estimate], [row], marker="o", color=colour, markersize=8)


def make_axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure of this size in inches and its axes, in one quiet style."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'wm-suite[plots]'") from error
    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GREY)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY, labelcolor=INK, labelsize=11)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(12)
        axis.label.set_color(INK)
    return figure, axes


def _short_numbers() -> Any:
    """Tick labels 20k and 1.5M in place of 20000 and 1500000."""
    from matplotlib.ticker import FuncFormatter

    def shorten(value: float, _position: object) -> str:
        # Largest first.
        for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:g}{letter}"
        return f"{value:g}"

    return FuncFormatter(shorten)


def _add_title(axes: Any, title: str) -> None:
    if title:
        axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=10)


def save_figure(figure: Any, path: str | Path) -> Path:
    """Writes a picture: transparent and with colours for dark pages as SVG, else on white.

    Raises:
        ConfigError: A path that cannot be written.
    """
    path = user_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".svg":
            with replacing(path, "w") as file:
                file.write(_adaptive_svg(figure))
        else:
            figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot write the picture {path}: {error}; give a writable .png, .svg or .pdf"
        ) from error
    return path


def _adaptive_svg(figure: Any) -> str:
    """The figure as SVG whose colours follow the reader's, the same text for the same figure."""
    import matplotlib

    buffer = io.StringIO()
    # Ids are made from the salt, and text stays text.
    with matplotlib.rc_context({"svg.hashsalt": "wm-suite", "svg.fonttype": "none"}):
        # Without the date: the same figure is the same file.
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    light = {color.lower(): f"--c{number}" for number, color in enumerate(DARK)}
    text = re.sub(
        r"#[0-9a-f]{6}\b",
        # Colours become variables, which the style sheet sets for light and dark.
        lambda match: f"var({light[match[0]]})" if match[0] in light else match[0],
        buffer.getvalue(),
    )
    day = "".join(f"{name}:{color};" for color, name in light.items())
    night = "".join(
        f"{name}:{color};" for name, color in zip(light.values(), DARK.values(), strict=True)
    )
    style = f"svg{{{day}}}@media(prefers-color-scheme:dark){{svg{{{night}}}}}"
    style += "text{font-family:system-ui,sans-serif !important}"
    return re.sub(r"(<svg [^>]*>)", rf"\1\n <style>{style}</style>", text, count=1)
