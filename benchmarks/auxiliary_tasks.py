"""What an auxiliary loss teaches a policy: predictions, reconstructions and none, tuned alike.

    python -m benchmarks.auxiliary_tasks
    python -m benchmarks.auxiliary_tasks --tasks RuleRecall --arms next none
    python -m benchmarks.auxiliary_tasks --tasks "TMaze x10" --num-trials 4

On rule recall, predicting the next observation means to predict a response that is the answer, a
dozen times an episode, where the reward is one bit at its end. So the other arms get what that
prediction could owe its gain to: a dense loss on the same observations (`previous`, `shuffled`), a
loss on the reward, a reward for each query, a prediction without the columns of the answer, and a
recurrent network without any such loss. On TMaze and PatternEcho what follows is noise; `x10` shows
it in other units, ten times as large.

Every arm has the same number of trials on the same tuning seeds, then the same number of seeds
that were never tuned on. A finished trial or arm is a line in the output folder: the command goes
on where it was stopped.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import TransformObservation
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from benchmarks.report import RESULTS, append_row, read_rows, write_result
from benchmarks.tuning import Settings, random_search
from wm_agents.evaluation import interquartile_mean, stratified_bootstrap
from wm_agents.evaluation.ablation import success_rates
from wm_agents.evaluation.episodes import evaluate
from wm_agents.evaluation.thresholds import steps_to_threshold
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.policy_gradient.reinforce import (
    LossWeights,
    Reinforce,
    ReinforceConfig,
    UpdateReport,
)
from wm_agents.policy_gradient.sequence_model import NetworkConfig
from wm_envs.data.paths import expand_paths
from wm_envs.symbolic.memory import RuleRecallEnv

TUNING_SEED, EVALUATION_SEED = 1, 2
"""Parents of the seeds; run k of parent p is called seed 100 p + k."""
FINAL_EPISODES = 500
CURVE_EPISODES = 100
NUM_SHARES = 20  # evaluations of the recurrent arm
MASTERY = 0.8  # success at which a level is left, as of Reinforce
QUERY_REWARDS_ID = "benchmarks/RuleRecallQueryRewards-v0"
NUM_QUERIES = RuleRecallEnv.LEVELS[0].num_queries
SOLVED = 0.9
QUICK_START = ReinforceConfig(
    network=NetworkConfig(width=32, feedforward_width=64, has_previous_observation=True),
    episodes_per_update=32,
    normalize_advantage=True,
    target_kl=0.02,
    mastery_decay=1.0,
)
"""What all arms of REINFORCE share: the quick start's, found on other seeds in about twenty trials of
the arm that predicts the next observation."""
SHARED: dict[str, list[Any]] = {
    "learning_rate": [4e-3, 1e-3, 2e-3],
    "entropy": [0.05, 0.01, 0.02],
}
WITH_LOSS = SHARED | {"world_model": [30.0, 3.0, 10.0]}
RECURRENT: dict[str, list[Any]] = {
    "learning_rate": [1e-3, 3e-3],
    "entropy": [0.02, 0.005, 0.05],
    "n_steps": [14, 28, 56],
    "memory_width": [64, 128],
}
CHOICES: dict[str, dict[str, list[Any]]] = {
    "next": WITH_LOSS,
    "next without the answer": WITH_LOSS,
    "previous": WITH_LOSS,
    "reward": WITH_LOSS,
    "shuffled": WITH_LOSS,
    "none": SHARED,
    "none, a reward for each query": SHARED,
    "recurrent": RECURRENT,
}
"""The choices of each arm's settings."""
SPECIFIED = {
    "none, a reward for each query": "which answers were right, which the environment does not tell"
}
NULL_ARMS = ("next", "none")
# `shuffled` takes as long as the others and is what `previous` is, dense and without the answer.
RECALL_ARMS = tuple(arm for arm in CHOICES if arm != "shuffled")


@dataclass(frozen=True)
class AuxiliaryTask:
    """A task with its arms and budget.

    Attributes:
        env_id: A symbolic id.
        arms: Names in CHOICES.
        episodes: Training episodes of each run.
        scale: Factor on the observations.
        levels: Options of a curriculum; what is judged is the last. All arms have it but that with
            a reward for each query, which begins at the last.
    """

    env_id: str
    arms: tuple[str, ...]
    episodes: int
    scale: float = 1.0
    levels: tuple[dict[str, int], ...] = ({},)


