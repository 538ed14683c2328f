"""What do countries vote for? Infer it from their votes, with intervals.

    python examples/irl_resolutions.py --output-dir runs/irl_known
    python examples/irl_resolutions.py --votes runs/un --features precedent --train-before 2012
    --output-dir runs/irl

Without --votes, countries of the calibrated generator act by known utilities, and the summary says
how well these come back (cosine_median, cosine_worst_decile, coverage_90). With --votes, what
build_trajectories.py wrote, the weights of each country are inferred from roll calls before
--train-before, and the summary says how well later votes are foreseen (log_loss beside
log_loss_baseline, the country's habits on the issue) and whether the map's first axis orders
countries like a spatial voting model fitted on other roll calls does (spearman_axis, beside
spearman_agreement: the share of agreement with one power). Writes summary.json, weights.json,
map.png and index.html with a card for each country.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.stats import spearmanr

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.domains.resolutions import SpatialConfig, SpatialModel, VoteData
from wm_agents.domains.resolutions.features import FeatureBuilder, Predictors
from wm_agents.domains.resolutions.resolution_mdp import (
    COSPONSOR,
    SPATIAL_FEATURES,
    TERMINAL,
    TEXT_FIELDS,
    seat_utilities,
    staged_demonstrations,
    staged_model,
)
from wm_agents.domains.resolutions.vote_rewards import (
    LAST_VOTE,
    REFERENCES,
    VoteProblem,
    alignment_problem,
    precedent_problem,
    principal_positions,
    stage_problem,
)
from wm_agents.errors import ConfigError
from wm_agents.irl import (
    Comparison,
    Demonstrations,
    MaxEntConfig,
    RewardFit,
    TabularMDP,
    compare,
    fit_many,
)
from wm_agents.irl.comparison import card, choice_profiles
from wm_agents.irl.page import render_comparison, save_map
from wm_agents.training.seeding import spawn_seeds
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.generator import Source, generator_source
from wm_envs.resolutions.records import read_trajectories
from wm_envs.resolutions.votes import vote_arrays, year_of

EXPECTED_OUTCOME = 0.986
"""What a sponsor expects: 0.7% of recorded texts fail."""
VOTE_VALUES = (1.0, 0.0, -1.0)
"""Yes, abstain and no on one line."""
NUM_OWN = 4
"""Weights that differ between countries: position in two dimensions, assent, abstention."""


@dataclass(frozen=True)
class Config:
    """What to infer from what."""

    votes: Path | None = None
    """Trajectory file or folder, as build_trajectories.py writes it.

    Without it the generator with known utilities.
    """
    features: Literal["stage", "alignment", "precedent"] = "precedent"
    """What rewards are made of; for recorded votes."""
    countries: str = "all"
    """"all", or codes such as FR,US."""
    since: str = "1992-01-01"
    """Roll calls from this date on are demonstrations."""
    train_before: str = "2012-01-01"
    """And before this one; later votes are foreseen."""
    num_trajectories: int = 200
    """Episodes of each country of the generator."""
    num_countries: int = 20
    """Countries of the generator, drawn at random."""
    num_resamples: int = 0
    """Of the bootstrap by episode."""
    seed: int = 0
    """Seed of the episodes, or of the split into demonstrations and other roll calls."""
    output_dir: Path = Path("runs/irl_resolutions")
    """Folder for summary.json, weights.json, map.png and index.html."""


@dataclass(frozen=True)
class Recovery:
    """How the weights of C countries came back; F features in standardised units.

    Attributes:
        cosines: [C], of inferred with true weights.
        own_cosines: [C], of the four weights that differ between countries.
        pooled_cosines: [C], with a prior learned from all countries.
        shuffled_cosines: [C], with actions shuffled between episodes.
        is_covered: [C, F], by Laplace intervals.
        is_bootstrap_covered: [C, F], by bootstrap intervals; empty without resamples.
    """

    cosines: NDArray[np.float64]
    own_cosines: NDArray[np.float64]
    pooled_cosines: NDArray[np.float64]
    shuffled_cosines: NDArray[np.float64]
    is_covered: NDArray[np.bool_]
    is_bootstrap_covered: NDArray[np.bool_]


@dataclass(frozen=True)
class Played:
    """N recorded steps, laid end to end.

    What the texts ask [N, 6], stages, sponsoring and actions [N], lengths [K].
    """

    texts: NDArray[np.float64]
    stages: NDArray[np.int64]
    is_sponsor: NDArray[np.bool_]
    actions: NDArray[np.int64]
    lengths: NDArray[np.int64]


def main(config: Config) -> dict[str, Any]:
    """Infer, check, write; returns the summary."""
    config = expand_paths(config)
    started = time.perf_counter()
    make_output_directory(config.output_dir, has_pictures=True)
    if config.votes is None:
        summary: dict[str, Any] = recovery_figures([recover(config, config.num_resamples)])
    else:
        summary = infer(config)
    summary |= {"seed": config.seed, "seconds": time.perf_counter() - started}
    write_summary(config.output_dir, summary)
    print(json.dumps(summary, indent=2))
    return summary


def recover(config: Config, num_resamples: int) -> Recovery:
    """Let countries act by known utilities and infer these."""
    source = generator_source()
    generator = np.random.default_rng(config.seed)
    chosen = sorted(generator.choice(source.countries, config.num_countries, replace=False))
    truths = {code: true_weights(source, code) for code in chosen}
    seeds = spawn_seeds(config.seed, len(chosen))
    played = {
        code: play(code, truths[code], config.num_trajectories, seed)
        for code, seed in zip(chosen, seeds, strict=True)
    }
    models = {code: model_of(steps) for code, steps in played.items()}
    given = {
        code: staged_demonstrations(p.is_sponsor, p.actions, p.lengths)
        for code, p in played.items()
    }
    settings = MaxEntConfig(confidence=0.9, num_resamples=num_resamples, seed=config.seed)
    fits = fit_many(given, models, settings)
    plain = MaxEntConfig(confidence=0.9)
    pooled = fit_many(given, models, plain, num_rounds=5)
    shuffled = fit_many({code: shuffle(p, generator) for code, p in played.items()}, models, plain)
    limits = [fits[code].bootstrap_limits() for code in chosen] if num_resamples else []
    within = [
        (low <= truths[code]) & (truths[code] <= high)
        for code, (low, high) in zip(chosen, limits, strict=False)
    ]
    return Recovery(
        cosines=cosines(fits, truths),
        own_cosines=cosines(fits, truths, NUM_OWN),
        pooled_cosines=cosines(pooled, truths),
        shuffled_cosines=cosines(shuffled, truths),
        is_covered=np.stack(
            [(f.low <= truths[c]) & (truths[c] <= f.high) for c, f in fits.items()]
        ),
        is_bootstrap_covered=np.stack(within)
        if within
        else np.zeros((0, len(SPATIAL_FEATURES)), np.bool_),
    )


def true_weights(source: Source, code: str) -> NDArray[np.float64]:
    """A country's weights by `SPATIAL_FEATURES`; the last three are the same for all."""
    row = source.parameters[source.countries.index(code)]
    own = [row["position_1"], row["position_2"], row["assent"], row["abstention"]]
    return np.array([*own, 1.0, 1.0, 1.0])


