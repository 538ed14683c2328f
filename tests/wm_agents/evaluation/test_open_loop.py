"""Open-loop error of models whose flaw is known, so that every number can be computed by hand."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.analytic import RememberingModel, WalkModel, walk
from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.evaluation.open_loop import open_loop_error
from wm_agents.evaluation.windows import sample_windows, start_states
from wm_agents.protocols import ModelState, Prediction
from wm_envs.data.trajectories import Trajectories

TRAIN, TEST = walk([40] * 6, seed=1), walk([40] * 8, seed=2)


def test_an_exact_model_is_trusted_throughout() -> None:
    report = open_loop_error(WalkModel(), TEST, train=TRAIN)
    assert report.horizons == (1, 2, 4, 8, 16, 32)
    assert report.trusted_steps == 32
    assert report.error(32) < 1e-5
    assert report.calibration is None
    exact = report.tables["model"].exact
    assert report.is_integer.tolist() == [False, True]
    assert np.isnan(exact[:, 0]).all()
    assert (exact[:, 1:] == 1).all()
    assert report.rewards.rmse["model"].max() < 1e-5
    assert report.num_windows == (320, 312, 296, 264, 200, 72)


def test_a_drift_adds_up_by_hand() -> None:
    report = open_loop_error(
        WalkModel(drift=0.1), TEST, (1, 4), train=TRAIN, feature_names=("place", "count")
    )
    table = report.tables["model"]
    np.testing.assert_allclose(table.rmse[:, 0], [0.1, 0.4], rtol=1e-3)
    np.testing.assert_allclose(table.mean_absolute[:, 0], [0.1, 0.4], rtol=1e-3)
    np.testing.assert_allclose(table.median[:, 0], [0.1, 0.4], rtol=1e-3)
    np.testing.assert_allclose(table.p95[:, 0], [0.1, 0.4], rtol=1e-3)
    np.testing.assert_allclose(table.mean_squared_high[:, 0], [0.01, 0.16], rtol=1e-3)
    std = TRAIN.observations.std(axis=0)
    np.testing.assert_allclose(
        table.rmse[:, 2], np.array([0.1, 0.4]) / std[0] / np.sqrt(2), rtol=1e-3
    )
    assert report.error(4) == pytest.approx(0.4 / std[0] / np.sqrt(2), rel=1e-3)
    assert report.summary()["error_h4"] == report.error(4)
    np.testing.assert_allclose(report.rewards.rmse["model"], [0.1, 0.4], rtol=1e-3)


def test_a_constant_reward_has_no_spread_though_it_is_rounded() -> None:
    parts = [replace(part, rewards=np.full(part.num_steps, 0.1)) for part in (TRAIN, TEST)]
    assert parts[0].rewards.std() != 0  # of what the sum rounds to
    assert open_loop_error(WalkModel(), parts[1], (1,), train=parts[0]).rewards.std == 0


class PaddedModel(WalkModel):
    """The walker beside further features, which it copies."""

    def step(
        self, state: ModelState, actions: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        after, prediction = super().step(state, actions, generator)
        seen = torch.cat([after.observations, state.observations[:, 2:]], 1)
        return ModelState(seen), Prediction(seen, prediction.rewards, prediction.terminations)


def padded(data: Trajectories, columns: Any) -> Trajectories:
    extra = np.broadcast_to(columns, (len(data.observations), np.shape(columns)[-1]))
    return replace(
        data, observations=np.concatenate([data.observations, extra], 1).astype(np.float32)
    )


def test_features_that_never_vary_make_no_model_look_better() -> None:
    plain = open_loop_error(WalkModel(drift=0.1), TEST, (1, 4), train=TRAIN)
    constant = np.arange(98.0)
    wide = open_loop_error(
        PaddedModel(drift=0.1), padded(TEST, constant), (1, 4), train=padded(TRAIN, constant)
    )
    assert wide.error(4) == pytest.approx(plain.error(4))
    assert wide.trusted_steps == plain.trusted_steps
    assert wide.tables["model"].rmse[1, -1] == pytest.approx(plain.tables["model"].rmse[1, -1])


def test_what_only_held_out_episodes_show_counts_in_their_spread() -> None:
    num_rows = len(TEST.observations)
    shown = (np.arange(num_rows) % 2)[:, None] * 0.01  # in training always 0
    report = open_loop_error(
        PaddedModel(), padded(TEST, shown), (1,), train=padded(TRAIN, np.zeros(1))
    )
    np.testing.assert_allclose(report.scale[2], shown.std())
    # The copied feature is wrong by 0.01, two standard deviations, after every step; the other two
    # are exact.
    assert report.error(1) == pytest.approx(np.sqrt(2.0**2 / 3), rel=1e-3)
    assert report.trusted_steps == 0


def test_baselines_by_hand() -> None:
    # Every action is 1, so that the walker moves by 0.5 a step: velocity and ridge regression are
    # then exact.
    data = walk([20] * 4, seed=3)
    ones = Trajectories(
        np.stack(
            [
                np.tile(0.5 * np.arange(21), 4) + np.repeat([0, 3, 5, 9], 21),
                np.tile(2.0 * np.arange(21), 4),
            ],
            1,
        ),
        np.ones_like(data.actions),
        np.tile(0.5 * np.arange(1, 21), 4),
        data.terminations,
        data.truncations,
        data.lengths,
    )
    report = open_loop_error(WalkModel(), ones, (1, 8), train=ones, allow_training_episodes=True)
    np.testing.assert_allclose(
        report.tables["persistence"].rmse[:, :2], [[0.5, 2.0], [4.0, 16.0]], rtol=1e-5
    )
    # Only at the first step of an episode is the velocity unknown: 1 of 20 starts, 1 of 13 starts.
    velocity = report.tables["constant_velocity"]
    np.testing.assert_allclose(velocity.mean_squared[:, 0], [0.25 / 20, 16 / 13], rtol=1e-5)
    assert (velocity.median[:, :2] < 1e-5).all()
    assert report.tables["ridge"].rmse[0].max() < 0.01
    assert report.summary()["persistence_h8"] == pytest.approx(
        np.sqrt(np.mean((np.array([4.0, 16.0]) / report.scale) ** 2)), rel=1e-5
    )


def test_ridge_regression_learns_what_is_linear() -> None:
    report = open_loop_error(WalkModel(), TEST, (1, 16), train=TRAIN)
    assert report.error(16, "ridge") < 0.05 < report.error(16, "persistence")
    assert "ridge" not in open_loop_error(WalkModel(), TEST, (1,)).tables


def test_trust_ends_where_the_error_passes_the_tolerance_or_a_baseline() -> None:
    std = float(TEST.observations.std(axis=0)[0])
    # The error of the first feature is drift x h / std, so that the tolerance is passed at the
    # sixth step; that of the second is 0 and does not make up for it.
    report = open_loop_error(WalkModel(drift=0.0519 * std), TEST, tolerance=0.3)
    assert report.trusted_steps == 5
    assert report.worst_part.name == "feature 0"
    assert open_loop_error(WalkModel(drift=9.0), TEST).trusted_steps == 0
    # Ridge regression is better than a drifting model on linear dynamics, however small the drift.
    assert (
        open_loop_error(WalkModel(drift=0.2 * std), TEST, train=TRAIN, tolerance=9.0).trusted_steps
        == 0
    )


def test_intervals_resample_episodes() -> None:
    # Two of eight episodes have another offset than the model believes, so that their error is 1 at
    # every start.
    data = walk([10] * 8, seed=5)
    shifted = data.observations.copy()
    for number in (1, 6):
        first = number * 11
        shifted[first : first + 11, 0] += np.arange(11)
    data = Trajectories(
        shifted, data.actions, data.rewards, data.terminations, data.truncations, data.lengths
    )
    table = open_loop_error(WalkModel(), data, (1,), num_windows=10_000).tables["model"]
    assert table.mean_squared[0, 0] == pytest.approx(0.25, abs=1e-5)
    generator = np.random.default_rng(0)
    draws = generator.binomial(8, 0.25, 100_000) / 8
    assert table.mean_squared_low[0, 0] == pytest.approx(np.quantile(draws, 0.025), abs=1e-5)
    assert table.mean_squared_high[0, 0] == pytest.approx(np.quantile(draws, 0.975), abs=0.126)


def test_a_single_episode_has_no_limits_and_is_not_trusted() -> None:
    alone = open_loop_error(WalkModel(), walk([10], seed=5), (1, 4))
    assert alone.trusted_steps == 0
    assert (alone.curves["model"].low == 0).all()
    assert np.isposinf(alone.curves["model"].high).all()
    mixed = open_loop_error(
        WalkModel(), walk([10, 10, 20], seed=5), (1, 10, 20)
    )  # beyond 10 steps there is but one
    assert mixed.trusted_steps == 10
    assert np.isposinf(mixed.tables["model"].mean_squared_high[2]).all()
    assert np.isfinite(mixed.tables["model"].mean_squared_high[:2]).all()


def test_episodes_seen_in_training_are_refused_unless_told() -> None:
    mixed = Trajectories.concatenate([TEST, TRAIN.select([3])])
    with pytest.raises(
        TrajectoryError, match="1 of 9 episodes were seen in training, the first is number 8"
    ):
        open_loop_error(WalkModel(), mixed, (1,), train=TRAIN)
    assert not open_loop_error(
        WalkModel(), mixed, (1,), train=TRAIN, allow_training_episodes=True
    ).was_checked_for_duplicates
    assert open_loop_error(WalkModel(), TEST, (1,), train=TRAIN).was_checked_for_duplicates


def test_bad_horizons_and_names_say_what_to_do() -> None:
    with pytest.raises(
        TrajectoryError,
        match=r"no episode lasts 32 steps, the longest lasts 9: give horizons=\(1, 2, 4",
    ):
        open_loop_error(WalkModel(), walk([9, 4]))
    with pytest.raises(TrajectoryError, match="at least 1"):
        open_loop_error(WalkModel(), TEST, (0, 1))
    with pytest.raises(TrajectoryError, match="3 feature names for 2 features"):
        open_loop_error(WalkModel(), TEST, (1,), feature_names="abc")
    with pytest.raises(TrajectoryError, match="names are different from each other"):
        open_loop_error(WalkModel(), TEST, (1,), feature_names=("a", "a"))
    assert open_loop_error(WalkModel(), TEST, 2).horizons == (2,)  # type: ignore[arg-type]
    for wrong in (
        {"num_windows": 0},
        {"num_windows": 1.5},
        {"num_samples": -1},
        {"tolerance": -1},
        {"tolerance": float("nan")},
        {"seed": 1.5},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            open_loop_error(WalkModel(), TEST, (1,), **wrong)  # type: ignore[arg-type]


def test_names_come_from_the_environment_or_are_numbered() -> None:
    fields = tuple(SimpleNamespace(name=name) for name in ("place", "count"))
    env = SimpleNamespace(unwrapped=SimpleNamespace(observation_fields=fields))
    assert open_loop_error(WalkModel(), TEST, (1,), env=env).feature_names == ("place", "count")
    assert open_loop_error(WalkModel(), TEST, (1,)).feature_names == ("feature 0", "feature 1")


def test_terminations_are_ranked_and_scored_however_early_they_came() -> None:
    # Counts start anywhere from 0 to 9 and episodes last 5, 10, 15 steps: give all the same offset
    # to know the end.
    parts = []
    for number, length in enumerate((5, 10, 15)):
        part = walk([length], seed=number, has_ends=True)
        observations = part.observations.copy()
        observations[:, 1] = 2.0 * np.arange(length + 1) + 100 - 2 * length
        parts.append(
            Trajectories(
                observations,
                part.actions,
                part.rewards,
                part.terminations,
                part.truncations,
                part.lengths,
            )
        )
    data = Trajectories.concatenate(parts)
    report = open_loop_error(WalkModel(ends_at=100), data, (1, 4, 8))
    assert report.ends.auroc == (1.0, 1.0, 1.0)
    assert report.ends.average_precision == (1.0, 1.0, 1.0)
    assert report.ends.brier == (0.0, 0.0, 0.0)
    np.testing.assert_allclose(report.ends.share, [3 / 30, 12 / 30, (5 + 8 + 8) / 30])
    blind = open_loop_error(WalkModel(), data, (1, 4, 8)).ends
    assert blind.auroc == (0.5, 0.5, 0.5)
    np.testing.assert_allclose(blind.brier, blind.share)
    np.testing.assert_allclose(blind.base_brier, [share * (1 - share) for share in blind.share])
    assert open_loop_error(WalkModel(), TEST, (1,)).ends.auroc == (None,)


def test_sampled_intervals_are_measured_against_the_nominal_coverage() -> None:
    data = walk([40] * 40, seed=7, noise=0.2)
    honest = open_loop_error(WalkModel(noise=0.2), data, (1, 8)).calibration
    proud = open_loop_error(WalkModel(noise=0.1), data, (1, 8)).calibration
    assert honest is not None
    assert proud is not None
    # Feature 1 is known exactly: its ties are broken at random, which keeps its coverage nominal as
    # well.
    np.testing.assert_allclose(honest.coverage, [[0.5, 0.8, 0.9, 0.95]] * 2, atol=0.06)
    # P(|N(0, 1)| < z / 2) for feature 0, averaged with the nominal share for feature 1.
    np.testing.assert_allclose(
        proud.coverage[0, :3], [(0.264 + 0.5) / 2, (0.478 + 0.8) / 2, (0.589 + 0.9) / 2], atol=0.06
    )
    assert (proud.width < honest.width).all()


@pytest.mark.parametrize("num_samples", [2, 5, 10])
def test_coverage_is_nominal_for_any_number_of_samples(num_samples: int) -> None:
    data = walk([40] * 40, seed=7, noise=0.2)
    honest = open_loop_error(
        WalkModel(noise=0.2), data, (1, 8), num_samples=num_samples
    ).calibration
    assert honest is not None
    np.testing.assert_allclose(honest.coverage, [[0.5, 0.8, 0.9, 0.95]] * 2, atol=0.1)


class ClaimingModel(WalkModel):
    """Claims intervals of a fixed half width of so many standard deviations of one step's noise."""

    def intervals(self, start, actions, coverage):  # type: ignore[no-untyped-def]
        seen = self.rollout(start, actions).observations[:, 1:]
        half = 0.2 * {0.5: 0.674, 0.8: 1.282, 0.9: 1.645, 0.95: 1.96}[coverage]
        return SimpleNamespace(low=seen - half, high=seen + half)


