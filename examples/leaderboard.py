"""The standard protocol on many ids: random, planning with the true and with a learned model, REINFORCE, PPO.

    python examples/leaderboard.py --env-ids wm/SequenceNext-v0 wm/PermPuzzle-v0 --seeds 0 1 2
    --output-dir runs/board python examples/leaderboard.py --seeds 0 1 2 3 4 5 6 7 8 9

Every run is one id, one agent and one seed, kept in a file of its own: the same command goes on
where it was stopped. A score is the success rate where the environment reports one, else the mean
return. The normalised score puts random play at 0, and at 1 what is best: success always, or else
the planner with the true model. Cells are interquartile means over seeds with 95% bootstrap
intervals. Fewer than ten seeds are a demonstration, and the table says so. Writes leaderboard.md,
leaderboard.png and leaderboard.json.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.evaluation.episodes import EpisodeResults, RandomAgent, evaluate
from wm_agents.evaluation.statistics import Interval, stratified_bootstrap
from wm_agents.planning import OracleModel, PlanningAgent
from wm_agents.planning.collector import Collector
from wm_agents.planning.defaults import fit_model, make_planner
from wm_agents.planning.learning import LearningConfig, learn_to_plan
from wm_agents.policy_gradient.reinforce import Reinforce
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.progress import progress
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs import oracle
from wm_envs.data.paths import expand_paths
from wm_envs.errors import OptionError
from wm_envs.registration import TABLE

SYMBOLIC = tuple(row.id for row in TABLE if ".symbolic." in row.entry_point)


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_ids: tuple[str, ...] = SYMBOLIC
    """Gymnasium ids."""
    agents: tuple[str, ...] = ("random", "oracle planner", "learned planner", "reinforce", "ppo")
    """Which of the agents."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of every agent each."""
    model_steps: int = 3_000
    """Real steps that the learned planner may take."""
    policy_steps: int = 50_000
    """Real steps that REINFORCE and PPO may take."""
    episodes: int = 100
    """Evaluation episodes of a run; planners play `planner_episodes`."""
    planner_episodes: int = 20
    """Evaluation episodes of a planner's run."""
    output_dir: Path = Path("runs/leaderboard")
    """Folder for the runs and the table."""
    quiet: bool = False
    """No progress, only the closing result."""


@dataclass(frozen=True)
class Run:
    """One finished run."""

    env_id: str
    agent: str
    seed: int
    score: float | None
    kind: str
    real_steps: int
    seconds: float
    remark: str = ""


def main(config: Config) -> dict[str, float]:
    """Run what is missing, render; returns agent and id -> normalised score."""
    config = expand_paths(config)
    check(config)
    folder = make_output_directory(config.output_dir, has_pictures=True)
    runs = run_all(config)
    rows = rank(runs, config)
    text = markdown(rows, config)
    (folder / "leaderboard.md").write_text(text, encoding="utf-8")
    records = json.dumps([asdict(run) for run in runs], indent=2) + "\n"
    (folder / "leaderboard.json").write_text(records, encoding="utf-8")
    draw(rows, config, folder / "leaderboard.png")
    summary = {
        f"{agent} {env_id}": cell.estimate
        for (env_id, agent), cell in rows.items()
        if cell is not None
    }
    write_summary(folder, summary)
    print(text)
    return summary


def run_all(config: Config) -> list[Run]:
    """Whole seeds one after the other, so that a run that was stopped holds a table of fewer seeds."""
    torch.set_num_threads(1)
    runs = []
    tasks = list(product(config.seeds, config.env_ids, config.agents))
    with progress(len(tasks), "leaderboard", False if config.quiet else None) as bar:
        for seed, env_id, agent in tasks:
            runs.append(run_once(config, env_id, agent, seed))
            bar.advance(1)
    return runs


def check(config: Config) -> None:
    """Refuse what cannot work before anything runs."""
    if unknown := sorted(set(config.agents) - set(AGENTS)):
        raise SystemExit(f"no agents {unknown}: there are {', '.join(AGENTS)}")
    if "random" not in config.agents:
        raise SystemExit(
            "the normalised score is measured from random play: add random to --agents"
        )
    if len(set(config.seeds)) < 2:
        raise SystemExit(f"an interval needs at least two different seeds, got {config.seeds}")
    for name in ("model_steps", "policy_steps", "episodes", "planner_episodes"):
        if getattr(config, name) < 1:
            raise SystemExit(f"{name} is at least 1, got {getattr(config, name)}")


