"""Warm starts.

What was measured on the first data is no truth about later data, and no weights are lost.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch

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
    TokenConfig,
    TokenModel,
)
from wm_agents.world_models.adapters import FeatureLayout
from wm_envs.data.trajectories import Trajectories

SPACE = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
PUSH = gym.spaces.Box(-1, 1, (1,), np.float32)
SMALL = DeterministicConfig(dynamics_widths=(32,), reward_widths=(16,), termination_widths=(16,))


def gliding(reach, num_episodes, seed, offset=0.0):
    """x moves by 0.1 a within the reach.

    Beyond 0.5 a switch turns 1 and is rewarded, beyond 0.9 the episode ends.
    """
    rng = np.random.default_rng(seed)
    observations, actions, ends, lengths = [], [], [], []
    for _ in range(num_episodes):
        x, length, pull = 0.0, 0, rng.choice([-0.5, 0.5])
        observations.append([x + offset, 0.0, 7.0])
        while length < 40 and abs(x) <= 0.9:
            action = np.clip(rng.uniform(-1, 1) + pull, -1, 1)
            x = float(np.clip(x + 0.1 * action, -reach, reach))
            observations.append([x + offset, float(abs(x) > 0.5), 7.0])
            actions.append([action])
            ends.append(abs(x) > 0.9)
            length += 1
        lengths.append(length)
    rows = np.array(observations, np.float32)
    after = np.delete(rows, np.cumsum([0, *np.array(lengths[:-1]) + 1]), 0)
    return Trajectories.from_arrays(
        rows, np.float32(actions), after[:, 1], np.array(ends), lengths=lengths
    )


MODELS = {
    "deterministic": lambda: DeterministicModel(SPACE, PUSH, SMALL),
    "encoded": lambda: DeterministicModel(
        SPACE, PUSH, DeterministicConfig((16,), 8, (32,), (16,), (16,))
    ),
    "ensemble": lambda: EnsembleModel(
        SPACE, PUSH, EnsembleConfig(2, (32,), (16,), (16,), (16,), calibration_horizon=4)
    ),
    "recurrent": lambda: RecurrentModel(SPACE, PUSH, RecurrentConfig(16, 2, widths=(16,))),
    "latent": lambda: LatentModel(SPACE, PUSH, LatentConfig(8, (16,), (16,), (16,), (16,), (16,))),
    "history": lambda: HistoryModel(DeterministicModel, SPACE, PUSH, 1, SMALL),
}


@pytest.mark.parametrize("name", MODELS)
def test_new_units_leave_predictions_as_they_are_and_nothing_stays_frozen(name):
    early, late = gliding(0.4, 4, 0), gliding(2.0, 12, 1)
    both = Trajectories.concatenate([early, late])
    model = MODELS[name]()
    model.fit(early, FitConfig(num_updates=40, holdout=0, horizon=2), progress=False)
    rows, actions = torch.tensor(early.observations[:30]), torch.tensor(early.actions[:30])
    before = model.predict(rows, actions)
    config = FitConfig(
        num_updates=1, learning_rate=1e-12, holdout=0, is_warm_start=True, weight_decay=0.0
    )
    model.fit(both, config, progress=False)
    after = model.predict(rows, actions)
    torch.testing.assert_close(after.observations, before.observations, atol=2e-3, rtol=0)
    inner = getattr(model, "model", model)
    assert inner.reward_scale.span > 0
    assert inner.has_terminations
    assert (inner.target_scale.span[:2] > 0).all()
    assert (0, 0) not in inner.layout.copies
    assert (1, 1) not in inner.layout.copies
    assert (2, 2) in inner.layout.copies
    assert after.rewards.abs().max() < 1.0
    assert (after.terminations > 0).all()


def test_a_warm_start_learns_what_was_constant():
    early, late = gliding(0.4, 4, 0), gliding(2.0, 20, 1)
    model = MODELS["deterministic"]()
    model.fit(early, FitConfig(num_updates=100, holdout=0), progress=False)
    both = Trajectories.concatenate([early, late])
    model.fit(
        both, FitConfig(num_updates=500, holdout=0, is_warm_start=True, horizon=2), progress=False
    )
    low, high = model.predict(
        torch.tensor([[0.0, 0, 7], [0.7, 1, 7]]), torch.tensor([[0.0], [0.0]])
    ).rewards
    assert low < 0.3
    assert high > 0.7


def test_a_warm_start_of_nothing_is_a_first_fit():
    models = [MODELS["deterministic"]() for _ in range(2)]
    for model, is_warm_start in zip(models, (False, True), strict=True):
        config = FitConfig(num_updates=20, holdout=0, is_warm_start=is_warm_start)
        model.fit(gliding(0.4, 4, 0), config, progress=False)
    assert torch.equal(models[0].dynamics.layers[0].weight, models[1].dynamics.layers[0].weight)


def test_rows_that_vary_less_forget_no_unit():
    model = MODELS["deterministic"]()
    model.fit(gliding(2.0, 12, 1), FitConfig(num_updates=20, holdout=0), progress=False)
    std, span = model.input_scale.std.clone(), model.reward_scale.span.clone()
    config = FitConfig(num_updates=1, holdout=0, is_warm_start=True)
    model.fit(gliding(0.001, 4, 0), config, progress=False)
    assert model.has_terminations
    assert torch.equal(model.reward_scale.span, span)
    assert model.input_scale.std[0] >= std[0] / 20
    assert model.high[0] > 2


def stairs(num_floors, num_steps, seed):
    """A lift that a hidden coin moves up or down: floors have no rule."""
    rng = np.random.default_rng(seed)
    floors = [0]
    for _ in range(num_steps):
        floors.append(
            int(np.clip(floors[-1] + rng.choice([-1, 1], p=[0.2, 0.8]), 0, num_floors - 1))
        )
    rows = np.array(floors, np.float32)[:, None]
    rewards = (rows[1:, 0] == num_floors - 1) * rng.choice([0.0, 1.0], num_steps)
    return Trajectories.from_arrays(
        rows, np.zeros(num_steps, np.int64), rewards, np.zeros(num_steps, bool)
    )


def test_a_token_model_keeps_its_network_and_learns_new_tokens():
    config = TokenConfig(widths=(32,), reward_widths=(16,))
    space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    model = TokenModel(space, gym.spaces.Discrete(1), config)
    early = stairs(4, 300, 0)
    model.fit(early, FitConfig(num_updates=150), progress=False)
    rows, actions = torch.arange(3.0)[:, None], torch.zeros(3, dtype=torch.int64)
    assert model.predict(rows, actions).observations.flatten().tolist() == [1, 2, 3]
    both = Trajectories.concatenate([early, stairs(6, 300, 1)])
    config = FitConfig(num_updates=1, learning_rate=1e-12, is_warm_start=True)
    model.fit(both, config, progress=False)
    assert model.predict(rows, actions).observations.flatten().tolist() == [1, 2, 3]
    model.fit(
        both, FitConfig(num_updates=200, learning_rate=1e-2, is_warm_start=True), progress=False
    )
    assert model.predict(torch.tensor([[4.0]]), actions[:1]).observations.item() == 5


def test_a_history_model_goes_on_where_a_copy_turns_out_to_be_none():
    model = MODELS["history"]()
    model.fit(gliding(0.4, 4, 0), FitConfig(num_updates=20, holdout=0), progress=False)
    both = Trajectories.concatenate([gliding(0.4, 4, 0), gliding(2.0, 8, 1)])
    model.fit(both, FitConfig(num_updates=20, holdout=0, is_warm_start=True), progress=False)
    assert model.model.dynamics.layers[-1].out_features == model.model.layout.num_targets == 2


def test_a_given_layout_is_kept():
    model = DeterministicModel(SPACE, PUSH, SMALL, layout=FeatureLayout(3, copies=((2, 2),)))
    for is_warm_start in (False, True):
        config = FitConfig(num_updates=2, holdout=0, is_warm_start=is_warm_start)
        model.fit(gliding(2.0, 4, 1), config, progress=False)
    assert model.layout == FeatureLayout(3, copies=((2, 2),))
