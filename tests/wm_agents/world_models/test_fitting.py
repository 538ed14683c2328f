from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError
from wm_agents.world_models import DeterministicConfig, DeterministicModel, FitConfig
from wm_agents.world_models.losses import (
    PredictionWeights,
    masked_mean,
    weighted_cross_entropy,
    weighted_sum,
)
from wm_agents.world_models.normalization import Standardizer
from wm_agents.world_models.sampling import BatchSampler
from wm_envs.data.trajectories import Trajectories

SPACES = gym.spaces.Box(-np.inf, np.inf, (1,)), gym.spaces.Box(-1, 1, (1,))
SMALL = DeterministicConfig(dynamics_widths=(16,), reward_widths=(16,), termination_widths=(8,))


def drifting(num_episodes=8, length=20, seed=0):
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(num_episodes):
        actions = random.uniform(-1, 1, (length, 1))
        seen = np.append(0, np.cumsum(actions))[:, None]
        parts.append(Trajectories.from_arrays(seen, actions, seen[1:, 0], np.zeros(length)))
    return Trajectories.concatenate(parts)


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


class InterruptedFitError(Exception):
    pass


def interrupt_at(update):
    def stop(done, figures):
        if done == update:
            raise InterruptedFitError

    return stop


def test_an_interrupted_fit_goes_on_exactly(tmp_path):
    config = FitConfig(num_updates=120, evaluate_every=20, horizon=4, input_noise=0.01)
    whole = DeterministicModel(*SPACES, SMALL)
    expected = whole.fit(drifting(), config)
    for update in (20, 80):
        path = tmp_path / f"fit-{update}"
        with pytest.raises(InterruptedFitError):
            DeterministicModel(*SPACES, SMALL).fit(
                drifting(), config, checkpoints=path, on_evaluation=interrupt_at(update)
            )
        resumed = DeterministicModel(*SPACES, SMALL)
        report = resumed.fit(drifting(), config, checkpoints=path)
        for name, tensor in weights_of(whole).items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name
        assert report.history == expected.history
        assert report.best_update == expected.best_update


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "fit"
    config = FitConfig(num_updates=20, evaluate_every=10)
    DeterministicModel(*SPACES, SMALL).fit(drifting(), config, checkpoints=path)
    with pytest.raises(CheckpointError, match="run with data="):
        DeterministicModel(*SPACES, SMALL).fit(drifting(seed=1), config, checkpoints=path)
    for file in path.iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CheckpointError):
        DeterministicModel(*SPACES, SMALL).fit(drifting(), config, checkpoints=path)


def test_equal_seeds_give_equal_models():
    models = [DeterministicModel(*SPACES, SMALL, seed=3) for _ in range(2)]
    for model in models:
        torch.rand(7)  # the global generator is of no consequence
        model.fit(drifting(), FitConfig(num_updates=30, seed=1))
    assert all(
        torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in models), strict=True)
    )
    before = weights_of(models[0])
    models[0].fit(drifting(), FitConfig(num_updates=30, seed=1))  # a second fit starts afresh
    assert all(torch.equal(before[name], tensor) for name, tensor in models[0].state_dict().items())


def test_a_warm_start_goes_on():
    model = DeterministicModel(*SPACES, SMALL)
    first = model.fit(drifting(), FitConfig(num_updates=200, evaluate_every=50))
    second = model.fit(
        drifting(),
        FitConfig(num_updates=50, evaluate_every=50, is_warm_start=True, learning_rate=1e-4),
    )
    assert second.history[0]["train_loss"] < first.history[0]["train_loss"]


