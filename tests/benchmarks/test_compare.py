"""Two sets of results.

What counts as worse, in which direction, and what is no comparison at all.
"""

import json
import subprocess
import sys

import pytest

from benchmarks.compare import Config, Figure, compare, figures_of, judge, main, read

MACHINE = {"processor": "a", "cores": 2}


def result(figures, machine=MACHINE):
    return {"figures": figures, "machine": machine}


def verdicts(a, b, **options):
    changes = compare({"x": result(a)}, {"x": result(b)}, **options)
    return {change.name.removeprefix("x: "): change.verdict for change in changes}


def test_higher_is_better_but_for_times_and_errors():
    a = {"plans_per_cpu_second": 10.0, "seconds": 10.0, "open_loop_error": 1.0, "success_rate": 0.5}
    b = {"plans_per_cpu_second": 8.0, "seconds": 8.0, "open_loop_error": 2.0, "success_rate": 0.52}
    assert verdicts(a, b) == {
        "plans_per_cpu_second": "worse",
        "seconds": "better",
        "open_loop_error": "worse",
        "success_rate": "same",
    }


def test_intervals_decide_where_both_have_them():
    a = {"iqm": 0.9, "iqm_low": 0.7, "iqm_high": 0.95}
    assert verdicts(a, {"iqm": 0.72, "iqm_low": 0.6, "iqm_high": 0.8}) == {"iqm": "same"}
    assert verdicts(a, {"iqm": 0.5, "iqm_low": 0.4, "iqm_high": 0.6}) == {"iqm": "worse"}
    nested = {"learned": {"100": {"success_rate": 0.5, "low": 0.4, "high": 0.6}}}
    assert figures_of({"figures": nested}) == {"learned.100.success_rate": Figure(0.5, 0.4, 0.6)}


def test_bookkeeping_and_flags_are_no_figures():
    figures = {
        "num_seeds": 3,
        "curve": [1, 2],
        "is_target_reached": True,
        "rows": [{"name": "a", "speed": 2.0}],
    }
    assert figures_of({"figures": figures}) == {"rows.a.speed": Figure(2.0)}


def test_the_tolerance_is_relative_and_can_be_set():
    assert judge("speed", Figure(100.0), Figure(91.0), 0.1) == "same"
    assert judge("speed", Figure(100.0), Figure(91.0), 0.05) == "worse"
    assert judge("mean_return", Figure(-100.0), Figure(-200.0), 0.1) == "worse"


def test_speeds_of_two_machines_are_not_compared():
    a = {"x": result({"plans_per_cpu_second": 10.0, "success_rate": 1.0})}
    b = {
        "x": result(
            {"plans_per_cpu_second": 1.0, "success_rate": 0.1}, {"processor": "b", "cores": 2}
        )
    }
    assert [change.verdict for change in compare(a, b)] == ["unclear", "worse"]


def test_what_only_one_has_is_said():
    assert [c.verdict for c in compare({"x": result({})}, {"y": result({})})] == [
        "only A",
        "only B",
    ]
    assert verdicts({"a": 1.0}, {"b": 1.0}) == {"a": "only A", "b": "only B"}


def test_folders_and_revisions_are_read(tmp_path, capsys):
    (tmp_path / "speed.json").write_text(json.dumps(result({"seconds": 1.0})))
    assert read(str(tmp_path)) == {"speed": result({"seconds": 1.0})}
    committed = read("HEAD")
    assert committed["planning_speed"]["figures"]["plans_per_cpu_second"]
    changes = main(Config("HEAD", "HEAD"))
    assert changes
    assert {change.verdict for change in changes} == {"same"}
    assert "nothing changed" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["no-such-revision", "--help"])
def test_what_is_neither_is_refused(source):
    with pytest.raises(SystemExit, match="neither a folder nor a"):
        read(source)


def test_the_exit_status_says_that_something_got_worse(tmp_path):
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "speed.json").write_text(json.dumps(result({"seconds": seconds})))
    command = [sys.executable, "-m", "benchmarks.compare", str(tmp_path / "a"), str(tmp_path / "b")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1
    assert "worse" in process.stdout
