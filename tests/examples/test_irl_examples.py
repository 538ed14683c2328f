import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from wm_agents.errors import ConfigError
from wm_envs.errors import OptionError
from wm_envs.resolutions.countries import CODES
from wm_envs.resolutions.records import ResolutionRecord, ballot_of, write_trajectories

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Eight years of four recurring texts.

    Countries stand on a line, and two texts divide them along it.
    """
    generator = np.random.default_rng(0)
    positions = np.linspace(-2, 2, 30)
    trajectories = []
    for year in range(2001, 2009):
        for number in range(16):
            lists = {"in_favour": [], "against": [], "abstaining": []}
            for code, position in zip(CODES[:30], positions, strict=True):
                z = (1.5, 1.5, 3.0, 0.5)[number % 4] + (2.0, -2.0, 0.3, 1.0)[number % 4] * position
                utilities = np.array([z, -z, 0.0]) + generator.gumbel(size=3)
                lists[("in_favour", "against", "abstaining")[utilities.argmax()]].append(code)
            title = (
                "nuclear arms treaty",
                "rights of peoples",
                "trade of goods",
                "status of islands",
            )[number % 4]
            day, issues = (
                f"{year}-{1 + number // 2:02d}-{1 + number:02d}",
                ("Human rights",) if number % 4 == 1 else (),
            )
            trajectories.append(
                ResolutionRecord(
                    f"{year}/{number}",
                    title=f"{title} {number // 4}",
                    date=day,
                    issues=issues,
                    final_outcome="adopted",
                    plenary_ballot=ballot_of(lists),
                )
            )
    path = tmp_path_factory.mktemp("records") / "votes.jsonl"
    write_trajectories(trajectories, path)
    return path


def test_known_utilities_come_back(tmp_path):
    example = load("irl_resolutions")
    summary = example["main"](
        example["Config"](num_countries=4, num_trajectories=80, output_dir=tmp_path)
    )
    assert set(json.loads((tmp_path / "summary.json").read_text())) >= {
        "cosine_median",
        "coverage_90",
    }
    assert summary["cosine_median"] > 0.9
    assert summary["cosine_median"] > summary["shuffled_cosine_median"] + 0.2
    assert summary["coverage_90"] > 0.6


@pytest.mark.parametrize("features", ["precedent", "stage"])
def test_votes_are_explained_and_foreseen(records, tmp_path, features):
    example = load("irl_resolutions")
    config = example["Config"](
        votes=records,
        features=features,
        since="2002",
        train_before="2007",
        output_dir=tmp_path,
        num_resamples=5,
    )
    summary = example["main"](config)
    assert summary["num_countries"] == 30
    assert summary["log_loss"] > 0
    assert "spearman_axis" in summary
    if features == "precedent":
        assert summary["spearman_axis"] > 0.85
        assert summary["log_loss"] < summary["log_loss_baseline"]
    else:
        assert summary["share_of_weights_trusted"] < 0.3
        assert summary["num_countries_with_flags"] == 30
    cards = json.loads((tmp_path / "weights.json").read_text())
    assert len(cards) == 30
    assert (tmp_path / "map.png").stat().st_size > 5000
    assert "<html" in (tmp_path / "index.html").read_text()


def test_wrong_periods_and_countries_are_refused(records, tmp_path):
    example = load("irl_resolutions")
    wrong = (
        ({"since": "2007"}, ConfigError, "since < train_before"),
        ({"countries": "FR,XX"}, ConfigError, "XX"),
        ({"train_before": "soon"}, OptionError, "'soon'"),
        ({"since": "1950", "train_before": "1960"}, ConfigError, "widen the period"),
    )
    for settings, error, message in wrong:
        config = {
            "votes": records,
            "train_before": "2005",
            "since": "2002",
            "features": "stage",
            **settings,
        }
        with pytest.raises(error, match=message):
            example["main"](example["Config"](output_dir=tmp_path, **config))


def test_a_walker_is_understood(tmp_path):
    example = load("irl_gridworld")
    config = example["Config"](
        size=5, horizon=12, num_walks=60, prior_stds=(0.6,), output_dir=tmp_path
    )
    summary = example["main"](config)
    assert summary["value_ratio"] > 0.95
    assert summary["value_ratio_of_aimless_walks"] < 0.8
    assert (tmp_path / "grid.png").stat().st_size > 3000
    assert summary["held_out_log_likelihood"] > summary["held_out_log_likelihood_uniform"] + 0.3
    with pytest.raises(SystemExit, match="num_walks is at least 5, got 1"):
        example["main"](example["Config"](num_walks=1, output_dir=tmp_path))


@pytest.mark.parametrize("task", ["pendulum", "driving"])
def test_a_driver_is_understood(tmp_path, task):
    example = load("irl_driving")
    config = example["Config"](
        task=task,
        num_stretches=25,
        num_plans=100,
        num_samples=60,
        changed=0.6,
        output_dir=tmp_path,
    )
    summary = example["main"](config)
    assert summary["cosine"] > 0.7
    assert summary["size_ratio_of_aimless_driver"] < summary["size_ratio"]
    assert 0.5 < summary["changed_share_inferred_reward"] <= 1
    assert summary["changed_share_copied_plan"] <= 1


@pytest.mark.parametrize("in_world_model", [False, True])
def test_ten_episodes_are_imitated(tmp_path, in_world_model):
    example = load("irl_imitation")
    config = example["Config"](
        env_id="CartPole-v1",
        num_episodes=2,
        total_timesteps=4096,
        num_envs=8,
        from_nothing=True,
        in_world_model=in_world_model,
        num_explored=2,
        model_updates=5,
        num_evaluations=2,
        num_test_episodes=2,
        output_dir=tmp_path,
    )
    summary = example["main"](config)
    assert [steps for steps, _ in summary["curve"]] == [0, 2048, 4096]
    assert (tmp_path / "curve.png").stat().st_size > 3_000
    assert summary["return_expert"] == 500
    assert summary["share_cloning"] > 0.3
    assert "share_airl" in json.loads((tmp_path / "summary.json").read_text())


def test_a_reward_is_carried_to_other_masses(tmp_path):
    script = load("irl_transfer")
    config = script["Config"](
        masses=(1.5, 2.0),
        num_episodes=2,
        airl_timesteps=2048,
        total_timesteps=150,
        num_test_episodes=10,
        output_dir=tmp_path,
    )
    script["main"](config)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["returns"]) == ["1", "1.5", "2"]
    assert set(summary["shares"]["1"]) == {"cloning", "airl_policy"}
    assert set(summary["shares"]["2"]) == {"expert", "cloning", "airl_policy", "inferred_reward"}
    for returns in summary["returns"].values():
        assert all(-2500 < value < 0 for value in returns.values())
    assert -1 <= summary["reward_correlation"] <= 1
    assert (tmp_path / "transfer.png").stat().st_size > 3_000
    with pytest.raises(ConfigError, match=r"masses=\(0.0,\)"):
        script["main"](script["Config"](masses=(0.0,), output_dir=tmp_path))
