import numpy as np
import pytest
import torch

from wm_agents.domains.resolutions.evaluation import mean_tally_errors, step_errors
from wm_agents.domains.resolutions.world_model import (
    ResolutionModel,
    ResolutionModelConfig,
    assemble,
    decided,
    expected_tally,
    steps_of,
    with_absent,
)
from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError, TrajectoryError
from wm_agents.training.saving import load
from wm_envs.data.trajectories import Trajectories


def episodes(count, seed=0):
    """DRAFT, PLENARY_VOTE, TERMINAL, end: topic 1 gets about 160 yes, topic 2 about 60."""
    generator = np.random.default_rng(seed)
    observations, actions = [], []
    for _ in range(count):
        topic = generator.integers(1, 3)
        yes = int(np.clip(generator.normal((160, 60)[topic - 1], 4), 0, 193))
        tally = [yes, 180 - yes if yes < 180 else 0, 5]
        first = [1, 0, 0, 0, topic, 2, 0, 0, 0, 0, 0, 0, 0, 0]
        second = [0, 0, 1, 0, topic, 12, 0, 0, 0, 0, 0, 0, 0, 1]
        third = [0, 0, 0, 1, topic, 12, 0, 0, 0, 0, *tally, 2]
        observations += [first, second, third, [*third[:13], 3]]
        actions += [4, 1, 4]
    ends = np.tile([False, False, True], count)
    return Trajectories.from_arrays(
        observations=np.array(observations, np.float32),
        actions=np.array(actions),
        rewards=np.zeros(3 * count),
        terminations=ends,
        truncations=np.zeros_like(ends),
        lengths=np.full(count, 3),
    )


def test_the_heads_learn_stages_and_tallies_and_rules_are_copied():
    torch.set_num_threads(1)
    model = ResolutionModel(ResolutionModelConfig(num_epochs=40, dropout=0.0, batch_size=64))
    report = model.fit(episodes(300), validation=episodes(60, seed=1))
    losses = [row["loss"] for row in report.history]
    assert losses[-1] < losses[0]
    assert report.best_loss == min(losses)
    assert report.metrics["best_epoch"] == 1 + int(np.argmin(losses))
    assert report.is_held_out
    test = episodes(60, seed=2)
    errors = step_errors(model, test)
    assert np.nanmean(errors["stage_wrong"]) == 0
    assert np.nanmean(errors["plenary_yes"]) < 8
    assert np.nanmean(errors["sponsors"]) < 3
    # One step in three decides a tally, none a committee's.
    assert np.isfinite(errors["plenary_yes"]).sum() == 60
    assert not np.isfinite(errors["committee_yes"]).any()
    observations, actions, following, _, _ = steps_of(test)
    rollout = model.rollout(observations[:1], actions[None, :3])
    torch.testing.assert_close(
        rollout.observations[0, :, 4], torch.full((4,), float(observations[0, 4]))
    )
    assert rollout.observations[0, :, 13].tolist() == [0, 1, 2, 3]
    assert following.shape[1] == 14
    assert rollout.terminations[0, -1] > 0.5 > rollout.terminations[0, 0]


def test_what_is_decided_by_hand():
    _, _, following, _, _ = steps_of(episodes(1))
    observations = steps_of(episodes(1))[0]
    happens = decided(observations, following)
    assert happens["plenary"].tolist() == [False, True, False]
    assert happens["sponsors"].tolist() == [True, False, False]
    assert happens["stage"].tolist() == [True, True, False]
    assert with_absent(torch.tensor([[100.0, 40.0, 3.0]])).tolist() == [[100, 40, 3, 50]]
    np.testing.assert_allclose(
        expected_tally(torch.tensor([[2.0, 1.0, 0.0, 1.0]])), [[96.5, 48.25, 0]]
    )


def test_other_observations_and_weights_are_refused():
    with pytest.raises(TrajectoryError, match="weights"):
        ResolutionModel(ResolutionModelConfig(weights={"stage": 1.0}))
    wrong = Trajectories.from_arrays(
        np.zeros((2, 3)),
        np.zeros(1, int),
        np.zeros(1),
        np.ones(1, bool),
        np.zeros(1, bool),
        np.ones(1, int),
    )
    with pytest.raises(TrajectoryError, match="14"):
        steps_of(wrong)


