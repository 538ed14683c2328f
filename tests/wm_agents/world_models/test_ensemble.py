import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError
from wm_agents.evaluation.open_loop import open_loop_error
from wm_agents.evaluation.scorecard import scorecard
from wm_agents.evaluation.verdict import calibration_sentence
from wm_agents.networks import EnsemblePerceptron
from wm_agents.protocols import ModelState, WorldModel
from wm_agents.world_models import EnsembleConfig, EnsembleModel, FitConfig
from wm_envs.data.trajectories import Trajectories

SPACES = gym.spaces.Box(-10, 10, (2,)), gym.spaces.Box(-1, 1, (1,))
SMALL = EnsembleConfig(
    num_members=4,
    dynamics_widths=(64, 64),
    reward_widths=(32,),
    termination_widths=(32,),
    spread_widths=(32,),
)


def noisy(num_episodes, seed, noise=0.05):
    """x moves by a tenth of the action with noise of known size, y turns x into a sine.

    It ends beyond 1.
    """
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(num_episodes):
        x, rows, actions = random.uniform(-0.9, 0.9), [], random.uniform(-1, 1, (40, 1))
        rows.append((x, np.sin(3 * x)))
        for action in actions[:, 0]:
            x = x + 0.1 * action + noise * random.normal()
            rows.append((x, np.sin(3 * x)))
            if abs(x) > 1:
                break
        seen = np.array(rows)
        ends = np.abs(seen[1:, 0]) > 1
        parts.append(Trajectories.from_arrays(seen, actions[: len(ends)], 2 * seen[1:, 0], ends))
    return Trajectories.concatenate(parts)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    model = EnsembleModel(*SPACES, SMALL)
    model.fit(noisy(120, 0), FitConfig(num_updates=500, horizon=2, learning_rate=3e-3, holdout=0.3))
    return model


def open_loop(model, horizon, generator=None):
    batch = noisy(60, 1).windows(horizon)
    start, actions = torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions)
    return batch, start, actions, model.rollout(start, actions, generator)


def test_the_mean_is_right_and_the_noise_is_known(model):
    assert isinstance(model, WorldModel)
    batch, start, actions, rollout = open_loop(model, 1)
    errors = rollout.observations[:, 1] - torch.as_tensor(batch.observations[:, 1])
    assert float(errors[:, 0].std()) == pytest.approx(
        0.05, rel=0.1
    )  # nothing but the noise is left
    drawn = model.predict(
        start.repeat(20, 1), actions[:, 0].repeat(20, 1), torch.Generator().manual_seed(0)
    )
    spread = drawn.observations[:, 0] - rollout.observations[:, 1, 0].repeat(20)
    assert float(spread.std()) == pytest.approx(0.05, rel=0.25)
    assert float((rollout.rewards[:, 0] - 2 * rollout.observations[:, 1, 0]).abs().mean()) < 0.05


def test_terminations_are_probabilities(model):
    batch, _, _, rollout = open_loop(model, 1)
    ended = torch.as_tensor(batch.terminations[:, 0])
    probability = rollout.terminations[:, 0]
    assert float(probability[ended].mean()) > 5 * float(probability[~ended].mean())
    assert float(probability.mean()) == pytest.approx(float(ended.float().mean()), rel=0.5)


def test_members_disagree_more_where_they_never_were(model):
    near = model.predict(torch.zeros(1, 2), torch.zeros(1, 1)).disagreement
    far = model.predict(torch.tensor([[6.0, -6.0]]), torch.zeros(1, 1)).disagreement
    assert float(far) > 5 * float(near) > 0


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("horizon", [1, 8])
def test_intervals_hold_what_they_promise(model, coverage, horizon):
    batch, start, actions, _ = open_loop(model, horizon)
    found = model.intervals(start, actions, coverage)
    truth = torch.as_tensor(batch.observations[:, 1:])
    inside = ((truth >= found.low) & (truth <= found.high))[:, -1].float().mean(0)
    assert (inside - coverage).abs().max() < 0.12


def test_tsinf_keeps_its_member_and_ts1_changes_it(model):
    generator = torch.Generator().manual_seed(0)
    state = model.start(torch.zeros(200, 2))
    first, _ = model.step(state, torch.zeros(200, 1), generator)
    second, _ = model.step(first, torch.zeros(200, 1), generator)
    assert torch.equal(first.hidden[0], second.hidden[0])
    assert first.hidden[0].unique().tolist() == [0, 1, 2, 3]
    changing = EnsembleModel(*SPACES, EnsembleConfig(num_members=4, sampling="ts1"))
    changing.is_fitted = True  # random weights will do
    first, _ = changing.step(state, torch.zeros(200, 1), generator)
    second, _ = changing.step(first, torch.zeros(200, 1), generator)
    assert not torch.equal(first.hidden[0], second.hidden[0])


def test_rows_whose_branch_begins_draw_a_member_and_the_others_keep_theirs(model):
    batch = noisy(60, 1).windows(2)
    start = model.start(torch.as_tensor(batch.observations[:, 0]))
    assert (start.hidden[0] == -1).all()
    members = start.hidden[0].clone()
    members[::2] = 3
    state = ModelState(start.observations, (members,))
    actions = torch.as_tensor(batch.actions[:, 0])
    after, _ = model.step(state, actions, torch.Generator().manual_seed(0))
    assert (after.hidden[0][::2] == 3).all()
    assert after.hidden[0][1::2].unique().tolist() == [0, 1, 2, 3]


