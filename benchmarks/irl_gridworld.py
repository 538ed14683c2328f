"""An 8 x 8 gridworld: the worth of the inferred reward, and the speed beside `imitation`'s MCE IRL.

    python -m benchmarks.irl_gridworld --peer-python /path/to/venv/bin/python

The peer needs gymnasium 0.29, hence a Python of its own with `pip install imitation==1.0.1`. Both
get the same 50 walks, the true dynamics and the starts of these walks, and infer one reward per
cell by matching visits. The gap is the largest difference over cells between demonstrated and
expected visits in a walk; the peer counts the state after the last step, too, although its policy
takes that step at random, so it is given what a random last step leads to: otherwise its gap could
not close. Ours is timed from nothing to the optimiser's end at a tolerance that gives a gap below
0.01 visits, the peer from its first gradient step to that gap, with the best of its learning rates.
Beside it stands our whole fit at its usual, finer tolerance, with intervals and identifiability.
"""

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.report import write_result
from wm_agents.irl import (
    Demonstrations,
    MaxEntConfig,
    MaxEntIRL,
    choose_prior_std,
    occupancy_measures,
)
from wm_agents.irl.gridworld import Gridworld
from wm_agents.irl.likelihood import Likelihood
from wm_agents.irl.maxent import map_estimate
from wm_agents.irl.mdp import Floats
from wm_agents.irl.uncertainty import Prior, Scaling

SIZE = 8
HORIZON = 20
NUM_WALKS = 50
RATIONALITY = 5.0
PRIOR_STDS = (0.3, 0.6, 1.2)
"""The problem of `examples/irl_gridworld.py`."""

GAPS = (0.3, 0.1, 0.03, 0.01)
GAP = GAPS[-1]
"""Visits in a walk of 20 steps at which the two are compared."""
_NEARLY_NO_PRIOR = 30.0
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Config:
    """What to run."""

    num_seeds: int = 10
    """Worlds for the value ratio."""
    peer_python: Path | None = None
    """Python in which `imitation` is installed; without it the comparison is left out."""
    num_peer_seeds: int = 3
    """Worlds for the comparison."""
    peer_seconds: float = 8.0
    """CPU time of the peer for each learning rate."""


def main(config: Config) -> dict[str, Any]:
    """Run both parts; returns the figures."""
    values = [value(seed) for seed in range(config.num_seeds)]
    figures: dict[str, Any] = {
        "value_ratio_median": float(np.median([v["value_ratio"] for v in values])),
        "value_ratio_worst": float(np.min([v["value_ratio"] for v in values])),
        "value_ratio_of_aimless_walks_median": float(
            np.median([v["value_ratio_of_aimless_walks"] for v in values])
        ),
        "value_ratio_by_seed": [v["value_ratio"] for v in values],
    }
    print(figures, flush=True)
    if config.peer_python is not None:
        figures["peer"] = beside_peer(config)
    command = f"python -m benchmarks.irl_gridworld --num-seeds {config.num_seeds}"
    write_result(
        "irl_gridworld",
        figures,
        seeds=range(config.num_seeds),
        command=command + " --peer-python PYTHON",
    )
    return figures


def value(seed: int) -> dict[str, float]:
    """The value ratio in one world, from walks with and without an aim."""
    world = Gridworld.make(SIZE, HORIZON, seed=seed)
    policies = {
        "value_ratio": world.expert(RATIONALITY),
        "value_ratio_of_aimless_walks": world.uniform(),
    }
    ratios = {}
    for name, policy in policies.items():
        walks = world.walks(policy, NUM_WALKS, [seed, 1])
        settings = MaxEntConfig(prior_std=choose_prior_std(world.mdp, walks, PRIOR_STDS))
        ratios[name] = world.value_ratio(MaxEntIRL(world.mdp, settings).fit(walks).weights)
    return ratios


def beside_peer(config: Config) -> dict[str, Any]:
    """CPU seconds to each gap, world by world."""
    worlds = [compare(seed, config) for seed in range(config.num_peer_seeds)]
    return {"worlds": worlds, "times_faster_worst": min(world["times_faster"] for world in worlds)}


