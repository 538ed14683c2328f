"""Ideal points on simulated assemblies, whose truth is known, and checked from within on real votes.

    python -m benchmarks.ideal_points --votes runs/un

Simulated: an assembly of 40 countries in eight sessions of 40 roll calls, whose points walk by 0.2 a
session, drawn anew for each seed; correlation of points within sessions, and how often 90%
intervals hold points and changes. With --votes (what
examples/build_trajectories.py wrote): seconds of a fit to all sessions, accuracy on a tenth of the
votes held out beside "everybody votes yes", the correlation within sessions of points fitted to the
even and to the odd roll calls, and that with an independent estimate: a binary probit by Gibbs
sampling (`benchmarks/martin_quinn.py`), joined as `ideal_points.py --reference` joins any file.
"""

import csv
import dataclasses
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.martin_quinn import SampledPoints, sample_points
from benchmarks.report import write_result
from wm_agents.domains.resolutions import IdealPoints, IdealPointsConfig, VoteData
from wm_agents.domains.resolutions.ideal_points_page import compare, read_reference
from wm_agents.domains.resolutions.pictures import save_ideal_points
from wm_envs.data.progress import progress
from wm_envs.resolutions.codes import Vote
from wm_envs.resolutions.records import read_trajectories
from wm_envs.resolutions.votes import vote_arrays

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "ideal_points.png"
COUNTRIES = ("US", "RU", "CN", "IN", "BR", "FR", "CU")  # in the picture


@dataclass(frozen=True)
class Config:
    """What to measure."""

    votes: Path | None = None
    """Trajectories of real votes; None leaves that part out."""
    num_seeds: int = 10
    """Simulated assemblies."""
    held_out: float = 0.1
    """Share of the real votes that are held out."""
    seed: int = 0
    """Of the held-out votes, and of the sampled estimate."""
    num_sweeps: int = 300
    """Draws of the sampled estimate."""


def main(config: Config) -> dict[str, Any]:
    """Simulate, fit, compare; returns the figures."""
    figures: dict[str, Any] = {"simulated": simulated(config.num_seeds)}
    write(figures, config)
    if config.votes is not None:
        data = VoteData(**vote_arrays(read_trajectories(config.votes)))
        figures["real"] = {}
        model, figures["real"] = whole(data)
        save_ideal_points(model, COUNTRIES, PICTURE)
        write(figures, config)
        parts = (
            lambda: held_out(data, config.held_out, config.seed),
            lambda: halves(data),
            lambda: independent(model, data, config.num_sweeps, config.seed),
        )
        for part in parts:
            figures["real"] |= part()
            write(figures, config)
    return figures


def write(figures: dict[str, Any], config: Config) -> None:
    """After each part, so that a run that was stopped counts for what it finished."""
    print(figures, flush=True)
    command = "python -m benchmarks.ideal_points --votes runs/un"
    write_result("ideal_points", figures, seeds=range(config.num_seeds), command=command)


def simulated(num_seeds: int) -> dict[str, Any]:
    """Means over assemblies of which the truth is known, with the coverage of each seed."""
    correlations = []
    coverages = []
    change_coverages = []
    walks = []
    with progress(num_seeds, "assemblies") as bar:
        for seed in range(num_seeds):
            data, positions = simulated_assembly(seed)
            centered = positions - positions.mean(1, keepdims=True)
            truth = centered / centered.std(1, keepdims=True)
            poles = np.argsort(positions.mean(0))[[-1, 0]]
            model = IdealPoints(IdealPointsConfig(poles=(f"C{poles[0]}", f"C{poles[1]}")))
            model.fit(data)
            correlations += within_sessions(model.points, truth)
            coverages.append(float(((model.low <= truth) & (truth <= model.high)).mean()))
            missed = np.abs(np.diff(truth, axis=0) - model.changes[1:])
            reach = (model.high - model.points)[1:] / model_stds(model)[1:] * model.change_stds[1:]
            change_coverages.append(float((missed <= reach).mean()))
            walks.append(model.walk_std)
            bar.advance()
    return {
        "median_correlation": float(np.median(correlations)),
        "coverage_90": float(np.mean(coverages)),
        "coverage_90_by_seed": coverages,
        "coverage_90_of_changes": float(np.mean(change_coverages)),
        "walk_std_mean": float(np.mean(walks)),
    }