def run_once(config: Config, env_id: str, agent: str, seed: int) -> Run:
    """The run's file if it is there, else the run."""
    sizes = (
        f"{config.model_steps}_{config.policy_steps}_{config.episodes}_{config.planner_episodes}"
    )
    name = f"{env_id}_{agent}_{seed}_{sizes}".replace("/", "-").replace(":", "-").replace(" ", "-")
    path = config.output_dir / "runs" / f"{name}.json"
    if path.exists():
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    started = time.perf_counter()
    try:
        results, real_steps = AGENTS[agent](config, env_id, seed)
        is_success = results.success_rate is not None
        score = results.success_rate if is_success else results.mean_return
        run = Run(
            env_id, agent, seed, score, "success" if is_success else "return", real_steps, 0.0
        )
    except OptionError as error:  # there are no true dynamics of this id
        run = Run(env_id, agent, seed, None, "", 0, 0.0, str(error))
    run = Run(**{**asdict(run), "seconds": time.perf_counter() - started})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(run), indent=2) + "\n", encoding="utf-8")
    return run


def play_random(config: Config, env_id: str, seed: int) -> tuple[EpisodeResults, int]:
    """Uniform actions."""
    space = gym.make(env_id).action_space
    return evaluate(RandomAgent(space, seed), env_id, config.episodes, seed=starts(seed)), 0


def plan_with_truth(config: Config, env_id: str, seed: int) -> tuple[EpisodeResults, int]:
    """The planner that suits the spaces, on the environment's own rules.

    OptionError where they are not at hand.
    """
    oracle.rules_of(env_id)
    env = gym.make(env_id)
    truth = OracleModel(partial(oracle.rollout, env_id), env.observation_space, env.action_space)
    experience = Collector(env, seed)
    experience.collect(1000)  # from which the planner takes what a good reward is
    planner = make_planner("auto", truth, experience.trajectories(), seed=seed)
    envs = gym.make_vec(env_id, config.planner_episodes)
    try:
        agent = PlanningAgent(truth, planner, env=envs, seed=seed)
        return evaluate(agent, envs, config.planner_episodes, seed=starts(seed)), 0
    finally:
        envs.close()


def plan_with_model(config: Config, env_id: str, seed: int) -> tuple[EpisodeResults, int]:
    """A world model learned from few real steps, and the planner that suits the spaces."""
    env = gym.make(env_id)
    learned = learn_to_plan(
        env,
        LearningConfig(max_real_steps=config.model_steps),
        lambda trajectories, _: fit_model(
            env.observation_space, env.action_space, trajectories, seed
        ),
        lambda model, trajectories, is_exploring: make_planner(
            "auto", model, trajectories, seed=seed, is_exploring=is_exploring
        ),
        seed=seed,
    )
    agent = PlanningAgent(learned.model, learned.planner, seed=seed)
    return evaluate(
        agent, env_id, config.planner_episodes, seed=starts(seed)
    ), learned.num_real_steps


def train_reinforce(config: Config, env_id: str, seed: int) -> tuple[EpisodeResults, int]:
    """REINFORCE with its world-model loss and default settings."""
    agent = Reinforce(env_id, seed=seed)
    agent.learn(config.policy_steps)
    return evaluate(agent, env_id, config.episodes, seed=starts(seed)), int(agent.num_steps.mean())


def train_ppo(config: Config, env_id: str, seed: int) -> tuple[EpisodeResults, int]:
    """Stable-Baselines3's PPO on 16 rows with settings that suit short episodes."""
    if env_id.split(":")[-1].startswith("wm/"):
        rows = gym.make_vec(env_id, 16, autoreset_mode=AutoresetMode.SAME_STEP)
    else:
        vector_options = {"autoreset_mode": AutoresetMode.SAME_STEP}
        rows = gym.make_vec(env_id, 16, vectorization_mode="sync", vector_kwargs=vector_options)
    options: dict[str, Any] = {
        "n_steps": 64,
        "batch_size": 256,
        "n_epochs": 4,
        "learning_rate": 1e-3,
        "ent_coef": 0.01,
    }
    agent = PPO("MlpPolicy", SB3VecEnv(rows), seed=seed, device="cpu", **options)
    agent.learn(config.policy_steps)
    rows.close()
    return evaluate(agent, env_id, config.episodes, seed=starts(seed)), agent.num_timesteps


