"""Pictures of countries, forecasts and fits; matplotlib is imported when one is drawn."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import CHOICES, VoteData, tally
from wm_agents.domains.resolutions.ideal_points import IdealPoints
from wm_agents.domains.resolutions.spatial import SpatialModel
from wm_agents.domains.resolutions.vote_model import Forecast
from wm_agents.evaluation.plots import plot_lines
from wm_envs.resolutions.codes import Vote
from wm_envs.resolutions.countries import NAMES
from wm_envs.resolutions.records import ResolutionRecord

COLORS = {Vote.YES: "#009E73", Vote.ABSTAIN: "#E0A800", Vote.NO: "#D55E00"}
FORECAST_COLOR = "#BBBBBB"
_LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
# Named on the map: the permanent members, some of each region, and those that stand apart.
NAMED = frozenset(
    [
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
    ]
)
_PREDICTORS = {
    "country_mode": ("country by issue", "#DDDDDD"),
    "precedent": ("last vote on the text", "#BBBBBB"),
    "text_neighbours": ("text neighbours", "#8A8A8A"),
    "forecast": ("VoteModel", "#0072B2"),
    "errors_removed_after_10": ("after ten countries", "#56B4E9"),
}
MIN_SHARED_VOTES = 20  # for an agreement between two countries to be shown


def save_map(
    data: VoteData,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    model: SpatialModel,
    path: str | os.PathLike[str],
) -> None:
    """Draw where countries stand in the two-dimensional model, colored by share of yes.

    Args:
        data: All roll calls.
        rows: Those that the model was fitted on.
        columns: The countries that it was fitted on.
        model: In two dimensions.
        path: The PNG.
    """
    plt = _pyplot()
    votes = data.votes[rows][:, columns]
    share = (votes == Vote.YES).sum(0) / (votes != Vote.ABSENT).sum(0)
    figure, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
    points = axes.scatter(
        *model.positions.T, c=share, cmap="viridis", s=22, edgecolors="white", linewidths=0.4
    )
    for position, column in zip(model.positions, columns, strict=True):
        code = data.countries[column]
        if code in NAMED:
            axes.annotate(code, position, xytext=(4, 3), textcoords="offset points", fontsize=9)
    years = f"{int(data.years[rows[0]])}-{int(data.years[rows[-1]])}"
    axes.set(xlabel="first dimension", ylabel="second dimension")
    axes.set_title(f"{len(columns)} countries by {len(rows)} roll calls, {years}")
    figure.colorbar(points, label="share of yes")
    _save(figure, path)


def save_ideal_points(
    model: IdealPoints, countries: Sequence[str], path: str | os.PathLike[str]
) -> None:
    """Draw the courses of some countries over the sessions, with their intervals.

    Countries that have no point are left out.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(10, 5.5), layout="constrained")
    axes.axhline(0, color="#999999", linewidth=0.8)
    for number, code in enumerate(code for code in countries if code in model.countries):
        column = model.column(code)
        color = _LINE_COLORS[number % len(_LINE_COLORS)]
        name = NAMES.get(code, code)
        axes.plot(model.sessions, model.points[:, column], color=color, label=name, linewidth=1.8)
        axes.fill_between(
            model.sessions, model.low[:, column], model.high[:, column], color=color, alpha=0.2
        )
    axes.set(xlabel="session", ylabel="ideal point, standard deviations of those who voted")
    axes.set_title(f"Ideal points with {model.config.confidence:.0%} intervals")
    axes.spines["right"].set_visible(False)
    # A session opens in September, and the first one did in January 1946.
    years = axes.secondary_xaxis("top", functions=(lambda s: s + 1945, lambda y: y - 1945))
    years.set_xlabel("year in which it opened")
    axes.legend(ncols=2, frameon=False)
    _save(figure, path)


