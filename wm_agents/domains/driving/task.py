"""The driving task of agents that learn in imagination: 23 features, two actions, 12.5 Hz.

Everything that an agent on the real car and one in the learned model share: what is decided, what
is observed, what is rewarded, and the starts from which both are scored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.driving.network import DrivingModel
from wm_agents.domains.driving.observations import AHEAD, ENV_OPTIONS
from wm_agents.protocols import Agent, ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.env import DEFAULT_WEIGHTS, DrivingEnv, DrivingVectorEnv
from wm_envs.driving.observations import step_rewards
from wm_envs.rules import Array

ACTION_REPEAT = 4  # steps of 0.02 s per decision
START_SPEED = 20.0  # m/s
FIRST_TEST_SEED = 10_000  # of the starts from which everyone is scored
REWARD_WEIGHTS = DEFAULT_WEIGHTS | {"off_track": -10.0, "collision": 0.0}
"""Leaving the road costs a tenth of a lap, however it is left."""
MAX_STEERING = 0.4  # of the steering: at speed, more only slides
FEATURE_SIZES = {
    Column.VELOCITY_X: 30.0,
    Column.VELOCITY_Y: 2.0,
    Column.ACCELERATION_X: 20.0,
    Column.ACCELERATION_Y: 20.0,
    Column.YAW_RATE: 0.5,
    Column.STEERING: 0.2,
    Column.THROTTLE: 1.0,
    Column.BRAKE: 1.0,
    Column.OFFSET: 5.0,
    Column.HEADING_ERROR: 0.15,
    **dict.fromkeys(map(Column, AHEAD), 0.01),
    Column.CURVATURE_0M: 0.01,
    Column.RIGHT_WIDTH: 5.0,
    Column.LEFT_WIDTH: 5.0,
}
"""Columns that are features, and the size that counts as 1: about what good driving has."""
FEATURE_COLUMNS = [int(column) for column in FEATURE_SIZES]
MAX_FEATURE = 10.0
OBSERVATION_SPACE = gym.spaces.Box(-MAX_FEATURE, MAX_FEATURE, (len(FEATURE_COLUMNS),), np.float32)
ACTION_SPACE = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
"""Steering, and one number for both pedals: throttle above 0, brake below."""

Step = tuple[Any, ...]
"""(observation [37], action [3], reward, next observation [37], terminated, truncated)."""


def features(observations: Tensor) -> Tensor:
    """What an agent observes [B, 23] of observations [B, 37 or more] in SI units."""
    sizes = torch.tensor(list(FEATURE_SIZES.values()), dtype=torch.float32)
    scaled = observations[:, FEATURE_COLUMNS] / sizes
    return scaled.clamp(-MAX_FEATURE, MAX_FEATURE)


def to_action(decisions: Tensor) -> Tensor:
    """The car's action [B, 3], steering, throttle and brake, of an agent's decisions [B, 2]."""
    steering = MAX_STEERING * decisions[:, 0]
    pedal = decisions[:, 1]
    return torch.stack([steering, pedal.clamp_min(0.0), (-pedal).clamp_min(0.0)], 1)


def to_decision(actions: NDArray[np.float32]) -> NDArray[np.float32]:
    """The decisions [B, 2] nearest to actions of the car [B, 3]."""
    steering, throttle, brake = actions.T
    decisions = np.stack([steering / MAX_STEERING, throttle - brake], 1)
    return decisions.clip(-1.0, 1.0).astype(np.float32)


class DrivingTaskEnv(gym.Wrapper[Any, Any, Any, Any]):
    """The real car with two numbers to decide every `ACTION_REPEAT` steps.

    Args:
        track: A built-in circuit or a CSV file.
        num_decisions: Of an episode.

    Attributes:
        steps: Every single step of the car since the list was last cleared, see `Step`.
        num_steps: How many there were in all.
        observation: The car's own newest observation [37], in SI units.
    """

    def __init__(self, track: str, num_decisions: int) -> None:
        super().__init__(
            DrivingEnv(
                track=track,
                time_limit=num_decisions * ACTION_REPEAT,
                start_speed=START_SPEED,
                reward_weights=REWARD_WEIGHTS,
                **ENV_OPTIONS,
            )
        )
        self.observation_space = OBSERVATION_SPACE
        self.action_space = ACTION_SPACE
        self.steps: list[Step] = []
        self.num_steps = 0

    def reset(self, **options: Any) -> Any:
        """Start anew."""
        self.observation, info = self.env.reset(**options)
        return _features_of(self.observation), info

    def step(self, action: NDArray[np.float32]) -> Any:
        """Repeat a decision; the rewards of its steps are summed."""
        car_action = to_action(torch.as_tensor(action)[None])[0].numpy()
        total = 0.0
        for _ in range(ACTION_REPEAT):
            next_obs, reward, terminated, truncated, info = self.env.step(car_action)
            self.steps.append(
                (self.observation, car_action, reward, next_obs, terminated, truncated)
            )
            self.observation = next_obs
            total += float(reward)
            self.num_steps += 1
            if terminated or truncated:
                break
        return _features_of(self.observation), total, terminated, truncated, info

    def trajectories(self) -> Trajectories:
        """The recorded steps as episodes, observations [S + K, 37]; the last one stops here."""
        columns = [np.array(column) for column in zip(*self.steps, strict=True)]
        terminations, truncations = columns[4], columns[5]
        truncations[-1] = not terminations[-1]
        return Trajectories.from_transitions(*columns)


def _features_of(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    return features(torch.as_tensor(observation)[None])[0].numpy()


class ImaginedCar(Unrolled):
    """The learned car as a world model of the task, with the rewards of the environment.

    The hidden state is the model's own observation [B, 40] and the last action of the car [B, 3].

    Args:
        model: Fitted.
        parameters: The parameter row [1] of an environment, for the weights of its reward; None
            takes the task's.
    """

    def __init__(self, model: DrivingModel, parameters: Array | None = None) -> None:
        self.model = model
        self.action_space = ACTION_SPACE
        self.observation_space = OBSERVATION_SPACE
        self._parameters = (
            DrivingEnv.rules(reward_weights=REWARD_WEIGHTS).parameters
            if parameters is None
            else parameters
        )

    def initial_state(self, observations: Tensor, last_actions: Tensor) -> ModelState:
        """A state from the model's observations [K, 40] and the actions [K, 3] before them."""
        return ModelState(features(observations), (observations, last_actions))

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The state of features [B, 23] whose hidden part is known, see `initial_state`."""
        return ModelState(observations, hidden)

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """Imagine a decision [B, 2]; a car that has left the road earns no more and holds still."""
        observations, last_actions = state.hidden
        car_actions = to_action(actions)
        num_rows = len(actions)
        rewards = torch.zeros(num_rows)
        has_ended = torch.zeros(num_rows, dtype=torch.bool)
        disagreement = torch.zeros(num_rows)
        for _ in range(ACTION_REPEAT):
            next_state, prediction = self.model.step(ModelState(observations), car_actions)
            next_obs = next_state.observations
            earned, is_over = self._rewards(observations, next_obs, car_actions, last_actions)
            rewards = rewards + torch.where(has_ended, 0.0, earned)
            assert prediction.disagreement is not None  # every model of the car has it
            disagreement = disagreement + prediction.disagreement / ACTION_REPEAT
            observations = torch.where(has_ended[:, None], observations, next_obs)
            has_ended = has_ended | is_over
            last_actions = car_actions
        after = self.initial_state(observations, car_actions)
        terminations = has_ended.float()
        return after, Prediction(after.observations, rewards, terminations, disagreement)

    def _rewards(
        self, before: Tensor, after: Tensor, actions: Tensor, last_actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The environment's own reward [B] and end [B] of a step."""
        rows = (before, after, actions, last_actions)
        rewards, ends = step_rewards(self._parameters, *(row.numpy() for row in rows))
        return torch.from_numpy(rewards).float(), torch.from_numpy(ends)