def test_a_drawn_rollout_repeats_with_its_seed(model):
    _, _, _, one = open_loop(model, 4, torch.Generator().manual_seed(5))
    _, _, _, same = open_loop(model, 4, torch.Generator().manual_seed(5))
    _, _, _, other = open_loop(model, 4, torch.Generator().manual_seed(6))
    assert torch.equal(one.observations, same.observations)
    assert not torch.equal(one.observations, other.observations)
    assert one.disagreement.shape == (len(one.rewards), 4)


def test_files_keep_the_ensemble_and_its_calibration(model, tmp_path):
    loaded = EnsembleModel.load(model.save(tmp_path / "model.safetensors"))
    start, actions = torch.zeros(2, 2), torch.ones(2, 3, 1)
    assert torch.equal(
        loaded.rollout(start, actions).observations, model.rollout(start, actions).observations
    )
    assert torch.equal(
        loaded.intervals(start, actions, 0.9).low, model.intervals(start, actions, 0.9).low
    )
    assert loaded.config == SMALL


def test_members_are_what_single_perceptrons_would_be():
    network = EnsemblePerceptron(3, (4, 8, 2), "silu", torch.Generator().manual_seed(0))
    inputs = torch.randn(3, 5, 4)
    outputs = network(inputs)
    for member in range(3):
        hidden = torch.nn.functional.silu(
            inputs[member] @ network.weights[0][member] + network.biases[0][member]
        )
        expected = hidden @ network.weights[1][member] + network.biases[1][member]
        assert torch.allclose(outputs[member], expected, atol=1e-5)
    assert not torch.equal(network.weights[0][0], network.weights[0][1])


def test_each_row_may_take_one_member():
    network = EnsemblePerceptron(3, (4, 8, 2), "silu", torch.Generator().manual_seed(0))
    rows, members = torch.randn(11, 4), torch.tensor([2, 0, 0, 1, 2, 2, 2, 0, 2, 2, 2])
    expected = network(rows.expand(3, 11, 4))[members, torch.arange(11)]
    assert torch.allclose(network.forward_members(rows, members), expected, atol=1e-6)


def test_dropout_acts_only_with_a_generator():
    network = EnsemblePerceptron(
        2, (4, 64, 1), "relu", torch.Generator().manual_seed(0), dropout=0.5
    )
    inputs = torch.randn(2, 500, 4)
    assert torch.equal(network(inputs), network(inputs))
    draws = torch.stack(
        [network(inputs, torch.Generator().manual_seed(seed)) for seed in range(200)]
    )
    assert (draws.std(0) > 0).all()
    assert torch.allclose(draws.mean(0), network(inputs), atol=0.35)  # the scale is kept on average


@pytest.mark.parametrize(
    "changes", [{"num_members": 0}, {"calibration_horizon": 0}, {"sampling": "ts2"}]
)
def test_settings_that_cannot_work_are_refused_before_the_fit(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        EnsembleConfig(**changes)


def test_one_particle_has_no_spread_to_scale():
    model = EnsembleModel(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))
    with pytest.raises(ConfigError, match="num_particles is at least 2"):
        model.intervals(
            torch.zeros(1, 2), torch.zeros(1, 3, dtype=torch.long), 0.9, num_particles=1
        )


def test_without_held_out_episodes_intervals_say_that_they_are_not_calibrated(tmp_path):
    config = EnsembleConfig(
        num_members=3, dynamics_widths=(32,), reward_widths=(8,), termination_widths=(8,)
    )
    start, actions = torch.zeros(3, 2), torch.zeros(3, 2, 1)
    model = EnsembleModel(*SPACES, config)
    before = model.error_quantiles.clone()
    assert model.fit(noisy(20, 0), FitConfig(num_updates=20, holdout=0.0)).is_calibrated is False
    assert torch.equal(model.error_quantiles, before)  # not measured on what was learned by heart
    with pytest.warns(UserWarning, match="90% is a guess"):
        assert not model.intervals(start, actions, 0.9).is_calibrated
    assert not EnsembleModel.load(model.save(tmp_path / "model")).is_calibrated
    report = open_loop_error(model, noisy(10, 5), (1, 2))
    assert not report.calibration.is_calibrated
    assert "not calibrated" in calibration_sentence(report.calibration, report.horizons)
    card = scorecard(model, noisy(10, 5), tmp_path, horizons=(1, 2))
    assert "its intervals are not calibrated" in card.page_path.read_text(encoding="utf-8")
    model.calibrate(noisy(10, 9))
    assert model.intervals(start, actions, 0.9).is_calibrated
    assert EnsembleModel.load(model.save(tmp_path / "model")).is_calibrated
    assert model.fit(noisy(20, 0), FitConfig(num_updates=2, holdout=0.2)).is_calibrated
    # Going on without held-out episodes makes the earlier calibration void.
    warm = FitConfig(num_updates=2, holdout=0.0, is_warm_start=True)
    assert not model.fit(noisy(20, 0), warm).is_calibrated
    assert torch.equal(model.error_quantiles, before)
