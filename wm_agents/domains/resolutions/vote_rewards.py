"""Rewards that explain recorded votes: roll calls as decisions, with features of three kinds.

`stage`: the seven functions of the state that were used historically. One's own vote moves a tally
by one in 180 and no stage, so they tell next to nothing about why one votes; `MaxEntIRL` says so.
`alignment`: does the vote agree with that of reference countries, is it yes, is it an abstention.
`precedent`: no reference country. What the text asks, judged by how everybody voted on similar
texts before, and one's own last vote on it. The last one predicts votes very well, and explains
away what it repeats: to learn what somebody is for, leave it out (`VoteProblem.without`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from wm_agents.domains.resolutions.data import CHOICES, VoteData, tally
from wm_agents.domains.resolutions.features import FeatureBuilder, Predictors
from wm_agents.domains.resolutions.spatial import SpatialConfig, SpatialModel
from wm_agents.errors import ConfigError
from wm_agents.irl import Comparison, Demonstrations, MaxEntConfig, RewardFit, compare, fit_many
from wm_agents.irl.comparison import choice_profiles
from wm_agents.irl.mdp import TabularMDP
from wm_envs.resolutions.codes import Vote
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.records import read_trajectories
from wm_envs.resolutions.votes import vote_arrays, year_of

Doubles = NDArray[np.float64]
FeatureKind = Literal["stage", "alignment", "precedent"]

STAGE_FEATURES = (
    "is_sponsor",
    "sponsor_count",
    "committee_support",
    "plenary_support",
    "in_draft",
    "in_committee",
    "in_plenary",
)
LAST_VOTE = "same_as_last_vote"
PRECEDENT_FEATURES = (
    "assent",
    "abstention",
    "direction_1",
    "direction_2",
    "support",
    "uncertainty",
    LAST_VOTE,
)
REFERENCES = ("US", "RU", "CN")
VOTE_VALUES = (1.0, 0.0, -1.0)
"""Yes, abstain and no on one line, by which preferences of countries are compared."""
# An abstention is closer to a no than to a yes.
_SCORES = np.array([1.0, -0.3, -1.0])


@dataclass(frozen=True)
class _VoteProblem:
    """R roll calls that C countries were asked about.

    Attributes:
        feature_names: F names.
        shared: [R, 3, F] features of yes, abstain and no that do not depend on who votes.
        own: C countries' own additions [R, C, 3] to the feature of the same place as the key.
        votes: [R, C] int8, -1 absent.
        countries: C codes.
    """

    feature_names: tuple[str, ...]
    shared: Doubles
    own: dict[int, Doubles]
    votes: NDArray[np.int8]
    countries: tuple[str, ...]

    def features(self, country: str, rows: NDArray[np.int64]) -> Doubles:
        """[len(rows), 3, F] as one country sees them."""
        column = self.countries.index(country)
        features = self.shared[rows].copy()
        for place, values in self.own.items():
            features[:, :, place] += values[rows, column]
        return features

    def situations(self, rows: NDArray[np.int64]) -> Doubles:
        """[len(rows), 3, F] as the median country sees them, so that all decide on the same."""
        features = self.shared[rows].copy()
        for place, values in self.own.items():
            features[:, :, place] += np.median(values[rows], 1)
        return features

    def without(self, feature_name: str) -> "_VoteProblem":
        """The same without one feature."""
        place = self.feature_names.index(feature_name)
        names = tuple(name for name in self.feature_names if name != feature_name)
        own = {key - (key > place): values for key, values in self.own.items() if key != place}
        return _VoteProblem(
            names, np.delete(self.shared, place, 2), own, self.votes, self.countries
        )

    def decisions(self, country: str, rows: NDArray[np.int64]) -> tuple[TabularMDP, Demonstrations]:
        """The roll calls of an index on which the country voted: episodes of one decision."""
        column = self.countries.index(country)
        cast = rows[self.votes[rows, column] != Vote.ABSENT]
        if not len(cast):
            raise ConfigError(
                f"{country} voted on none of the {len(rows)} roll calls: choose others or leave it "
                "out"
            )
        model = TabularMDP(self.features(country, cast), self.feature_names)
        return model, Demonstrations.from_states(np.arange(len(cast)), self.votes[cast, column])


def stage_problem(data: VoteData, rows: NDArray[np.int64]) -> _VoteProblem:
    """The historical features; one's own vote counts in the tally of its choice."""
    votes = data.votes[rows]
    counts = tally(votes)
    sponsor_count = STAGE_FEATURES.index("sponsor_count")
    shared = np.zeros((len(rows), len(CHOICES), len(STAGE_FEATURES)))
    shared[:, :, sponsor_count] = data.sponsors[rows].sum(1)[:, None]
    shared[:, :, STAGE_FEATURES.index("in_plenary")] = 1.0
    num_voters = np.maximum(counts.sum(1), 1)[:, None]
    others_for = counts[:, Vote.YES, None] - (votes == Vote.YES)
    support = np.repeat((others_for / num_voters)[:, :, None], len(CHOICES), 2)
    support[:, :, Vote.YES] += 1 / num_voters
    is_sponsor = data.sponsors[rows][:, :, None].astype(np.float64)
    own = {
        STAGE_FEATURES.index("is_sponsor"): np.repeat(is_sponsor, len(CHOICES), 2),
        STAGE_FEATURES.index("plenary_support"): support,
    }
    return _VoteProblem(STAGE_FEATURES, shared, own, votes, tuple(data.countries))


