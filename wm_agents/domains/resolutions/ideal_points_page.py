"""Ideal points beside another estimate of them, and as pages: one self-contained file a country."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.ideal_points import IdealPoints
from wm_agents.errors import TrajectoryError
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path
from wm_envs.resolutions.countries import NAMES, code_of
from wm_envs.resolutions.files import RowCount, finite_number, read_columns, whole_number

Doubles = NDArray[np.float64]

REFERENCE_COLUMNS = ("country", "session", "point", "low", "high")
_MIN_COMMON = 5  # countries of a session, for a correlation to say anything
_WIDTH, _HEIGHT, _MARGIN = 760, 320, 44
_NUM_NEAREST = 5
_NUM_CHANGES = 6

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--muted:#5b6470;--grid:#e3e7ec;--page:#fff;
--line:#0072b2;--other:#9aa4b0}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebef;--muted:#a4adb8;--grid:#323941;
--page:#14181d;--line:#56b4e9;--other:#6b7480}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,Arial,sans-serif}
main{max-width:860px;margin:0 auto;padding:32px 18px}
h1{font-size:28px;margin:0 0 .2em}h2{font-size:19px;margin-top:1.6em}.muted{color:var(--muted)}
svg{width:100%;height:auto}svg text{fill:var(--muted);font-size:11px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:3px 12px 3px 0;text-align:left}tr{border-bottom:1px solid var(--grid)}
"""


@dataclass(frozen=True)
class Reference:
    """Another estimate of N points, and what of its file could not be used.

    Attributes:
        countries: N codes.
        sessions: [N].
        points: [N].
        low: [N].
        high: [N].
        unknown: Country fields that are no member's code or name, with how often each stood there.
    """

    countries: Sequence[str]
    sessions: NDArray[np.int64]
    points: Doubles
    low: Doubles
    high: Doubles
    unknown: Counter[str]


def read_reference(path: str | os.PathLike[str]) -> Reference:
    """Read a CSV file with the columns country, session, point, low and high.

    A country is a code of two or three letters or a name. Rows of others are counted and left out;
    one that says the same as an earlier one is read once.

    Raises:
        TrajectoryError: Columns are missing, a number is none, two rows of a country differ in a
            session, no row can be used, or more cannot than can; the message names file and line.
    """
    path = user_path(path)
    rows: dict[tuple[str, int], tuple[float, float, float]] = {}
    unknown: Counter[str] = Counter()
    count = RowCount(path, "rows", Counter())
    for line, (country, session, *numbers) in read_columns(path, REFERENCE_COLUMNS):
        where = f"{path}: line {line}"
        key_session = whole_number(session, f"{where}: session", 1, 999)
        values = [
            finite_number(text, f"{where}: {name}")
            for name, text in zip(REFERENCE_COLUMNS[2:], numbers, strict=True)
        ]
        code = code_of(country)
        if code is None:
            unknown[country[:40]] += 1
            count.drop("rows of unknown countries", f"line {line}: country {country[:40]!r}")
            continue
        numbers_of = (values[0], values[1], values[2])
        if rows.setdefault((code, key_session), numbers_of) != numbers_of:
            raise TrajectoryError(
                f"{where}: {code} stands twice in session {key_session}, and its rows differ: keep "
                "one"
            )
        count.num_read += 1
    if not rows:
        raise TrajectoryError(
            f"{path}: no row has a known country, such as US, USA or Namibia; unknown are "
            f"{list(unknown)[:5]}"
        )
    count.finish()
    points, low, high = np.array(list(rows.values())).T
    return Reference(
        [code for code, _ in rows],
        np.array([session for _, session in rows]),
        points,
        low,
        high,
        unknown,
    )


