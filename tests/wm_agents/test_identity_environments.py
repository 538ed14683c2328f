"""Each learner solves its identity environment, in seconds: one table.

For agents the reward is 1 for naming the observation (as in Stable-Baselines3's tests). For world
models the next observation is the action, and the reward the same as for agents.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from wm_agents.evaluation.open_loop import open_loop_error
from wm_agents.planning import BreadthFirstSearch, DiscountedReturn, PlanningAgent
from wm_agents.world_models import (
    DeterministicConfig,
    DeterministicModel,
    EnsembleConfig,
    EnsembleModel,
    FitConfig,
    HistoryModel,
    LatentConfig,
    LatentModel,
    RecurrentConfig,
    RecurrentModel,
    TabularModel,
    TokenModel,
)
from wm_envs.data.recording import record

NUM_STATES = 3
EPISODE = 8
WIDTHS = {"reward_widths": (32,), "termination_widths": (8,)}
FIT = FitConfig(num_updates=400, batch_size=64, horizon=2, evaluate_every=200, learning_rate=3e-3)


class Identity(gym.Env[int, int]):
    """The next observation is the action; the reward is 1 where the action is the observation."""

    observation_space = spaces.Discrete(NUM_STATES)
    action_space = spaces.Discrete(NUM_STATES)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(NUM_STATES))
        self.num_steps = 0
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.state)
        self.state = int(action)
        self.num_steps += 1
        return self.state, reward, False, self.num_steps == EPISODE, {}


ID = "test/ModelIdentity-v0"
gym.register(ID, Identity, disable_env_checker=True)

MODELS: dict[str, Callable[[], Any]] = {
    "deterministic": lambda: DeterministicModel.for_env(
        ID, DeterministicConfig(dynamics_widths=(32,), **WIDTHS)
    ),
    "ensemble": lambda: EnsembleModel.for_env(
        ID, EnsembleConfig(num_members=2, dynamics_widths=(32,), spread_widths=(8,), **WIDTHS)
    ),
    "recurrent": lambda: RecurrentModel.for_env(
        ID, RecurrentConfig(num_hidden=32, num_context=1, widths=(32,), **WIDTHS)
    ),
    "latent": lambda: LatentModel.for_env(
        ID, LatentConfig(latent_size=8, encoder_widths=(32,), dynamics_widths=(32,), **WIDTHS)
    ),
    "history": lambda: HistoryModel.for_env(
        ID, DeterministicConfig(dynamics_widths=(32,), **WIDTHS), num_past=1
    ),
    "token": lambda: TokenModel.for_env(ID),
    "tabular": lambda: TabularModel.for_env(ID),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_model_predicts_the_identity_environment(name: str) -> None:
    train, test = record(ID, episodes=40, seed=0).split((0.75, 0.25), seed=0)
    model = MODELS[name]()
    model.fit(train, *([] if name == "tabular" else [FIT]))
    report = open_loop_error(
        model, test, (1, 4), train=train, num_samples=0, allow_training_episodes=True
    )
    assert report.error(4) < 0.3 * report.error(4, "persistence")
    assert report.rewards.rmse["model"][0] < 0.2


def test_planning_in_a_model_solves_it() -> None:
    model = TabularModel.for_env(ID)
    model.fit(record(ID, episodes=40, seed=0))
    agent = PlanningAgent(model, BreadthFirstSearch(model, DiscountedReturn()), seed=0)
    for observation in range(NUM_STATES):
        action, _ = agent.predict(np.int64(observation), deterministic=True)
        assert int(np.asarray(action)) == observation
