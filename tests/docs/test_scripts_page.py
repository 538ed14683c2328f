"""Every command of the list of scripts runs, in the list's order and as written but for its size."""

import csv
import json
import re
import runpy
import shlex
import sys
from itertools import product

import numpy as np
import pytest

from tests.docs.test_commands import ROOT, as_python_does
from wm_envs.resolutions.countries import CODES

SMALLER = {
    "agent": "--total-timesteps 300 --episodes 2 --no-scorecard",
    "reinforce": "--total-timesteps 400",
    "ablation": "--num-updates 4 --evaluate-every 2 --num-seeds 2 --learning-rates 1e-3 --num-workers 1 --quiet",
    "sb3_ppo": "--total-timesteps 256 --num-envs 4 --rollout-steps 16 --evaluation-episodes 4",
    "random_rollout": "--episodes 3",
    "fit_world_model": "--steps 600 --num-updates 20 --quiet",
    "plan": "--max-real-steps 300 --episodes 2",
    "scorecard": "--train-steps 600 --test-steps 400 --num-updates 20 --planning-episodes 0 --quiet",
    "record_pong": "--players tracker --steps 200 --episode-steps 100",
    "world_model_pong": "--train-steps 6000 --test-games 1 --model.width 8 --model.num-updates 5 --no-has-pictures",
    "dream_pong": "--max-real-steps 1000 --shares 1.0 --dream-updates 1 --num-dreams 8 --games 1 --no-is-measured "
    "--model.width 8 --model.num-updates 5 --ppo.widths 8 --ppo.n-steps 8",
    "dream_sac": "--real-steps 60 --round-steps 30 --longest-hold 2 --model-free-steps 60 --evaluate-every 30 "
    "--evaluation-episodes 1 --gradient-steps 4 --first-updates 5 --later-updates 5 --model-width 8",
    "plan_driving": "--circuits circuits --num-training-circuits 2 --episodes 2 --num-updates 5 --num-members 1 "
    "--collect-rounds 0 --laps 1",
    "crash_prediction": "--circuits circuits --num-calibration-circuits 1 --cars 24 --steps 300 --samples 2 "
    "--shield-cars 8",
    "dream_driving": "--recorded-episodes 2 --rounds 1 --round-steps 30 --dream-gradients 4 --model-free-decisions 20 "
    "--evaluate-every 10 --evaluation-episodes 1 --episode-decisions 5 --dream-envs 2 --num-updates 5",
    "drive_from_scratch": "--first-steps 400 --round-steps 300 --rounds 2 --first-updates 1 --round-updates 1 "
    "--last-updates 1 --num-circuits 2 --fit-updates 4 --model-width 8 --num-random 1 --laps 1 --no-has-foresight "
    "--learning.num-cars 6 --learning.horizon 2 --learning.width 8",
    "train_debate": "--persons 2",
    "build_trajectories": "",
    "forecast_votes": "--num-draws 1 --num-revealed 3 --cards FR --quiet",
    "irl_resolutions": "--countries FR,US,CN",
    "irl_gridworld": "--size 4 --num-walks 20 --horizon 8 --prior-stds 0.6",
    "irl_driving": "--num-stretches 6 --num-plans 40 --num-samples 20",
    "irl_transfer": "--masses 1.5 --num-episodes 2 --airl-timesteps 2048 --total-timesteps 150 "
    "--num-test-episodes 10",
    "irl_imitation": "--num-episodes 2 --total-timesteps 600 --num-test-episodes 2",
}

NEEDS = {
    "crash_prediction": "plan_driving",
    "forecast_votes": "build_trajectories",
    "irl_resolutions": "build_trajectories",
}
"""Which script writes what another one reads."""


def listed():
    section = (ROOT / "docs/scripts.md").read_text(encoding="utf-8")
    return re.findall(r"^python examples/(\w+)\.py([^#\n]*)", section, re.MULTILINE)


