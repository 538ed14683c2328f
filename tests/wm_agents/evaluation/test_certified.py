"""The guaranteed horizon: counts by hand, the promise over many draws, and what is refused."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.analytic import WalkModel, walk
from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.evaluation.certified import (
    CertifiedHorizon,
    certified_horizon,
    certified_steps,
    conformal_half_widths,
    episodes_to_check,
    required_episodes,
)
from wm_agents.evaluation.scorecard import scorecard
from wm_agents.evaluation.scorecard_sections import (
    episodes_sentence,
    guarantee_section,
    guarantee_sentence,
)

NAMES = ("place", "count")


@pytest.mark.parametrize(
    ("alpha", "needed"), [(0.1, 9), (0.05, 19), (0.2, 4), (0.3, 3), (0.5, 1), (0.01, 99)]
)
def test_the_fewest_episodes_are_those_of_the_finite_sample_correction(
    alpha: float, needed: int
) -> None:
    assert required_episodes(alpha) == needed
    # With so many good episodes one step is certified, with one fewer it is not.
    assert certified_steps(np.zeros((needed, 1)), alpha) == 1
    if needed > 1:
        assert certified_steps(np.zeros((needed - 1, 1)), alpha) == 0


def test_with_one_window_an_episode_it_is_the_order_statistic_of_split_conformal() -> None:
    lost_at = np.random.default_rng(0).permutation(np.arange(1, 40))  # 39 episodes, H = 40
    shares = (np.arange(1, 41) >= lost_at[:, None]).astype(float)
    # ceil(40 * .9) = 36 of 39 must hold, so the fourth smallest time of loss may not have come.
    assert certified_steps(shares, 0.1) == 3


def test_half_widths_by_hand() -> None:
    sizes = np.arange(1.0, 20.0)[:, None, None]  # one window an episode, 19 episodes
    mask, episodes = np.ones((19, 1), np.bool_), np.arange(19)
    # ceil(20 * .9) = 18th smallest
    assert conformal_half_widths(sizes, mask, episodes, 0.1) == pytest.approx(18.0)
    assert conformal_half_widths(sizes, mask, episodes, 0.05) == pytest.approx(19.0)
    assert np.isinf(conformal_half_widths(sizes, mask, episodes, 0.04)).all()
    # Many windows of one episode weigh as one.
    many = np.concatenate([sizes, np.full((100, 1, 1), 19.0)])
    where = np.concatenate([episodes, np.full(100, 18)])
    assert conformal_half_widths(many, np.ones((119, 1), np.bool_), where, 0.1) == 18.0


def test_a_known_drift_is_certified_up_to_the_step_at_which_it_leaves() -> None:
    report = certified_horizon(
        WalkModel(drift=0.1),
        walk([40] * 12, seed=3),
        tolerance={"place": 0.55, "count": 0.0, "reward": math.inf},
        horizon=12,
        feature_names=NAMES,
    )
    assert (report.certified, report.measured) == (5, 5)
    assert report.violations_by_name["place"] > 0.8  # the rest ends within five steps
    assert (report.violations_by_name["count"], report.violations_by_name["reward"]) == (0.0, 0.0)
    assert report.reach[0] == 1.0
    assert report.half_widths[3] == pytest.approx([0.4, 0.0], abs=1e-4)
    assert (report.coverage[:, 1] == 1).all()
    assert str(report).startswith("certified 5 / measured 5 of 12 steps (risk 0.1, 12 episodes)")
    assert "“place” leaves its tolerance most often" in guarantee_sentence(report)


def promised(num_calibration: int, seed: int) -> tuple[float, CertifiedHorizon]:
    """Share of windows of many new episodes lost within the horizon that a few certified."""
    noise, model = 0.2, WalkModel()
    options: dict[str, Any] = {
        "tolerance": {"place": 0.6, "count": 0.1, "reward": math.inf},
        "horizon": 20,
        "feature_names": NAMES,
        "starts_per_episode": 4,
    }
    few = certified_horizon(model, walk([30] * num_calibration, seed, noise), **options)
    many = certified_horizon(model, walk([30] * 100, 1000 + seed, noise), **options)
    lost = float(many.violations[few.certified - 1]) if few.certified else 0.0
    return lost, few


def test_the_promise_holds_over_many_draws_of_few_episodes() -> None:
    lost = [promised(12, seed)[0] for seed in range(30)]
    assert np.mean(lost) <= 0.1
    assert np.mean(lost) > 0.01  # and not because nothing is ever certified


def test_intervals_hold_what_they_say_on_episodes_that_did_not_set_them() -> None:
    report = certified_horizon(
        WalkModel(), walk([30] * 80, 5, 0.2), tolerance=1.0, horizon=10, feature_names=NAMES
    )
    assert report.coverage[:, 0].mean() == pytest.approx(0.9, abs=0.03)
    assert report.checked_violation is not None
    assert report.checked_violation <= 0.12


def test_episodes_that_end_early_count_until_their_end() -> None:
    report = certified_horizon(
        WalkModel(), walk([3] * 6 + [30] * 6, 1), tolerance=0.1, horizon=8, feature_names=NAMES
    )
    assert report.certified == 8
    assert report.reach[-1] < report.reach[0]
    # Six episodes last four steps: too few for an interval of 90%.
    assert np.isinf(report.half_widths[3]).all()
    assert np.isnan(report.coverage[3]).all()
    assert report.to_json()["half_widths"][3] == [None, None]


def test_what_is_missing_is_named() -> None:
    model, test = WalkModel(), walk([20] * 8, seed=2)
    with pytest.raises(TrajectoryError, match="at least 9 held-out episodes, got 8"):
        certified_horizon(model, test)
    more = walk([20] * 9, seed=2)
    with pytest.raises(TrajectoryError, match=r"\['count', 'reward'\] have none"):
        certified_horizon(model, more, tolerance={"place": 1.0}, feature_names=NAMES)
    with pytest.raises(TrajectoryError, match=r"\['speed'\] name nothing"):
        certified_horizon(
            model,
            more,
            tolerance={"place": 1.0, "count": 1.0, "reward": 1.0, "speed": 1.0},
            feature_names=NAMES,
        )
    with pytest.raises(ConfigError, match="tolerance of 'place'"):
        certified_horizon(
            model,
            more,
            tolerance={"place": -1.0, "count": 1.0, "reward": 1.0},
            feature_names=NAMES,
        )
    with pytest.raises(TrajectoryError, match="give horizon=20"):
        certified_horizon(model, more, horizon=21)
    with pytest.raises(TrajectoryError, match="seen in training"):
        certified_horizon(model, more, train=more)
    for alpha in (0.0, 1.0, math.nan, "0.1"):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            certified_horizon(model, more, alpha=alpha)  # type: ignore[arg-type]


def with_shares(shares: list[float], num_episodes: int) -> CertifiedHorizon:
    """A horizon of which each episode lost these shares of its windows by each step."""
    rows = np.tile(shares, (num_episodes, 1))
    return CertifiedHorizon(
        certified=certified_steps(rows, 0.1),
        measured=int((np.array(shares) <= 0.1).sum()),
        alpha=0.1,
        tolerance={"place": 1.0},
        episode_shares=rows,
        violations_by_name={"place": shares[-1]},
        checked_violation=None,
        reach=np.ones(len(shares)),
        feature_names=("place",),
        half_widths=np.ones((len(shares), 1)),
        coverage=np.full((len(shares), 1), np.nan),
        num_episodes=num_episodes,
        num_windows=32 * num_episodes,
    )


def test_how_many_episodes_a_guarantee_takes_at_the_measured_share() -> None:
    few = with_shares([0.02, 0.04, 0.08, 0.2], 10)
    # (10 s + 1) / 11 <= .1 allows s = .01, which is less than the .02 of the first step.
    assert few.allowed_share == pytest.approx(0.01)
    assert (few.certified, few.measured) == (0, 3)
    # n >= .9 / (.1 - s): 11.25, 15 and 45.
    assert [few.episodes_needed(step) for step in (1, 2, 3, 4)] == [12, 15, 45, None]
    for step in (1, 2, 3):
        needed = few.episodes_needed(step)
        assert needed is not None
        assert with_shares([0.02, 0.04, 0.08, 0.2], needed).certified >= step
        assert with_shares([0.02, 0.04, 0.08, 0.2], needed - 1).certified < step
    assert episodes_sentence(few) == (
        "With 10 held-out episodes at most 1.0% of windows may fail, and 2.0% did after 1 step: "
        "about 12 would guarantee it, if as many fail in them. About 45 episodes would guarantee "
        "the measured 3 steps."
    )
    assert few.to_json()["episodes_needed"] == 12
    some = episodes_sentence(with_shares([0.02, 0.04, 0.08, 0.2], 15))
    assert (
        some
        == "About 45 episodes would guarantee the measured 3 steps, if as many windows fail in them."
    )
    assert "All that was measured is guaranteed" in episodes_sentence(with_shares([0.0, 0.2], 9))
    assert "More episodes would not help" in episodes_sentence(with_shares([0.12, 0.2], 99))
    assert episodes_sentence(with_shares([0.0, 0.0], 9)) == ""
    never = episodes_sentence(with_shares([0.02, 0.1, 0.2], 10))
    assert "No number of episodes would do for the measured 2 steps" in never


def test_what_was_not_checked_says_why() -> None:
    few = with_shares([0.02, 0.04], 9)
    assert "To check it on episodes that are left out takes at least 10" in guarantee_sentence(few)
    # Where no step is guaranteed no window can leave within it, which says nothing.
    assert "left the tolerance" not in guarantee_sentence(with_shares([0.02, 0.04], 10))
    assert "A window is lost once a single error passes the tolerance" in guarantee_sentence(few)
    assert episodes_to_check(0.1) == 11
    assert "and four fifths of them set it; 11 would do." in guarantee_section(few, "")
    # And so it is: with 11 episodes some are counted, with 10 none.
    for num, is_counted in ((10, False), (11, True)):
        report = certified_horizon(
            WalkModel(), walk([20] * num, 5, 0.2), tolerance=1.0, horizon=2, feature_names=NAMES
        )
        assert np.isfinite(report.coverage).all() == is_counted
    lost = certified_horizon(WalkModel(drift=9.0), walk([20] * 12, 5), feature_names=NAMES)
    assert lost.certified == 0
    assert lost.checked_violation is None


def test_what_is_ignored_has_no_tolerance() -> None:
    model, test = WalkModel(drift=0.1), walk([20] * 12, seed=2)
    options: dict[str, Any] = {"feature_names": NAMES, "tolerance": 0.1, "horizon": 4}
    assert certified_horizon(model, test, **options).certified < 4
    free = certified_horizon(model, test, ignored=["place", "reward"], **options)
    assert free.certified == 4
    assert free.ignored == ("place", "reward")
    assert "(“place” and “reward” has none, as was asked)" not in guarantee_sentence(free)
    assert "“place” and “reward” have none, as was asked" in guarantee_sentence(free)
    with pytest.raises(TrajectoryError, match=r"\['speed'\] name nothing that varies"):
        certified_horizon(model, test, ignored=["speed"], **options)


def test_the_scorecard_shows_it_or_says_what_is_missing(tmp_path: Path) -> None:
    train = walk([30] * 6, seed=1)
    options: dict[str, Any] = {"train": train, "horizons": (1, 4, 8), "feature_names": NAMES}
    card = scorecard(WalkModel(drift=0.1), walk([30] * 12, seed=2), tmp_path, **options)
    assert card.certified is not None
    assert card.summary["certified_steps"] == card.certified.certified
    page = card.page_path.read_text(encoding="utf-8")
    assert "What is guaranteed" in page
    assert f"certified {card.certified.certified} / measured {card.certified.measured}" in page
    few = scorecard(WalkModel(), walk([30] * 5, seed=2), tmp_path, **options)
    assert few.certified is None
    assert "certified_steps" not in few.summary
    page = few.page_path.read_text(encoding="utf-8")
    assert "from 5 held-out episodes: it takes at least 9" in page
    with pytest.raises(ConfigError, match="alpha"):
        scorecard(WalkModel(), walk([30] * 5, seed=2), tmp_path, alpha=2.0, **options)
