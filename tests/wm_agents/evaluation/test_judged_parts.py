"""A model is as good as its worst part: features, groups, reward and termination."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.analytic import WalkModel, walk
from wm_agents.errors import TrajectoryError
from wm_agents.evaluation.open_loop import open_loop_error
from wm_agents.evaluation.scorecard import scorecard
from wm_agents.evaluation.verdict import reason, verdict
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
        elif kind == "walk":  # a random walk that begins anew in each episode
            steps = generator.normal(size=(data.num_episodes, int(data.lengths[0]) + 1, 1))
            parts.append(np.cumsum(steps, axis=1).reshape(num_rows, 1))
        else:  # an easy one-hot that keeps its value through an episode
            first = np.repeat(generator.integers(kind, size=data.num_episodes), data.lengths + 1)
            parts.append(np.eye(kind)[first])
    return replace(data, observations=np.concatenate(parts, 1).astype(np.float32))


def test_easy_columns_do_not_hide_one_that_nobody_can_predict():
    # The noise is predicted as zero, its average: a tie that is named and set aside.
    data = widened(walk([40] * 40, seed=2), *[4] * 5, "noise")
    train = widened(walk([40] * 40, seed=1), *[4] * 5, "noise", seed=1)
    report = open_loop_error(WideModel(20), data, train=train)
    assert report.error(1) < 0.3
    assert report.trusted_steps == 32
    assert [part.name for part in report.tied] == ["feature 22"]
    assert verdict(report) == (
        "This model can be trusted for at least 32 steps, as far as was examined, but for "
        "“feature 22”, which it predicts no better than “the average”. Ridge regression does as well."
    )
    assert report.worst_part.name != "feature 22"
    assert "white noise looks like this" in reason(report)
    parts = {part.name: part for part in report.parts}
    one_hots = [f"feature {first} to feature {first + 3}" for first in range(2, 22, 4)]
    assert set(parts) == {"feature 0", "feature 1", *one_hots, "feature 22", "reward"}
    assert all(parts[name].trusted_steps == 32 for name in one_hots)
    assert report.summary()["tied_parts"] == 1
    assert report.summary()["trusted_steps_reward"] == 32
    assert report.to_json()["tied_parts"] == ["feature 22"]


def with_random_walk(num_episodes=20, seed=2):
    """The walker beside a random walk of which nothing but the last value can be known."""
    return widened(walk([40] * num_episodes, seed=seed), "walk", seed=seed)


class ColumnModel(WideModel):
    """The walker, exactly, beside a column that it shrinks and shifts at every step."""

    def __init__(self, factor=1.0, shift=0.0, **options):
        super().__init__(1, **options)
        self.factor, self.shift = factor, shift

    def step(self, state, actions, generator=None):
        after, prediction = super().step(state, actions, generator)
        after.observations[:, 2:] = self.factor * after.observations[:, 2:] + self.shift
        return after, prediction


def test_a_random_walk_is_a_tie_and_not_the_end_of_trust():
    train = with_random_walk(seed=1)
    for factor in (1.0, 0.999):
        report = open_loop_error(ColumnModel(factor), with_random_walk(), train=train)
        assert report.trusted_steps == 32
        (tied,) = report.tied
        # Its error passes the tolerance of 0.3 long before: nobody could stay within.
        assert tied.curves["model"].rmse[-1] > 0.3
        ratio, low, high = tied.ratios["persistence"]
        assert (low <= ratio).all()
        assert (ratio <= high).all()
        assert abs(ratio - 1).max() < 0.05
        assert verdict(report) == (
            "This model can be trusted for at least 32 steps, as far as was examined, but for "
            "“feature 2”, which it predicts no better than “nothing changes”."
        )
        why = reason(report)
        assert "A tie with “nothing changes”: “feature 2” (the error after 16 steps is 1.0" in why
        assert "a random walk looks like this" in why
        assert "ignored=['feature 2']" in why


def test_a_model_that_loses_to_persistence_beyond_chance_fails():
    # Half of the value is forgotten at every step: wrong at once, though the rest is exact.
    report = open_loop_error(ColumnModel(0.5), with_random_walk(), train=with_random_walk(9, 1))
    assert report.trusted_steps == 0
    assert report.worst_part.name == "feature 2"
    assert not report.tied
    assert verdict(report) == (
        "This model cannot be trusted for a single step: “nothing changes” predicts “feature 2” "
        "better. In everything but “feature 2” it can be trusted for at least 32 steps."
    )
    assert report.worst_part.ratios["persistence"][1, 0] > 1  # the lower limit after one step


def test_a_tie_that_turns_into_a_loss_ends_the_trust_there():
    report = open_loop_error(
        ColumnModel(shift=0.12), with_random_walk(), train=with_random_walk(9, 1)
    )
    steps = report.trusted_steps
    assert 0 < steps < 32
    assert report.worst_part.name == "feature 2"
    ratio, low, _ = report.worst_part.ratios["persistence"]
    assert low[steps] > 1
    assert ratio[steps] > 1.05
    assert f"about {steps} steps, of 32 examined: then “nothing changes” predicts" in verdict(
        report
    )
    assert "but for" not in verdict(report)
    assert "more than the differences between episodes explain" in reason(report)


class PersistenceModel(WideModel):
    """Says that nothing changes, and that the reward is its average."""

    def step(self, state, actions, generator=None):
        _, prediction = super().step(state, actions, generator)
        rewards = torch.full_like(prediction.rewards, self.reward_offset)
        return state, Prediction(state.observations, rewards, 0 * prediction.terminations)


def test_a_model_that_predicts_nothing_better_than_persistence_gets_no_step():
    data = walk([40] * 20, seed=2)
    noisy = np.random.default_rng(0).normal(size=data.num_steps)
    model = PersistenceModel(0)
    still = replace(data, observations=data.observations[:, :1].repeat(2, 1), rewards=noisy)
    report = open_loop_error(model, still, (1, 4), tolerance=9.0)
    assert report.trusted_steps == 0
    assert [part.name for part in report.tied] == ["feature 0", "feature 1", "reward"]
    assert verdict(report) == (
        "This model cannot be trusted for a single step: in 20 held-out episodes it predicts "
        "nothing clearly better than “nothing changes” or “the average”."
    )
    assert "After no step is its error clearly below" in reason(report)
    # Where ridge regression knows better it is a failure.
    known = open_loop_error(model, data, (1, 4), train=walk([40] * 9, seed=1))
    assert known.trusted_steps == 0
    assert "“ridge regression” predicts" in verdict(known)


def test_a_tie_beside_a_failure_is_named_with_it():
    data, train = with_random_walk(), with_random_walk(seed=1)
    std = float(train.observations.std(axis=0)[0])
    late = open_loop_error(ColumnModel(drift=0.05 * std), data)
    steps = late.trusted_steps
    assert 0 < steps < 32
    assert verdict(late) == (
        f"This model can be trusted for about {steps} steps, of 32 examined, but for “feature 2”, "
        "which it predicts no better than “nothing changes”; then the error of “feature 0” may "
        "exceed 0.3 of its spread."
    )
    atonce = open_loop_error(ColumnModel(drift=9.0), data, ignored=["reward"])
    assert verdict(atonce) == (
        "This model cannot be trusted for a single step: “nothing changes” predicts “feature 0” "
        "better. In everything but “feature 0” and “feature 2” it can be trusted for at least 32 "
        "steps. Not judged, as was asked: “reward”."
    )
    assert "may exceed 0.3 standard deviations of it; “nothing changes” predicts better" in reason(
        atonce
    )


def test_a_reward_that_is_a_tie_is_held_to_the_tolerance():
    class Unrewarding(WideModel):
        def step(self, state, actions, generator=None):
            after, prediction = super().step(state, actions, generator)
            return after, replace(prediction, rewards=0 * prediction.rewards)

    noisy = np.random.default_rng(0).normal(size=TEST.num_steps)
    report = open_loop_error(Unrewarding(0), replace(TEST, rewards=noisy), (1, 4))
    assert report.trusted_steps == 0
    assert verdict(report) == (
        "This model cannot be trusted for a single step: it predicts the reward no better than "
        "“the average”. In everything but the reward it can be trusted for at least 4 steps."
    )


def test_what_is_ignored_is_not_judged_and_the_verdict_says_so():
    data, train = with_random_walk(), with_random_walk(seed=1)
    report = open_loop_error(ColumnModel(0.5), data, train=train, ignored=["feature 2"])
    assert report.trusted_steps == 32
    assert verdict(report).startswith(
        "This model can be trusted for at least 32 steps, as far as was examined. Not judged, as "
        "was asked: “feature 2”."
    )
    for wrong in (["outside"], ["feature 0", "feature 1", "feature 2", "reward"], "feature 2"):
        with pytest.raises(TrajectoryError, match="ignored"):
            open_loop_error(ColumnModel(1.0), data, ignored=wrong)


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
