"""The car as an agent of `dream_driving.py` meets it: two numbers to decide, 23 to see, 12.5 times a second.

Both arms share all of this: what is decided, what is seen and what is paid.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.driving.model import (
    AHEAD,
    AX,
    AY,
    BEND,
    BRAKE,
    HEADING,
    LEFT,
    OFFSET,
    RIGHT,
    STEERING,
    THROTTLE,
    VX,
    VY,
    YAW_RATE,
)
from wm_envs.driving.env import DEFAULT_WEIGHTS, DrivingEnv

REPEAT = 4  # steps of 0.02 s per decision
START_SPEED = 20.0  # m/s
WEIGHTS = DEFAULT_WEIGHTS | {"off_track": -10.0, "collision": 0.0}
"""What is paid: leaving the road costs a tenth of a lap, however it is left."""
DECISIONS = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
"""Steering, and one number for both pedals: throttle above 0, brake below."""
MAX_STEERING = 0.4  # of the steering: at speed, more only slides
SEEN = {
    VX: 30.0, VY: 2.0, AX: 20.0, AY: 20.0, YAW_RATE: 0.5, STEERING: 0.2, THROTTLE: 1.0, BRAKE: 1.0,
    OFFSET: 5.0, HEADING: 0.15, **dict.fromkeys((*AHEAD, BEND), 0.01), RIGHT: 5.0, LEFT: 5.0,
}  # fmt: skip
"""Columns that are seen, and the size that counts as 1: about what good driving has."""
SIGHT = gym.spaces.Box(-10.0, 10.0, (len(SEEN),), np.float32)
COLUMNS, SIZES = list(SEEN), np.array(list(SEEN.values()), np.float32)


def sight(observations: Tensor) -> Tensor:
    """What is seen [B, 23] of observations [B, 37 or more] in SI units."""
    return (observations[:, COLUMNS] / torch.as_tensor(SIZES)).clamp(-10.0, 10.0)


def commands(decisions: Tensor) -> Tensor:
    """Steering, throttle and brake [B, 3] of decisions [B, 2]."""
    steering, pedal = MAX_STEERING * decisions[:, 0], decisions[:, 1]
    return torch.stack([steering, pedal.clamp_min(0.0), (-pedal).clamp_min(0.0)], 1)


class Decisions(gym.Wrapper[Any, Any, Any, Any]):
    """The real car with two numbers to decide every `REPEAT` steps; `transitions` holds every single step.

    Args:
        track: A built-in circuit or a CSV file.
        num_decisions: Of an episode.
    """

    def __init__(self, track: str, num_decisions: int) -> None:
        super().__init__(
            DrivingEnv(
                track=track,
                observation="extended",
                normalize=False,
                time_limit=num_decisions * REPEAT,
                start_speed=START_SPEED,
                reward_weights=WEIGHTS,
            )
        )
        self.observation_space, self.action_space = SIGHT, DECISIONS
        self.transitions: list[tuple[Any, ...]] = []
        self.num_steps = 0

    def reset(self, **options: Any) -> Any:
        """Start anew."""
        self._observation, info = self.env.reset(**options)
        return _row(self._observation), info

    def step(self, action: NDArray[np.float32]) -> Any:
        """Hold a decision."""
        command, total = commands(torch.as_tensor(action)[None])[0].numpy(), 0.0
        for _ in range(REPEAT):
            after, reward, terminated, truncated, info = self.env.step(command)
            self.transitions.append(
                (self._observation, command, reward, after, terminated, truncated)
            )
            self._observation, total = after, total + float(reward)
            self.num_steps += 1
            if terminated or truncated:
                break
        return _row(after), total, terminated, truncated, info


def _row(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    return sight(torch.as_tensor(observation)[None])[0].numpy()
