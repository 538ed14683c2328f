"""Every arm gets the same trials, and a committed comparison without them is refused."""

import json

import pytest

from benchmarks import page, tuning
from benchmarks.report import RESULTS
from wm_agents.errors import ConfigError

CHOICES = {"a": {"step": [3, 1, 2]}, "b": {"step": [3, 1, 2], "size": [10, 20]}}
MAX_UNTUNED = 30
"""Lower it with every comparison that is measured again; never raise it."""


def searched(folder, score, **options):
    settings = {"num_trials": 6, "seeds": (100, 101), "evaluation_seeds": (0, 1), **options}
    return tuning.random_search(CHOICES, score, folder=folder, **settings)


def test_each_arm_has_equal_trials_from_its_default_on_and_a_stopped_search_goes_on(tmp_path):
    calls = []

    def score(arm, settings, seeds):
        if len(calls) == 8 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt
        calls.append(arm)
        return [-settings["step"] for _ in seeds]

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, score)
    record = searched(tmp_path, score)
    assert [calls.count(arm) for arm in ("a", "b")] == [6, 6]
    assert record["b"]["trials"][0]["settings"] == {"step": 3, "size": 10}
    assert {arm: record[arm]["best"]["step"] for arm in record} == {"a": 1, "b": 1}
    assert tuning.faults(result_of(record)) == []


def test_no_settings_come_twice_while_there_are_others():
    drawn = tuning.drawn_settings(CHOICES["b"], 6)
    assert len({tuple(settings.values()) for settings in drawn}) == 6
    assert len(tuning.drawn_settings({"step": [1, 2]}, 4)) == 4


def test_trials_of_another_budget_are_run_again(tmp_path):
    calls = []

    def score(arm, settings, seeds):
        calls.append(arm)
        return [0.0 for _ in seeds]

    for steps, expected in ((10, 12), (10, 12), (20, 24)):
        searched(tmp_path, score, budget={"real_steps": steps})
        assert len(calls) == expected


def result_of(record):
    rows = [
        {"arm": arm, "seed": seed, "cpu_seconds": 1.0, "real_steps": 10}
        for arm in (*record, "random")
        for seed in (0, 1)
    ]
    return {"figures": {"tuning": record, "rows": rows, "references": {"random": "no settings"}}}


def test_trials_on_evaluation_seeds_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\[1\] are evaluated"):
        searched(tmp_path, None, evaluation_seeds=(0, 1), seeds=(1, 5))
    with pytest.raises(ConfigError, match="num_trials=3"):
        searched(tmp_path, None, num_trials=3)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda figures: figures.pop("tuning"), "no tuning"),
        (lambda figures: figures["tuning"]["a"]["trials"].pop(), "trials: "),
        (lambda figures: figures["tuning"]["a"]["best"].update(step=3), "not the best"),
        (lambda figures: figures["tuning"]["b"].update(seeds=[1, 7]), "unequal seeds"),
        (lambda figures: figures["rows"][0].update(seed=100), "tuning is evaluated"),
        (lambda figures: figures["rows"].pop(1), "evaluated on unequal"),
        (lambda figures: figures["rows"][0].pop("cpu_seconds"), "no cpu_seconds"),
        (lambda figures: figures.pop("references"), "neither tuned nor a reference"),
    ],
)
def test_an_unequal_comparison_is_refused(tmp_path, spoil, fault):
    result = result_of(searched(tmp_path, lambda arm, settings, seeds: [-settings["step"]] * 2))
    result = json.loads(json.dumps(result))  # as it is committed
    spoil(result["figures"])
    assert any(fault in found for found in tuning.faults(result))


COMMITTED = {path.stem: path for path in sorted(RESULTS.glob("*.json"))}


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_comparison_is_tuned_equally_or_known_not_to_be(name):
    result = json.loads(COMMITTED[name].read_text(encoding="utf-8"))
    faults = tuning.faults(result)
    if name in tuning.UNTUNED:
        assert faults, f"{name} is tuned now: take it off UNTUNED and lower MAX_UNTUNED"
    elif name not in tuning.NO_COMPARISONS:
        assert faults == []


def test_the_list_of_untuned_results_only_shrinks_and_is_told():
    assert len(tuning.UNTUNED) <= MAX_UNTUNED
    assert set(tuning.UNTUNED) <= set(COMMITTED)
    assert set(tuning.NO_COMPARISONS) <= set(COMMITTED)
    assert not set(tuning.UNTUNED) & set(tuning.NO_COMPARISONS)
    told = (page.FOLDER.parent / "docs" / "fooling-ourselves.md").read_text(encoding="utf-8")
    for name, reason in tuning.UNTUNED.items():
        assert f"| `{name}` | {reason} |" in told
        assert f"Untuned: {reason}." in page.PAGE.read_text(encoding="utf-8")