def alignment_problem(
    data: VoteData, rows: NDArray[np.int64], references: Sequence[str] = REFERENCES
) -> _VoteProblem:
    """Agreement with references.

    1 for the same vote, 1/2 where one of the two abstains, 0 for opposite votes. Where a reference
    was absent, and for the reference itself, agreement is 0 whatever one votes.

    Raises:
        ConfigError: A reference that is not in the data.
    """
    missing = [code for code in references if code not in data.countries]
    if missing:
        raise ConfigError(f"references {missing} are not among the countries: choose others")
    names = ("assent", "abstention", *(f"agrees_with_{code}" for code in references))
    votes = data.votes[rows]
    own = {}
    for place, code in enumerate(references, 2):
        column = data.column(code)
        theirs = votes[:, column]
        agreement = 1 - np.abs(np.array(CHOICES) - theirs[:, None]) / 2
        agreement[theirs == Vote.ABSENT] = 0
        values = np.repeat(agreement[:, None], votes.shape[1], 1)
        values[:, column] = 0
        own[place] = values
    return _VoteProblem(
        names, _signed_ones(len(rows), len(names)), own, votes, tuple(data.countries)
    )


def precedent_problem(
    data: VoteData, rows: NDArray[np.int64], predictors: Predictors, positions: Doubles
) -> _VoteProblem:
    """What a text asks, from votes on similar texts before it.

    Args:
        data: All roll calls.
        rows: Those to be voted on [R].
        predictors: Of these rows.
        positions: [C, 2] of the countries on the axes of voting, see `principal_positions`; zeros
            for the unknown.
    """
    expected = predictors.neighbors.astype(np.float64)
    coefficients = text_directions(expected @ _SCORES, positions)
    names = PRECEDENT_FEATURES
    shared = _signed_ones(len(rows), len(names))
    # The level of the expected scores is the support for a text, their slopes are its direction.
    for column, name in enumerate(("support", "direction_1", "direction_2")):
        place = names.index(name)
        shared[:, Vote.YES, place] = coefficients[:, column]
        shared[:, Vote.NO, place] = -coefficients[:, column]
    uncertainty = expected[:, :, Vote.ABSTAIN].mean(1)
    shared[:, Vote.ABSTAIN, names.index("uncertainty")] = uncertainty
    own = {names.index(LAST_VOTE): predictors.precedent.astype(np.float64)}
    return _VoteProblem(names, shared, own, data.votes[rows], tuple(data.countries))


