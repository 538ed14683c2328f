"""The standard protocol on many ids: random play, planning, REINFORCE and PPO.

    python examples/leaderboard.py --env-ids wm/SequenceNext-v0 wm/PermPuzzle-v0 --seeds 0 1 2
    python examples/leaderboard.py --seeds 0 1 2 3 4 5 6 7 8 9

Every run is one id, one agent and one seed, kept in a file of its own: the same command goes on
where it was stopped. How runs become scores is in `wm_agents.evaluation.leaderboard`. Fewer than
ten seeds are a demonstration, and the table says so. Writes leaderboard.md, leaderboard.png and
leaderboard.json.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import gymnasium as gym
import torch
import tyro
from stable_baselines3 import PPO

import wm_agents as wma
from wm_agents.evaluation.leaderboard import LeaderboardConfig, draw, markdown, rank, run_all
from wm_envs import oracle
from wm_envs.errors import OptionError
from wm_envs.registration import TABLE

SYMBOLIC = tuple(row.id for row in TABLE if ".symbolic." in row.entry_point)


@dataclass(frozen=True)
class Config(LeaderboardConfig):
    """What to run."""

    env_ids: tuple[str, ...] = SYMBOLIC
    """Gymnasium ids."""
    output_dir: Path = Path("runs/leaderboard")
    """Folder for the runs and the table."""
    quiet: bool = False
    """No progress, only the closing result."""


def main(config: Config) -> dict[str, float]:
    """Run what is missing, render; returns agent and id -> normalized score."""
    config = wma.expand_paths(config)
    try:
        config.check(tuple(AGENTS))
    except wma.ConfigError as error:
        raise SystemExit(str(error)) from error
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    torch.set_num_threads(1)
    players = {name: partial(play, config) for name, play in AGENTS.items()}
    runs = run_all(config, players, folder, False if config.quiet else None)
    cells = rank(runs, config)
    text = markdown(cells, config)
    (folder / "leaderboard.md").write_text(text, encoding="utf-8")
    wma.write_json(folder / "leaderboard.json", [asdict(run) for run in runs])
    draw(cells, config, folder / "leaderboard.png")
    summary = {
        f"{agent} {env_id}": cell.estimate
        for (env_id, agent), cell in cells.items()
        if cell is not None
    }
    wma.write_summary(folder, summary)
    print(text)
    wma.say_where(folder)
    return summary


def play_random(
    config: LeaderboardConfig, env_id: str, seed: int
) -> tuple[wma.EpisodeResults, int]:
    """Uniform actions."""
    space = gym.make(env_id).action_space
    return wma.evaluate(wma.RandomAgent(space, seed), env_id, config.episodes, seed=starts(seed)), 0


def plan_with_truth(
    config: LeaderboardConfig, env_id: str, seed: int
) -> tuple[wma.EpisodeResults, int] | str:
    """The planner that suits the spaces, on the environment's own rules where they are at hand."""
    try:
        oracle.rules_of(env_id)
    except OptionError as error:
        return str(error)
    env = gym.make(env_id)
    truth = wma.OracleModel(
        partial(oracle.rollout, env_id), env.observation_space, env.action_space
    )
    experience = wma.Collector(env, seed)
    experience.collect(1000)  # from which the planner takes what a good reward is
    planner = wma.make_planner("auto", truth, experience.trajectories(), seed=seed)
    envs = gym.make_vec(env_id, config.planner_episodes)
    try:
        agent = wma.PlanningAgent(truth, planner, env=envs, seed=seed)
        return wma.evaluate(agent, envs, config.planner_episodes, seed=starts(seed)), 0
    finally:
        envs.close()


def plan_with_model(
    config: LeaderboardConfig, env_id: str, seed: int
) -> tuple[wma.EpisodeResults, int]:
    """A world model learned from few real steps, and the planner that suits the spaces."""
    env = gym.make(env_id)
    learned = wma.learn_to_plan(
        env,
        wma.LearningConfig(max_real_steps=config.model_steps),
        lambda trajectories, _: wma.fit_model(
            env.observation_space, env.action_space, trajectories, seed
        ),
        lambda model, trajectories, is_exploring: wma.make_planner(
            "auto", model, trajectories, seed=seed, is_exploring=is_exploring
        ),
        seed=seed,
    )
    agent = wma.PlanningAgent(learned.model, learned.planner, seed=seed)
    return wma.evaluate(
        agent, env_id, config.planner_episodes, seed=starts(seed)
    ), learned.num_real_steps


def train_reinforce(
    config: LeaderboardConfig, env_id: str, seed: int
) -> tuple[wma.EpisodeResults, int]:
    """REINFORCE with its world-model loss and default settings."""
    agent = wma.Reinforce(env_id, seed=seed)
    agent.learn(config.policy_steps)
    return wma.evaluate(agent, env_id, config.episodes, seed=starts(seed)), int(
        agent.num_steps.mean()
    )


def train_ppo(config: LeaderboardConfig, env_id: str, seed: int) -> tuple[wma.EpisodeResults, int]:
    """Stable-Baselines3's PPO on 16 rows with settings that suit short episodes."""
    rows = wma.same_step_envs(env_id, 16, {})
    agent = PPO(
        "MlpPolicy",
        wma.SB3VecEnv(rows),
        n_steps=64,
        batch_size=256,
        n_epochs=4,
        learning_rate=1e-3,
        ent_coef=0.01,
        seed=seed,
        device="cpu",
    )
    agent.learn(config.policy_steps)
    rows.close()
    return wma.evaluate(agent, env_id, config.episodes, seed=starts(seed)), agent.num_timesteps


AGENTS: dict[str, Callable[[LeaderboardConfig, str, int], tuple[wma.EpisodeResults, int] | str]] = {
    "random": play_random,
    "oracle planner": plan_with_truth,
    "learned planner": plan_with_model,
    "reinforce": train_reinforce,
    "ppo": train_ppo,
}


def starts(seed: int) -> int:
    """Evaluation episodes begin where no training does, at the same places for every agent."""
    return 1_000_000 + 1_000 * seed


if __name__ == "__main__":
    main(tyro.cli(Config))