def save_tallies(data: VoteData, forecast: Forecast, path: str | os.PathLike[str]) -> None:
    """Draw expected against counted tallies, one panel for each vote."""
    plt = _pyplot()
    counts = tally(data.votes[forecast.rows])  # [K, 3]
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    for choice, axes in zip(CHOICES, panels, strict=True):
        counted = counts[:, choice]
        expected = forecast.tallies[:, choice]
        reach = np.abs(forecast.intervals[:, choice].T - expected)
        error = float(np.abs(counted - expected).mean())
        title = f"{choice.name.lower()}: mean absolute error {error:.1f}"
        axes.errorbar(expected, counted, xerr=reach, fmt="none", ecolor=COLORS[choice], alpha=0.12)
        _plot_against(axes, expected, counted, COLORS[choice])
        axes.set(title=title, xlabel="forecast", ylabel="counted")
    _save(figure, path)


def save_errors_removed(
    summaries: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]
) -> None:
    """Draw the share of always-yes errors that each predictor removes, a group of bars a period.

    Args:
        summaries: By period, figures with "baselines" as `evaluation.forecast_scores` and
            `baseline_scores` give them.
        path: The PNG.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(9, 4.6), layout="constrained")
    # What an example was not asked for, such as votes after ten countries, has no bar.
    first = next(iter(summaries.values()))
    shown = [
        name
        for name in _PREDICTORS
        if name == "forecast" or name in {**first["baselines"], **first}
    ]
    width = 0.8 / len(shown)
    for number, name in enumerate(shown):
        values = [_errors_removed(figures, name) for figures in summaries.values()]
        places = np.arange(len(summaries)) + (number - (len(shown) - 1) / 2) * width
        label, color = _PREDICTORS[name]
        bars = axes.bar(places, values, 0.92 * width, color=color, label=label)
        axes.bar_label(bars, [f"{value:.0%}" for value in values], padding=2, fontsize=9)
    axes.set_xticks(np.arange(len(summaries)), list(summaries))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_ylabel('errors of "everybody votes yes" removed')
    axes.set_title("Votes of the General Assembly, forecast the day before")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 1)
    axes.legend(ncols=3, frameon=False, loc="upper left")
    _save(figure, path)


def _errors_removed(figures: Mapping[str, Any], name: str) -> float:
    """Of a simple prediction, of the forecast, or of the forecast after some votes are known."""
    if name in figures["baselines"]:
        return float(figures["baselines"][name]["errors_removed"])
    return float(figures["errors_removed" if name == "forecast" else name])


def save_predicted_tallies(
    predicted: NDArray[Any], counted: NDArray[Any], path: str | os.PathLike[str]
) -> None:
    """Draw tallies [N, 3] of yes, no and abstain as a world model predicts them, and as counted."""
    plt = _pyplot()
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    # An environment's tallies have another order than `Vote`.
    for place, choice in enumerate((Vote.YES, Vote.NO, Vote.ABSTAIN)):
        axes = panels[place]
        _plot_against(axes, predicted[:, place], counted[:, place], COLORS[choice])
        axes.set(title=choice.name.lower(), xlabel="predicted", ylabel="counted")
    _save(figure, path)


def save_losses(losses: Sequence[float], path: str | os.PathLike[str]) -> None:
    """Draw the validation loss by epoch."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot(range(1, len(losses) + 1), losses)
    axes.set(xlabel="epoch", ylabel="validation loss")
    _save(figure, path)


def save_years(records: Sequence[ResolutionRecord], path: str | Path) -> None:
    """Shares of yes, no and abstention among the votes of each year."""
    years: dict[int, Counter[str]] = {}
    for record in records:
        ballot = record.plenary_ballot
        if ballot is None or not record.date:
            continue
        counts = years.setdefault(int(str(record.date)[:4]), Counter())
        counts["yes"] += len(ballot.in_favour)
        counts["no"] += len(ballot.against)
        counts["abstain"] += len(ballot.abstaining)
    if not years:
        return
    shown = sorted(years)
    lines = {
        kind: [years[year][kind] / max(1, years[year].total()) for year in shown]
        for kind in ("yes", "no", "abstain")
    }
    plot_lines(path, shown, lines, "year", "share of the votes in plenary")