def compare(model: IdealPoints, reference: Reference) -> dict[str, Any]:
    """Agreement of fitted points with another estimate, where both have a country in a session.

    Returns:
        `correlations` by session, their `median_correlation`, `change_correlation` and
        `change_sign_agreement` of the changes between sessions that follow each other,
        `num_joined`, and what was not: `unknown_countries`, `other_countries`, `other_sessions`.

    Raises:
        TrajectoryError: Nothing can be joined.
    """
    theirs = np.full(model.points.shape, np.nan)
    other_countries: Counter[str] = Counter()
    other_sessions: Counter[int] = Counter()
    place_of = {int(session): s for s, session in enumerate(model.sessions)}
    column_of = {code: c for c, code in enumerate(model.countries)}
    for code, session, point in zip(
        reference.countries, reference.sessions, reference.points, strict=True
    ):
        if code not in column_of:
            other_countries[code] += 1
        elif int(session) not in place_of:
            other_sessions[int(session)] += 1
        else:
            theirs[place_of[int(session)], column_of[code]] = point
    both = np.isfinite(theirs) & np.isfinite(model.points)
    correlations = {
        int(session): _correlation(model.points[s, both[s]], theirs[s, both[s]])
        for s, session in enumerate(model.sessions)
        if both[s].sum() >= _MIN_COMMON
    }
    if not correlations:
        raise TrajectoryError(
            f"no session has {_MIN_COMMON} countries in common with the reference: its countries "
            f"are such as {list(reference.countries)[:5]}, its sessions "
            f"{sorted(set(reference.sessions.tolist()))[:5]}"
        )
    # The other scale may be turned around.
    sign = np.sign(np.median(list(correlations.values()))) or 1.0
    scaled = sign * _standardized_rows(np.where(both, theirs, np.nan))
    ours = np.diff(model.points, axis=0)
    other = np.diff(scaled, axis=0)
    changed = np.isfinite(ours) & np.isfinite(other)
    return {
        "median_correlation": float(np.median(list(correlations.values())) * sign),
        "correlations": {session: float(sign * value) for session, value in correlations.items()},
        "change_correlation": _correlation(ours[changed], other[changed]),
        "change_sign_agreement": float((np.sign(ours) == np.sign(other))[changed].mean()),
        "num_joined": int(both.sum()),
        "unknown_countries": dict(reference.unknown),
        "other_countries": dict(other_countries),
        "other_sessions": {str(session): count for session, count in other_sessions.items()},
    }


