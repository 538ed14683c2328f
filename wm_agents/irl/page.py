"""A comparison of demonstrators as one self-contained HTML page, and its map as a picture."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from wm_agents.irl.comparison import Comparison
from wm_agents.irl.maxent import RewardFit

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a7a", "#b22222")
_SIZE, _MARGIN = 640, 30
_BAR, _MIDDLE = 220, 110

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--muted:#5b6470;--grid:#e3e7ec;--page:#fff;--panel:#f6f8fa}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebef;--muted:#a4adb8;--grid:#323941;--page:#14181d;--panel:#1d2329}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:36px 20px}h1{font-size:30px;margin:0 0 .3em}h2{margin-top:1.8em}
p,li{max-width:75ch}.muted{color:var(--muted)}svg{max-width:100%;height:auto}svg text{fill:var(--ink);font-size:11px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:14px}
.card{background:var(--panel);border-radius:10px;padding:12px 14px;font-size:13px}
.card h3{margin:0 0 6px;font-size:16px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:3px 8px;text-align:left}
tr{border-bottom:1px solid var(--grid)}.doubt{opacity:.45}.flag{color:var(--muted);margin:4px 0 0}
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
    clusters = comparison.clusters(num_clusters)
    sections = [
        f"<h1>{escape(title)}</h1>",
        "".join(f"<p>{escape(note)}</p>" for note in notes),
        "<h2>Who wants alike</h2>",
        f"<p class=muted>Distances are root mean square differences between what they would do in the same "
        f"situations; the two axes hold {comparison.shares[0]:.0%} and {comparison.shares[1]:.0%} of their squares. "
        f"Colours are {num_clusters} clusters.</p>",
        _map(comparison, clusters),
        _stability(comparison),
        "<h2>Cards</h2><p class=muted>Weight of one standard deviation of each feature, with its "
        f"{next(iter(fits.values())).confidence:.0%} interval. Faint: not identified, or hardly more than the prior."
        "</p>",
        f'<div class="cards">{"".join(_card(name, fits[name], comparison, _limit(fits)) for name in fits)}</div>',
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
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
    axes.scatter(across, up, c=[_COLOURS[c % len(_COLOURS)] for c in clusters], s=18)
    for name, (x, y) in zip(comparison.names, comparison.positions, strict=True):
        axes.annotate(name, (x, y), xytext=(3, 2), textcoords="offset points", fontsize=7)
    axes.set(
        xlabel=f"first axis ({comparison.shares[0]:.0%})",
        ylabel=f"second axis ({comparison.shares[1]:.0%})",
    )
    figure.savefig(path)


def _map(comparison: Comparison, clusters: Any) -> str:
    low, high = comparison.positions.min(0), comparison.positions.max(0)
    span = np.maximum(high - low, 1e-12)
    height = _SIZE * 0.7
    parts = []
    for name, point, cluster in zip(comparison.names, comparison.positions, clusters, strict=True):
        x, y = (point - low) / span
        left, top = (
            _MARGIN + x * (_SIZE - 2 * _MARGIN),
            height - _MARGIN - y * (height - 2 * _MARGIN),
        )
        colour = _COLOURS[cluster % len(_COLOURS)]
        parts.append(
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="4" fill="{colour}"/>'
            f'<text x="{left + 5:.1f}" y="{top - 4:.1f}">{escape(name)}</text>'
        )
    return f'<svg viewBox="0 0 {_SIZE} {height:.0f}" role="img" aria-label="Map">{"".join(parts)}</svg>'


def _stability(comparison: Comparison) -> str:
    if not comparison.stability:
        return ""
    rows = "".join(
        f"<tr><td>{k}</td><td>{v:.2f}</td><td>{'stable' if v >= 0.7 else ''}</td></tr>"
        for k, v in comparison.stability.items()
    )
    return (
        "<h2>Which clusters to believe</h2><p class=muted>Agreement (adjusted Rand index) between the clusters of two "
        f"halves of the episodes: 1 the same, 0 chance.</p><table><tr><th>clusters<th>agreement<th></tr>{rows}</table>"
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
        f'<line x1="{left:.1f}" x2="{right:.1f}" y1="8" y2="8" stroke="{_COLOURS[0]}" '
        f'stroke-width="5" opacity=".4"/><circle cx="{middle:.1f}" cy="8" r="5" fill="{_COLOURS[0]}"/></svg>'
    )
    return f"<tr{doubt}><td>{escape(fit.feature_names[place])}</td><td>{bar}</td><td>{values[1]:+.2f}</td></tr>"