def play(code: str, weights: NDArray[np.float64], num_episodes: int, seed: int) -> Played:
    """One episode in each row of a vector environment, acted by the soft-optimal policy of these weights."""
    envs = gym.make_vec("wm/UNResolution-v0", num_envs=num_episodes, country=code, consensus=False)
    envs.reset(seed=seed)
    generator, is_running = np.random.default_rng(seed), np.ones(num_episodes, np.bool_)
    columns = []
    while is_running.any():
        states = envs.clone_state()  # type: ignore[attr-defined]
        texts = np.stack([states[field] for field in TEXT_FIELDS], 1)
        stages, is_sponsor = states["stage"].astype(np.int64), states["is_sponsor"].astype(np.bool_)
        utilities = seat_utilities(texts, stages, is_sponsor, EXPECTED_OUTCOME, weights)
        actions = (utilities + generator.gumbel(size=utilities.shape)).argmax(1)
        columns.append((texts, stages, is_sponsor, actions, is_running.copy()))
        terminations, truncations = envs.step(actions)[2:4]
        is_running &= ~(terminations | truncations)
    texts, stages, is_sponsor, actions, was_running = (
        np.stack(part, 1) for part in zip(*columns, strict=True)
    )
    kept = was_running
    return Played(texts[kept], stages[kept], is_sponsor[kept], actions[kept], was_running.sum(1))


