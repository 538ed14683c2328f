import subprocess
import sys

import numpy as np
import pytest

from wm_agents.errors import ConfigError
from wm_agents.evaluation.plots import (
    _limits,
    _short_numbers,
    plot_intervals,
    plot_learning_curves,
    plot_lines,
)
from wm_agents.evaluation.statistics import Interval

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def curves(num_runs, generator=None):
    generator = generator or np.random.default_rng(0)
    return 1 / (1 + np.exp(-np.linspace(-4, 4, 20) + generator.normal(size=(num_runs, 1))))


def test_learning_curves_are_drawn(tmp_path):
    path = plot_learning_curves(
        tmp_path / "new" / "curves.png",
        {
            "With world model": curves(10),
            "One run": curves(1),
            "Two tasks": np.stack([curves(5), curves(5)]),
        },
        np.arange(20) * 1000,
        "Success rate",
        threshold=0.9,
        title="A finding",
    )
    assert path.read_bytes().startswith(PNG_SIGNATURE)


def test_arms_may_have_their_own_steps(tmp_path):
    steps = {"a": np.arange(20), "b": np.arange(20) * 2}
    path = plot_learning_curves(
        tmp_path / "curves.svg", {"a": curves(3), "b": curves(3)}, steps, "Score"
    )
    assert path.read_text().startswith("<?xml")
    assert path.stat().st_size > 5000


def test_intervals_are_drawn_with_infinite_limits(tmp_path):
    rows = {
        "known": Interval(5, 3, 8),
        "bound": Interval(7, 6, np.inf),
        "unknown": Interval(np.nan, 0, np.inf),
    }
    path = plot_intervals(tmp_path / "intervals.png", rows, "Ratio", reference=1)
    assert path.read_bytes().startswith(PNG_SIGNATURE)
    left, right = _limits([*rows.values()], 1)
    assert left < 0 < 8 < right


def test_ticks_are_short():
    shorten = _short_numbers()
    assert [shorten(value, 0) for value in (0, 500, 20_000, 1_500_000)] == [
        "0",
        "500",
        "20k",
        "1.5M",
    ]


def test_matplotlib_is_not_loaded_before_a_picture_is_drawn():
    code = (
        "import sys, wm_agents.evaluation; assert not {'matplotlib', 'torch', 'scipy'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"wm-suite\[plots\]"):
        plot_intervals(tmp_path / "a.png", {"a": Interval(1, 0, 2)}, "x")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: plot_learning_curves(path / "a.png", {}, [1], "y"), "empty"),
        (
            lambda path: plot_learning_curves(path / "a.png", {"a": np.ones((3, 4))}, [1], "y"),
            r"curves\['a'\]",
        ),
        (
            lambda path: plot_learning_curves(
                path / "a.png", {"a": np.full((3, 1), np.nan)}, [1], "y"
            ),
            "not finite",
        ),
        (lambda path: plot_intervals(path / "a.png", {}, "x"), "empty"),
        (
            lambda path: plot_intervals(path / "a.exe", {"a": Interval(1, 0, 2)}, "x"),
            "cannot write the picture",
        ),
        (
            lambda path: plot_intervals("/dev/null/a.png", {"a": Interval(1, 0, 2)}, "x"),
            "cannot write the picture",
        ),
    ],
)
def test_bad_plot_input_is_named(call, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        call(tmp_path)


def test_numbers_are_intervals_without_limits(tmp_path):
    drawn = [
        plot_intervals(tmp_path / name, {"a": value}, "return").read_text(encoding="utf-8")
        for name, value in (("a.svg", 2.0), ("b.svg", Interval(2.0, 2.0, 2.0)))
    ]
    assert drawn[0] == drawn[1]


def test_lines_may_have_gaps(tmp_path):
    lines = {"real": [1.0, np.nan, 3.0], "imagined": [1, 2, 3]}
    path = plot_lines(tmp_path / "rounds.svg", [0, 1000, 2000], lines, "steps", "return")
    assert "imagined" in path.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="lines is empty"):
        plot_lines(tmp_path / "rounds.svg", [], {}, "steps", "return")
