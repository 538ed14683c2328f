"""Planning on models learned from few real steps: classic control tasks, ten seeds each.

    python -m benchmarks.control --tasks pendulum cart_pole acrobot mountain_car

For each task and seed: random steps, rounds of planning and refitting, then whole episodes, exactly
as `examples/plan.py` does it. Beside it in the same table: the same planner on the true dynamics
(oracle), uniform actions (random), and a model-free agent of Stable-Baselines3 after the same
number of real steps (SAC for Box actions, DQN for Discrete ones). Results are written after every
seed.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro

from benchmarks.report import RESULTS, write_result
from wm_agents.evaluation.episodes import RandomAgent, evaluate, planning_gap
from wm_agents.evaluation.statistics import stratified_bootstrap
from wm_agents.planning import PlanningAgent
from wm_agents.planning.classic_control import true_model
from wm_agents.planning.collector import Collector
from wm_agents.planning.defaults import fit_model, make_planner
from wm_agents.planning.learning import LearningConfig, learn_to_plan
from wm_agents.planning.value import ValueConfig, ValueIteration
from wm_agents.protocols import Agent

FIRST_EVALUATION_SEED = 10_000


@dataclass(frozen=True)
class Task:
    """A task, its budget of real steps and the mean return to reach."""

    env_id: str
    max_real_steps: int
    target: float
    num_rounds: int = 2
    random_share: float = 0.4


TASKS = {
    "pendulum": Task("Pendulum-v1", 3_000, -200.0),
    "cart_pole": Task("CartPole-v1", 1_000, 490.0),
    "acrobot": Task("Acrobot-v1", 10_000, -100.0, random_share=0.3),
    "mountain_car": Task("MountainCar-v0", 10_000, -110.0, random_share=0.3),
}


@dataclass(frozen=True)
class Config:
    """What to run."""

    tasks: tuple[str, ...] = ("pendulum", "cart_pole", "acrobot", "mountain_car")
    """Names in TASKS."""
    num_seeds: int = 10
    """Independent runs of the learned arm."""
    num_other_seeds: int = 3
    """Independent runs of the oracle and of the model-free agent."""
    episodes: int = 50
    """Evaluation episodes of each run; all arms start them alike."""
    output_dir: Path = RESULTS
    """Folder for control_<task>.json."""


@dataclass
class Arm:
    """The runs of one way to act: mean return of each run's episodes, and what it cost."""

    returns: list[list[float]] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def add(self, agent: Agent, task: Task, episodes: int, started: float) -> None:
        """Evaluate an agent that took since `started` (process time) to make."""
        results = evaluate(agent, task.env_id, episodes, seed=FIRST_EVALUATION_SEED)
        self.returns.append(results.returns.tolist())
        self.cpu_seconds.append(time.process_time() - started)

    def figures(self) -> dict[str, Any]:
        """Mean over the runs with an interval, and each run's own."""
        means = [float(np.mean(returns)) for returns in self.returns]
        figures = {"mean_return": float(np.mean(means)), "mean_return_by_seed": means}
        if len(means) > 1:
            interval = stratified_bootstrap(means, statistic=np.mean)
            figures |= {"mean_return_low": interval.low, "mean_return_high": interval.high}
        return {**figures, "cpu_seconds": float(np.mean(self.cpu_seconds)), "num_seeds": len(means)}


def main(config: Config) -> dict[str, Any]:
    """Run all tasks; returns the figures that are written."""
    torch.set_num_threads(1)
    arms = {
        name: {arm: Arm() for arm in ("learned", "oracle", "random", "model_free")}
        for name in config.tasks
    }
    figures: dict[str, Any] = {}
    for seed in range(max(config.num_seeds, config.num_other_seeds)):
        for name in config.tasks:
            run_seed(TASKS[name], arms[name], seed, config)
            figures[name] = summarize(TASKS[name], arms[name])
            command = (
                f"python -m benchmarks.control --tasks {name} --num-seeds {config.num_seeds} "
                f"--num-other-seeds {config.num_other_seeds}"
            )
            seeds = list(range(len(arms[name]["learned"].returns)))
            write_result(
                f"control_{name}",
                figures[name],
                seeds=seeds,
                command=command,
                folder=config.output_dir,
            )
            latest = {
                arm: float(np.mean(runs.returns[-1]))
                for arm, runs in arms[name].items()
                if runs.returns
            }
            print(name, seed, {arm: round(value, 1) for arm, value in latest.items()}, flush=True)
    return figures


