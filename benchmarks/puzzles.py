"""Real steps until puzzles with a new goal every episode are solved.

Learned rules, a table, and DQN with hindsight:

    python -m benchmarks.puzzles

Learned and table alike: random steps, two rounds of planning and refitting, then breadth-first
search from the current state, exactly as `examples/plan.py` does it; each budget of real steps is a
run of its own. The learned model has to find out what is rewarded. The table is given that, and
counts transitions of the present arrangement alone, not of every pair of arrangement and goal: it
is the strongest table there could be. DQN with hindsight replay (Andrychowicz et al. 2017) is
Stable-Baselines3's. TokenAutomaton is the control: its transitions are random, so there is no
structure to learn and the gain has to vanish. Results are written after every seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import Tensor

import wm_envs  # noqa: F401  (registers the ids)
from benchmarks.report import RESULTS, write_result
from wm_agents.evaluation.episodes import evaluate
from wm_agents.evaluation.statistics import stratified_bootstrap
from wm_agents.planning import BreadthFirstSearch, DiscountedReturn, PlanningAgent, SearchConfig
from wm_agents.planning.defaults import fit_model
from wm_agents.planning.learning import LearningConfig, learn_to_plan
from wm_agents.protocols import ModelState, Prediction, WorldModel
from wm_agents.world_models.tabular import TabularModel
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories

SOLVED = 0.9  # share of episodes


@dataclass(frozen=True)
class Task:
    """A puzzle, the budgets of each arm, and that within which 95% are to be solved."""

    env_id: str
    learned_budgets: tuple[int, ...]
    table_budgets: tuple[int, ...]
    target_steps: int | None = None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    hindsight_steps: int = 0


TASKS = {
    "perm_puzzle": Task(
        "wm/PermPuzzle-v0",
        (50, 75, 100, 150, 1000),
        (1000, 2000, 3000, 4000),
        1000,
        hindsight_steps=16_000,
    ),
    "lights_out": Task(
        "wm/LightsOut-v0", (200, 300, 400, 1500), (1500, 3000, 4500), 1500, hindsight_steps=16_000
    ),
    "perm_puzzle_7": Task("wm/PermPuzzle-v0", (75, 100, 150, 3000), (3000,), 3000, {"level": 2}),
    "token_automaton": Task("wm/TokenAutomaton-v0", (250, 500, 1000), (250, 500, 1000)),
}


@dataclass(frozen=True)
class Config:
    """What to run."""

    tasks: tuple[str, ...] = ("perm_puzzle", "lights_out", "perm_puzzle_7", "token_automaton")
    """Names in TASKS."""
    num_seeds: int = 10
    """Independent runs of every budget."""
    num_hindsight_seeds: int = 3
    """Independent runs of DQN with hindsight."""
    episodes: int = 50
    """Evaluation episodes of each run."""
    output_dir: Path = RESULTS
    """Folder for puzzles_<task>.json."""


class ArrangementTable(Unrolled):
    """Counted transitions of the first half of the observation.

    The second half is the goal, known to be rewarded.
    """

    def __init__(self, observation_space: gym.spaces.Box, action_space: gym.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self._half = observation_space.shape[0] // 2
        half_space = gym.spaces.Box(
            observation_space.low[: self._half], observation_space.high[: self._half]
        )
        self._table = TabularModel(half_space, action_space)

    def fit(self, trajectories: Trajectories) -> "ArrangementTable":
        """Count what followed what."""
        counted = (
            trajectories.rewards,
            trajectories.terminations,
            trajectories.truncations,
            trajectories.lengths,
        )
        self._table.fit(
            Trajectories(trajectories.observations[:, : self._half], trajectories.actions, *counted)
        )
        return self

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """No memory."""
        return ModelState(observations, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """The counted successor beside the same goal."""
        goals = state.observations[:, self._half :]
        _, prediction = self._table.step(
            ModelState(state.observations[:, : self._half]), actions, generator
        )
        after = torch.cat([prediction.observations, goals], 1)
        rewards = (prediction.observations == goals).all(1).float()
        return ModelState(after), Prediction(after, rewards, torch.zeros_like(rewards))


def main(config: Config) -> dict[str, Any]:
    """Run all tasks; returns the figures that are written."""
    torch.set_num_threads(1)
    rates: dict[str, dict[str, dict[int, list[float]]]] = {name: {} for name in config.tasks}
    figures = {}
    for seed in range(config.num_seeds):
        for name in config.tasks:
            run_seed(TASKS[name], rates[name], seed, config)
            figures[name] = summarize(TASKS[name], rates[name])
            command = f"python -m benchmarks.puzzles --tasks {name} --num-seeds {config.num_seeds}"
            seeds = list(range(seed + 1))
            write_result(
                f"puzzles_{name}",
                figures[name],
                seeds=seeds,
                command=command,
                folder=config.output_dir,
            )
            latest = {
                arm: {steps: runs[-1] for steps, runs in by.items()}
                for arm, by in rates[name].items()
            }
            print(name, seed, latest, flush=True)
    return figures


def run_seed(
    task: Task, rates: dict[str, dict[int, list[float]]], seed: int, config: Config
) -> None:
    """One run of every arm at every budget."""
    env = gym.make(task.env_id, **task.env_kwargs)
    assert isinstance(env.observation_space, gym.spaces.Box)
    observations = env.observation_space
    actions = env.action_space

    def note(arm: str, steps: int, agent: Any) -> None:
        results = evaluate(
            agent, task.env_id, config.episodes, seed=10_000, env_kwargs=task.env_kwargs
        )
        assert results.success_rate is not None
        rates.setdefault(arm, {}).setdefault(steps, []).append(results.success_rate)

    for steps in task.learned_budgets:
        note(
            "learned",
            steps,
            searcher(env, steps, seed, lambda t: fit_model(observations, actions, t, seed)),
        )
    for steps in task.table_budgets:
        note(
            "table",
            steps,
            searcher(env, steps, seed, lambda t: ArrangementTable(observations, actions).fit(t)),
        )
    if task.hindsight_steps and seed < config.num_hindsight_seeds:
        note("dqn_hindsight", task.hindsight_steps, HindsightAgent(task, seed))
    env.close()


def searcher(
    env: gym.Env[Any, Any], num_steps: int, seed: int, fit: Callable[[Trajectories], WorldModel]
) -> PlanningAgent:
    """Breadth-first search on a model that is learned within a budget.

    A step with a reward of 0.5 or more is a goal.
    """
    learned = learn_to_plan(
        env,
        LearningConfig(max_real_steps=num_steps, num_rounds=2),
        lambda trajectories, _: fit(trajectories),
        lambda model, *_: BreadthFirstSearch(
            model, DiscountedReturn(), SearchConfig(max_nodes=6000)
        ),
        seed=seed,
    )
    return PlanningAgent(learned.model, learned.planner, seed=seed)


class GoalView(gym.ObservationWrapper):  # type: ignore[type-arg]
    """The observation's halves as what is achieved and what is desired, for hindsight replay."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        size = env.observation_space.shape[0] // 2  # type: ignore[index]
        half = gym.spaces.Box(0.0, 1.0, (size,))
        self.observation_space = gym.spaces.Dict(
            observation=half, achieved_goal=half, desired_goal=half
        )

    def observation(self, observation: Any) -> dict[str, Any]:
        """Split."""
        present, goal = np.split(observation, 2, axis=-1)
        return {"observation": present, "achieved_goal": present, "desired_goal": goal}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:  # noqa: ARG002
        """1 where the goal is reached."""
        return (achieved == desired).all(-1).astype(np.float32)