TASKS = {
    # One query at first: a reward for one answer is found by chance, one for two seldom.
    "RuleRecall": AuxiliaryTask(
        "wm/RuleRecall-v0", RECALL_ARMS, 12_000, levels=({"num_queries": 1}, {})
    ),
    "TMaze": AuxiliaryTask("wm/TMaze-v0", NULL_ARMS, 12_800),
    "TMaze x10": AuxiliaryTask("wm/TMaze-v0", NULL_ARMS, 12_800, 10.0),
    # Few enough episodes to be caught half-way.
    "PatternEcho": AuxiliaryTask("wm/PatternEcho-v0", NULL_ARMS, 1_920),
    "PatternEcho x10": AuxiliaryTask("wm/PatternEcho-v0", NULL_ARMS, 1_920, 10.0),
}


@dataclass(frozen=True)
class Config:
    """What to measure."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Names in TASKS."""
    arms: tuple[str, ...] = ()
    """Only these; none is all of the task's. Nothing is written before all are there."""
    num_seeds: int = 5
    """Runs of each arm."""
    num_trials: int = 4
    """Settings that are tried for each arm."""
    num_tuning_seeds: int = 2
    """Runs of each trial."""
    tuning_share: float = 2 / 3
    """Share of the episodes that a trial gets."""
    episodes_scale: float = 1.0
    """Factor on the budgets, for a try."""
    output_dir: Path = Path("runs/auxiliary_tasks")
    """Folder of finished trials and rows."""
    results_dir: Path = RESULTS
    """Folder of auxiliary_tasks_<task>.json."""


class QueryRewards(VectorWrapper[Any, Any, Any, Any]):
    """A reward for each right answer as it is given, the queries' sum being that of the goal.

    Which answers were right is read from the environment's state: no agent is told by the task.

    Args:
        env: Rule recall.
        num_queries: Of an episode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], num_queries: int = NUM_QUERIES) -> None:
        super().__init__(env)
        self.num_queries = num_queries

    def reset(self, **options: Any) -> Any:
        """Start anew."""
        result = self.env.reset(**options)
        self._num_right = self._right_answers()
        return result

    def step(self, actions: Any) -> Any:
        """The same step with another reward."""
        observations, _, terminations, truncations, infos = self.env.step(actions)
        num_right = self._right_answers()
        # Below 0 where a row was reset in between.
        rewards = np.maximum(num_right - self._num_right, 0) / self.num_queries
        self._num_right = num_right
        return observations, rewards, terminations, truncations, infos

    def _right_answers(self) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = self.env.unwrapped.clone_state()["num_right"].copy()  # type: ignore[attr-defined]
        return counts


def query_rewards(num_envs: int, **options: Any) -> VectorEnv[Any, Any, Any]:
    """Rule recall with a reward for each query, under an id, so that it takes levels."""
    envs: VectorEnv[Any, Any, Any] = gym.make_vec("wm/RuleRecall-v0", num_envs, **options)
    return QueryRewards(envs, options.get("num_queries", NUM_QUERIES))


# As a script and as a module at once it is imported twice.
if QUERY_REWARDS_ID not in gym.registry:
    gym.register(QUERY_REWARDS_ID, vector_entry_point=query_rewards)


def make_envs(
    num_envs: int,
    task: AuxiliaryTask,
    mode: AutoresetMode | None = None,
    level: Mapping[str, int] | None = None,
) -> VectorEnv[Any, Any, Any]:
    """The task's environments at a level, the last by default."""
    options: dict[str, Any] = dict(task.levels[-1] if level is None else level)
    if mode is not None:
        options["autoreset_mode"] = mode
    envs: VectorEnv[Any, Any, Any] = gym.make_vec(task.env_id, num_envs, **options)
    if task.scale != 1.0:
        space = envs.single_observation_space
        assert isinstance(space, gym.spaces.Box)
        scaled = gym.spaces.Box(task.scale * space.low, task.scale * space.high, dtype=np.float32)
        envs = TransformObservation(
            envs, functools.partial(np.multiply, task.scale), single_observation_space=scaled
        )
    return envs


@dataclass(frozen=True)
class Trained:
    """Runs of an arm: greedy success at the end [S] and on the way [S, K], and what they took.

    CPU is that of learning, without evaluations.
    """

    final: NDArray[np.float64]
    curve: NDArray[np.float64]
    episodes: list[int]
    real_steps: int
    cpu_seconds: float


def main(config: Config) -> dict[str, Any]:
    """Tune and run what is missing; returns the figures of the tasks that are complete."""
    torch.set_num_threads(1)
    config = expand_paths(config)
    figures = {}
    for name in config.tasks:
        found = run_task(name, config)
        if found is None:
            continue
        figures[name] = found
        file_name = "auxiliary_tasks_" + name.lower().replace(" ", "_")
        command = f'python -m benchmarks.auxiliary_tasks --tasks "{name}"'
        command += f" --num-seeds {config.num_seeds}"
        seeds = sorted({row["seed"] for row in found["rows"]})
        write_result(file_name, found, seeds=seeds, command=command, folder=config.results_dir)
        print(name, {arm: row["iqm"] for arm, row in found["arms"].items()}, flush=True)
    return figures