def country_page(model: IdealPoints, country: str) -> str:
    """The page of one country as text; it loads nothing and runs no script.

    Its course with intervals, the largest changes, and who stands nearest now.

    Raises:
        TrajectoryError: It is not among the countries, or never voted.
    """
    column = model.column(country)
    known = np.flatnonzero(np.isfinite(model.points[:, column]))
    if not len(known):
        raise TrajectoryError(f"{country} has no point in any session")
    name = NAMES.get(country, country)
    last = known[-1]
    title = f"{name}: ideal points, sessions {model.sessions[known[0]]} to {model.sessions[last]}"
    first_pole, second_pole = model.config.poles
    sections = [
        f"<h1>{escape(name)}</h1>",
        f"<p>In session {model.sessions[last]} at {model.points[last, column]:+.2f} "
        f"({model.low[last, column]:+.2f} to {model.high[last, column]:+.2f}), in standard "
        "deviations of all who voted. Up is the side of "
        f"{escape(NAMES.get(first_pole, first_pole))}, down that of "
        f"{escape(NAMES.get(second_pole, second_pole))}.</p>",
        _course(model, column),
        f"<p class=muted>The band is the {model.config.confidence:.0%} interval; the thin lines are "
        "the two poles.</p>",
        "<h2>Largest changes</h2>",
        _changes(model, column),
        f"<h2>Nearest in session {model.sessions[last]}</h2>",
        _nearest(model, int(last), column),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def write_pages(model: IdealPoints, folder: Path, countries: Sequence[str]) -> list[Path]:
    """Write `<code>.html` for each country that has a point; returns the paths."""
    paths = []
    for code in countries:
        if np.isfinite(model.points[:, model.column(code)]).any():
            path = folder / f"{code}.html"
            with replacing(path) as stream:
                stream.write(country_page(model, code))
            paths.append(path)
    return paths


def _course(model: IdealPoints, column: int) -> str:
    reach = float(np.nanmax(np.abs(np.concatenate([model.low, model.high]))))
    first, last = int(model.sessions[0]), int(model.sessions[-1])

    def across(session: float) -> float:
        return _MARGIN + (session - first) / max(last - first, 1) * (_WIDTH - _MARGIN - 10)

    def up(value: float) -> float:
        return _HEIGHT / 2 - value / reach * (_HEIGHT / 2 - 20)

    def line(values: Doubles, style: str) -> str:
        known = np.flatnonzero(np.isfinite(values))
        spots = [f"{across(model.sessions[s]):.1f},{up(values[s]):.1f}" for s in known]
        return f'<polyline points="{" ".join(spots)}" fill="none" {style}/>'

    parts = [
        f'<line x1="{_MARGIN}" x2="{_WIDTH - 10}" y1="{up(value):.1f}" y2="{up(value):.1f}" '
        f'stroke="var(--grid)"/><text x="8" y="{up(value) + 4:.1f}">{value:+d}</text>'
        for value in range(-int(reach), int(reach) + 1)
    ]
    parts += [
        f'<text x="{across(session) - 6:.1f}" y="{_HEIGHT - 2}">{session}</text>'
        for session in range(first - first % 10 + 10, last + 1, 10)
    ]
    parts += [
        line(model.points[:, model.column(pole)], 'stroke="var(--other)"')
        for pole in model.config.poles
        if pole in model.countries
    ]
    known = np.flatnonzero(np.isfinite(model.points[:, column]))
    upper = [f"{across(model.sessions[s]):.1f},{up(model.high[s, column]):.1f}" for s in known]
    lower = [f"{across(model.sessions[s]):.1f},{up(model.low[s, column]):.1f}" for s in known]
    band = " ".join([*upper, *reversed(lower)])
    parts.append(f'<polygon points="{band}" fill="var(--line)" opacity=".22"/>')
    parts.append(line(model.points[:, column], 'stroke="var(--line)" stroke-width="2.2"'))
    label = f"Ideal point of {model.countries[column]} by session"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _changes(model: IdealPoints, column: int) -> str:
    """A table of the changes that are clearest, in their own standard deviations."""
    changes = model.changes[:, column]
    ratios = np.abs(changes) / model.change_stds[:, column]
    order = np.argsort(-np.nan_to_num(ratios, nan=-1.0))[:_NUM_CHANGES]
    rows = [
        f"<tr><td>{model.sessions[s]}</td><td>{changes[s]:+.2f}</td><td>{ratios[s]:.1f}</td></tr>"
        for s in order
        if np.isfinite(ratios[s])
    ]
    if not rows:
        return "<p class=muted>No two sessions that follow each other.</p>"
    head = "<tr><th>session</th><th>change</th><th>standard deviations</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _nearest(model: IdealPoints, session: int, column: int) -> str:
    distances = np.abs(model.points[session] - model.points[session, column])
    distances[column] = np.nan
    order = np.argsort(np.nan_to_num(distances, nan=np.inf))[:_NUM_NEAREST]
    names = [NAMES.get(model.countries[c], model.countries[c]) for c in order]
    values = [
        f"{name} ({model.points[session, c]:+.2f})" for name, c in zip(names, order, strict=True)
    ]
    return f"<p>{escape(', '.join(values))}</p>"


def _correlation(first: Doubles, second: Doubles) -> float:
    """Pearson's; 0 where one of both does not vary."""
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _standardized_rows(values: Doubles) -> Doubles:
    """Rows with mean 0 and standard deviation 1 over what is a number in them."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(1, keepdims=True), 1)
    filled = np.where(known, values, 0)
    centered = np.where(known, filled - filled.sum(1, keepdims=True) / count, 0)
    spread = np.sqrt((centered**2).sum(1, keepdims=True) / count)
    result: Doubles = np.where(known, centered / np.maximum(spread, 1e-9), np.nan)
    return result
