"""Imitate an expert from ten of its episodes: adversarial IRL beside behavioral cloning.

    python examples/irl_imitation.py --env-id Pendulum-v1 --output-dir runs/irl_imitation
    python examples/irl_imitation.py --env-id CartPole-v1 --from-nothing --output-dir runs/irl_nothing
    python examples/irl_imitation.py --from-nothing --in-world-model --output-dir runs/irl_dream

A scripted expert balances the pole or swings up the pendulum. AIRL learns a reward and a policy
from its episodes, with PPO of Stable-Baselines3 and without a look at the environment's rewards;
behavioral cloning learns the policy alone. With --from-nothing no cloned policy comes first; with
--in-world-model the learner acts in a world model that was fitted to the demonstrations and a log of
random actions, and never in the task. Writes summary.json (returns of both, and as shares of the way
from random actions to the expert, share_airl and share_cloning, which for CartPole is nearly the
share of the expert's return), returns.png and curve.png, how AIRL learned.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from stable_baselines3.common.env_util import make_vec_env

import wm_agents as wma
import wm_envs
from wm_agents.evaluation.episodes import normalized_returns
from wm_agents.planning.classic_control import balance_pole, swing_up
from wm_agents.sb3.callbacks import EvaluationCurve
from wm_envs.data.trajectories import Trajectories

EXPERTS: dict[str, Any] = {"CartPole-v1": balance_pole, "Pendulum-v1": swing_up}
GAMMAS = {"CartPole-v1": 0.99, "Pendulum-v1": 0.95}
CURVE_EPISODES = 10
"""Of each point of the learning curve."""


@dataclass(frozen=True)
class Config:
    """What to imitate."""

    env_id: Literal["CartPole-v1", "Pendulum-v1"] = "Pendulum-v1"
    """The task, of which there is a scripted expert."""
    num_episodes: int = 10
    """Of the expert."""
    total_timesteps: int = 60_000
    """Steps of the environments for AIRL."""
    num_envs: int = 8
    """Environments that are stepped together."""
    is_state_only: bool = False
    """Rewards of states only."""
    from_nothing: bool = False
    """Start AIRL from a random policy, not from a cloned one."""
    in_world_model: bool = False
    """Let AIRL act in a world model alone."""
    num_explored: int = 20
    """Episodes of random actions, in the world model's log."""
    model_updates: int = 2_000
    """Of the world model."""
    num_evaluations: int = 8
    """Points of the learning curve."""
    num_test_episodes: int = 50
    """Of each policy, with seeds that no training has used."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/irl_imitation")
    """Folder for summary.json."""


def main(config: Config) -> dict[str, Any]:
    """Record, imitate, evaluate, write; returns the summary."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    started = time.process_time()
    act = EXPERTS[config.env_id]
    demonstrations = wm_envs.record(
        config.env_id, episodes=config.num_episodes, policy=act, seed=1000 * config.seed
    )
    envs: Any = make_vec_env(config.env_id, config.num_envs, seed=config.seed)
    cloning = wma.BehavioralCloning(envs.observation_space, envs.action_space, seed=config.seed)
    cloning.fit(demonstrations, progress=None)
    if config.in_world_model:
        envs.close()
        envs = imagined(demonstrations, config)
    settings = settings_of(config, envs.action_space)
    airl = wma.AdversarialIRL(demonstrations, envs, settings, config.seed)
    agents: dict[str, Any] = {
        "expert": wma.FunctionAgent(act),
        "random": wma.RandomAgent(envs.action_space, config.seed),
        "cloning": cloning,
        "airl": airl,
    }
    at_the_start = score(airl, config)
    spacing = max(config.total_timesteps // config.num_evaluations, 1)
    curve = EvaluationCurve(lambda: score(airl, config, CURVE_EPISODES), spacing)
    airl.learn(config.total_timesteps, callback=curve, progress_bar=None)
    curve.note()
    envs.close()

    returns = {name: score(agent, config) for name, agent in agents.items()}
    shares = normalized_returns(returns, "random", "expert")
    # On the same few episodes as the curve, whose starts are not those of all.
    limits = {name: score(agents[name], config, CURVE_EPISODES) for name in ("expert", "random")}
    correlation = 0.0  # where the true rewards never vary
    if demonstrations.rewards.std() > 0:
        inferred = airl.reward(demonstrations.start_observations, demonstrations.actions)
        correlation = float(np.corrcoef(inferred, demonstrations.rewards)[0, 1])
    summary: dict[str, Any] = {
        **{f"return_{name}": value for name, value in returns.items()},
        "return_airl_at_the_start": at_the_start,
        **{f"share_{name}": value for name, value in shares.items()},
        "reward_correlation": correlation,
        "seed": config.seed,
        "curve": curve.points,
        **{f"curve_{name}": value for name, value in limits.items()},
        "discriminator_accuracy": airl.accuracy,
        "cpu_seconds": time.process_time() - started,
    }
    draw(config, returns | {"airl_at_the_start": at_the_start}, curve.points, limits)
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


def settings_of(config: Config, action_space: Any) -> wma.AdversarialConfig:
    """The library's own, with the task's discount."""
    changes: dict[str, Any] = {"gamma": GAMMAS[config.env_id]}
    if config.is_state_only:
        changes["is_state_only"] = True
    if config.from_nothing:
        return wma.AdversarialConfig.from_nothing(action_space, config.num_envs, **changes)
    return wma.AdversarialConfig.from_clone(action_space, **changes)


def imagined(demonstrations: Any, config: Config) -> Any:
    """Environments that a world model imagines, from the first observations of its episodes."""
    seed = 1000 * config.seed + 500
    log = wm_envs.record(config.env_id, episodes=config.num_explored, seed=seed)
    known = Trajectories.concatenate([demonstrations, log])
    shape = wma.EnsembleConfig(num_members=3, dynamics_widths=(64, 64))
    model = wma.EnsembleModel.for_env(config.env_id, shape, seed=config.seed)
    model.fit(known, wma.FitConfig(num_updates=config.model_updates))
    starts = known.start_observations[known.step_starts]
    horizon = int(demonstrations.lengths.max())
    return wma.ImaginedVectorEnv(model, starts, horizon, config.num_envs, seed=config.seed).as_sb3()


def score(agent: Any, config: Config, num_episodes: int | None = None) -> float:
    """Mean return over the test episodes, or the first so many of them."""
    seed = 50_000 + config.seed
    num = min(num_episodes or config.num_test_episodes, config.num_test_episodes)
    return float(wma.evaluate(agent, config.env_id, num, seed=seed).mean_return)


def draw(
    config: Config,
    returns: dict[str, float],
    curve: list[tuple[int, float]],
    limits: dict[str, float],
) -> None:
    """What each reached, and how AIRL learned between random actions and the expert."""
    rows = {name.replace("_", " "): value for name, value in returns.items()}
    title = f"{config.env_id} from {config.num_episodes} episodes of an expert"
    label = "mean return of a test episode"
    wma.plot_intervals(config.output_dir / "returns.png", rows, label, title=title)
    steps, learned = zip(*curve, strict=True)
    lines: dict[str, Any] = {"AIRL": learned}
    lines |= {name: [value] * len(steps) for name, value in limits.items()}
    where = "steps in the world model" if config.in_world_model else "steps in the task"
    wma.plot_lines(config.output_dir / "curve.png", steps, lines, where, label, title)


if __name__ == "__main__":
    main(tyro.cli(Config))
