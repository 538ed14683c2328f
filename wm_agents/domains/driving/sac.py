"""Stable-Baselines3's SAC on the driving task: inside the learned car, and on the real one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from wm_agents.domains.driving.network import DrivingModel, DrivingModelConfig, fit_driving
from wm_agents.domains.driving.observations import CircuitMap, DerivedColumn, extend_trajectories
from wm_agents.domains.driving.recording import NoisyExpert, record_circuit
from wm_agents.domains.driving.task import (
    ACTION_REPEAT,
    DrivingTaskEnv,
    ImaginedCar,
    TaskEvaluation,
    to_decision,
)
from wm_agents.errors import ConfigError
from wm_agents.evaluation.thresholds import LearningCurve
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.expert import Expert

RECORDED_STEPS = 300  # of an episode of the noisy expert at most
RECORDED_NOISE: dict[str, Any] = {"paces": (0.6, 1.1), "noises": (0.0, 0.1, 0.3)}
PULSE_RATE = 0.03
_COUNTS = (
    "rounds",
    "recorded_episodes",
    "evaluate_every",
    "evaluation_episodes",
    "gradients_per_step",
)
NUM_FINAL_EVALUATIONS = 3  # whose mean is the model-free arm's final return


@dataclass(frozen=True)
class DrivingSACConfig:
    """Settings of both arms."""

    track: str = "oval"
    """A built-in circuit or a CSV file."""
    recorded_episodes: int = 8
    """Episodes of the noisy expert, 300 steps of 0.02 s each at most."""
    rounds: int = 5
    """Rounds of fitting and dreaming; between them SAC drives the real car."""
    round_steps: int = 500
    """Real steps that SAC drives between two rounds."""
    dream_gradients: int = 6000
    """SAC's gradient steps in each round."""
    gradients_per_step: int = 4
    """SAC's gradient steps each time that all imagined cars have decided."""
    model_free_decisions: int = 20_000
    """Decisions of the model-free arm."""
    model_free_gradients: int = 1
    """SAC's gradient steps per decision in the model-free arm."""
    expert_episodes: int = 0
    """Episodes of the noisy expert with which the model-free arm's replay buffer begins.

    As long as those of the arm in the model, and counted as real steps, too.
    """
    learning_rate: float = 1e-3
    """SAC's, in both arms."""
    evaluate_every: int = 500
    """Decisions between evaluations of the model-free arm."""
    evaluation_episodes: int = 10
    """Episodes of an evaluation; they are not counted as real steps."""
    episode_decisions: int = 150
    """Decisions of an episode: 12 s."""
    branch: int = 20
    """Decisions of an imagined branch: 1.6 s."""
    dream_envs: int = 16
    """Imagined cars."""
    num_updates: int = 3000
    """Optimizer steps of the first fit; later ones go on from it with a third of them."""
    num_members: int = 3
    """Networks of the model."""
    disagreement_penalty: float = 0.0
    """Reward lost per standard deviation of disagreement."""
    share: float = 0.9
    """What counts as reached.

    This share of the model-free arm's final return, counted from random decisions.
    """
    seed: int = 0
    """Seed of everything."""

    def check(self) -> None:
        """Refuse at once what would leave nothing to compare after minutes.

        Raises:
            ConfigError: A count below 1, or a model-free arm that is never evaluated.
        """
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: give at least 1")
        if self.model_free_decisions < self.evaluate_every:
            raise ConfigError(
                f"{self.model_free_decisions} model-free decisions are never evaluated with "
                f"evaluate_every={self.evaluate_every}: evaluate more often"
            )
        if self.dream_gradients < self.gradients_per_step:
            raise ConfigError(
                f"dream_gradients={self.dream_gradients}: give at least {self.gradients_per_step}"
            )

    @property
    def evaluation(self) -> TaskEvaluation:
        """What both arms are scored on."""
        return TaskEvaluation(self.track, self.episode_decisions, self.evaluation_episodes)

    @property
    def sac(self) -> dict[str, Any]:
        """Settings of SAC in both arms."""
        return {
            "learning_rate": self.learning_rate,
            "learning_starts": 300,
            "train_freq": 1,
            "gamma": 0.98,
            "ent_coef": "auto_0.1",
            "policy_kwargs": {"net_arch": [128, 128]},
            "seed": self.seed,
            "device": "cpu",
        }