def model_of(played: Played) -> TabularMDP:
    """What the country could have done in these episodes."""
    return staged_model(played.texts, played.stages, played.lengths, EXPECTED_OUTCOME)


def shuffle(played: Played, generator: np.random.Generator) -> Demonstrations:
    """The same actions in other episodes, within each stage.

    A demonstrator without preferences about texts.
    """
    actions = played.actions.copy()
    for stage in range(TERMINAL):
        steps = np.flatnonzero(played.stages == stage)
        actions[steps] = actions[generator.permutation(steps)]
    # Who sponsors follows from the shuffled actions: from the start on, or from the step after
    # COSPONSOR.
    is_sponsor, first = played.is_sponsor.copy(), np.cumsum(played.lengths) - played.lengths
    for start, length in zip(first, played.lengths, strict=True):
        is_sponsor[start + 1 : start + length] = is_sponsor[start] | (actions[start] == COSPONSOR)
    return staged_demonstrations(is_sponsor, actions, played.lengths)


def cosines(
    fits: dict[str, RewardFit],
    truths: dict[str, NDArray[np.float64]],
    num_weights: int | None = None,
) -> NDArray[np.float64]:
    """Cosines [C] of inferred with true weights, per standard deviation of each feature."""
    pairs = [
        (fit.scaled_weights[:num_weights], (truths[c] * fit.scale)[:num_weights])
        for c, fit in fits.items()
    ]
    return np.array(
        [a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12) for a, b in pairs]
    )


def recovery_figures(parts: Sequence[Recovery]) -> dict[str, float]:
    """Medians, worst deciles and coverage over several runs."""
    figures = {}
    for prefix, name in (("", "cosines"), ("own_", "own_cosines"), ("pooled_", "pooled_cosines")):
        values = np.concatenate([getattr(part, name) for part in parts])
        figures |= {f"{prefix}cosine_median": float(np.median(values))}
        figures |= {f"{prefix}cosine_worst_decile": float(np.quantile(values, 0.1))}
    figures["shuffled_cosine_median"] = float(
        np.median(np.concatenate([part.shuffled_cosines for part in parts]))
    )
    covered = np.concatenate([part.is_covered for part in parts])
    figures["coverage_90"] = float(covered.mean())
    figures |= {
        f"coverage_90_{n}": float(v) for n, v in zip(SPATIAL_FEATURES, covered.mean(0), strict=True)
    }
    bootstrap = np.concatenate([part.is_bootstrap_covered for part in parts])
    return figures | ({"coverage_90_bootstrap": float(bootstrap.mean())} if len(bootstrap) else {})


# Recorded votes