def test_a_models_own_intervals_are_measured_where_it_has_them() -> None:
    found = open_loop_error(ClaimingModel(), walk([40] * 40, seed=7, noise=0.2), (1, 4)).calibration
    assert found is not None
    assert found.num_samples == 0
    # Feature 1 is exact and always inside; four steps of noise have twice the standard deviation of
    # one.
    np.testing.assert_allclose(
        found.coverage[0], [(p + 1) / 2 for p in (0.5, 0.8, 0.9, 0.95)], atol=0.05
    )
    np.testing.assert_allclose(
        found.coverage[1], [(p + 1) / 2 for p in (0.264, 0.478, 0.589, 0.673)], atol=0.05
    )


def test_where_nothing_varies_no_coverage_is_claimed() -> None:
    still = Trajectories.from_arrays(np.zeros((9, 2)), np.zeros((8, 1)), np.zeros(8), np.zeros(8))
    assert open_loop_error(ClaimingModel(), still, (1, 4)).calibration is None


def test_a_model_with_memory_is_led_through_the_episode() -> None:
    data = walk([7, 3, 5], seed=9)
    stretches = sample_windows(data, 2, 100, seed=0)
    states = start_states(RememberingModel(), data, stretches)
    for row in range(len(stretches.episodes)):
        episode, start = data.episode(int(stretches.episodes[row])), stretches.positions[row]
        expected = episode.observations[:start, 0].sum() + episode.actions[:start, 0].sum()
        assert states.hidden[0][row] == pytest.approx(float(expected), abs=1e-4)
    torch.testing.assert_close(states.observations, torch.as_tensor(stretches.observations[:, 0]))
    assert open_loop_error(RememberingModel(), data, (1, 2)).error(2) < 1e-5