# In the learned model


def train_in_imagination(config: DrivingSACConfig) -> LearningCurve:
    """Recorded laps, then fit, train in the model, drive, and again; the curve over real steps."""
    model = DrivingModel.for_circuits(
        CircuitMap.of([config.track]),
        DrivingModelConfig(num_members=config.num_members, widths=(64, 64)),
        seed=config.seed,
    )
    experience = record_expert(config)
    env = DrivingTaskEnv(config.track, config.episode_decisions)
    agent: SAC | None = None
    steps, returns = [], []
    for number in range(config.rounds):
        num_updates = config.num_updates
        if agent is not None:
            driven = drive(config, agent, env, config.seed + number)
            experience = Trajectories.concatenate([experience, driven])
            num_updates = config.num_updates // 3
        fit_driving(
            model, experience, num_updates, config.seed, is_warm_start=number > 0, batch_size=512
        )
        agent = train_in_model(config, model, experience, agent)
        steps.append(experience.num_steps)
        returns.append(config.evaluation.score(agent))
        print("dream", steps[-1], round(returns[-1], 2), flush=True)
    return LearningCurve(np.array(steps), np.array(returns))


def record_expert(config: DrivingSACConfig) -> Trajectories:
    """The expert at many paces, some with so much noise that they slide or leave the road."""
    recorded = record_circuit(
        config.track,
        config.recorded_episodes,
        RECORDED_STEPS,
        1000 * config.seed,
        pulse_rate=PULSE_RATE,
        **RECORDED_NOISE,
    )
    return extend_trajectories(recorded, 0)


def drive(config: DrivingSACConfig, agent: SAC, env: DrivingTaskEnv, seed: int) -> Trajectories:
    """Drive the real car as SAC explores, for `round_steps` steps."""
    env.steps.clear()
    obs, _ = env.reset(seed=seed)
    while len(env.steps) < config.round_steps:
        action, _ = agent.predict(obs)
        obs, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            obs, _ = env.reset()
    return extend_trajectories(env.trajectories(), 0)


def train_in_model(
    config: DrivingSACConfig, model: DrivingModel, experience: Trajectories, agent: SAC | None
) -> SAC:
    """Let SAC go on in the model as it is now, from every recorded step but first ones."""
    car = ImaginedCar(model)
    is_first = np.isin(np.arange(experience.num_steps), experience.step_starts)
    steps = np.flatnonzero(~is_first)
    observations = torch.as_tensor(experience.observations[experience.observation_of_step[steps]])
    # The model looks the road up by this number, and its map has one circuit.
    assert bool((observations[:, DerivedColumn.CIRCUIT] == 0).all())
    starts = car.initial_state(observations, torch.as_tensor(experience.actions[steps - 1]))
    env = SB3VecEnv(
        ImaginedVectorEnv(
            car,
            starts,
            config.branch,
            config.dream_envs,
            disagreement_penalty=config.disagreement_penalty,
            autoreset_mode="SameStep",
            seed=config.seed + len(steps),
        )
    )
    num_steps = config.dream_gradients // config.gradients_per_step * config.dream_envs
    if agent is None:
        settings = config.sac | {"gradient_steps": config.gradients_per_step}
        agent = SAC("MlpPolicy", env, buffer_size=2 * num_steps, **settings)
    agent.set_env(env)
    return agent.learn(num_steps, reset_num_timesteps=False)


# On the real car


