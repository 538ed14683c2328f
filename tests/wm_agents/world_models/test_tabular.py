import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import SpaceError
from wm_agents.protocols import WorldModel
from wm_agents.world_models import TabularModel
from wm_envs.data.trajectories import Trajectories


def rows(states):
    return np.eye(3, dtype=np.float32)[list(states)]


@pytest.fixture
def model():
    """From state 0 action 0 leads to 1, 1, 2 and pays 3, 3, 9; from state 1 action 1 ends in 0."""
    data = Trajectories.from_arrays(
        rows([0, 1, 0, 0, 1, 0, 2]),
        [0, 1, 0, 1, 0],
        [3.0, 7.0, 3.0, 7.0, 9.0],
        [0, 1, 0, 0, 0],
        lengths=[2, 3],
    )
    model = TabularModel(gym.spaces.Discrete(3), gym.spaces.Discrete(2))
    model.fit(data)
    return model


def test_the_most_frequent_successor_and_mean_outcomes(model):
    assert isinstance(model, WorldModel)
    prediction = model.predict(torch.as_tensor(rows([0, 1])), torch.tensor([0, 1]))
    assert prediction.observations.argmax(1).tolist() == [1, 0]
    assert prediction.rewards.tolist() == [5.0, 7.0]  # (3 + 3 + 9) / 3 and 7
    assert prediction.terminations.tolist() == [0.0, 0.5]


def test_what_was_never_seen_stays(model):
    prediction = model.predict(torch.as_tensor(rows([2, 0])), torch.tensor([0, 1]))
    assert prediction.observations.argmax(1).tolist() == [2, 0]
    assert prediction.rewards.tolist() == [0, 0]


def test_draws_follow_the_counts(model):
    start = torch.as_tensor(rows([0] * 3000))
    generator = torch.Generator().manual_seed(0)
    drawn = model.predict(
        start, torch.zeros(3000, dtype=torch.long), generator
    ).observations.argmax(1)
    assert drawn.bincount(minlength=3)[0] == 0
    assert abs(float((drawn == 1).float().mean()) - 2 / 3) < 0.04  # 4.6 standard errors


def test_continuous_actions_are_refused():
    with pytest.raises(SpaceError, match="Discrete actions"):
        TabularModel(gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (1,)))


def test_the_inverse_of_numpy_2_0_0_may_have_a_second_axis(model, monkeypatch):
    unique = np.unique

    def unique_of_2_0_0(values, *, axis=None, return_inverse=False, **options):
        found = unique(values, axis=axis, return_inverse=return_inverse, **options)
        if axis is None or not return_inverse:
            return found
        return found[0], found[1].reshape(-1, 1)

    monkeypatch.setattr(np, "unique", unique_of_2_0_0)
    again = TabularModel(gym.spaces.Discrete(3), gym.spaces.Discrete(2))
    again.fit(Trajectories.from_arrays(rows([0, 1, 2]), [0, 1], [3.0, 7.0], [0, 1], lengths=[2]))
    assert again.predict(torch.as_tensor(rows([0])), torch.tensor([0])).observations.argmax(
        1
    ).tolist() == [1]