def run_seed(task: Task, arms: dict[str, Arm], seed: int, config: Config) -> None:
    """One run of each arm that still wants one."""
    env = gym.make(task.env_id)
    if seed < config.num_seeds:
        started = time.process_time()
        arms["learned"].add(learned_agent(task, env, seed), task, config.episodes, started)
        started = time.process_time()
        arms["random"].add(RandomAgent(env.action_space, seed), task, config.episodes, started)
    if seed < config.num_other_seeds:
        started = time.process_time()
        arms["oracle"].add(oracle_agent(task, env, seed), task, config.episodes, started)
        started = time.process_time()
        arms["model_free"].add(model_free_agent(task, env, seed), task, config.episodes, started)
    env.close()


def learned_agent(task: Task, env: gym.Env[Any, Any], seed: int) -> PlanningAgent:
    """Learned from scratch within the budget."""
    budget = LearningConfig(
        max_real_steps=task.max_real_steps,
        num_rounds=task.num_rounds,
        random_share=task.random_share,
    )
    learned = learn_to_plan(
        env,
        budget,
        lambda trajectories, _: fit_model(
            env.observation_space, env.action_space, trajectories, seed
        ),
        lambda model, trajectories, is_exploring: make_planner(
            "auto", model, trajectories, seed=seed, is_exploring=is_exploring
        ),
        seed=seed,
    )
    assert learned.num_real_steps == task.max_real_steps
    return PlanningAgent(learned.model, learned.planner, seed=seed)


def oracle_agent(task: Task, env: gym.Env[Any, Any], seed: int) -> PlanningAgent:
    """The same planner on the true dynamics, its value function learned from as many random states.

    It needs no pessimism: the true dynamics are right where nobody has been, too.
    """
    collector = Collector(env, seed)
    collector.collect(task.max_real_steps)
    trajectories = collector.trajectories()
    model = true_model(task.env_id)
    value = None
    if isinstance(env.action_space, gym.spaces.Discrete):
        value = ValueIteration(model, ValueConfig(), seed=seed).fit(trajectories)
    planner = make_planner("auto", model, trajectories, seed=seed, value=value)
    return PlanningAgent(model, planner, seed=seed)


def model_free_agent(task: Task, env: gym.Env[Any, Any], seed: int) -> Agent:
    """SAC or DQN of Stable-Baselines3 after the same number of real steps.

    One update per step from step 100 on.
    """
    from stable_baselines3 import DQN, SAC

    options = {
        "learning_starts": 100,
        "train_freq": 1,
        "gradient_steps": 1,
        "seed": seed,
        "device": "cpu",
    }
    agent: Any
    if isinstance(env.action_space, gym.spaces.Box):
        agent = SAC("MlpPolicy", env, **options)
    else:
        exploration = {
            "exploration_fraction": 0.3,
            "exploration_final_eps": 0.05,
            "target_update_interval": 250,
        }
        agent = DQN("MlpPolicy", env, learning_rate=5e-4, **exploration, **options)
    return agent.learn(task.max_real_steps)


def summarize(task: Task, arms: dict[str, Arm]) -> dict[str, Any]:
    """The table's row: every arm, the planning gap, and whether the target is reached."""
    row: dict[str, Any] = {
        "env_id": task.env_id,
        "real_steps": task.max_real_steps,
        "target": task.target,
    }
    row |= {name: arm.figures() for name, arm in arms.items() if arm.returns}
    row["is_target_reached"] = row["learned"]["mean_return"] >= task.target
    if row["oracle"]["mean_return"] > row["random"]["mean_return"]:
        gap = planning_gap(
            *(np.array(arms[name].returns) for name in ("learned", "oracle", "random"))
        )
        row |= {
            name: value
            for name, value in gap.closed.flatten("planning_gap").items()
            if np.isfinite(value)
        }
    return row


if __name__ == "__main__":
    main(tyro.cli(Config))
