"""Comparisons of demonstrators as one self-contained HTML page, and their map as a picture."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wm_agents.irl.comparison import Comparison
from wm_agents.irl.uncertainty import RewardFit

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a7a", "#b22222")
_SIZE = 640  # of the map, in pixels across
_MARGIN = 30
_BAR = 220  # of an interval, in pixels across
_MIDDLE = _BAR // 2  # where a weight of 0 is

_STYLE = """
:root{color-scheme:light dark;
--ink:#1b1f24;--muted:#5b6470;--grid:#e3e7ec;--page:#fff;--panel:#f6f8fa}
@media (prefers-color-scheme:dark){:root{
--ink:#e8ebef;--muted:#a4adb8;--grid:#323941;--page:#14181d;--panel:#1d2329}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:36px 20px}
h1{font-size:30px;margin:0 0 .3em}h2{margin-top:1.8em}
p,li{max-width:75ch}.muted{color:var(--muted)}
svg{max-width:100%;height:auto}svg text{fill:var(--ink);font-size:11px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:14px}
.card{background:var(--panel);border-radius:10px;padding:12px 14px;font-size:13px}
.card h3{margin:0 0 6px;font-size:16px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:3px 8px;text-align:left}tr{border-bottom:1px solid var(--grid)}
.doubt{opacity:.45}.flag{color:var(--muted);margin:4px 0 0}
"""


def render_comparison(
    title: str,
    fits: Mapping[str, RewardFit],
    comparison: Comparison,
    *,
    notes: Sequence[str] = (),
    num_clusters: int = 4,
) -> str:
    """The page as text; it loads nothing and runs no script."""
    num_clusters = min(num_clusters, len(comparison.names) - 1)
    limit = _limit(fits)
    cards = "".join(_card(name, fits[name], comparison, limit) for name in fits)
    confidence = next(iter(fits.values())).confidence
    across, up = comparison.shares
    sections = [
        f"<h1>{escape(title)}</h1>",
        "".join(f"<p>{escape(note)}</p>" for note in notes),
        "<h2>Who wants alike</h2>",
        "<p class=muted>Distances are root mean square differences between what they would do in "
        f"the same situations; the two axes hold {across:.0%} and {up:.0%} of their squares. "
        f"Colors are {num_clusters} clusters.</p>",
        _map(comparison, comparison.clusters(num_clusters)),
        _stability(comparison),
        "<h2>Cards</h2><p class=muted>Weight of one standard deviation of each feature, with its "
        f"{confidence:.0%} interval. Faint: not identified, or hardly more than the prior.</p>",
        f'<div class="cards">{cards}</div>',
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def save_map(path: str | Path, comparison: Comparison, num_clusters: int = 4) -> None:
    """The map as a picture; matplotlib is imported here."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    clusters = comparison.clusters(min(num_clusters, len(comparison.names) - 1))
    across, up = comparison.positions.T
    axes.scatter(across, up, c=[_COLORS[c % len(_COLORS)] for c in clusters], s=18)
    for name, (x, y) in zip(comparison.names, comparison.positions, strict=True):
        axes.annotate(name, (x, y), xytext=(3, 2), textcoords="offset points", fontsize=7)
    axes.set(
        xlabel=f"first axis ({comparison.shares[0]:.0%})",
        ylabel=f"second axis ({comparison.shares[1]:.0%})",
    )
    figure.savefig(path)


def _map(comparison: Comparison, clusters: NDArray[np.int64]) -> str:
    lowest = comparison.positions.min(0)
    span = np.maximum(comparison.positions.max(0) - lowest, 1e-12)
    height = _SIZE * 0.7
    parts = []
    for name, point, cluster in zip(comparison.names, comparison.positions, clusters, strict=True):
        x, y = (point - lowest) / span
        left = _MARGIN + x * (_SIZE - 2 * _MARGIN)
        top = height - _MARGIN - y * (height - 2 * _MARGIN)  # pixels count from the top
        color = _COLORS[cluster % len(_COLORS)]
        parts.append(
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="4" fill="{color}"/>'
            f'<text x="{left + 5:.1f}" y="{top - 4:.1f}">{escape(name)}</text>'
        )
    return (
        f'<svg viewBox="0 0 {_SIZE} {height:.0f}" role="img" aria-label="Map">'
        f"{''.join(parts)}</svg>"
    )


def _stability(comparison: Comparison) -> str:
    if not comparison.stability:
        return ""
    stable = comparison.stable_clusters
    rows = "".join(
        f"<tr><td>{number}</td><td>{index:.2f}</td>"
        f"<td>{'stable' if number in stable else ''}</td></tr>"
        for number, index in comparison.stability.items()
    )
    return (
        "<h2>Which clusters to believe</h2><p class=muted>Agreement (adjusted Rand index) between "
        "the clusters of two halves of the episodes: 1 the same, 0 chance.</p>"
        f"<table><tr><th>clusters<th>agreement<th></tr>{rows}</table>"
    )


def _limit(fits: Mapping[str, RewardFit]) -> float:
    """Upper end of the bars: what nearly all trusted weights stay below."""
    trusted = np.concatenate([np.abs(fit.scaled_weights[fit.is_trusted]) for fit in fits.values()])
    return float(np.quantile(trusted, 0.98)) if len(trusted) else 1.0


def _card(name: str, fit: RewardFit, comparison: Comparison, limit: float) -> str:
    rows = "".join(_row(fit, place, limit) for place in range(len(fit.feature_names)))
    near = ", ".join(f"{other} {distance:.2f}" for other, distance in comparison.nearest(name, 4))
    flags = "".join(f'<p class="flag">{escape(flag)}</p>' for flag in fit.flags)
    return (
        f'<div class="card" id="{escape(name)}"><h3>{escape(name)}</h3><table>{rows}</table>'
        f'<p class="flag">{fit.num_steps} decisions; nearest: {escape(near)}</p>{flags}</div>'
    )


def _row(fit: RewardFit, place: int, limit: float) -> str:
    values = np.array([fit.low[place], fit.weights[place], fit.high[place]]) * fit.scale[place]
    left, middle, right = (_MIDDLE + np.clip(values / limit, -1, 1) * (_MIDDLE - 6)).tolist()
    doubt = "" if fit.is_trusted[place] else ' class="doubt"'
    bar = (
        f'<svg width="{_BAR // 1.6:.0f}" height="12" viewBox="0 0 {_BAR} 16">'
        f'<line x1="{_MIDDLE}" x2="{_MIDDLE}" y1="0" y2="16" stroke="var(--grid)"/>'
        f'<line x1="{left:.1f}" x2="{right:.1f}" y1="8" y2="8" stroke="{_COLORS[0]}" '
        'stroke-width="5" opacity=".4"/>'
        f'<circle cx="{middle:.1f}" cy="8" r="5" fill="{_COLORS[0]}"/></svg>'
    )
    name = escape(fit.feature_names[place])
    return f"<tr{doubt}><td>{name}</td><td>{bar}</td><td>{values[1]:+.2f}</td></tr>"