def save_cards(data: VoteData, forecast: Forecast, countries: Sequence[str], folder: Path) -> None:
    """Draw a card for each country that is in the data.

    Its votes, how well they were predicted, and its closest others.
    """
    for code in countries:
        if code in data.countries:
            _save_card(data, forecast, code, folder / f"card_{code}.png")


def _save_card(data: VoteData, forecast: Forecast, code: str, path: str | os.PathLike[str]) -> None:
    plt = _pyplot()
    column = data.column(code)
    votes = data.votes[forecast.rows]  # [K, C]
    cast = votes[:, column]
    chances = forecast.probabilities[:, column]  # [K, 3]
    is_present = cast != Vote.ABSENT
    accuracy = float("nan")
    if is_present.any():
        accuracy = float((chances.argmax(1) == cast)[is_present].mean())
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    title = f"{code}: {int(is_present.sum())} votes, {accuracy:.0%} predicted"
    figure.suptitle(title, fontweight="bold")
    counted = [float((cast[is_present] == choice).mean()) for choice in CHOICES]
    expected = chances[is_present].mean(0)
    places = np.arange(len(CHOICES))
    left.bar(places - 0.2, counted, 0.4, color=list(COLORS.values()), label="voted")
    left.bar(places + 0.2, expected, 0.4, color=FORECAST_COLOR, label="forecast")
    left.set_xticks(places, [choice.name.lower() for choice in CHOICES])
    left.set(title="shares", ylim=(0, 1))
    left.legend()
    _agreement_bars(middle, data, votes, column)
    _issue_bars(right, data, forecast, column)
    _save(figure, path)


def _agreement_bars(axes: Any, data: VoteData, votes: NDArray[np.int8], column: int) -> None:
    """The five countries that vote most and least like this one."""
    cast = votes[:, [column]]
    is_shared = (votes != Vote.ABSENT) & (cast != Vote.ABSENT)
    num_shared = is_shared.sum(0)
    num_equal = (is_shared & (votes == cast)).sum(0)
    share = np.where(num_shared >= MIN_SHARED_VOTES, num_equal / np.maximum(num_shared, 1), np.nan)
    share[column] = np.nan  # everybody agrees with oneself
    order = [int(place) for place in np.argsort(share) if np.isfinite(share[place])]
    shown = [*order[:5], *order[-5:]]
    axes.barh([data.countries[place] for place in shown], share[shown], color="#4477AA")
    axes.set(title="equal votes, least and most", xlim=(0, 1))


def _issue_bars(axes: Any, data: VoteData, forecast: Forecast, column: int) -> None:
    """Shares of yes by issue, voted and forecast."""
    names = []
    counted = []
    expected = []
    votes = data.votes[forecast.rows][:, column]
    chances = forecast.probabilities[:, column, Vote.YES]
    for index, name in enumerate(data.issue_names):
        mask = data.issues[forecast.rows, index] & (votes != Vote.ABSENT)
        if mask.any():
            names.append(name[:24])
            counted.append(float((votes[mask] == Vote.YES).mean()))
            expected.append(float(chances[mask].mean()))
    places = np.arange(len(names))
    axes.barh(places + 0.2, counted, 0.4, color=COLORS[Vote.YES], label="voted")
    axes.barh(places - 0.2, expected, 0.4, color=FORECAST_COLOR, label="forecast")
    axes.set_yticks(places, names)
    axes.set(title="share of yes by issue", xlim=(0, 1))


def _plot_against(axes: Any, predicted: NDArray[Any], counted: NDArray[Any], color: str) -> None:
    """Points beside the diagonal on which a perfect prediction would lie."""
    limit = 1.05 * float(max(counted.max(initial=1), predicted.max(initial=1)))
    axes.plot([0, limit], [0, limit], color="#999999", linewidth=1)
    axes.scatter(predicted, counted, s=9, color=color, alpha=0.7)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")  # needs no display
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)
