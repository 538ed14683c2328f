"""What do countries vote for? Infer it from their votes, with intervals.

    python examples/irl_resolutions.py --output-dir runs/irl_known
    python examples/irl_resolutions.py --votes runs/un --features precedent --train-before 2012 --output-dir runs/irl

Without --votes, countries of the calibrated generator act by known utilities, and the summary says how well these come
back (cosine_median, cosine_worst_decile, coverage_90). With --votes, what build_trajectories.py wrote, the weights of
each country are inferred from roll calls before --train-before, and the summary says how well later votes are foreseen
(log_loss beside log_loss_baseline, the country's habits on the issue) and whether the map's first axis orders countries
like a spatial voting model fitted on other roll calls does (spearman_axis, beside spearman_agreement: the share of
agreement with one power). Writes summary.json, weights.json, map.png and index.html with a card for each country.
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

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.irl import DecisionModel, Demonstrations, MaxEntConfig, RewardFit, fit_many
from wm_agents.irl.resolutions import (
    COSPONSOR,
    SPATIAL_FEATURES,
    TERMINAL,
    TEXT_FIELDS,
    seat_utilities,
    staged_demonstrations,
    staged_model,
)
from wm_agents.training.seeding import spawn_seeds
from wm_envs.resolutions.generator import Source, generator_source

EXPECTED_OUTCOME = 0.986
"""What a sponsor expects: 0.7% of recorded texts fail."""
NUM_OWN = 4
"""Weights that differ between countries: position in two dimensions, assent, abstention."""


@dataclass(frozen=True)
class Config:
    """What to infer from what."""

    votes: Path | None = None
    """Trajectory file or folder, as build_trajectories.py writes it; without it the generator with known utilities."""
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
    """N recorded steps, laid end to end: what the texts ask [N, 6], stages, sponsoring and actions [N], lengths [K]."""

    texts: NDArray[np.float64]
    stages: NDArray[np.int64]
    is_sponsor: NDArray[np.bool_]
    actions: NDArray[np.int64]
    lengths: NDArray[np.int64]


def main(config: Config) -> dict[str, Any]:
    """Infer, check, write; returns the summary."""
    started = time.perf_counter()
    config.output_dir.mkdir(parents=True, exist_ok=True)
    if config.votes is None:
        summary: dict[str, Any] = recovery_figures([recover(config, config.num_resamples)])
    else:
        from examples.irl_votes import infer

        summary = infer(config)
    summary |= {"seed": config.seed, "seconds": time.perf_counter() - started}
    (config.output_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
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
        code: play(code, truths[code], config.num_trajectories, seed) for code, seed in zip(chosen, seeds, strict=True)
    }
    models = {code: model_of(steps) for code, steps in played.items()}
    given = {code: staged_demonstrations(p.is_sponsor, p.actions, p.lengths) for code, p in played.items()}
    settings = MaxEntConfig(confidence=0.9, num_resamples=num_resamples, seed=config.seed)
    fits = fit_many(given, models, settings)
    plain = MaxEntConfig(confidence=0.9)
    pooled = fit_many(given, models, plain, num_rounds=5)
    shuffled = fit_many({code: shuffle(p, generator) for code, p in played.items()}, models, plain)
    limits = [fits[code].bootstrap_limits() for code in chosen] if num_resamples else []
    within = [(low <= truths[code]) & (truths[code] <= high) for code, (low, high) in zip(chosen, limits, strict=False)]
    return Recovery(
        cosines=cosines(fits, truths),
        own_cosines=cosines(fits, truths, NUM_OWN),
        pooled_cosines=cosines(pooled, truths),
        shuffled_cosines=cosines(shuffled, truths),
        is_covered=np.stack([(f.low <= truths[c]) & (truths[c] <= f.high) for c, f in fits.items()]),
        is_bootstrap_covered=np.stack(within) if within else np.zeros((0, len(SPATIAL_FEATURES)), np.bool_),
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
    texts, stages, is_sponsor, actions, was_running = (np.stack(part, 1) for part in zip(*columns, strict=True))
    kept = was_running
    return Played(texts[kept], stages[kept], is_sponsor[kept], actions[kept], was_running.sum(1))


def model_of(played: Played) -> DecisionModel:
    """What the country could have done in these episodes."""
    return staged_model(played.texts, played.stages, played.lengths, EXPECTED_OUTCOME)


def shuffle(played: Played, generator: np.random.Generator) -> Demonstrations:
    """The same actions in other episodes, within each stage: a demonstrator without preferences about texts."""
    actions = played.actions.copy()
    for stage in range(TERMINAL):
        steps = np.flatnonzero(played.stages == stage)
        actions[steps] = actions[generator.permutation(steps)]
    # Who sponsors follows from the shuffled actions: from the start on, or from the step after COSPONSOR.
    is_sponsor, first = played.is_sponsor.copy(), np.cumsum(played.lengths) - played.lengths
    for start, length in zip(first, played.lengths, strict=True):
        is_sponsor[start + 1 : start + length] = is_sponsor[start] | (actions[start] == COSPONSOR)
    return staged_demonstrations(is_sponsor, actions, played.lengths)


def cosines(
    fits: dict[str, RewardFit], truths: dict[str, NDArray[np.float64]], num_weights: int | None = None
) -> NDArray[np.float64]:
    """Cosines [C] of inferred with true weights, per standard deviation of each feature."""
    pairs = [(fit.scaled_weights[:num_weights], (truths[c] * fit.scale)[:num_weights]) for c, fit in fits.items()]
    return np.array([a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12) for a, b in pairs])


def recovery_figures(parts: Sequence[Recovery]) -> dict[str, float]:
    """Medians, worst deciles and coverage over several runs."""
    figures = {}
    for prefix, name in (("", "cosines"), ("own_", "own_cosines"), ("pooled_", "pooled_cosines")):
        values = np.concatenate([getattr(part, name) for part in parts])
        figures |= {f"{prefix}cosine_median": float(np.median(values))}
        figures |= {f"{prefix}cosine_worst_decile": float(np.quantile(values, 0.1))}
    figures["shuffled_cosine_median"] = float(np.median(np.concatenate([part.shuffled_cosines for part in parts])))
    covered = np.concatenate([part.is_covered for part in parts])
    figures["coverage_90"] = float(covered.mean())
    figures |= {f"coverage_90_{n}": float(v) for n, v in zip(SPATIAL_FEATURES, covered.mean(0), strict=True)}
    bootstrap = np.concatenate([part.is_bootstrap_covered for part in parts])
    return figures | ({"coverage_90_bootstrap": float(bootstrap.mean())} if len(bootstrap) else {})


if __name__ == "__main__":
    main(tyro.cli(Config))
