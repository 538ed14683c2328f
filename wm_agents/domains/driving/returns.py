"""Returns on a course of fixed starts.

Of an agent, and of the yardsticks that know nothing or everything.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.driving.decisions import DECISIONS, REPEAT, START_SPEED, WEIGHTS, Decisions
from wm_envs.driving.env import DrivingVectorEnv

FIRST_SEED = 10_000  # of the starts


class Driver(Protocol):
    """Who decides: SAC, or a yardstick."""

    def predict(self, observation: NDArray[np.float32], *, deterministic: bool) -> tuple[Any, Any]:
        """A decision [2] for what is seen [23], and a state that is not used."""


@dataclass(frozen=True)
class Course:
    """Where everyone is scored.

    Attributes:
        track: A built-in circuit or a CSV file.
        num_decisions: Of an episode.
        num_episodes: From as many starts, the same every time.
    """

    track: str
    num_decisions: int
    num_episodes: int

    def score(self, driver: Driver) -> float:
        """Mean return without exploration."""
        car, total = Decisions(self.track, self.num_decisions), 0.0
        for episode in range(self.num_episodes):
            seen, _ = car.reset(seed=FIRST_SEED + episode)
            has_ended = False
            while not has_ended:
                seen, reward, terminated, truncated, _ = car.step(
                    driver.predict(seen, deterministic=True)[0]
                )
                total, has_ended = total + reward, terminated or truncated
        return total / self.num_episodes

    def expert_return(self) -> float:
        """Mean return of the expert, who decides at every step."""
        cars = DrivingVectorEnv(
            self.num_episodes,
            track=self.track,
            time_limit=self.num_decisions * REPEAT,
            start_speed=START_SPEED,
            reward_weights=WEIGHTS,
        )
        cars.reset(seed=[FIRST_SEED + episode for episode in range(self.num_episodes)])
        total, is_driving = 0.0, np.ones(self.num_episodes, np.bool_)
        while is_driving.any():
            _, rewards, terminated, truncated, _ = cars.step(cars.expert_actions())
            total += float(rewards[is_driving].sum())
            is_driving &= ~(terminated | truncated)
        return total / self.num_episodes


class Brakes:
    """Stops and stays.

    What an agent may well learn first, where standing costs less than leaving the road.
    """

    def predict(
        self,
        _: NDArray[np.float32],
        *,
        deterministic: bool,  # noqa: ARG002
    ) -> tuple[NDArray[np.float32], None]:
        """Full brakes."""
        return np.array([0.0, -1.0], np.float32), None


class Chance:
    """Decides at random.

    Args:
        seed: Draws the decisions.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def predict(
        self,
        _: NDArray[np.float32],
        *,
        deterministic: bool,  # noqa: ARG002
    ) -> tuple[NDArray[np.float32], None]:
        """Any decision."""
        return self._generator.uniform(DECISIONS.low, DECISIONS.high).astype(np.float32), None


def yardsticks(course: Course, seed: int) -> dict[str, float]:
    """Mean returns of who has learned nothing, of who stands, and of who knows the road."""
    return {
        "random_return": course.score(Chance(seed)),
        "standing_return": course.score(Brakes()),
        "expert_return": course.expert_return(),
    }