class HindsightAgent:
    """DQN of Stable-Baselines3 with hindsight replay, trained on construction.

    `predict` takes flat observations.
    """

    def __init__(self, task: Task, seed: int) -> None:
        from stable_baselines3 import DQN, HerReplayBuffer

        env = GoalView(gym.make(task.env_id, **task.env_kwargs))
        self._agent = DQN(
            "MultiInputPolicy",
            env,
            learning_rate=1e-3,
            learning_starts=500,
            train_freq=1,
            gradient_steps=1,
            batch_size=128,
            gamma=0.95,
            target_update_interval=500,
            exploration_fraction=0.5,
            replay_buffer_class=HerReplayBuffer,
            replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
            policy_kwargs={"net_arch": [256, 256]},
            seed=seed,
            device="cpu",
        )
        self._agent.learn(task.hindsight_steps)
        self._split = env.observation

    def predict(self, observation: Any, *_: Any, **__: Any) -> Any:
        """Greedy actions."""
        return self._agent.predict(self._split(observation), deterministic=True)


def summarize(task: Task, rates: dict[str, dict[int, list[float]]]) -> dict[str, Any]:
    """Success rates by budget with intervals, and steps until 90% are solved."""
    row: dict[str, Any] = {"env_id": task.env_id, "env_kwargs": task.env_kwargs}
    for arm, by_steps in rates.items():
        row[arm] = {str(steps): rate_figures(runs) for steps, runs in by_steps.items()}
    needed = {arm: median_steps(rates[arm]) for arm in ("learned", "table")}
    row["median_steps_to_90_percent"] = needed
    if needed["learned"]:
        beyond = max(rates["table"])
        row["times_fewer_steps_than_table"] = (needed["table"] or beyond) / needed["learned"]
        row["is_table_censored"] = needed["table"] is None
    if task.target_steps:
        row["is_target_reached"] = float(np.mean(rates["learned"][task.target_steps])) >= 0.95
    return row


def rate_figures(runs: list[float]) -> dict[str, Any]:
    """Mean success rate with an interval over seeds."""
    figures: dict[str, Any] = {"success_rate": float(np.mean(runs)), "by_seed": runs}
    if len(runs) > 1:
        interval = stratified_bootstrap(runs, statistic=np.mean)
        figures |= {"low": interval.low, "high": interval.high}
    return figures


def median_steps(by_steps: dict[int, list[float]]) -> int | None:
    """Median over seeds of the first budget that solves 90%.

    None where at least half of the seeds never do.
    """
    num_seeds = len(next(iter(by_steps.values())))
    first = [
        next((s for s in sorted(by_steps) if by_steps[s][seed] >= SOLVED), np.inf)
        for seed in range(num_seeds)
    ]
    median = float(np.quantile(first, 0.5, method="higher"))
    return int(median) if np.isfinite(median) else None


if __name__ == "__main__":
    main(tyro.cli(Config))