AGENTS: dict[str, Callable[[Config, str, int], tuple[EpisodeResults, int]]] = {
    "random": play_random,
    "oracle planner": plan_with_truth,
    "learned planner": plan_with_model,
    "reinforce": train_reinforce,
    "ppo": train_ppo,
}


def starts(seed: int) -> int:
    """Evaluation episodes begin where no training does, and at the same places for every agent."""
    return 1_000_000 + 1_000 * seed


Cells = dict[tuple[str, str], Interval | None]


def rank(runs: Sequence[Run], config: Config) -> Cells:
    """Normalised scores with intervals, by id and agent; None where an agent cannot play."""
    cells: Cells = {}
    for env_id in config.env_ids:
        scores = {agent: _scores(runs, env_id, agent) for agent in config.agents}
        low = float(np.mean(scores["random"]))
        is_success = any(run.kind == "success" for run in runs if run.env_id == env_id)
        oracle_scores = scores.get("oracle planner")
        high = (
            1.0
            if is_success
            else float(np.mean(oracle_scores))
            if oracle_scores is not None
            else np.nan
        )
        for agent, values in scores.items():
            has_scale = values is not None and np.isfinite(high) and high > low
            cells[env_id, agent] = (
                stratified_bootstrap((values - low) / (high - low)) if has_scale else None
            )
    return cells


def _scores(runs: Sequence[Run], env_id: str, agent: str) -> Any:
    values = [run.score for run in runs if (run.env_id, run.agent) == (env_id, agent)]
    return None if None in values else np.asarray(values, np.float64)


def markdown(cells: Cells, config: Config) -> str:
    """The table, with what it stands on."""
    lines = ["# Leaderboard", ""]
    lines += [
        f"Normalised scores: 0 is random play, 1 the best there is. {len(config.seeds)} seeds;"
    ]
    lines += [
        f"the learned planner had {config.model_steps:,} real steps, REINFORCE and PPO {config.policy_steps:,}"
    ]
    lines += [
        f"with default settings; {config.episodes} evaluation episodes a run, {config.planner_episodes} of planners."
    ]
    if len(config.seeds) < 10:
        lines += [
            "",
            "**Fewer than ten seeds: this shows the protocol and is no claim about the methods.**",
        ]
    lines += ["", f"| Id | {' | '.join(config.agents)} |", f"|---|{'---:|' * len(config.agents)}"]
    for env_id in config.env_ids:
        shown = [_cell(cells[env_id, agent]) for agent in config.agents]
        lines.append(f"| {env_id} | {' | '.join(shown)} |")
    ids = " ".join(config.env_ids)
    sizes = f"--model-steps {config.model_steps} --policy-steps {config.policy_steps} --episodes {config.episodes}"
    seeds = " ".join(map(str, config.seeds))
    command = f"python examples/leaderboard.py --env-ids {ids} --seeds {seeds} {sizes}"
    lines += ["", "```console", f"$ {command} --planner-episodes {config.planner_episodes}", "```"]
    return "\n".join(lines) + "\n"


def _cell(interval: Interval | None) -> str:
    return (
        "none"
        if interval is None
        else f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    )


def draw(cells: Cells, config: Config, path: Path) -> None:
    """One group of bars for each id."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    width = 0.8 / len(config.agents)
    figure, axes = plt.subplots(
        figsize=(max(6.0, 1.6 * len(config.env_ids) + 2), 3.6), layout="constrained"
    )
    for number, agent in enumerate(config.agents):
        places = [
            k + (number - (len(config.agents) - 1) / 2) * width for k in range(len(config.env_ids))
        ]
        found = [
            (place, cells[env_id, agent])
            for place, env_id in zip(places, config.env_ids, strict=True)
        ]
        known = [(place, cell) for place, cell in found if cell is not None]
        axes.bar(
            [place for place, _ in known], [cell.estimate for _, cell in known], width, label=agent
        )
        for place, cell in known:
            axes.plot([place, place], [cell.low, cell.high], color="black", linewidth=1)
    names = [env_id.split("/")[-1].removesuffix("-v0") for env_id in config.env_ids]
    axes.set_xticks(range(len(names)), names, rotation=20)
    axes.set_ylabel("normalised score")
    axes.set_title(f"{len(config.seeds)} seeds, intervals of 95%")
    axes.axhline(0, color="black", linewidth=0.5)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(tyro.cli(Config))