class DivergingModel(WalkModel):
    """Becomes infinite at the third step."""

    def rollout(self, start, actions, generator=None):  # type: ignore[no-untyped-def]
        rollout = super().rollout(start, actions, generator)
        rollout.observations[:, 3:] = torch.nan
        rollout.rewards[:, 2:] = torch.inf
        rollout.terminations[:, 2:] = torch.nan
        return rollout


def test_a_diverging_model_gets_a_huge_error_and_the_report_stays_json() -> None:
    report = open_loop_error(DivergingModel(), TEST, (1, 2, 4), train=TRAIN)
    assert report.trusted_steps == 2
    assert report.error(4) == pytest.approx(1000)
    assert report.share_non_finite == pytest.approx((304 + 296) / (320 + 312 + 304 + 296))
    json.dumps(report.to_json(), allow_nan=False)
    assert all(np.isfinite(value) for value in report.summary().values())


def test_equal_seeds_give_equal_reports() -> None:
    first, second = (
        open_loop_error(WalkModel(noise=0.3), TEST, num_windows=50, seed=4) for _ in range(2)
    )
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())
    other = open_loop_error(WalkModel(noise=0.3, drift=0.1), TEST, num_windows=50, seed=5)
    assert json.dumps(first.to_json()) != json.dumps(other.to_json())