@dataclass(frozen=True)
class TaskEvaluation:
    """Where everyone is scored.

    Attributes:
        track: A built-in circuit or a CSV file.
        num_decisions: Of an episode.
        num_episodes: From as many starts, the same every time.
    """

    track: str
    num_decisions: int
    num_episodes: int

    def score(self, agent: Agent) -> float:
        """Mean return without exploration."""
        env = DrivingTaskEnv(self.track, self.num_decisions)
        total = 0.0
        for episode in range(self.num_episodes):
            obs, _ = env.reset(seed=FIRST_TEST_SEED + episode)
            has_ended = False
            while not has_ended:
                action, _ = agent.predict(obs, deterministic=True)
                obs, reward, terminated, truncated, _ = env.step(action)
                total += reward
                has_ended = terminated or truncated
        return total / self.num_episodes

    def expert_return(self) -> float:
        """Mean return of the expert, who decides at every step."""
        envs = DrivingVectorEnv(
            self.num_episodes,
            track=self.track,
            time_limit=self.num_decisions * ACTION_REPEAT,
            start_speed=START_SPEED,
            reward_weights=REWARD_WEIGHTS,
        )
        envs.reset(seed=[FIRST_TEST_SEED + episode for episode in range(self.num_episodes)])
        total = 0.0
        is_driving = np.ones(self.num_episodes, np.bool_)
        while is_driving.any():
            _, rewards, terminated, truncated, _ = envs.step(envs.expert_actions())
            total += float(rewards[is_driving].sum())
            is_driving &= ~(terminated | truncated)
        return total / self.num_episodes

    def reference_returns(self, seed: int) -> dict[str, float]:
        """Mean returns of random decisions, of a car that stands, and of the expert."""
        return {
            "random_return": self.score(uniform_agent(seed)),
            "standing_return": self.score(standing_agent()),
            "expert_return": self.expert_return(),
        }


class _Decider:
    """An agent that decides without looking; a reference for those that look."""

    def __init__(self, decide: Callable[[], NDArray[np.float64]]) -> None:
        self._decide = decide

    def predict(
        self,
        observation: Any,  # noqa: ARG002
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,  # noqa: ARG002
        deterministic: bool = False,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """The next decision."""
        return self._decide().astype(np.float32), state


def standing_agent() -> Agent:
    """Brakes and stays.

    What an agent may well learn first, where standing costs less than leaving the road.
    """
    return _Decider(lambda: np.array([0.0, -1.0]))


def uniform_agent(seed: int) -> Agent:
    """Decides at random, with draws of this seed."""
    generator = np.random.default_rng(seed)
    return _Decider(lambda: generator.uniform(ACTION_SPACE.low, ACTION_SPACE.high))