def principal_positions(
    votes: NDArray[np.int8], num_dimensions: int = 2, min_votes: int = 20
) -> Doubles:
    """Countries [C, K] on the principal axes of votes [R, C], standardized.

    0 for those that hardly voted.
    """
    is_present = votes != Vote.ABSENT
    scores = np.where(is_present, _SCORES[np.maximum(votes, 0)], 0.0)
    means = scores.sum(1, keepdims=True) / np.maximum(is_present.sum(1, keepdims=True), 1)
    centered = np.where(is_present, scores - means, 0.0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:num_dimensions]
    positions: Doubles = axes.T / np.maximum(axes.std(1), 1e-12)
    positions[is_present.sum(0) < min_votes] = 0
    return positions


def text_directions(scores: Doubles, positions: Doubles) -> Doubles:
    """How expected scores [R, C] depend on where countries stand.

    Level and slopes [R, 1 + K], by least squares.
    """
    has_position = (positions != 0).any(1)
    design = np.column_stack([np.ones(has_position.sum()), positions[has_position]])
    coefficients: Doubles = np.linalg.lstsq(design, scores[:, has_position].T, rcond=None)[0].T
    return coefficients


def _signed_ones(num_rows: int, num_features: int) -> Doubles:
    """Features with the first two filled in: assent, 1 for yes and -1 for no, and abstention."""
    features = np.zeros((num_rows, len(CHOICES), num_features))
    features[:, Vote.YES, 0] = 1
    features[:, Vote.NO, 0] = -1
    features[:, Vote.ABSTAIN, 1] = 1
    return features


# Inference


@dataclass(frozen=True)
class VoteInference:
    """What was inferred from recorded votes.

    Attributes:
        fits: Weights of each country, without its last vote as a feature.
        comparison: Of the fits: distances, clusters, a map.
        figures: How well later votes are predicted and countries are ordered, as JSON.
    """

    fits: dict[str, RewardFit]
    comparison: Comparison
    figures: dict[str, Any]


def read_votes(path: str | Path) -> VoteData:
    """The roll calls of a trajectory file or folder."""
    return VoteData(**vote_arrays(read_trajectories(path)))


