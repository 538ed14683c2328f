"""Learn to drive inside the learned model: Stable-Baselines3's SAC in imagination, beside the same SAC on the real car.

    python examples/dream_driving.py --seed 0 --output-dir runs/dream_driving

The dream arm fits the car's model to recorded laps of a noisy expert on one circuit, lets SAC drive in short imagined
branches from recorded places, drives for a while with what it learned, and fits again. The rules of the reward and of
leaving the road are given; what the car does is learned. Both arms see the same observations, have one number for both
pedals, decide every fourth step (12.5 times a second), and have the same SAC with the same settings. Real steps count
at 50 Hz, those of the recorded laps included. The returns of the expert and of a car that brakes and stands are the
yardsticks. Writes summary.json and learning_curves.png.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for its neighbours, when run as a script

from examples.dream_sac import Curve
from examples.driving_model import (
    CIRCUIT,
    FIELDS,
    HEADING,
    LEFT,
    OFFSET,
    PLACE,
    RIGHT,
    VX,
    VY,
    Trajectories,
    extend_trajectories,
    load_circuits,
    make_layout,
)
from examples.driving_network import CarModel, fit_car, is_off_or_spun, new_car_model
from examples.record_driving import record_circuit
from wm_agents.evaluation.plots import plot_learning_curves
from wm_agents.imagination import DreamVectorEnv
from wm_agents.protocols import ModelState, Prediction
from wm_agents.sb3_adapter import SB3VecEnv
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.driving import dynamics
from wm_envs.driving.env import DEFAULT_WEIGHTS, DrivingEnv, DrivingVectorEnv, observation_fields

REPEAT = 4  # steps of 0.02 s per decision
START_SPEED = 20.0  # m/s


@dataclass(frozen=True)
class Config:
    """What to run."""

    track: str = "oval"
    """A built-in circuit or a CSV file."""
    recorded_episodes: int = 8
    """Episodes of the noisy expert, 300 steps of 0.02 s each at most."""
    rounds: int = 3
    """Rounds of fitting and dreaming; between them SAC drives the real car."""
    round_steps: int = 800
    """Real steps that SAC drives between two rounds."""
    dream_decisions: int = 3000
    """SAC's gradient steps in each round."""
    model_free_decisions: int = 7500
    """Decisions of the model-free arm, with one gradient step each."""
    evaluate_every: int = 500
    """Decisions between evaluations of the model-free arm."""
    evaluation_episodes: int = 10
    """Episodes of an evaluation; they are not counted as real steps."""
    episode_decisions: int = 150
    """Decisions of an episode: 12 s."""
    branch: int = 10
    """Decisions of an imagined branch: 0.8 s."""
    dream_envs: int = 16
    """Imagined cars."""
    num_updates: int = 3000
    """Optimiser steps of each fit."""
    num_members: int = 3
    """Networks of the model."""
    disagreement_penalty: float = 0.0
    """Reward lost per standard deviation of disagreement."""
    share: float = 0.9
    """What counts as reached: this share of the model-free arm's final return, counted from random actions."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/dream_driving")
    """Folder for summary.json and learning_curves.png."""


SCALES = np.array(
    [
        field.high / scaled.high
        for field, scaled in zip(
            observation_fields(is_normalised=False, is_extended=True),
            observation_fields(is_normalised=True, is_extended=True),
            strict=True,
        )
    ],
    np.float32,
)
"""Units of the 37 normalised observations."""
DECISIONS = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
"""Steering, and one number for both pedals: throttle above 0, brake below."""


class Decisions(gym.Wrapper[Any, Any, Any, Any]):
    """The real car with two numbers to decide every `REPEAT` steps; `transitions` holds every single step.

    Args:
        config: The circuit and the length of an episode.
    """

    def __init__(self, config: Config) -> None:
        limit = config.episode_decisions * REPEAT
        super().__init__(
            DrivingEnv(track=config.track, observation="extended", time_limit=limit, start_speed=START_SPEED)
        )
        self.action_space = DECISIONS
        self.transitions: list[tuple[Any, ...]] = []

    def reset(self, **options: Any) -> Any:
        """Start anew."""
        self._seen, info = self.env.reset(**options)
        return self._seen, info

    def step(self, action: NDArray[np.float32]) -> Any:
        """Hold a decision."""
        command, total = commands(torch.as_tensor(action)[None])[0].numpy(), 0.0
        for _ in range(REPEAT):
            seen, reward, terminated, truncated, info = self.env.step(command)
            self.transitions.append((self._seen * SCALES, command, reward, seen * SCALES, terminated, truncated))
            self._seen, total = seen, total + float(reward)
            if terminated or truncated:
                break
        return seen, total, terminated, truncated, info


def commands(decisions: Tensor) -> Tensor:
    """Steering, throttle and brake [B, 3] of decisions [B, 2]."""
    steering, pedal = decisions[:, 0], decisions[:, 1]
    return torch.stack([steering, pedal.clamp_min(0.0), (-pedal).clamp_min(0.0)], 1)


class DreamDriver(Unrolled):
    """The learned car as SAC meets it: normalised observations, decisions, and the rewards of the environment.

    `hidden` is the model's own observation and the last command.

    Args:
        model: A fitted `CarModel`.
    """

    def __init__(self, model: CarModel) -> None:
        self.model = model
        self.action_space = DECISIONS
        fields = observation_fields(is_normalised=True, is_extended=True)
        low, high = (np.array([getattr(field, end) for field in fields], np.float32) for end in ("low", "high"))
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self._scales = torch.as_tensor(SCALES)

    def begin(self, observations: Tensor, last_commands: Tensor) -> ModelState:
        """A state from the model's observations [K, 40] and the commands [K, 3] before them."""
        return ModelState(observations[:, : len(FIELDS)] / self._scales, (observations, last_commands))

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """Imagine a decision; a car that has left the road earns no more."""
        inner, command, last = ModelState(state.hidden[0]), commands(actions), state.hidden[1]
        rewards, has_ended = torch.zeros(len(actions)), torch.zeros(len(actions), dtype=torch.bool)
        spread = torch.zeros(len(actions))
        for _ in range(REPEAT):
            following, prediction = self.model.step(inner, command)
            earned, is_off = self.judge(inner.observations, following.observations, command, last)
            rewards = rewards + torch.where(has_ended, 0.0, earned)
            assert prediction.disagreement is not None
            spread = spread + prediction.disagreement / REPEAT
            has_ended = has_ended | is_off
            inner, last = following, command
        after = self.begin(inner.observations, command)
        return after, Prediction(after.observations, rewards, has_ended.float(), spread)

    def judge(self, before: Tensor, after: Tensor, command: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """The environment's reward [B] and end [B] of a step between observations [B, 40]; wear and fuel left out."""
        weight = DEFAULT_WEIGHTS
        vx, vy, offset, heading = (after[:, c] for c in (VX, VY, OFFSET, HEADING))
        speed = torch.hypot(vx, vy)
        moved = after[:, PLACE] - before[:, PLACE]
        moved = moved - torch.round(moved)
        aside = offset / torch.where(offset > 0, after[:, LEFT], after[:, RIGHT])
        across = vx * torch.sin(heading) + vy * torch.cos(heading)
        is_off = torch.where(offset > 0, offset - after[:, LEFT], -offset - after[:, RIGHT]) > dynamics.HALF_WIDTH
        reward = weight["progress"] * moved + weight["alive"] + weight["speed"] * (vx / 100).clamp(0.0, 1.5)
        reward = reward + weight["centering"] * aside.square().clamp_max(4.0)
        reward = reward + weight["heading"] * (heading / torch.pi).square()
        reward = reward + weight["slip"] * (vy / speed.clamp_min(dynamics.FAST)).square()
        reward = reward + weight["smoothness"] * (command - last).square().sum(1)
        reward = reward + weight["standstill"] * (speed < dynamics.STANDSTILL_SPEED)
        reward = reward + weight["off_track"] * is_off
        reward = reward + weight["collision"] * (is_off & (across.abs() > dynamics.BARRIER_SPEED))
        return reward, is_off_or_spun(after)


def main(config: Config) -> dict[str, Any]:
    """Run both arms; returns the summary that is written."""
    torch.set_num_threads(1)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    dreamt, real = dream(config), model_free(config)
    random = score(config, None)
    final = float(real.returns[-3:].mean())
    threshold = random + config.share * (final - random)
    summary = {
        "random_return": random,
        "standing_return": score(config, Brakes()),
        "expert_return": expert_return(config),
        "model_free_return": final,
        "threshold": threshold,
        "dream_return": float(dreamt.returns[-1]),
        "dream_real_steps": int(dreamt.steps[-1]),
        "dream_steps_to_threshold": dreamt.steps_to(threshold),
        "model_free_real_steps": int(real.steps[-1]),
        "model_free_steps_to_threshold": real.steps_to(threshold),
        "model_free_return_at_equal_steps": float(np.interp(dreamt.steps[-1], real.steps, real.returns)),
        "dream_curve": [dreamt.steps.tolist(), dreamt.returns.round(2).tolist()],
        "model_free_curve": [real.steps.tolist(), real.returns.round(2).tolist()],
        "seed": config.seed,
    }
    reached = dreamt.steps_to(threshold), real.steps_to(threshold)
    if reached[0] is not None and reached[1] is not None:
        summary["times_fewer_real_steps"] = reached[1] / reached[0]
    (config.output_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    plot_learning_curves(
        config.output_dir / "learning_curves.png",
        {"SAC in the dream": [dreamt.returns], "SAC, model-free": [real.returns]},
        {"SAC in the dream": dreamt.steps, "SAC, model-free": real.steps},
        ylabel="Mean return",
        xlabel="Real steps",
        threshold=threshold,
        title=f"wm/Driving-v0, {Path(config.track).stem}",
    )
    print(json.dumps(summary, indent=2))
    return summary


def dream(config: Config) -> Curve:
    """The dream arm: recorded laps, then fit, dream, drive, and again."""
    known = make_layout("kinematics", load_circuits([config.track]))
    model = new_car_model(known, num_members=config.num_members, widths=(64, 64), seed=config.seed)
    wide: dict[str, Any] = {"paces": (0.6, 1.1), "noises": (0.0, 0.1, 0.3), "pulse_rate": 0.03}
    recorded = record_circuit(config.track, config.recorded_episodes, 300, 1000 * config.seed, **wide)
    experience, car = extend_trajectories(recorded, 0), Decisions(config)
    agent: SAC | None = None
    steps, returns = [], []
    for number in range(config.rounds):
        if agent is not None:
            drive(config, agent, car, config.seed + number)
            driven = [np.array(column) for column in zip(*car.transitions, strict=True)]
            driven[5][-1] = not driven[4][-1]
            more = extend_trajectories(Trajectories.from_transitions(*driven), 0)
            car.transitions.clear()
            experience = Trajectories.concatenate([experience, more])
        fit_car(model, experience, config.num_updates, config.seed, is_warm_start=number > 0, batch_size=512)
        agent = train_in_dream(config, model, experience, agent)
        steps.append(experience.num_steps)
        returns.append(score(config, agent))
        print("dream", steps[-1], round(returns[-1], 2), flush=True)
    return Curve(np.array(steps), np.array(returns))


def train_in_dream(config: Config, model: CarModel, experience: Trajectories, agent: SAC | None) -> SAC:
    """Let SAC go on in the model as it is now, from every recorded place that has a step before it."""
    driver = DreamDriver(model)
    steps = np.flatnonzero(~np.isin(np.arange(experience.num_steps), experience.step_starts))
    observations = torch.as_tensor(experience.observations[experience.observation_of_step[steps]])
    assert bool((observations[:, CIRCUIT] == 0).all())
    starts = driver.begin(observations, torch.as_tensor(experience.actions[steps - 1]))
    env = SB3VecEnv(
        DreamVectorEnv(
            driver,
            starts,
            config.branch,
            config.dream_envs,
            disagreement_penalty=config.disagreement_penalty,
            autoreset_mode=AutoresetMode.SAME_STEP,
            seed=config.seed + len(steps),
        )
    )
    num_steps = config.dream_decisions // 2 * config.dream_envs  # two gradient steps each time that all cars decide
    if agent is None:
        agent = SAC("MlpPolicy", env, gradient_steps=2, buffer_size=2 * num_steps, **sac_settings(config))
    agent.set_env(env)
    return agent.learn(num_steps, reset_num_timesteps=False)


def sac_settings(config: Config) -> dict[str, Any]:
    """What both arms share."""
    return {
        "learning_rate": 1e-3,
        "learning_starts": 300,
        "train_freq": 1,
        "gamma": 0.97,
        "policy_kwargs": {"net_arch": [128, 128]},
        "seed": config.seed,
        "device": "cpu",
    }


def drive(config: Config, agent: SAC, car: Decisions, seed: int) -> None:
    """Drive the real car as SAC explores, for `round_steps` steps."""
    observation, _ = car.reset(seed=seed)
    while len(car.transitions) < config.round_steps:
        action, _ = agent.predict(observation)
        observation, _, terminated, truncated, _ = car.step(action)
        if terminated or truncated:
            observation, _ = car.reset()


def model_free(config: Config) -> Curve:
    """The same SAC on the real car, with one gradient step per decision."""
    car = Decisions(config)
    steps, returns = [], []

    class Evaluations(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % config.evaluate_every == 0:
                assert isinstance(self.model, SAC)
                steps.append(len(car.transitions))
                returns.append(score(config, self.model))
                print("real", steps[-1], round(returns[-1], 2), flush=True)
            return True

    agent = SAC("MlpPolicy", car, gradient_steps=1, **sac_settings(config))
    agent.learn(config.model_free_decisions, callback=Evaluations())
    return Curve(np.array(steps), np.array(returns))


class Brakes:
    """Stops and stays: what an agent may well learn first, since standing costs less than leaving the road."""

    def predict(self, _: NDArray[np.float32], deterministic: bool = True) -> tuple[NDArray[np.float32], None]:  # noqa: ARG002
        """Full brakes."""
        return np.array([0.0, -1.0], np.float32), None


def expert_return(config: Config) -> float:
    """Mean return of the expert, who decides at every step."""
    limit, count = config.episode_decisions * REPEAT, config.evaluation_episodes
    cars = DrivingVectorEnv(count, track=config.track, time_limit=limit, start_speed=START_SPEED)
    cars.reset(seed=[10_000 + episode for episode in range(count)])
    total, is_driving = 0.0, np.ones(count, np.bool_)
    while is_driving.any():
        _, rewards, terminated, truncated, _ = cars.step(cars.expert_actions())
        total += float(rewards[is_driving].sum())
        is_driving &= ~(terminated | truncated)
    return total / count


def score(config: Config, agent: SAC | Brakes | None) -> float:
    """Mean return of the deterministic policy, or of random decisions, from the same starts every time."""
    car, total = Decisions(config), 0.0
    car.action_space.seed(config.seed)
    for episode in range(config.evaluation_episodes):
        observation, _ = car.reset(seed=10_000 + episode)
        has_ended = False
        while not has_ended:
            action = car.action_space.sample() if agent is None else agent.predict(observation, deterministic=True)[0]
            observation, reward, terminated, truncated, _ = car.step(action)
            total, has_ended = total + reward, terminated or truncated
    return total / config.evaluation_episodes


if __name__ == "__main__":
    main(tyro.cli(Config))