def run_task(name: str, config: Config) -> dict[str, Any] | None:
    """The figures of a task, or None where an arm was left out."""
    task = TASKS[name]
    task = replace(task, episodes=max(64, round(config.episodes_scale * task.episodes)))
    folder = config.output_dir / name.replace(" ", "_")
    arms = [arm for arm in task.arms if not config.arms or arm in config.arms]
    choices = {arm: CHOICES[arm] for arm in arms}
    tuning_task = replace(task, episodes=max(64, round(config.tuning_share * task.episodes)))

    def score(arm: str, settings: Settings, seeds: Sequence[int]) -> Sequence[float]:
        trained = train(arm, settings, tuning_task, TUNING_SEED, len(seeds))
        return trained.final.tolist()

    seeds = [100 * EVALUATION_SEED + k for k in range(config.num_seeds)]
    tuning = random_search(
        choices,
        score,
        num_trials=config.num_trials,
        seeds=[100 * TUNING_SEED + k for k in range(config.num_tuning_seeds)],
        evaluation_seeds=seeds,
        folder=folder,
        budget={"num_episodes": tuning_task.episodes},
    )
    rows = []
    for arm in arms:
        rows += rows_of(arm, tuning[arm]["best"], task, seeds, folder)
    return summarize(task, tuning, rows) if arms == [*task.arms] else None


def rows_of(
    arm: str, settings: Settings, task: AuxiliaryTask, seeds: list[int], folder: Path
) -> list[dict[str, Any]]:
    """A row for each seed of an arm; those in the folder are not run again."""

    def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["arm"], row["settings"], row["num_episodes"]

    wanted = (arm, settings, task.episodes)
    rows = {row["seed"]: row for row in read_rows(folder) if place(row) == wanted}
    if set(seeds) <= set(rows):
        return [rows[seed] for seed in seeds]
    trained = train(arm, settings, task, EVALUATION_SEED, len(seeds))
    found = []
    for k, seed in enumerate(seeds):
        row = {
            "arm": arm,
            "settings": settings,
            "num_episodes": task.episodes,
            "seed": seed,
            "success": float(trained.final[k]),
            "episodes": trained.episodes,
            "curve": trained.curve[k].round(4).tolist(),
            "real_steps": trained.real_steps,
            "cpu_seconds": trained.cpu_seconds / len(seeds),
        }
        append_row(folder, row)
        found.append(row)
    print(f"{arm}: {trained.final.mean():.3f} in {trained.cpu_seconds:.0f} s", flush=True)
    return found


