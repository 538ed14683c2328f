"""Pictures of countries and forecasts; matplotlib is imported when one is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import VoteData
from wm_agents.domains.resolutions.spatial import SpatialModel
from wm_agents.domains.resolutions.vote_model import Forecast

COLOURS = {"yes": "#009E73", "abstain": "#E0A800", "no": "#D55E00"}
# Named on the map: the permanent members, some of each region, and those that stand apart.
NAMED = (
    "US",
    "GB",
    "FR",
    "RU",
    "CN",
    "IN",
    "BR",
    "ZA",
    "IL",
    "CU",
    "IR",
    "JP",
    "DE",
    "TR",
    "KR",
    "EG",
    "NG",
    "PW",
    "AU",
    "MX",
)


def save_map(
    data: VoteData,
    rows: NDArray[np.int64],
    chosen: NDArray[np.int64],
    model: SpatialModel,
    path: Path,
) -> None:
    """Where the countries [chosen] stand in the two-dimensional model of these roll calls, coloured by share of yes."""
    plt = _pyplot()
    votes = data.votes[rows]
    share = (votes[:, chosen] == 0).sum(0) / (votes[:, chosen] >= 0).sum(0)
    figure, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
    points = axes.scatter(
        *model.positions.T, c=share, cmap="viridis", s=22, edgecolors="white", linewidths=0.4
    )
    for place, column in enumerate(chosen):
        if data.countries[column] in NAMED:
            axes.annotate(
                data.countries[column],
                model.positions[place],
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=9,
            )
    axes.set(xlabel="first dimension", ylabel="second dimension")
    axes.set_title(
        f"{len(chosen)} countries by {len(rows)} roll calls, {int(data.years[rows[0]])}-{int(data.years[rows[-1]])}"
    )
    figure.colorbar(points, label="share of yes")
    _save(figure, path)


def save_tallies(data: VoteData, forecast: Forecast, path: Path) -> None:
    """Expected against counted tallies, one panel for each vote."""
    plt = _pyplot()
    votes = data.votes[forecast.rows]
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    for label, (name, colour) in enumerate(COLOURS.items()):
        counted, expected = (votes == label).sum(1), forecast.tallies[:, label]
        limit = float(max(counted.max(), expected.max())) * 1.05
        panels[label].plot([0, limit], [0, limit], color="#999999", linewidth=1)
        reach = np.abs(forecast.intervals[:, label].T - expected)
        panels[label].errorbar(expected, counted, xerr=reach, fmt="none", ecolor=colour, alpha=0.12)
        panels[label].scatter(expected, counted, s=9, color=colour, alpha=0.7)
        error = float(np.abs(counted - expected).mean())
        panels[label].set(
            title=f"{name}: mean absolute error {error:.1f}", xlabel="forecast", ylabel="counted"
        )
    _save(figure, path)


def save_cards(data: VoteData, forecast: Forecast, countries: Sequence[str], folder: Path) -> None:
    """A card for each country that is in the data.

    Its votes, how well they were foreseen, and its closest others.
    """
    for code in countries:
        if code in data.countries:
            _save_card(data, forecast, code, folder / f"card_{code}.png")


def _save_card(data: VoteData, forecast: Forecast, code: str, path: Path) -> None:
    plt = _pyplot()
    column = list(data.countries).index(code)
    votes = data.votes[forecast.rows]
    own, chances = votes[:, column], forecast.probabilities[:, column]
    present = own >= 0
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    accuracy = float((chances.argmax(1) == own)[present].mean()) if present.any() else float("nan")
    figure.suptitle(
        f"{code}: {int(present.sum())} votes, {accuracy:.0%} foreseen", fontweight="bold"
    )
    counted = [float((own[present] == label).mean()) for label in range(3)]
    expected = chances[present].mean(0)
    places = np.arange(3)
    left.bar(places - 0.2, counted, 0.4, color=list(COLOURS.values()), label="voted")
    left.bar(places + 0.2, expected, 0.4, color="#BBBBBB", label="forecast")
    left.set_xticks(places, list(COLOURS))
    left.set(title="shares", ylim=(0, 1))
    left.legend()
    _agreement_bars(middle, data, votes, column)
    _issue_bars(right, data, forecast, column)
    _save(figure, path)


def _agreement_bars(axes: Any, data: VoteData, votes: NDArray[np.int8], column: int) -> None:
    """The five countries that vote most and least like this one."""
    both = (votes >= 0) & (votes[:, [column]] >= 0)
    share = np.where(
        both.sum(0) >= 20,
        (both & (votes == votes[:, [column]])).sum(0) / np.maximum(both.sum(0), 1),
        np.nan,
    )
    share[column] = np.nan
    order = [int(c) for c in np.argsort(share) if np.isfinite(share[c])]
    shown = [*order[:5], *order[-5:]]
    axes.barh([data.countries[c] for c in shown], share[shown], color="#4477AA")
    axes.set(title="equal votes, least and most", xlim=(0, 1))


def _issue_bars(axes: Any, data: VoteData, forecast: Forecast, column: int) -> None:
    """Shares of yes by issue, voted and forecast."""
    names, counted, expected = [], [], []
    votes = data.votes[forecast.rows][:, column]
    for index, name in enumerate(data.issue_names):
        mask = data.issues[forecast.rows, index] & (votes >= 0)
        if mask.any():
            names.append(name[:24])
            counted.append(float((votes[mask] == 0).mean()))
            expected.append(float(forecast.probabilities[mask, column, 0].mean()))
    places = np.arange(len(names))
    axes.barh(places + 0.2, counted, 0.4, color=COLOURS["yes"], label="voted")
    axes.barh(places - 0.2, expected, 0.4, color="#BBBBBB", label="forecast")
    axes.set_yticks(places, names)
    axes.set(title="share of yes by issue", xlim=(0, 1))


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)
