"""What the learned car saves: SAC in it beside SAC with the same laps on the real one, tuned alike.

    python -m benchmarks.driving_arms
    python -m benchmarks.driving_arms --seeds 200 201 --num-trials 4

Both arms begin with as many episodes of the noisy expert, in the data of the model or in the replay
buffer, and count them as real steps. Without a model SAC has its learning rate and 1, 4 or 20
gradient steps a decision to choose; in the model its learning rate, the gradient steps of a round
and the length of branches. The dream ends earlier, where its curve is flat; a run without a model
that is not there at its end was not solved within the budget.

Each arm has the same number of trials on the same tuning seeds, scored by the mean of its learning
curve. A finished trial or run is a line in the output folder: the command goes on where it was
stopped.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from benchmarks.dream_arms import crossing
from benchmarks.report import RESULTS, write_result
from benchmarks.tuning import Settings, mean_return, tuned_rows
from wm_agents.domains.driving import sac
from wm_agents.evaluation.thresholds import CensoredTimes, threshold_ratio
from wm_envs.data.paths import expand_paths

NAME = "driving_arms"
RATES = [1e-3, 3e-4, 7e-4]
CHOICES: dict[str, dict[str, list[Any]]] = {
    "dream": {
        "learning_rate": RATES,
        "dream_gradients": [6000, 3000, 1500],
        "branch": [20, 10, 30],
    },
    "no model": {"learning_rate": RATES, "model_free_gradients": [1, 4, 20]},
}
SPECIFIED = {
    "dream": "rules of the reward and of leaving the road, the map, the motion of a rigid body",
    "no model": "nothing",
}
EXPERT_EPISODES = 8


@dataclass(frozen=True)
class Config:
    """What to run."""

    seeds: tuple[int, ...] = (200, 201, 202, 203, 204)
    """One run of both arms each; none of those on which anything was ever tuned."""
    tuning_seeds: tuple[int, ...] = (100,)
    """What the trials run on."""
    num_trials: int = 4
    """Settings that are tried for each arm."""
    rounds: int = 10
    """Rounds of the dream, 500 real steps each after the expert's."""
    decisions: int = 10_000
    """Of a run without a model, four real steps each."""
    tuning_share: float = 0.5
    """Share of rounds and decisions that a trial gets."""
    share: float = 0.9
    """Share of the way from random decisions to the better arm's final mean that is to be reached."""
    output_dir: Path = Path("runs/driving_arms")
    """Folder of finished trials and rows."""
    results_dir: Path = RESULTS
    """Folder of driving_arms.json."""


def main(config: Config) -> dict[str, Any]:
    """Tune and run what is missing; returns the figures."""
    torch.set_num_threads(1)
    config = expand_paths(config)

    def run_once(arm: str, settings: Settings, seed: int, is_trial: bool) -> dict[str, Any]:
        share = config.tuning_share if is_trial else 1.0
        return run(arm, settings, seed, share, config)

    tuning, rows = tuned_rows(
        CHOICES,
        run_once,
        mean_return,
        num_trials=config.num_trials,
        tuning_seeds=config.tuning_seeds,
        seeds=config.seeds,
        budget=lambda arm: {"budget": budget(arm, 1.0, config)},
        trial_budget={"tuning_share": config.tuning_share},
        folder=config.output_dir,
    )
    reference = sac.DrivingSACConfig().evaluation.reference_returns(config.seeds[0])
    figures = summarize(rows, reference, config.share) | {"tuning": tuning, "rows": rows}
    command = f"python -m benchmarks.{NAME} --seeds {' '.join(map(str, config.seeds))}"
    write_result(NAME, figures, seeds=config.seeds, command=command, folder=config.results_dir)
    print(figures["no model over dream, medians"], flush=True)
    return figures


def budget(arm: str, share: float, config: Config) -> int:
    """Rounds of the dream, decisions without a model."""
    return max(1, round(share * (config.rounds if arm == "dream" else config.decisions)))


def run(arm: str, settings: Settings, seed: int, share: float, config: Config) -> dict[str, Any]:
    """One run: its curve over real steps, and its CPU, evaluations included."""
    size = budget(arm, share, config)
    began = time.process_time()
    if arm == "dream":
        curve = sac.train_in_imagination(
            sac.DrivingSACConfig(
                seed=seed, recorded_episodes=EXPERT_EPISODES, rounds=size, **settings
            )
        )
    else:
        every = min(250, size)
        curve = sac.train_model_free(
            sac.DrivingSACConfig(
                seed=seed,
                expert_episodes=EXPERT_EPISODES,
                model_free_decisions=size,
                evaluate_every=every,
                **settings,
            )
        )
    return {
        "steps": curve.steps.tolist(),
        "returns": curve.returns.tolist(),
        "real_steps": int(curve.steps[-1]),
        "cpu_seconds": time.process_time() - began,
    }


def summarize(
    rows: list[dict[str, Any]], reference: dict[str, float], share: float
) -> dict[str, Any]:
    """Times to the threshold by median and by the mean curve, and what each arm took."""
    by_arm = {arm: [row for row in rows if row["arm"] == arm] for arm in CHOICES}
    best = max(float(np.mean([row["returns"][-3:] for row in mine])) for mine in by_arm.values())
    random_return = reference["random_return"]
    threshold = random_return + share * (best - random_return)
    arms = {}
    times = {}
    for arm, mine in by_arm.items():
        times[arm] = first_times(mine, threshold)
        grid = np.unique(np.concatenate([row["steps"] for row in mine]))
        values = np.stack([on_grid(row, grid, random_return) for row in mine])
        arms[arm] = {
            "num_seeds": len(mine),
            "median_steps": str(times[arm].median()),
            "seeds_at_threshold": len(mine) - times[arm].num_censored,
            "mean_curve_steps": crossing(values, grid, threshold),
            "final_return": float(np.mean([row["returns"][-1] for row in mine])),
            "real_steps": max(row["real_steps"] for row in mine),
            "cpu_seconds": float(np.mean([row["cpu_seconds"] for row in mine])),
            "specified": SPECIFIED[arm],
        }
    ratio = threshold_ratio(times["no model"], times["dream"])
    return {
        **reference,
        "threshold": threshold,
        "no model over dream, medians": str(ratio),
        "arms": arms,
    }


def first_times(rows: list[dict[str, Any]], threshold: float) -> CensoredTimes:
    """Real steps at each run's first evaluation at the threshold; runs have steps of their own."""
    times = []
    is_censored = []
    for row in rows:
        reached = np.flatnonzero(np.array(row["returns"]) >= threshold)
        is_censored.append(not len(reached))
        times.append(row["steps"][reached[0]] if len(reached) else row["steps"][-1])
    return CensoredTimes(np.array(times, np.float64), np.array(is_censored))


def on_grid(
    row: dict[str, Any], grid: NDArray[np.int64], random_return: float
) -> NDArray[np.float64]:
    """The newest evaluation at each number of real steps [K]; random before the first."""
    returns = np.array([random_return, *row["returns"]])
    found: NDArray[np.float64] = returns[np.searchsorted(row["steps"], grid, side="right")]
    return found


if __name__ == "__main__":
    main(tyro.cli(Config))