def write_circuit(path, radius):
    """A short ring that is a little dented, as a user would write it."""
    angles = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    radii = radius * (1 + 0.1 * np.cos(2 * angles))
    rows = zip(radii * np.cos(angles), radii * np.sin(angles), strict=True)
    path.write_text(
        "# x_m,y_m,w_tr_right_m,w_tr_left_m\n"
        + "".join(f"{x:.3f},{y:.3f},6.0,6.0\n" for x, y in rows)
    )


def write_votes(folder):
    """Fifteen years of four recurring texts.

    Thirty countries stand on a line, and the first two texts divide them.
    """
    codes = [*CODES[:30], *(code for code in ("FR", "US", "CN") if code not in CODES[:30])]
    positions = dict(zip(codes, np.linspace(-1, 1, len(codes)), strict=True))
    titles = ("NUCLEAR WEAPONS", "OCCUPIED TERRITORIES", "RIGHTS OF THE CHILD", "LAW OF THE SEA")
    calls, votes, issues = [], [], []
    for year in range(2000, 2015):
        for month, (text, title) in product((10, 11, 12), enumerate(titles)):
            number = len(calls) + 1
            date, name = f"{year}-{month}-0{text + 1}", f"R/{year}/{month}/{text}"
            calls.append((number, year - 1945, 0, date, name, 0, 0, title, title))
            issues.append((number, "co", "Colonialism"))
            for code, position in positions.items():
                vote = "yes" if text > 1 or position * (1 - 2 * text) > -0.2 else "no"
                votes.append((number, code, code, vote))
    headings = {
        "votes": ("rcid,country,country_code,vote", votes),
        "roll_calls": ("rcid,session,importantvote,date,unres,amend,para,short,descr", calls),
        "issues": ("rcid,short_name,issue", issues),
    }
    for name, (heading, rows) in headings.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([heading.split(","), *rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands run one after the other, with the files that a user brings."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "circuits").mkdir()
    for number, name in enumerate("abcde"):
        write_circuit(folder / "circuits" / f"{name}.csv", 40 + number)
    write_circuit(folder / "circuit.csv", 50)
    write_votes(folder)
    return folder


def test_every_script_of_the_list_has_a_size():
    assert {name for name, _ in listed()} == set(SMALLER)


@pytest.mark.parametrize("name", [name for name, _ in listed()])
def test_a_script_of_the_list_runs(name, folder, monkeypatch):
    # Another worker may have run the script whose files this one reads.
    if name in NEEDS and not written_by(NEEDS[name], folder).exists():
        run_listed(NEEDS[name], folder, monkeypatch)
    summary = written_by(name, folder)
    for path in [summary, *pictures_in(summary.parent)]:  # of another one with the same folder
        path.unlink(missing_ok=True)
    run_listed(name, folder, monkeypatch)
    assert json.loads(summary.read_text(encoding="utf-8"))
    assert pictures_in(summary.parent) or "--no-has-pictures" in SMALLER[name]


def pictures_in(folder):
    """What a script leaves for the eye."""
    return [path for path in folder.glob("*") if path.suffix in (".png", ".svg", ".html", ".gif")]


def written_by(name, folder):
    """The summary that a command of the list writes."""
    arguments = shlex.split(dict(listed())[name])
    return folder / arguments[arguments.index("--output-dir") + 1] / "summary.json"


def run_listed(name, folder, monkeypatch):
    """A command as written, but for the names of files and its size."""
    arguments = dict(listed())[name]
    for option, file in (
        ("--votes FILE", "votes"),
        ("--roll-calls FILE", "roll_calls"),
        ("--issues FILE", "issues"),
    ):
        arguments = arguments.replace(option, f"{option[:-4]} {file}.csv")
    arguments = shlex.split(arguments)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [name, *arguments, *shlex.split(SMALLER[name])])
    target = f"examples/{name}.py"
    as_python_does(target, monkeypatch)
    runpy.run_path(str(ROOT / target), run_name="__main__")
