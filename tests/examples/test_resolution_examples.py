import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from wm_agents.errors import ConfigError
from wm_envs.errors import TrajectoryError
from wm_envs.resolutions.countries import CODES
from wm_envs.resolutions.generator import fitted_source
from wm_envs.resolutions.records import ResolutionRecord, ballot_of, write_trajectories

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Nine years of two recurring texts on which two blocs of twenty differ."""
    generator = np.random.default_rng(0)
    codes = CODES[:40]
    trajectories = []
    for year in range(2001, 2010):
        for number in range(12):
            side = number % 2
            lists = {"in_favour": [], "against": [], "abstaining": []}
            for place, code in enumerate(codes):
                agrees = (place < 20) == bool(side) or number % 3 == 0
                name = (
                    "in_favour"
                    if agrees
                    else "against"
                    if generator.random() < 0.7
                    else "abstaining"
                )
                if generator.random() < 0.9:
                    lists[name].append(code)
            trajectories.append(
                ResolutionRecord(
                    f"{year}/{number}",
                    title=("nuclear arms treaty", "rights of peoples")[side],
                    date=f"{year}-12-{number + 1:02d}",
                    issues=("Human rights",) if side else (),
                    final_outcome="adopted",
                    plenary_ballot=ballot_of(lists),
                )
            )
    folder = tmp_path_factory.mktemp("records")
    write_trajectories(trajectories, folder / "in.jsonl")
    return folder / "in.jsonl"


def test_records_are_built_forecast_and_modelled(records, tmp_path):
    build = load("build_trajectories")
    built = build["main"](build["Config"](trajectories=(records,), output_dir=tmp_path / "set"))
    assert built["num_trajectories"] == 108 == built["num_read"]["trajectories"]
    assert built["num_votes"] == sum(built["votes_by_kind"].values())
    assert built["losses"]["without committee_vote"] == 108

    forecast = load("forecast_votes")
    config = forecast["Config"](
        votes=tmp_path / "set",
        train_before="2008",
        test_from="2008",
        output_dir=tmp_path / "out",
        cards=("AD",),
        num_draws=1,
    )
    summary = forecast["main"](config)
    names = (
        "accuracy",
        "macro_f1",
        "accuracy_novel",
        "mae_yes",
        "mae_no",
        "mae_abstain",
        "accuracy_after_10",
    )
    assert set(names) <= set(json.loads((tmp_path / "out" / "summary.json").read_text()))
    assert summary["accuracy"] > summary["baselines"]["always_yes"]["accuracy"]
    assert summary["num_roll_calls"] == 24
    for picture in ("map.png", "tallies.png", "errors_removed.png", "card_AD.png"):
        assert (tmp_path / "out" / picture).stat().st_size > 5000
    assert (
        len(fitted_source(tmp_path / "out" / "spatial_model.json").countries) > 30
    )  # those with 20 votes

    world_model = load("world_model_resolutions")
    config = world_model["Config"](
        trajectories=(tmp_path / "set",),
        country="AD",
        epochs=5,
        output_dir=tmp_path / "wm",
        since="2001-01-01",
    )
    summary = world_model["main"](config)
    assert sum(summary["num_trajectories"]) == 108
    assert summary["mae_committee_yes"] is None
    assert summary["mae_plenary_yes"] > 0
    assert (
        len(json.loads((tmp_path / "wm" / "per_trajectory.json").read_text()))
        == summary["num_trajectories"][2]
    )


def test_without_recorded_votes_generated_ones_are_forecast(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    forecast = load("forecast_votes")
    records, is_generated = forecast["read_or_generate"](forecast["Config"]())
    assert is_generated
    assert "wm data fetch votes" in capsys.readouterr().out
    assert {record.date[:4] for record in records} == {str(year) for year in range(2000, 2017)}
    with pytest.raises(TrajectoryError):
        forecast["read_or_generate"](forecast["Config"](votes=Path("elsewhere")))


def test_nothing_to_read_and_half_a_pair_are_refused():
    build = load("build_trajectories")
    with pytest.raises(TrajectoryError, match="nothing to read"):
        build["main"](build["Config"]())
    with pytest.raises(TrajectoryError, match="belong together"):
        build["main"](build["Config"](votes=Path("v.csv")))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"num_revealed": -1}, "num_revealed"),
        ({"num_draws": 0}, "num_draws"),
        ({"seed": -1}, "seed"),
        ({"cards": ("ZZ",)}, "ZZ"),
    ],
)
def test_a_forecast_that_would_fail_or_mislead_is_refused_at_once(
    records, tmp_path, options, problem
):
    forecast = load("forecast_votes")
    given = {"cards": (), "train_before": "2008", "test_from": "2008", **options}
    with pytest.raises(ConfigError, match=problem):
        forecast["main"](forecast["Config"](votes=records, output_dir=tmp_path, **given))
