"""A model is as good as its worst part: features, groups, reward and termination."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.analytic import WalkModel, walk
from wm_agents.evaluation.open_loop import open_loop_error
from wm_agents.evaluation.open_loop_report import reason, verdict
from wm_agents.evaluation.scorecard import scorecard
from wm_agents.protocols import ModelState, Prediction

TRAIN, TEST = walk([40] * 6, seed=1), walk([40] * 8, seed=2)


class WideModel(WalkModel):
    """The walker beside further columns.

    Of which `easy` are copied and the others predicted as zero.
    """

    def __init__(self, num_easy, reward_offset=0.0, end_probability=0.0, **options):
        super().__init__(**options)
        self.num_easy, self.reward_offset, self.end_probability = (
            num_easy,
            reward_offset,
            end_probability,
        )

    def step(self, state, actions, generator=None):
        after, prediction = super().step(state, actions, generator)
        more = state.observations[:, 2:].clone()
        more[:, self.num_easy :] = 0
        observations = torch.cat([after.observations, more], 1)
        ends = torch.full_like(prediction.rewards, self.end_probability) + prediction.terminations
        rewards = prediction.rewards + self.reward_offset
        return ModelState(observations), Prediction(observations, rewards, ends.clamp(0, 1))


def widened(data, *columns, seed=0):
    generator = np.random.default_rng(seed)
    parts = [data.observations]
    for kind in columns:
        num_rows = len(data.observations)
        if kind == "noise":
            parts.append(generator.normal(size=(num_rows, 1)))
        else:  # an easy one-hot that keeps its value through an episode
            first = np.repeat(generator.integers(kind, size=data.num_episodes), data.lengths + 1)
            parts.append(np.eye(kind)[first])
    return replace(data, observations=np.concatenate(parts, 1).astype(np.float32))


def test_easy_columns_do_not_hide_one_that_nobody_can_predict():
    data = widened(walk([40] * 40, seed=2), *[4] * 5, "noise")
    train = widened(walk([40] * 40, seed=1), *[4] * 5, "noise", seed=1)
    report = open_loop_error(WideModel(20), data, train=train)
    assert report.error(1) < 0.3
    assert report.trusted_steps == 0
    assert report.worst_part.name == "feature 22"
    assert "“the average” predicts “feature 22” as well or better" in verdict(report)
    parts = {part.name: part for part in report.parts}
    one_hots = [f"feature {first} to feature {first + 3}" for first in range(2, 22, 4)]
    assert set(parts) == {"feature 0", "feature 1", *one_hots, "feature 22", "reward"}
    assert all(parts[name].trusted_steps == 32 for name in one_hots)
    assert report.summary()["trusted_steps_features"] == 0
    assert report.summary()["trusted_steps_reward"] == 32


def test_a_reward_that_is_predicted_badly_ends_the_trust():
    std = float(TEST.rewards.std())
    report = open_loop_error(WideModel(0, reward_offset=2 * std), TEST, (1, 4))
    assert report.trusted_steps == 0
    assert report.worst_part.name == "reward"
    assert "the reward" in verdict(report)
    assert report.summary()["trusted_steps_features"] == 4


def test_a_constant_reward_or_feature_cannot_be_judged():
    still = replace(TEST, rewards=np.full(TEST.num_steps, 3.0))
    report = open_loop_error(WideModel(0, reward_offset=9.0), still, (1, 4))
    assert report.trusted_steps == 4
    assert "reward" not in {part.name for part in report.parts}
    sevens = np.full(len(TEST.observations), 7.0)
    wider = np.column_stack([TEST.observations, sevens]).astype(np.float32)
    constant = replace(TEST, observations=wider)
    wide = open_loop_error(WideModel(0), constant, (1, 4))  # always off by 7 in the constant
    assert wide.trusted_steps == 4


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_ends_that_are_never_or_always_expected_end_the_trust(probability):
    data = walk([5, 6, 7, 8] * 10, seed=3, has_ends=True)
    report = open_loop_error(WideModel(0, end_probability=probability), data, (1, 4))
    assert report.trusted_steps == 0
    assert report.worst_part.name == "termination"
    assert "probability that the episode ends is worse than a constant guess" in verdict(report)
    assert "worse than a constant guess" in reason(report)


def test_ends_that_come_by_chance_are_judged_by_their_rate():
    generator = np.random.default_rng(0)
    lengths = np.minimum(generator.geometric(0.1, 300), 60)
    data = walk(lengths.tolist(), seed=4, has_ends=True)
    report = open_loop_error(WideModel(0, end_probability=0.1), data, (1, 4, 8))
    assert {part.name: part.trusted_steps for part in report.parts}["termination"] == 8


def test_without_ends_there_is_nothing_to_judge():
    report = open_loop_error(WideModel(0, end_probability=0.5), TEST, (1, 4))
    assert report.trusted_steps == 4


def test_a_simple_rule_that_does_as_well_is_named(tmp_path):
    card = scorecard(WalkModel(), TEST, tmp_path, train=TRAIN, horizons=(1, 2, 4))
    assert card.verdict == (
        "This model can be trusted for at least 4 steps, as far as was examined. Ridge regression "
        "does as well."
    )
    assert card.summary["ridge_does_as_well"] == 1
    assert card.summary["persistence_does_as_well"] == 0
    assert card.verdict in card.page_path.read_text(encoding="utf-8")
    without = scorecard(WalkModel(), TEST, tmp_path, horizons=(1, 2, 4))
    assert "as well" not in without.verdict


def test_given_groups_are_judged_and_named():
    std = float(TEST.observations.std(axis=0)[0])
    report = open_loop_error(WalkModel(drift=std), TEST, (1,), groups={"walker": (0, 1)})
    assert report.worst_part.name in ("walker", "reward")
    (walker,) = (part for part in report.parts if part.name == "walker")
    np.testing.assert_allclose(walker.curves["model"].rmse, [np.sqrt(0.5)], rtol=1e-3)


def test_the_judgement_does_not_depend_on_units():
    def scaled(data):
        factors = np.array([1e-7, 1e5], np.float32)
        return replace(data, observations=data.observations * factors, rewards=data.rewards * 1e-7)

    class Scaled(WalkModel):
        def step(self, state, actions, generator=None):
            inner, prediction = super().step(
                ModelState(state.observations / torch.tensor([1e-7, 1e5])), actions
            )
            seen = inner.observations * torch.tensor([1e-7, 1e5])
            return ModelState(seen), Prediction(
                seen, prediction.rewards * 1e-7, prediction.terminations
            )

    std = float(TEST.observations.std(axis=0)[0])
    for drift in (0.0, 0.06 * std, std):
        plain = open_loop_error(WalkModel(drift=drift), TEST, (1, 8), train=TRAIN)
        tiny = open_loop_error(Scaled(drift=drift), scaled(TEST), (1, 8), train=scaled(TRAIN))
        assert tiny.trusted_steps == plain.trusted_steps
        assert tiny.error(8) == pytest.approx(plain.error(8), rel=1e-3, abs=1e-4)