def train(
    arm: str, settings: Settings, task: AuxiliaryTask, parent: int, num_seeds: int
) -> Trained:
    """Runs of one arm on children of a parent seed."""
    if arm == "recurrent":
        return train_recurrent(settings, task, parent, num_seeds)
    config = reinforce_config(arm, settings, task, num_seeds)
    levels = task.levels
    if arm == "none, a reward for each query":
        # With one query its reward would be everybody's.
        levels = levels[-1:]
    agent = Reinforce(environment_of(arm, task), config, seed=parent, levels=levels)
    num_updates = max(1, task.episodes // config.episodes_per_update)
    every = max(1, num_updates // 30)
    episodes: list[int] = []
    curve: list[NDArray[np.float64]] = []
    evaluation = 0.0

    def watch(agent: Reinforce, report: UpdateReport) -> bool:
        nonlocal evaluation
        if report.update % every == 0:
            paused = time.process_time()
            episodes.append(report.num_episodes)
            curve.append(success_rates(agent, CURVE_EPISODES, 1))
            evaluation += time.process_time() - paused
        return report.update < num_updates

    began = time.process_time()
    agent.learn(2**62, watch)
    seconds = time.process_time() - began - evaluation
    final = success_rates(agent, FINAL_EPISODES, 0)
    return Trained(final, np.stack(curve, 1), episodes, int(agent.num_steps[0]), seconds)


def environment_of(arm: str, task: AuxiliaryTask) -> Any:
    """What REINFORCE collects episodes from."""
    if arm == "none, a reward for each query":
        return QUERY_REWARDS_ID
    # A function takes no levels, and an id no other units.
    return task.env_id if task.scale == 1.0 else functools.partial(make_envs, task=task)


def reinforce_config(
    arm: str, settings: Settings, task: AuxiliaryTask, num_seeds: int
) -> ReinforceConfig:
    """What an arm's settings mean for REINFORCE; the network is the same in all arms."""
    weights = LossWeights(entropy=settings["entropy"], world_model=settings.get("world_model", 0.0))
    target = arm if arm in ("previous", "reward", "shuffled") else "next"
    config = replace(
        QUICK_START,
        weights=weights,
        num_seeds=num_seeds,
        world_model_target=target,  # type: ignore[arg-type]
        learning_rate=settings["learning_rate"],
    )
    if arm == "next without the answer":
        config = replace(config, ignored_targets=answer_columns(task.env_id))
    return config


def answer_columns(env_id: str) -> tuple[int, ...]:
    """The columns that show the responses of rule recall."""
    fields = gym.make(env_id).unwrapped.observation_fields  # type: ignore[attr-defined]
    return tuple(number for number, field in enumerate(fields) if field.name.startswith("response"))


def train_recurrent(
    settings: Settings, task: AuxiliaryTask, parent: int, num_seeds: int
) -> Trained:
    """PPO with a recurrent cell and no auxiliary loss, for as many episodes."""
    length = episode_length(task)
    config = PPOConfig(
        num_envs=32,
        n_steps=settings["n_steps"],
        learning_rate=settings["learning_rate"],
        ent_coef=settings["entropy"],
        memory_width=settings["memory_width"],
        gamma=1.0,
    )
    maker = functools.partial(make_envs, task=task, mode=AutoresetMode.SAME_STEP)
    finals, curves = [], []
    episodes: list[int] = []
    steps = 0
    began = time.process_time()
    evaluation = 0.0
    for k in range(num_seeds):
        level = 0
        agent = PPO(functools.partial(maker, level=task.levels[0]), config, seed=100 * parent + k)
        episodes = []
        curve: list[float] = []
        for share in range(1, NUM_SHARES + 1):
            agent.learn(task.episodes * length * share // NUM_SHARES - agent.num_timesteps)
            paused = time.process_time()
            episodes.append(agent.num_timesteps // length)
            curve.append(recurrent_success(agent, task, CURVE_EPISODES, 10_000))
            is_last = level == len(task.levels) - 1
            if not is_last and recurrent_success(agent, task, 100, 15_000, level) >= MASTERY:
                level += 1
                agent.set_env(maker(config.num_envs, level=task.levels[level]))
            evaluation += time.process_time() - paused
        finals.append(recurrent_success(agent, task, FINAL_EPISODES, 20_000))
        curves.append(curve)
        steps = agent.num_timesteps
    seconds = time.process_time() - began - evaluation
    return Trained(np.array(finals), np.array(curves), episodes, steps, seconds)


def recurrent_success(
    agent: PPO, task: AuxiliaryTask, num_episodes: int, seed: int, level: int = -1
) -> float:
    """Greedy success over fresh episodes at a level."""
    envs = make_envs(CURVE_EPISODES, task, level=task.levels[level])
    rate = evaluate(agent, envs, num_episodes, seed=seed)
    assert rate.success_rate is not None
    return rate.success_rate


def episode_length(task: AuxiliaryTask) -> int:
    """Steps of an episode, which all have as many."""
    envs = make_envs(1, task)
    envs.reset(seed=0)
    for step in range(1, 1000):
        _, _, terminations, truncations, _ = envs.step(envs.action_space.sample())
        if terminations[0] or truncations[0]:
            return step
    raise RuntimeError(f"an episode of {task.env_id} did not end in 1,000 steps")


def summarize(
    task: AuxiliaryTask, tuning: dict[str, Any], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Each arm's interquartile mean with its interval, and when it was solved.

    An arm of which fewer than half of the runs reached the threshold was not solved within the
    budget: that is said in place of a time, and no ratio is made of a budget.
    """
    arms = {}
    for arm in tuning:
        mine = [row for row in rows if row["arm"] == arm]
        final = np.array([row["success"] for row in mine])
        times = steps_to_threshold([row["curve"] for row in mine], mine[0]["episodes"], SOLVED)
        median = times.median()
        interval = stratified_bootstrap(final)
        arms[arm] = {
            "iqm": interquartile_mean(final),
            "iqm_low": interval.low,
            "iqm_high": interval.high,
            "runs": len(final),
            "runs_solved": len(final) - times.num_censored,
            "median_episodes_to_90": "not solved within the budget",
            "specified": SPECIFIED.get(arm, "nothing"),
            "cpu_seconds": float(np.sum([row["cpu_seconds"] for row in mine])),
        }
        if not median.is_censored:
            arms[arm]["median_episodes_to_90"] = median.value
    return {
        "env_id": task.env_id,
        "scale_of_observations": task.scale,
        "training_episodes": task.episodes,
        "arms": arms,
        "tuning": tuning,
        "rows": rows,
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