def compare(seed: int, config: Config) -> dict[str, Any]:
    """Both on the walks of one world."""
    world = Gridworld.make(SIZE, HORIZON, seed=seed)
    mdp = world.mdp
    walks = world.walks(world.expert(RATIONALITY), NUM_WALKS, [seed, 1])
    visits = mean_visits(world, walks.states)
    starts = mean_visits(world, walks.states[walks.times == 0])
    lasts = mean_visits(world, walks.states[walks.times == HORIZON - 1])
    seconds, gap, full_seconds = ours(world, walks, visits, starts)
    # The peer's policy takes the last step at random.
    after_last = mdp.transposed @ np.repeat(lasts / mdp.num_actions, mdp.num_actions)
    peer = run_peer(world, visits + after_last, starts, config)
    reached = {
        rate: {str(gap): first_below(rows, gap) for gap in GAPS}
        for rate, rows in peer["runs"].items()
    }
    times = [gaps[str(GAP)] for gaps in reached.values() if gaps[str(GAP)] is not None]
    # A peer that did not get there within its time would have taken at least that time.
    peer_seconds = min(times, default=config.peer_seconds)
    result = {
        "seconds": seconds,
        "gap": gap,
        "seconds_with_intervals_and_finer_tolerance": full_seconds,
        "peer_seconds": peer_seconds,
        "has_peer_reached_gap": bool(times),
        "times_faster": peer_seconds / seconds,
        "peer_best_gap": min(row[1] for rows in peer["runs"].values() for row in rows),
        "peer_seconds_to_gaps": reached,
        "peer_versions": peer["versions"],
    }
    assert gap <= GAP
    shown = ("seconds", "gap", "peer_seconds", "peer_best_gap")
    print(seed, {name: result[name] for name in shown}, flush=True)
    return result


def mean_visits(world: Gridworld, states: Any) -> Floats:
    """Visits [S] in a walk."""
    return np.bincount(states, minlength=world.mdp.num_states) / NUM_WALKS


def ours(
    world: Gridworld, walks: Demonstrations, visits: Floats, starts: Floats
) -> tuple[float, float, float]:
    """CPU seconds to the gap, the gap, and CPU seconds of the whole fit."""
    irl = MaxEntIRL(world.mdp, MaxEntConfig(prior_std=_NEARLY_NO_PRIOR))
    irl.fit(walks)  # compiles
    started = time.process_time()
    irl.fit(walks)
    full_seconds = time.process_time() - started
    started = time.process_time()
    scale = Scaling.of(world.mdp, walks.states).scale
    likelihood = Likelihood(world.mdp, walks, scale)
    prior = Prior.independent(len(scale), _NEARLY_NO_PRIOR)
    weights = map_estimate(likelihood, prior, MaxEntConfig(tolerance=_TOLERANCE)).weights
    seconds = time.process_time() - started
    entering = np.zeros((world.mdp.horizon, world.mdp.num_states))
    entering[0] = starts
    expected = occupancy_measures(world.mdp, likelihood.policy(weights), entering).sum((0, 2))
    return seconds, float(np.abs(expected - visits).max()), full_seconds


def run_peer(world: Gridworld, visits: Floats, starts: Floats, config: Config) -> dict[str, Any]:
    """The peer's gaps over time, from its own process."""
    mdp = world.mdp
    table = mdp.transitions.toarray().reshape(mdp.num_states, mdp.num_actions, mdp.num_states)
    with tempfile.TemporaryDirectory() as folder:
        problem, result = Path(folder) / "problem.npz", Path(folder) / "result.json"
        np.savez(problem, transitions=table, visits=visits, starts=starts, horizon=mdp.horizon)
        script = Path(__file__).with_name("irl_gridworld_peer.py")
        command = [config.peer_python, script, problem, result, "--seconds", config.peer_seconds]
        subprocess.run(
            [str(part) for part in command], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        parsed: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return parsed


def first_below(rows: list[list[float]], limit: float) -> float | None:
    """CPU seconds until the gap is at most the limit; None where it never is."""
    return next((seconds for seconds, gap in rows if gap <= limit), None)


if __name__ == "__main__":
    main(tyro.cli(Config))
