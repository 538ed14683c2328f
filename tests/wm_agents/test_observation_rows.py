"""What is no observation is a SpaceError that names what came, in every agent and model.

Arrays go where tensors go.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

from wm_agents.errors import SpaceError
from wm_agents.irl import BehavioralCloning
from wm_agents.observation_rows import encoded_rows, episode_starts, observation_rows
from wm_agents.planning import CEM, CEMConfig, DiscountedReturn, PlanningAgent
from wm_agents.policy_gradient.ppo import PPO
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models import DeterministicModel, TabularModel
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.spaces import ObservationCodec

BOX, PUSH = spaces.Box(-5, 5, (3,), np.float32), spaces.Box(-1, 1, (1,), np.float32)
GOOD = np.float32([0.1, 0.2, 0.3])
WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (None, "NoneType"),
    "text": ("left", "<U4"),
    "the pair of reset": ((GOOD, {}), "first part"),
    "too short": (GOOD[:2], r"\(2,\)"),
    "one axis too many": (GOOD[None, None], r"\(1, 1, 3\)"),
    "a number": (1.0, r"\(\)"),
    "not a number": (GOOD * np.nan, "nan"),
    "infinite": (np.float32([0, 0, np.inf]), "inf"),
    "too large for 32 bits": (np.array([1e300, 0, 0]), "1e"),
    "NaN in a batch": (np.stack([GOOD, GOOD * np.nan]), "row 1"),
    "ragged": ([[1.0, 2.0, 3.0], [1.0]], "unequal"),
    "no rows": (np.zeros((0, 3)), "without rows"),
    "complex": (GOOD * 1j, "complex"),
    "objects": (np.array([None, 1, 2]), "ndarray"),
}


class Push(gym.Env[Any, Any]):
    observation_space, action_space = BOX, spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return GOOD, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return GOOD, 0.0, True, False, {}


def agents() -> dict[str, Any]:
    gym.register("test/Push-v0", Push, disable_env_checker=True)
    model = DeterministicModel(BOX, PUSH)
    clone = BehavioralCloning(BOX, PUSH)
    model.is_fitted = clone.is_fitted = True  # what is refused here is the observation
    return {
        "Reinforce": Reinforce("test/Push-v0", ReinforceConfig()),
        "PPO": PPO((BOX, spaces.Discrete(2))),
        "PPO of Box actions": PPO((BOX, PUSH)),
        "BehavioralCloning": clone,
        "PlanningAgent": PlanningAgent(model, CEM(model, DiscountedReturn(), CEMConfig(horizon=2))),
    }


@pytest.mark.parametrize("agent", agents().items(), ids=lambda pair: pair[0])
@pytest.mark.parametrize("kind", WRONG)
def test_agents_refuse_what_is_no_observation(agent: tuple[str, Any], kind: str) -> None:
    observation, named = WRONG[kind]
    with pytest.raises(SpaceError, match=named):
        agent[1].predict(observation)


@pytest.mark.parametrize(
    "given", [GOOD, GOOD.tolist(), torch.from_numpy(GOOD), np.int64([0, 1, 2]), GOOD.astype(">f8")]
)
def test_arrays_tensors_and_lists_are_observations(given: Any) -> None:
    rows, is_single = observation_rows(given, BOX)
    assert is_single
    assert rows.shape == (1, 3)
    batch, is_single = encoded_rows(np.stack([np.asarray(given)] * 2), BOX)
    assert not is_single
    assert batch.dtype == np.float32


def test_discrete_observations_are_indices_of_the_space() -> None:
    space = spaces.Discrete(3, start=5)
    assert encoded_rows(6, space)[0].tolist() == [[0, 1, 0]]
    assert encoded_rows(np.array([5, 7]), space)[0].tolist() == [[1, 0, 0], [0, 0, 1]]
    for wrong in (8, 4, 5.5, np.nan, "5", None, np.array([[5]])):
        with pytest.raises(SpaceError):
            observation_rows(wrong, space)


NESTED = {
    "dict": spaces.Dict({"a": spaces.Box(-1, 1, (2, 2)), "b": spaces.Discrete(3, start=1)}),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(3)]),
    "choices": spaces.MultiDiscrete([2, 3]),
    "bits": spaces.MultiBinary(4),
    "picture": spaces.Box(0, 255, (2, 2, 3), np.uint8),
}


@pytest.mark.parametrize("space", NESTED.values(), ids=NESTED)
def test_every_space_has_rows_singly_and_in_batches(space: Any) -> None:
    space.seed(0)
    values = [space.sample() for _ in range(3)]
    codec = ObservationCodec(space)
    batch = concatenate(space, values, create_empty_array(space, 3))
    rows, is_single = encoded_rows(batch, codec)
    assert not is_single
    for value, row in zip(values, rows, strict=True):
        alone, is_single = encoded_rows(value, space)
        assert is_single
        np.testing.assert_array_equal(alone, row[None])
        np.testing.assert_array_equal(codec.encode_one(value), row)


@pytest.mark.parametrize("wrong", [{}, 3, None, {"a": np.zeros((2, 2))}, {"b": 1}, []])
def test_what_is_no_value_of_a_nested_space_is_refused(wrong: Any) -> None:
    with pytest.raises(SpaceError):
        encoded_rows(wrong, NESTED["dict"])


# --- models


def wrong_batches() -> dict[str, Any]:
    return {
        "nothing": None,
        "text": "a",
        "one row": GOOD,
        "NaN": GOOD[None] * np.nan,
        "size": GOOD[None, :2],
    }


@pytest.mark.parametrize("kind", wrong_batches())
@pytest.mark.parametrize("method", ["start", "predict", "rollout"])
def test_models_refuse_what_is_no_observation(method: str, kind: str) -> None:
    for model in (
        DeterministicModel(BOX, spaces.Discrete(2)),
        TabularModel(BOX, spaces.Discrete(2)),
    ):
        model.is_fitted = True  # what is refused here is the observation
        actions = {
            "start": (),
            "predict": (np.zeros(1, int),),
            "rollout": (np.zeros((1, 2), int),),
        }[method]
        with pytest.raises(SpaceError):
            getattr(model, method)(wrong_batches()[kind], *actions)


class Still(Unrolled):
    """Nothing changes."""

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = action_space

    def start(self, observations: Any, hidden: Any = ()) -> ModelState:
        return ModelState(observations)

    def step(self, state: Any, actions: Any, generator: Any = None) -> Any:
        zeros = torch.zeros(len(actions))
        return state, Prediction(state.observations, zeros, zeros)


@pytest.mark.parametrize(
    "actions",
    [
        [3, 4],
        [6, 4],
        [4.5, 4],
        [np.nan, 4],
        [[4], [4]],
        torch.tensor([7, 4]),
        [4],
        None,
        ["a", "b"],
    ],
)
def test_what_is_no_action_of_a_model_is_a_space_error(actions: Any) -> None:
    model, rows = Still(gym.spaces.Discrete(2, start=4)), np.zeros((2, 2), np.float32)
    with pytest.raises(SpaceError, match="expected actions"):
        model.predict(rows, actions)
    if isinstance(actions, list) and len(actions) == 2 and not isinstance(actions[0], list):
        with pytest.raises(SpaceError, match="expected actions"):
            model.rollout(rows, np.array(actions)[:, None])
    for right in ([4, 5], [4.0, 5.0], np.array([4, 5], np.uint8), torch.tensor([5, 4])):
        assert model.predict(rows, right).observations.shape == (2, 2)  # type: ignore[arg-type]


def test_a_vector_of_actions_has_the_length_of_the_space() -> None:
    model = Still(gym.spaces.Box(-1, 1, (3,)))
    rows = np.zeros((2, 2), np.float32)
    assert model.rollout(rows, np.zeros((2, 4, 3))).rewards.shape == (2, 4)
    for wrong in (np.zeros((2, 4)), np.zeros((2, 4, 2)), np.zeros((2, 4, 3, 1))):
        with pytest.raises(SpaceError, match=r"\[B, H, 3\]"):
            model.rollout(rows, wrong)


def test_starts_of_episodes_are_said_of_every_row() -> None:
    assert episode_starts(None, 3).tolist() == [False] * 3
    assert episode_starts(True, 2).tolist() == [True] * 2
    assert episode_starts([0, 1], 2).tolist() == [False, True]
    with pytest.raises(SpaceError, match="of 2 episodes, but there are 3 observations"):
        episode_starts([True, False], 3)
