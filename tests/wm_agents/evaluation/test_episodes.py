"""Whole episodes: hand-made environments whose returns, lengths and successes are known."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO

from wm_agents.errors import ConfigError
from wm_agents.evaluation.episodes import (
    FunctionAgent,
    RandomAgent,
    evaluate,
    normalized_returns,
)


class Countdown(gym.Env[Any, Any]):
    """Lasts (seed % 7) + 1 steps and pays 1 a step; succeeds when the last action is 1.

    Seed % 5 == 4 starts solved.
    """

    def __init__(self, has_solved_starts: bool = False) -> None:
        self.observation_space = gym.spaces.Box(0, 100, (1,))
        self.action_space = gym.spaces.Discrete(2)
        self.has_solved_starts = has_solved_starts

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(1000)) if seed is None else seed
        self.remaining = drawn % 7 + 1
        return self._look(), {"is_success": self.has_solved_starts and drawn % 5 == 4}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.remaining -= 1
        ended = self.remaining == 0
        return self._look(), 1.0, ended, False, {"is_success": ended and action == 1}

    def _look(self) -> Any:
        return np.array([self.remaining], np.float32)


class OddAgent:
    """Answers 1 at observations of one remaining step when told to.

    And counts its calls' episode starts.
    """

    def __init__(self) -> None:
        self.starts: list[Any] = []

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        self.starts.append(None if episode_start is None else episode_start.copy())
        return np.ones(len(observation), np.int64), 0 if state is None else state + 1


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Any:
    gym.register("Countdown-v0", Countdown)
    yield
    gym.registry.pop("Countdown-v0")


@pytest.mark.parametrize("num_envs", [1, 3, 16, None])
def test_every_started_episode_counts_once_in_the_order_of_seeds(num_envs: int | None) -> None:
    results = evaluate(OddAgent(), "Countdown-v0", 10, seed=20, num_envs=num_envs)
    expected = [(20 + k) % 7 + 1 for k in range(10)]
    assert results.lengths.tolist() == expected
    assert results.returns.tolist() == expected
    assert results.success_rate == 1.0
    assert results.summary()["mean_length"] == np.mean(expected)


@pytest.mark.parametrize("num_envs", [1, 4, 32])
def test_solved_starts_are_skipped_counted_and_made_up_for(num_envs: int) -> None:
    results = evaluate(
        OddAgent(),
        "Countdown-v0",
        8,
        seed=0,
        num_envs=num_envs,
        env_kwargs={"has_solved_starts": True},
    )
    unsolved = [seed for seed in range(100) if seed % 5 != 4][:8]
    assert results.lengths.tolist() == [seed % 7 + 1 for seed in unsolved]
    assert results.num_solved_starts == sum(seed % 5 == 4 for seed in range(unsolved[-1]))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_autoreset_mode_gives_the_same_episodes(mode: AutoresetMode) -> None:
    env = SyncVectorEnv([Countdown] * 5, autoreset_mode=mode)
    results = evaluate(OddAgent(), env, 5, seed=3)
    assert results.lengths.tolist() == [4, 5, 6, 7, 1]
    assert results.success_rate == 1.0
    env.reset(seed=0)  # left open


def test_the_agent_hears_of_episode_starts_and_keeps_its_state() -> None:
    agent = OddAgent()
    evaluate(agent, "Countdown-v0", 2, seed=0, num_envs=2)
    assert agent.starts[0].tolist() == [True, True]
    assert agent.starts[1].tolist() == [True, False]  # the first row has ended


def test_equal_to_a_plain_loop_over_single_environments() -> None:
    model = PPO("MlpPolicy", "CartPole-v1", seed=0, n_steps=64, device="cpu")
    ours = evaluate(model, "CartPole-v1", 6, seed=11)
    theirs = []
    for k in range(6):
        env = gym.make("CartPole-v1")
        observation, total, ended = env.reset(seed=11 + k)[0], 0.0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(
                model.predict(observation, deterministic=True)[0]
            )
            total, ended = total + float(reward), terminated or truncated
        theirs.append(total)
    assert ours.returns.tolist() == theirs
    assert ours.successes is None


def test_random_agent_draws_from_its_own_seed() -> None:
    space = gym.spaces.Box(-2, 2, (3,))
    first, second = RandomAgent(space, 4), RandomAgent(space, 4)
    starts = np.ones(5, np.bool_)
    actions = first.predict(None, episode_start=starts)[0]
    assert actions.shape == (5, 3)
    assert (actions == second.predict(None, episode_start=starts)[0]).all()
    assert evaluate(
        RandomAgent(gym.spaces.Discrete(2)), "Countdown-v0", 40
    ).success_rate == pytest.approx(0.5, abs=0.3)


def test_bad_requests_name_the_value() -> None:
    with pytest.raises(ConfigError, match="episodes=0"):
        evaluate(OddAgent(), "Countdown-v0", 0)
    env = SyncVectorEnv([Countdown])
    with pytest.raises(ConfigError, match="ready environment"):
        evaluate(OddAgent(), env, 1, env_kwargs={"has_solved_starts": True})


def test_a_single_environment_is_refused_with_the_remedy() -> None:
    env: Any = gym.make("CartPole-v1")
    with pytest.raises(
        ConfigError, match=r"cannot be copied: give its id, or gym\.vector\.SyncVectorEnv"
    ):
        evaluate(RandomAgent(env.action_space), env, 2)


def test_a_function_acts_on_a_batch_and_on_a_single_observation():
    agent = FunctionAgent(lambda observations: observations.sum(1))
    batch = np.array([[1.0, 2.0], [3.0, 4.0]])
    actions, state = agent.predict(batch, "kept", np.zeros(2, np.bool_))
    assert actions.tolist() == [3, 7]
    assert state == "kept"
    assert agent.predict(batch[0])[0] == 3


def test_returns_are_shares_of_the_way_between_two_agents():
    returns = {"random": -100.0, "expert": 100.0, "clone": 50.0, "worse": -200.0}
    shares = normalized_returns(returns, "random", "expert")
    assert shares == {"clone": 0.75, "worse": -0.5}
    with pytest.raises(ConfigError, match="random and best have to differ"):
        normalized_returns(returns, "random", "best")
    with pytest.raises(ConfigError, match="have to differ"):
        normalized_returns({"a": 1.0, "b": 1.0}, "a", "b")


def test_progress_counts_the_episodes_that_are_over(capfd: pytest.CaptureFixture[str]) -> None:
    rows = SyncVectorEnv([Countdown] * 4)
    evaluate(FunctionAgent(lambda rows: np.ones(len(rows), np.int64)), rows, 6, progress=True)
    # Two rows of the second wave were not asked for.
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("evaluate 6/6 ")
    rows.close()