def test_with_three_transitions_the_tally_comes_with_its_stage():
    """DRAFT leads to PLENARY_VOTE with its tally, which then stands."""
    model = ResolutionModel(ResolutionModelConfig(transitions=3))
    draft = torch.tensor([[1.0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0]])
    voted = torch.tensor([[0.0, 0, 1, 0, 1, 2, 0, 0, 0, 0, 150, 10, 20, 1]])
    heads = model.distributions(torch.cat([draft, voted]), torch.tensor([1, 4]))
    following = assemble(
        torch.cat([draft, voted]), torch.tensor([1, 4]), torch.tensor([2, 3]), heads, transitions=3
    )
    torch.testing.assert_close(following[0, 10:13], expected_tally(heads.plenary)[0])
    assert following[0, 7:10].tolist() == [0, 0, 0]
    assert following[1, 10:13].tolist() == [150, 10, 20]


@pytest.mark.parametrize(
    "wrong", [{"num_epochs": 0}, {"dropout": 1.5}, {"seed": -1}, {"transitions": 5}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong)).removeprefix("num_")):
        ResolutionModelConfig(**wrong)


SMALL = ResolutionModelConfig(num_epochs=3, batch_size=64, patience=2, widths=(8,))


class StoppedError(Exception):
    pass


def fit(folder=None, stop=None):
    model = ResolutionModel(SMALL)
    if stop is not None:
        steps, loss = iter(range(stop)), model.loss

        def stopping(*batch):
            if model.training and next(steps, None) is None:
                raise StoppedError
            return loss(*batch)

        model.loss = stopping
    report = model.fit(episodes(60), validation=episodes(20, seed=1), checkpoints=folder)
    return model, report


@pytest.mark.parametrize("stop", [2, 4, 8])
def test_a_fit_that_was_stopped_resumes_bitwise(stop, tmp_path):
    whole, report = fit()
    with pytest.raises(StoppedError):
        fit(tmp_path, stop)
    model, resumed = fit(tmp_path)
    assert resumed.history == report.history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    with pytest.raises(CheckpointError, match="belongs to a run with"):
        ResolutionModel(SMALL).fit(episodes(50), checkpoints=tmp_path)


def test_the_last_episodes_are_held_out_and_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = ResolutionModel(SMALL).fit(episodes(50))
    assert torch.equal(torch.rand(2), expected)
    data = episodes(50)
    parts = data.select(range(40)), data.select(range(40, 50))
    assert ResolutionModel(SMALL).fit(parts[0], validation=parts[1]).history == first.history
    with pytest.raises(TrajectoryError, match="one episode"):
        ResolutionModel(SMALL).fit(episodes(1))


def test_a_model_comes_back_from_its_file(tmp_path):
    model, _ = fit()
    path = model.save(tmp_path / "model")
    assert path == tmp_path / "model.safetensors"
    observations, actions, *_ = steps_of(episodes(5))
    for loaded in (ResolutionModel.load(path), load(path)):
        assert loaded.config == model.config
        assert torch.equal(
            loaded.predict(observations, actions).observations,
            model.predict(observations, actions).observations,
        )
    assert not ResolutionModel.load(ResolutionModel().save(tmp_path / "new")).is_fitted


def test_a_loss_that_is_not_finite_leaves_no_fitted_model():
    data = episodes(20)
    data.rewards[3] = 1e30  # its square is infinite in float32
    model = ResolutionModel(SMALL)
    before = model.state_dict()["heads.stage.weight"].clone()
    with pytest.raises(NonFiniteError, match="epoch 1"):
        model.fit(data, validation=episodes(5))
    assert not model.is_fitted
    assert torch.equal(model.state_dict()["heads.stage.weight"], before)


def test_another_network_is_not_fitted():
    model = ResolutionModel(SMALL)
    with pytest.raises(ConfigError, match="widths"):
        model.fit(episodes(20), ResolutionModelConfig(widths=(9,)))
    with pytest.raises(ConfigError, match="validation="):
        model.fit(episodes(20), episodes(5))
    report = model.fit(episodes(20), ResolutionModelConfig(num_epochs=1, widths=(8,)))
    assert len(report.history) == 1


def test_the_mean_tally_by_hand():
    errors = mean_tally_errors(episodes(200), episodes(100, seed=1))
    # Half of the texts get 160 and half 60: the mean is off by 50.
    assert errors["plenary_yes"] == pytest.approx(50, abs=4)
    assert errors["plenary_abstain"] == 0