def infer(config: Config) -> dict[str, Any]:
    """Infer the weights of countries from recorded votes, foresee later ones, compare, write the page."""
    assert config.votes is not None
    data = VoteData(**vote_arrays(read_trajectories(config.votes)))
    since, train_before = (year_of(day) for day in (config.since, config.train_before))
    if not since < train_before:
        raise ConfigError(
            f"expected since < train_before, got {config.since} and {config.train_before}"
        )
    is_mine = split_by_text(data, config.seed)
    mine, others = subset(data, is_mine), subset(data, ~is_mine)
    rows = mine.between(since, np.inf)
    training = np.flatnonzero(mine.years[rows] < train_before)
    tested = np.flatnonzero(mine.years[rows] >= train_before)
    if not len(training):
        raise ConfigError(
            f"no roll call from {config.since} to {config.train_before}: widen the period"
        )
    print(f"{len(training)} roll calls to learn from, {len(tested)} to foresee", flush=True)
    predictors = (
        FeatureBuilder(mine, train_before).build(rows)
        if config.features == "precedent" or len(tested)
        else None
    )
    problem = problem_of(config.features, mine, rows, rows[training], predictors)
    codes = chosen_countries(config.countries, problem, training)
    # One's own last vote foresees the next one, but it also explains away what one is for.
    lasting = problem.without(LAST_VOTE) if LAST_VOTE in problem.feature_names else problem
    started, cpu_started = time.perf_counter(), time.process_time()
    fits = fit_countries(lasting, codes, training, config.num_resamples)
    fit_seconds, fit_cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    halves = [fit_countries(lasting, codes, training[first::2], 0) for first in (0, 1)]
    # Everybody is put before the same texts.
    situations = lasting.situations(training[:: max(len(training) // 300, 1)])
    comparison = compare(
        fits, situations, action_values=VOTE_VALUES, halves=halves, seed=config.seed
    )
    habitual = fits if lasting is problem else fit_countries(problem, codes, training, 0)
    window = others.between(since, train_before)
    summary: dict[str, Any] = {
        "features": config.features,
        "num_countries": len(codes),
        "num_roll_calls": len(training),
        "num_votes": sum(fit.num_steps for fit in fits.values()),
        "fit_seconds": fit_seconds,
        "fit_cpu_seconds": fit_cpu_seconds,
        **ordering(comparison, fits, lasting, training, others.votes[window], config.seed),
        **foresight(problem, habitual, tested, predictors),
        "log_loss_without_last_vote": foresight(lasting, fits, tested, predictors).get("log_loss"),
        "share_of_weights_trusted": float(
            np.mean([fit.is_trusted.mean() for fit in fits.values()])
        ),
        "num_countries_with_flags": sum(bool(fit.flags) for fit in fits.values()),
        "stability": {str(k): v for k, v in comparison.stability.items()},
    }
    cards = {code: card(fit, comparison, code) for code, fit in fits.items()}
    (config.output_dir / "weights.json").write_text(
        json.dumps(cards, indent=1) + "\n", encoding="utf-8"
    )
    save_map(config.output_dir / "map.png", comparison)
    title = f"What {len(codes)} countries vote for, {config.since[:4]} to {config.train_before[:4]}"
    notes = [
        f"{name.replace('_', ' ')}: {value:.3f}"
        for name, value in summary.items()
        if isinstance(value, float)
    ]
    page = render_comparison(title, fits, comparison, notes=notes)
    (config.output_dir / "index.html").write_text(page, encoding="utf-8")
    return summary


def split_by_text(data: VoteData, seed: int) -> NDArray[np.bool_]:
    """[R].

    Half of the texts, with all the roll calls on each, so that no repeated text is on both sides.
    """
    titles = [title.split(" . ")[0] or title for title in data.titles]
    number = {title: place for place, title in enumerate(dict.fromkeys(titles))}
    is_mine = np.random.default_rng(seed).random(len(number)) < 0.5
    return is_mine[[number[title] for title in titles]]


def subset(data: VoteData, mask: NDArray[np.bool_]) -> VoteData:
    """The roll calls of a mask [R]."""
    rows = np.flatnonzero(mask)
    arrays = {
        name: getattr(data, name)[rows]
        for name in ("votes", "years", "kinds", "issues", "sponsors")
    }
    texts = {
        name: [getattr(data, name)[row] for row in rows]
        for name in ("titles", "descriptions", "ids")
    }
    return VoteData(**arrays, **texts, countries=data.countries, issue_names=data.issue_names)


def problem_of(
    features: str,
    data: VoteData,
    rows: NDArray[np.int64],
    training: NDArray[np.int64],
    predictors: Predictors | None,
) -> VoteProblem:
    """The roll calls with the features of this name.

    Axes of voting come from the training roll calls.
    """
    if features == "stage":
        return stage_problem(data, rows)
    if features == "alignment":
        return alignment_problem(
            data, rows, [code for code in REFERENCES if code in data.countries]
        )
    assert predictors is not None
    return precedent_problem(data, rows, predictors, principal_positions(data.votes[training]))


def chosen_countries(text: str, problem: VoteProblem, training: NDArray[np.int64]) -> list[str]:
    """Codes.

    For "all" those with fifty votes, or with one in ten where there are few roll calls.
    """
    counts = (problem.votes[training] >= 0).sum(0)
    if text == "all":
        least = min(50, len(training) // 10 + 1)
        return [
            code for code, count in zip(problem.countries, counts, strict=True) if count >= least
        ]
    codes = [code_of(part.strip()) or part.strip() for part in text.split(",")]
    unknown = [code for code in codes if code not in problem.countries]
    if unknown:
        raise ConfigError(f"countries {unknown} are not in these votes")
    return codes


def fit_countries(
    problem: VoteProblem, codes: Sequence[str], rows: NDArray[np.int64], num_resamples: int
) -> dict[str, RewardFit]:
    """Weights of each country."""
    pairs = {code: problem.decisions(code, rows) for code in codes}
    models = {code: model for code, (model, _) in pairs.items()}
    settings = MaxEntConfig(num_resamples=num_resamples)
    return fit_many({code: given for code, (_, given) in pairs.items()}, models, settings)


def ordering(
    comparison: Comparison,
    fits: dict[str, RewardFit],
    problem: VoteProblem,
    training: NDArray[np.int64],
    other_votes: NDArray[np.int8],
    seed: int,
) -> dict[str, float]:
    """Rank correlation of the map's first axis with positions from other roll calls, beside simpler measures."""
    columns = np.array([problem.countries.index(code) for code in comparison.names])
    if len(columns) < 10 or not (other_votes >= 0).any():
        return {}
    ideal = (
        SpatialModel(SpatialConfig(num_dimensions=1)).fit(other_votes[:, columns]).positions[:, 0]
    )
    own_votes = problem.votes[training][:, columns]
    twin = SpatialModel(SpatialConfig(num_dimensions=1)).fit(own_votes).positions[:, 0]
    measures = {"axis": comparison.positions[:, 0], "spatial_model_of_own_roll_calls": twin}
    measures["shuffled"] = np.random.default_rng(seed).permutation(ideal)
    if "direction_1" in problem.feature_names:
        place = problem.feature_names.index("direction_1")
        measures["direction_weight"] = np.array([fit.weights[place] for fit in fits.values()])
    if "US" in problem.countries:
        measures["agreement"] = agreement(
            own_votes, problem.votes[training][:, problem.countries.index("US")]
        )
    return {
        f"spearman_{name}": rank_correlation(values, ideal) for name, values in measures.items()
    }


def rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's, without its sign, since the sign of an axis is free.

    0 where one of the two does not vary.
    """
    if min(float(np.ptp(first)), float(np.ptp(second))) < 1e-9:
        return 0.0
    return abs(float(spearmanr(first, second)[0]))


def agreement(votes: NDArray[np.int8], reference: NDArray[np.int8]) -> NDArray[np.float64]:
    """Share [C] of equal votes with a reference [R], of those that both cast."""
    both = (votes >= 0) & (reference >= 0)[:, None]
    return (both & (votes == reference[:, None])).sum(0) / np.maximum(both.sum(0), 1)


def foresight(
    problem: VoteProblem,
    fits: dict[str, RewardFit],
    tested: NDArray[np.int64],
    predictors: Predictors | None,
) -> dict[str, float]:
    """Log loss per vote on later roll calls, beside the country's habits on the issue."""
    if not len(tested) or predictors is None:
        return {}
    losses, baseline = [], []
    for code, fit in fits.items():
        column = problem.countries.index(code)
        cast = tested[problem.votes[tested, column] >= 0]
        votes = problem.votes[cast, column]
        chances = choice_profiles(fit.weights[None], problem.features(code, cast))[0]
        losses.append(chances[np.arange(len(cast)), votes])
        baseline.append(predictors.issue_rates[cast, column, votes])
    chance, habit = np.concatenate(losses), np.concatenate(baseline)
    return {
        "log_loss": float(-np.log(np.clip(chance, 1e-6, 1)).mean()),
        "log_loss_baseline": float(-np.log(np.clip(habit, 1e-6, 1)).mean()),
        "num_votes_foreseen": len(chance),
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