def test_non_finite_losses_stop_with_their_name_and_keep_good_weights():
    model = DeterministicModel(*SPACES, SMALL)
    good = []

    def poison(update, figures):
        if update == 20:
            good.append(weights_of(model))
            with torch.no_grad():
                model.reward_head.layers[0].weight[0, 0] = torch.nan

    with pytest.raises(
        NonFiniteError, match=r"loss term reward is not finite at update 20.*update 20"
    ):
        model.fit(drifting(), FitConfig(num_updates=60, evaluate_every=20), on_evaluation=poison)
    assert all(torch.equal(good[0][name], tensor) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_non_finite_gradients_are_named():
    model = DeterministicModel(*SPACES, SMALL)
    original = model.loss

    def loss(segment, generator):
        terms = original(segment, generator)
        if torch.is_grad_enabled():  # the square root of 0 is 0, its slope is infinite
            terms["state"] = (
                terms["state"] + 0 * torch.sqrt(model.dynamics.layers[0].bias * 0).sum()
            )
        return terms

    model.loss = loss
    with pytest.raises(
        NonFiniteError, match=r"gradient of dynamics\.layers\.0\.\w+ is not finite at update 0"
    ):
        model.fit(drifting(), FitConfig(num_updates=5))


def test_early_stopping_keeps_the_best_weights():
    """Pure noise in the differences cannot be predicted: the held-out loss soon rises."""
    random = np.random.default_rng(0)
    parts = [
        Trajectories.from_arrays(
            random.normal(size=(11, 1)), random.uniform(-1, 1, (10, 1)), np.zeros(10), np.zeros(10)
        )
        for _ in range(6)
    ]
    config = FitConfig(
        num_updates=5000, evaluate_every=20, patience=4, horizon=1, holdout=0.3, learning_rate=3e-3
    )
    report = DeterministicModel(*SPACES).fit(Trajectories.concatenate(parts), config)
    assert report.num_updates < 5000
    assert report.best_update == report.num_updates - 4 * 20
    assert report.best_loss == min(row["loss"] for row in report.history)


def test_the_curriculum_lengthens_the_horizon():
    config = FitConfig(num_updates=100, horizon=8, curriculum_start=0.4)
    horizons = [config.horizon_at(update) for update in range(100)]
    assert [horizons.index(h) for h in (1, 2, 4, 8)] == [0, 40, 61, 80]
    assert {FitConfig(num_updates=10, horizon=1).horizon_at(update) for update in range(10)} == {1}
    assert max(FitConfig(num_updates=100, horizon=6).horizon_at(u) for u in range(100)) == 6


def test_the_learning_rate_warms_up_and_falls():
    config = FitConfig(num_updates=1000, learning_rate=1.0, num_warmup=100, final_learning_rate=0.1)
    assert config.learning_rate_at(49) == pytest.approx(0.5, abs=0.01)
    assert config.learning_rate_at(500) == pytest.approx(0.55, abs=0.001)
    assert config.learning_rate_at(999) == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize(
    "bad",
    [
        {"num_updates": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"holdout": 1.0},
        {"horizon": 0},
    ],
)
def test_configurations_that_cannot_work_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        FitConfig(**bad)


def test_segments_are_masked_beyond_the_end():
    data = Trajectories.from_arrays(
        np.arange(7.0), np.arange(5), np.arange(5.0), [0, 1, 0, 0, 0], lengths=[2, 3]
    )
    segment = BatchSampler(data, torch.device("cpu")).gather(torch.tensor([1, 2]), 3)
    assert segment.mask.tolist() == [[1, 0, 0], [1, 1, 1]]
    assert segment.observations[..., 0].tolist() == [[1, 2, 2, 2], [3, 4, 5, 6]]
    assert segment.rewards[1].tolist() == [2, 3, 4]
    assert segment.terminations.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_a_single_episode_is_not_held_out_and_says_so():
    report = DeterministicModel(*SPACES, SMALL).fit(drifting(1), FitConfig(num_updates=5))
    assert not report.is_held_out


def test_loss_terms_and_weights_have_the_same_names():
    terms = {
        name: torch.tensor(value)
        for name, value in (("state", 2.0), ("reward", 4.0), ("termination", 10.0))
    }
    assert float(weighted_sum(terms, PredictionWeights(1.0, 0.5, 0.1))) == pytest.approx(5.0)
    with pytest.raises(AssertionError, match="differ"):
        weighted_sum({**terms, "extra": torch.tensor(0.0)}, PredictionWeights())


def test_losses_by_hand():
    assert float(masked_mean(torch.tensor([[1.0, 9.0]]), torch.tensor([[1.0, 0.0]]))) == 1
    # a positive target at probability one half costs pos_weight * ln 2
    logits = weighted_cross_entropy(torch.zeros(2), torch.tensor([1.0, 0.0]), torch.tensor(10.0))
    assert logits.tolist() == pytest.approx([10 * np.log(2), np.log(2)], rel=1e-5)


def test_constant_features_stay_constant_and_cannot_blow_up():
    scale = Standardizer(2)
    scale.fit(torch.tensor([[1e4, 1.0], [1e4, 3.0]]))
    assert scale.normalize(torch.tensor([1e4 + 1, 4.0])).tolist() == [1, 2]
    assert scale.restore(torch.tensor([5.0, 2.0])).tolist() == [1e4, 4]


def test_the_losses_of_a_report_are_of_the_same_horizon():
    seen = drifting()
    config = FitConfig(num_updates=60, evaluate_every=20, horizon=8)
    report = DeterministicModel(*SPACES, SMALL).fit(seen, config, validation=drifting())
    assert report.history[0]["horizon"] == 1
    for row in report.history:
        assert row["train_loss"] == pytest.approx(row["loss"])  # the same windows, the same horizon
        assert row["batch_loss"] > 0
    assert (
        report.history[0]["batch_loss"] < 0.5 * report.history[0]["loss"]
    )  # one step against eight
    assert report.is_calibrated is None
    alone = DeterministicModel(*SPACES, SMALL).fit(seen, replace(config, holdout=0.0))
    assert all(row["train_loss"] == row["loss"] for row in alone.history)