def infer_rewards(
    data: VoteData,
    features: FeatureKind = "precedent",
    *,
    countries: str = "all",
    since: str = "1992-01-01",
    train_before: str = "2012-01-01",
    num_resamples: int = 0,
    seed: int = 0,
) -> VoteInference:
    """Infer what countries vote for from half of the texts; check it on later votes and the rest.

    Args:
        data: All roll calls.
        features: What rewards are made of.
        countries: "all", or codes or names such as "FR,US".
        since: Roll calls from this date on are demonstrations.
        train_before: And before this one; later votes are predicted.
        num_resamples: Of the bootstrap by episode.
        seed: Of the split of the texts.

    Raises:
        ConfigError: Periods without roll calls, or countries that are not in the data.
    """
    first = year_of(since)
    last = year_of(train_before)
    if not first < last:
        raise ConfigError(f"expected since < train_before, got {since} and {train_before}")
    is_ours = split_by_text(data, seed)
    ours = data.select(np.flatnonzero(is_ours))
    others = data.select(np.flatnonzero(~is_ours))
    rows = ours.between(first, np.inf)
    training = np.flatnonzero(ours.years[rows] < last)
    later = np.flatnonzero(ours.years[rows] >= last)
    if not len(training):
        raise ConfigError(f"no roll call from {since} to {train_before}: widen the period")
    predictors = None
    if features == "precedent" or len(later):
        predictors = FeatureBuilder(ours, last).build(rows)
    problem = vote_problem(features, ours, rows, rows[training], predictors)
    codes = _selected_countries(countries, problem, training)

    # One's own last vote predicts the next one, but it also explains away what one is for.
    lasting = problem
    if LAST_VOTE in problem.feature_names:
        lasting = problem.without(LAST_VOTE)
    started = time.perf_counter()
    cpu_started = time.process_time()
    fits = fit_rewards(lasting, codes, training, num_resamples)
    fit_seconds = time.perf_counter() - started
    fit_cpu_seconds = time.process_time() - cpu_started
    halves = [fit_rewards(lasting, codes, training[start::2]) for start in (0, 1)]
    # Everybody decides on the same texts, three hundred of them at most.
    situations = lasting.situations(training[:: max(len(training) // 300, 1)])
    comparison = compare(fits, situations, action_values=VOTE_VALUES, halves=halves, seed=seed)

    figures: dict[str, Any] = {
        "features": features,
        "num_countries": len(codes),
        "num_roll_calls": len(training),
        "num_votes": sum(fit.num_steps for fit in fits.values()),
        "fit_seconds": fit_seconds,
        "fit_cpu_seconds": fit_cpu_seconds,
    }
    other_votes = others.votes[others.between(first, last)]
    figures |= ordering_scores(comparison, fits, lasting, training, other_votes, seed)
    log_loss = None
    if len(later) and predictors is not None:
        habitual = fits if lasting is problem else fit_rewards(problem, codes, training)
        figures |= prediction_scores(problem, habitual, later, predictors)
        log_loss = prediction_scores(lasting, fits, later, predictors)["log_loss"]
    figures["log_loss_without_last_vote"] = log_loss
    return VoteInference(fits, comparison, figures | _trust(fits, comparison))


def vote_problem(
    features: FeatureKind,
    data: VoteData,
    rows: NDArray[np.int64],
    training: NDArray[np.int64],
    predictors: Predictors | None,
) -> _VoteProblem:
    """The roll calls with the features of this name.

    Args:
        features: Which.
        data: All roll calls.
        rows: Those of the problem [R].
        training: Those from which the axes of voting are learned.
        predictors: Of `rows`; "precedent" needs them.
    """
    if features == "stage":
        return stage_problem(data, rows)
    if features == "alignment":
        present = [code for code in REFERENCES if code in data.countries]
        return alignment_problem(data, rows, present)
    if predictors is None:
        raise ConfigError("features='precedent' needs predictors: FeatureBuilder(...).build(rows)")
    return precedent_problem(data, rows, predictors, principal_positions(data.votes[training]))


def split_by_text(data: VoteData, seed: int) -> NDArray[np.bool_]:
    """[R]: half of the texts with all the roll calls on each, so that none is on both sides."""
    titles = [title.split(" . ")[0] or title for title in data.titles]
    number = {title: place for place, title in enumerate(dict.fromkeys(titles))}
    is_first_half = np.random.default_rng(seed).random(len(number)) < 0.5
    return is_first_half[[number[title] for title in titles]]


def countries_that_voted(problem: _VoteProblem, rows: NDArray[np.int64]) -> list[str]:
    """Codes of those with fifty votes, or with one in ten where there are few roll calls."""
    min_votes = min(50, len(rows) // 10 + 1)
    counts = (problem.votes[rows] != Vote.ABSENT).sum(0)
    pairs = zip(problem.countries, counts, strict=True)
    return [code for code, count in pairs if count >= min_votes]


def fit_rewards(
    problem: _VoteProblem,
    countries: Sequence[str],
    rows: NDArray[np.int64],
    num_resamples: int = 0,
) -> dict[str, RewardFit]:
    """Weights of each country from its votes on these roll calls of the problem."""
    models = {}
    demonstrations = {}
    for code in countries:
        models[code], demonstrations[code] = problem.decisions(code, rows)
    return fit_many(demonstrations, models, MaxEntConfig(num_resamples=num_resamples))


def prediction_scores(
    problem: _VoteProblem,
    fits: dict[str, RewardFit],
    rows: NDArray[np.int64],
    predictors: Predictors,
) -> dict[str, float]:
    """Log loss per vote on later roll calls of the problem, beside habits on the issue.

    Args:
        problem: All its roll calls.
        fits: Weights of each country.
        rows: Of the problem, those that are predicted.
        predictors: Of all roll calls of the problem.
    """
    chances = []
    habits = []
    for code, fit in fits.items():
        column = problem.countries.index(code)
        cast = rows[problem.votes[rows, column] != Vote.ABSENT]
        votes = problem.votes[cast, column]
        profiles = choice_profiles(fit.weights[None], problem.features(code, cast))[0]
        chances.append(profiles[np.arange(len(cast)), votes])
        habits.append(predictors.issue_rates[cast, column, votes])
    predicted = np.concatenate(chances)
    return {
        "log_loss": _log_loss(predicted),
        "log_loss_baseline": _log_loss(np.concatenate(habits)),
        "num_votes_foreseen": len(predicted),
    }


def ordering_scores(
    comparison: Comparison,
    fits: dict[str, RewardFit],
    problem: _VoteProblem,
    training: NDArray[np.int64],
    other_votes: NDArray[np.int8],
    seed: int,
) -> dict[str, float]:
    """Rank correlation of the map's first axis with positions from other roll calls.

    Beside simpler measures, and a shuffled order. Empty for fewer than ten countries, or where
    nobody voted on the other roll calls.

    Args:
        comparison: Of the fits.
        fits: Weights of each country.
        problem: What they were inferred from.
        training: Its roll calls that were learned from.
        other_votes: [R', C] of the same countries.
        seed: Of the shuffled order.
    """
    columns = np.array([problem.countries.index(code) for code in comparison.names])
    if len(columns) < 10 or not (other_votes != Vote.ABSENT).any():
        return {}
    votes = problem.votes[training]
    reference = _first_axis(other_votes[:, columns])
    measures = {
        "axis": comparison.positions[:, 0],
        "spatial_model_of_own_roll_calls": _first_axis(votes[:, columns]),
        "shuffled": np.random.default_rng(seed).permutation(reference),
    }
    if "direction_1" in problem.feature_names:
        place = problem.feature_names.index("direction_1")
        measures["direction_weight"] = np.array([fit.weights[place] for fit in fits.values()])
    if "US" in problem.countries:
        theirs = votes[:, problem.countries.index("US")]
        measures["agreement"] = _agreement(votes[:, columns], theirs)
    return {
        f"spearman_{name}": _rank_correlation(values, reference)
        for name, values in measures.items()
    }


def _selected_countries(text: str, problem: _VoteProblem, training: NDArray[np.int64]) -> list[str]:
    """Codes of what a user named."""
    if text == "all":
        return countries_that_voted(problem, training)
    codes = [code_of(part.strip()) or part.strip() for part in text.split(",")]
    unknown = [code for code in codes if code not in problem.countries]
    if unknown:
        raise ConfigError(f"countries {unknown} are not in these votes")
    return codes


def _trust(fits: dict[str, RewardFit], comparison: Comparison) -> dict[str, Any]:
    """How many weights are identified, and how stable the clusters are."""
    trusted = float(np.mean([fit.is_trusted.mean() for fit in fits.values()]))
    return {
        "share_of_weights_trusted": trusted,
        "num_countries_with_flags": sum(bool(fit.flags) for fit in fits.values()),
        "stability": {str(number): value for number, value in comparison.stability.items()},
    }


def _first_axis(votes: NDArray[np.int8]) -> NDArray[Any]:
    """Positions [C] in a spatial model of one dimension."""
    model = SpatialModel(SpatialConfig(num_dimensions=1))
    model.fit(votes)
    return model.positions[:, 0]


def _rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's, without its sign, since the sign of an axis is free.

    0 where one of the two does not vary.
    """
    if min(float(np.ptp(first)), float(np.ptp(second))) < 1e-9:
        return 0.0
    return abs(float(spearmanr(first, second)[0]))


def _agreement(votes: NDArray[np.int8], reference: NDArray[np.int8]) -> Doubles:
    """Share [C] of equal votes with a reference [R], of those that both cast."""
    is_shared = (votes != Vote.ABSENT) & (reference != Vote.ABSENT)[:, None]
    num_equal = (is_shared & (votes == reference[:, None])).sum(0)
    return num_equal / np.maximum(is_shared.sum(0), 1)


def _log_loss(chances: NDArray[Any]) -> float:
    return float(-np.log(np.clip(chances, 1e-6, 1)).mean())