def train_model_free(config: DrivingSACConfig) -> LearningCurve:
    """The same SAC on the real car; the curve over real steps."""
    evaluations = _Evaluations(config)
    env = DrivingTaskEnv(config.track, config.episode_decisions)
    agent = SAC("MlpPolicy", env, gradient_steps=config.model_free_gradients, **config.sac)
    fill_buffer(config, agent, env)
    agent.learn(config.model_free_decisions, callback=evaluations)
    return LearningCurve(np.array(evaluations.steps), np.array(evaluations.returns))


def fill_buffer(config: DrivingSACConfig, agent: SAC, env: DrivingTaskEnv) -> None:
    """Let the noisy expert decide on the real car, and SAC's replay buffer keep what came of it.

    Its noise is drawn once a decision, where `record_expert` draws it at every step of the car.
    """
    expert = Expert(env.unwrapped.parameters)  # type: ignore[attr-defined]
    for episode in range(config.expert_episodes):
        seed = 1000 * config.seed + episode
        policy = NoisyExpert(expert, 1, seed, pulse_rate=PULSE_RATE, **RECORDED_NOISE)
        obs, _ = env.reset(seed=seed)
        for _ in range(RECORDED_STEPS // ACTION_REPEAT):
            decision = to_decision(policy(env.observation[None]))[0]
            next_obs, reward, terminated, truncated, _ = env.step(decision)
            assert agent.replay_buffer is not None
            agent.replay_buffer.add(
                obs[None],
                next_obs[None],
                agent.policy.scale_action(decision[None]),
                np.array([reward]),
                np.array([terminated or truncated]),
                [{"TimeLimit.truncated": truncated and not terminated}],
            )
            obs = next_obs
            if terminated or truncated:
                break


class _Evaluations(BaseCallback):
    """Evaluates the model-free arm every so many decisions."""

    def __init__(self, config: DrivingSACConfig) -> None:
        super().__init__()
        self.config = config
        self.steps: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.config.evaluate_every == 0:
            (num_steps,) = self.training_env.get_attr("num_steps")
            self.steps.append(num_steps)
            self.returns.append(self.config.evaluation.score(self.model))
            print("real", num_steps, round(self.returns[-1], 2), flush=True)
        return True


# What came of it


def compare_arms(
    config: DrivingSACConfig,
    dream: LearningCurve,
    model_free: LearningCurve,
    reference: dict[str, float],
) -> dict[str, Any]:
    """Final returns and real steps to the threshold.

    Nothing is compared with a model-free arm that cannot drive.

    Args:
        config: Of both arms.
        dream: The curve of the arm in the model.
        model_free: That of the arm on the real car.
        reference: `TaskEvaluation.reference_returns`.
    """
    final = float(model_free.returns[-NUM_FINAL_EVALUATIONS:].mean())
    random_return = reference["random_return"]
    threshold = random_return + config.share * (final - random_return)
    dream_steps = dream.steps_to(threshold)
    model_free_steps = model_free.steps_to(threshold)
    can_drive = final >= 0.5 * reference["expert_return"]
    times_fewer = None
    if can_drive and dream_steps and model_free_steps:
        times_fewer = model_free_steps / dream_steps
    at_equal_steps = np.interp(dream.steps[-1], model_free.steps, model_free.returns)
    return {
        **reference,
        "model_free_return": final,
        "model_free_can_drive": can_drive,
        "threshold": threshold,
        "dream_return": float(dream.returns[-1]),
        "dream_real_steps": int(dream.steps[-1]),
        "dream_gradient_steps": config.rounds * config.dream_gradients,
        "dream_steps_to_threshold": dream_steps,
        "model_free_real_steps": int(model_free.steps[-1]),
        "model_free_gradient_steps": config.model_free_decisions * config.model_free_gradients,
        "model_free_steps_to_threshold": model_free_steps,
        "model_free_return_at_equal_steps": float(at_equal_steps),
        "times_fewer_real_steps": times_fewer,
        "dream_curve": [dream.steps.tolist(), dream.returns.round(2).tolist()],
        "model_free_curve": [model_free.steps.tolist(), model_free.returns.round(2).tolist()],
        "seed": config.seed,
    }
