"""What a return costs: iCEM with a warm start beside plain CEM, in the same learned model.

    python -m benchmarks.warm_start

A perceptron of 256 x 256 is fitted to random steps of Pendulum-v1. Then both planners swing up and
balance from the same starts with ever smaller budgets of samples. Plain CEM begins every plan anew;
its reference budget is the usual one of 500 samples and 5 iterations. For each planner the cheapest
budget counts whose return is at most `tolerance` below the reference's. CPU time is that of whole
episodes, environment included; the planners take turns.
"""

import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro

from benchmarks.report import write_result
from wm_agents.evaluation.episodes import evaluate
from wm_agents.planning import CEM, ICEM, CEMConfig, DiscountedReturn, ICEMConfig, PlanningAgent
from wm_agents.planning.collector import Collector
from wm_agents.protocols import Planner, WorldModel
from wm_agents.world_models import DeterministicConfig, DeterministicModel, FitConfig

ENV_ID, HORIZON = "Pendulum-v1", 16
CEM_BUDGETS = ((500, 5), (200, 5), (100, 4), (50, 3), (25, 3))
"""(samples, iterations), the first being the reference."""
ICEM_BUDGETS = ((50, 3), (25, 3), (16, 2))
REFERENCE = "CEM {} x {}".format(*CEM_BUDGETS[0])
FIRST_EVALUATION_SEED = 10_000


@dataclass(frozen=True)
class Config:
    """How long to measure."""

    real_steps: int = 3000
    """Random steps that the model is fitted to."""
    num_updates: int = 3000
    """Optimizer steps of the fit."""
    episodes: int = 10
    """Episodes of each budget; all start alike."""
    tolerance: float = 0.02
    """Share of the reference's return by which another may be worse."""
    seed: int = 0
    """Of the random steps, the model and all samples."""
    is_written: bool = True
    """Write benchmarks/results/warm_start.json."""


def main(config: Config) -> dict[str, Any]:
    """Fit, plan, compare; returns the figures."""
    torch.set_num_threads(1)
    model = fitted_model(config)
    agents = planning_agents(model, config.seed)
    returns, seconds = measure(agents, config.episodes)
    figures = {
        "budgets": summarize(returns, seconds),
        **cheapest(returns, seconds, config.tolerance),
    }
    for name, row in figures["budgets"].items():
        print(
            f"{name:14} return {row['mean_return']:8.1f}   "
            f"{row['cpu_seconds_per_episode']:6.2f} CPU-s an episode"
        )
    print(
        "CPU of the cheapest CEM / of the cheapest iCEM at equal return: "
        f"{figures['times_less_cpu']}"
    )
    if config.is_written:
        command = f"python -m benchmarks.warm_start --episodes {config.episodes}"
        write_result("warm_start", figures, seeds=config.seed, command=command)
    return figures


def fitted_model(config: Config) -> DeterministicModel:
    """The model in which all plan."""
    env = gym.make(ENV_ID)
    collector = Collector(env, config.seed)
    collector.collect(config.real_steps)
    model = DeterministicModel(
        env.observation_space,
        env.action_space,
        DeterministicConfig(dynamics_widths=(256, 256)),
        seed=config.seed,
    )
    model.fit(collector.trajectories(), FitConfig(num_updates=config.num_updates, seed=config.seed))
    return model


def planning_agents(model: WorldModel, seed: int) -> dict[str, PlanningAgent]:
    """Each planner with each budget, a tenth of the samples being elites (at least four)."""
    objective = DiscountedReturn()
    planners: dict[str, Planner] = {}
    for budget in CEM_BUDGETS:
        planners["CEM {} x {}".format(*budget)] = CEM(
            model, objective, CEMConfig(**size(*budget), has_warm_start=False)
        )
    for budget in ICEM_BUDGETS:
        planners["iCEM {} x {}".format(*budget)] = ICEM(
            model, objective, ICEMConfig(**size(*budget))
        )
    return {name: PlanningAgent(model, planner, seed=seed) for name, planner in planners.items()}


def size(num_samples: int, num_iterations: int) -> dict[str, Any]:
    """What both planners' settings share."""
    num_elites = max(4, num_samples // 10)
    return {
        "horizon": HORIZON,
        "num_samples": num_samples,
        "num_iterations": num_iterations,
        "num_elites": num_elites,
    }


def measure(
    agents: dict[str, PlanningAgent], episodes: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return and CPU seconds of each episode, by agent."""
    returns: dict[str, list[float]] = {name: [] for name in agents}
    seconds: dict[str, list[float]] = {name: [] for name in agents}
    for episode in range(episodes):
        for name, agent in agents.items():
            started = time.process_time()
            result = evaluate(agent, ENV_ID, 1, seed=FIRST_EVALUATION_SEED + episode)
            seconds[name].append(time.process_time() - started)
            returns[name].append(result.mean_return)
        print(f"episode {episode + 1} of {episodes}", flush=True)
    return returns, seconds


def summarize(
    returns: dict[str, list[float]], seconds: dict[str, list[float]]
) -> dict[str, dict[str, float]]:
    """A row for each budget; differences to the reference are paired by start."""
    reference = np.array(returns[REFERENCE])
    rows = {}
    for name, values in returns.items():
        difference = np.array(values) - reference
        rows[name] = {
            "mean_return": float(np.mean(values)),
            "minus_reference": float(difference.mean()),
            "minus_reference_standard_error": float(difference.std() / np.sqrt(len(difference))),
            "cpu_seconds_per_episode": float(np.mean(seconds[name])),
        }
    return rows


def cheapest(
    returns: dict[str, list[float]], seconds: dict[str, list[float]], tolerance: float
) -> dict[str, str | float | None]:
    """The cheapest budget of each planner that suffices, and how much less iCEM takes."""
    reference = float(np.mean(returns[REFERENCE]))
    enough = [
        name for name in returns if np.mean(returns[name]) >= reference - tolerance * abs(reference)
    ]
    best = {}
    for planner in ("CEM", "iCEM"):
        names = [name for name in enough if name.split()[0] == planner]
        best[planner] = min(names, key=lambda name: float(np.mean(seconds[name])), default=None)
    figures: dict[str, str | float | None] = {
        "cheapest_cem": best["CEM"],
        "cheapest_icem": best["iCEM"],
    }
    if best["iCEM"] is None or best["CEM"] is None:
        return {**figures, "times_less_cpu": None, "times_less_cpu_than_reference": None}
    cost = {name: float(np.mean(values)) for name, values in seconds.items()}
    figures["times_less_cpu"] = cost[best["CEM"]] / cost[best["iCEM"]]
    figures["times_less_cpu_than_reference"] = cost[REFERENCE] / cost[best["iCEM"]]
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