def simulated_assembly(
    seed: int,
    num_sessions: int = 8,
    num_countries: int = 40,
    per_session: int = 40,
    walk_std: float = 0.2,
) -> tuple[VoteData, Any]:
    """Votes by the model that is fitted, and the true positions [S, C]."""
    generator = np.random.default_rng(seed)
    steps = walk_std * generator.normal(size=(num_sessions, num_countries))
    steps[0] = generator.normal(size=num_countries)
    positions = steps.cumsum(0)
    votes = []
    years = []
    for session, x in enumerate(positions):
        offsets = 1.5 + 2 * generator.normal(size=per_session)
        directions = 2 * generator.normal(size=per_session)
        widths = -0.3 + generator.normal(size=per_session)
        z = offsets[:, None] + directions[:, None] * x
        logits = np.stack([z, np.broadcast_to(widths[:, None], z.shape), -z], 2)
        cast = (logits + generator.gumbel(size=logits.shape)).argmax(2)
        cast[generator.random(cast.shape) < 0.15] = Vote.ABSENT
        votes.append(cast)
        years.append(2000.75 + session + 0.2 * np.sort(generator.random(per_session)))
    count = num_sessions * per_session
    data = VoteData(
        votes=np.concatenate(votes).astype(np.int8),
        years=np.concatenate(years),
        kinds=np.zeros(count, np.int8),
        issues=np.zeros((count, 1), np.bool_),
        sponsors=np.zeros((count, num_countries), np.bool_),
        titles=[""] * count,
        descriptions=[""] * count,
        countries=[f"C{number}" for number in range(num_countries)],
        issue_names=["any"],
        ids=[str(row) for row in range(count)],
    )
    return data, positions


def model_stds(model: IdealPoints) -> Any:
    """Standard deviations [S, C] of the points: the intervals are symmetric and normal."""
    return (model.high - model.low) / (2 * 1.6448536269514722)


def whole(data: VoteData) -> tuple[IdealPoints, dict[str, Any]]:
    """A fit to all votes, and how long it takes."""
    wall = time.perf_counter()
    processor = time.process_time()
    model = IdealPoints()
    model.fit(data)
    return model, {
        "num_roll_calls": len(data.years),
        "num_sessions": len(model.sessions),
        "num_points": int(np.isfinite(model.points).sum()),
        "walk_std": model.walk_std,
        "fit_cpu_seconds": time.process_time() - processor,
        "fit_seconds": time.perf_counter() - wall,
    }


def held_out(data: VoteData, share: float, seed: int) -> dict[str, float]:
    """Accuracy on votes that were not fitted, beside "everybody votes yes"."""
    present = np.argwhere(data.is_present)
    rows, columns = present[np.random.default_rng(seed).random(len(present)) < share].T
    votes = data.votes.copy()
    votes[rows, columns] = Vote.ABSENT
    model = IdealPoints()
    model.fit(dataclasses.replace(data, votes=votes))
    truth = data.votes[rows, columns]
    chances = model.probabilities()[rows, columns]
    accuracy = float((chances.argmax(1) == truth).mean())
    always_yes = float((truth == Vote.YES).mean())
    return {
        "held_out_accuracy": accuracy,
        "held_out_always_yes": always_yes,
        "held_out_errors_removed": (accuracy - always_yes) / (1 - always_yes),
        "held_out_votes": len(truth),
    }


def halves(data: VoteData) -> dict[str, float]:
    """Correlations within sessions of points fitted to the even and to the odd roll calls."""
    even, odd = IdealPoints(), IdealPoints()
    even.fit(data.select(np.arange(0, len(data.years), 2)))
    odd.fit(data.select(np.arange(1, len(data.years), 2)))
    _, first, second = np.intersect1d(even.sessions, odd.sessions, return_indices=True)
    values = within_sessions(even.points[first], odd.points[second])
    return {
        "split_half_correlation_median": float(np.median(values)),
        "split_half_correlation_worst_decile": float(np.quantile(values, 0.1)),
    }


def independent(
    model: IdealPoints, data: VoteData, num_sweeps: int, seed: int
) -> dict[str, float | int]:
    """Agreement with points of another likelihood and another method, written as a reference file."""
    processor = time.process_time()
    sampled = sample_points(data, num_sweeps=num_sweeps, seed=seed)
    seconds = time.process_time() - processor
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sampled.csv"
        write_reference(sampled, data.countries, path)
        figures = compare(model, read_reference(path))
    correlations = list(figures["correlations"].values())
    return {
        "sampled_correlation_median": figures["median_correlation"],
        "sampled_correlation_worst_decile": float(np.quantile(correlations, 0.1)),
        "sampled_change_correlation": figures["change_correlation"],
        "sampled_change_sign_agreement": figures["change_sign_agreement"],
        "sampled_points": figures["num_joined"],
        "sampled_cpu_seconds": seconds,
    }


def write_reference(sampled: SampledPoints, countries: Any, path: Path) -> None:
    """The columns that `ideal_points.py --reference` reads."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["country", "session", "point", "low", "high"])
        for s, c in np.argwhere(np.isfinite(sampled.points)):
            numbers = (sampled.points[s, c], sampled.low[s, c], sampled.high[s, c])
            writer.writerow([countries[c], sampled.sessions[s], *numbers])


def within_sessions(first: Any, second: Any) -> list[float]:
    """Correlations of two sets of points [S, C], session by session."""
    values = []
    for one, other in zip(first, second, strict=True):
        both = np.isfinite(one) & np.isfinite(other)
        values.append(float(np.corrcoef(one[both], other[both])[0, 1]))
    return values


if __name__ == "__main__":
    main(tyro.cli(Config))
