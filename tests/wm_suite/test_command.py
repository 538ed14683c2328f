"""What is typed: each command does its work, and no mistake ends in a traceback."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import wm_agents as wma
from wm_agents import planning
from wm_agents.evaluation.episodes import EpisodeResults
from wm_envs.data.trajectories import Trajectories
from wm_envs.registration import TABLE
from wm_envs.testing import speed
from wm_suite import command, learners
from wm_suite.command_result import CommandResult

ROOT = Path(__file__).parents[2]
# As if torch were not installed.
WITHOUT_TORCH = """
import sys
class Deny:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Deny())
from wm_suite.command import main
sys.exit(main())
"""


def run(capsys, *words):
    """Exit code, standard output and standard error of one command."""
    try:
        code = command.main(words)
    except SystemExit as stopped:  # help and usage errors
        code = stopped.code
    out, err = capsys.readouterr()
    return code, out, err


def run_json(capsys, *words):
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    return json.loads(out)


def run_without_torch(folder, *words):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """What `wm fit` leaves."""
    folder = tmp_path_factory.mktemp("wm") / "fit"
    words = ("fit", "Pendulum-v1", "--steps", "800", "--num-updates", "10")
    assert command.main((*words, "--output-dir", str(folder))) == 0
    return folder


def test_the_ids_are_listed(capsys):
    listed = run_json(capsys, "envs")["environments"]
    assert [row["id"] for row in listed] == [row.id for row in TABLE]
    code, out, err = run(capsys, "envs")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(TABLE)


def test_a_list_of_ids_loads_no_compiler_and_no_torch():
    code = (
        "import sys; from wm_suite.command import main; main(['envs']); "
        "sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_explains_itself(name, capsys):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert f"usage: wm {name}" in out
    assert "--json" in out
    assert "--no-json" not in out


def test_an_id_is_explained_whoever_registered_it(capsys):
    ours = run_json(capsys, "info", "wm/TMaze-v0")
    assert "## Arguments" in ours["page"]
    with gym.make("wm/TMaze-v0") as env:
        assert ours["action_space"] == str(env.action_space)
        assert ours["observation_space"] == str(env.observation_space)
        assert ours["max_episode_steps"] == env.spec.max_episode_steps
    theirs = run_json(capsys, "info", "CartPole-v1")
    assert (theirs["max_episode_steps"], theirs["reward_threshold"]) == (500, 475.0)
    # Its page begins with a heading.
    assert theirs["page"].startswith("## Description")
    assert theirs["summary"].startswith("This environment corresponds to")


def test_a_piped_game_is_one_json_object(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("3\n3\n3\n"))
    played = run_json(capsys, "play", "wm/Navigation-v0", "--seed", "4")
    assert played == {"episodes": 1, "mean_return": 0.0, "success_rate": 0.0}


def test_a_recording_is_what_the_library_reads(capsys, tmp_path):
    path = tmp_path / "walks.npz"
    words = ("record", "wm/Navigation-v0", "--episodes", "3", "--output", str(path))
    assert run_json(capsys, *words)["episodes"] == Trajectories.load(path).num_episodes == 3


def quick_planner(name, model, train, *, seed):
    shooting = planning.RandomShootingConfig(horizon=2, num_samples=2)
    return planning.RandomShooting(model, planning.DiscountedReturn(), shooting)


def test_a_model_is_fitted_scored_shown_and_planned_in(fitted, capsys, tmp_path, monkeypatch):
    # A second's worth of planning is no measurement, but says whether all is joined up.
    monkeypatch.setattr(wma, "make_planner", quick_planner)
    card = run_json(capsys, "score", str(fitted), "--planning-episodes", "1")
    assert Path(card["page"]).is_file()
    assert card["oracle_return"] < 0
    assert "what_if_explained_h1" in card
    assert (
        card["trusted_steps"]
        == json.loads((fitted / "summary.json").read_text("utf-8"))["trusted_steps"]
    )
    words = ("--planning-episodes", "0", "--ignored", "reward")
    partial = run_json(capsys, "score", str(fitted), *words)
    assert "Not judged, as was asked: “reward”." in partial["verdict"]
    page = run_json(capsys, "view", str(fitted), "--horizon", "10")
    assert 0 < page["kilobytes"] < 2000
    words = ("--planner", "random_shooting", "--episodes", "1", "--output-dir", str(tmp_path))
    planned = run_json(capsys, "plan", "Pendulum-v1", "--model", str(fitted), *words)
    assert planned["planner"] == "RandomShooting"
    assert planned["mean_return"] < 0


def test_a_card_has_the_command_that_was_typed(fitted):
    words = "fit Pendulum-v1 --steps 800 --num-updates 10 --seed 0 --output-dir"
    assert f"$ wm {words} {fitted}\n" in (fitted / "README.md").read_text("utf-8")


def test_a_folder_knows_its_environment_after_a_module_too():
    with learners._environment("tests.support.room:my/Room-v0") as env:
        assert env.spec.id == "my/Room-v0"
    for name in ("own.npz", "nowhere_at_all:my/Room-v0", "tests.support.room:my/Other-v0"):
        assert learners._environment(name) is None


def test_what_was_held_out_is_not_what_was_learned_from(fitted):
    train, test = (Trajectories.load(fitted / name) for name in ("train.npz", "test.npz"))
    assert wma.unseen_episodes(test, train).num_episodes == test.num_episodes


class QuickAgent:
    """In the place of the one agent, which takes its time."""

    def __init__(self, env_id, seed):
        self.env_id, self.seed, self.num_timesteps, self.decisions = env_id, seed, 0, {}

    def learn(self, total_timesteps, *, progress_bar, checkpoints):
        self.num_timesteps += total_timesteps
        self.decisions["checkpoints"] = checkpoints.name

    def save(self, path):
        return path.with_suffix(".safetensors")

    def evaluate(self, episodes, *, progress):
        return EpisodeResults(np.full(episodes, float(self.seed)), np.ones(episodes, np.int64))


def test_training_is_that_of_the_one_agent_and_resumes(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(wma, "WorldModelAgent", QuickAgent, raising=False)
    words = ("--total-timesteps", "200", "--episodes", "2", "--seed", "3")
    trained = run_json(capsys, "train", "CartPole-v1", *words, "--output-dir", str(tmp_path))
    assert trained["decisions"] == {"checkpoints": "checkpoints"}
    assert (trained["real_steps"], trained["mean_return"]) == (200, 3.0)
    assert json.loads((tmp_path / "summary.json").read_text("utf-8")) == trained


def test_an_id_that_is_none_leaves_no_folder(capsys, tmp_path):
    words = ("train", "tests.support.room:my/Other-v0", "--output-dir", str(tmp_path / "new"))
    code, _, err = run(capsys, *words)
    assert code == 2
    # Who typed module:ID is not told to type it.
    assert err.endswith("`wm envs` lists ours.\n")
    assert not (tmp_path / "new").exists()


def test_speed_is_measured(capsys):
    rows = run_json(capsys, "bench", "wm/PatternEcho-v0", "--seconds", "0.02")
    speeds = rows["steps_per_cpu_second"][0]
    assert speeds["x4096"] > speeds["single"] > 0


def test_an_earlier_version_is_measured_without_a_warning(capsys, monkeypatch):
    def measure(env_id, *_, **__):
        gym.logger.deprecation(f"{env_id} is out of date")
        return 1.0

    monkeypatch.setattr(speed, "steps_per_cpu_second", measure)
    _, out, err = run(capsys, "bench", "wm/Driving-v0")
    assert "wm/Driving-v0" in out
    assert err == "[1/1] wm/Driving-v0\n"


def test_an_environment_is_compiled(capsys):
    seconds = run_json(capsys, "compile", "wm/PatternEcho-v0")["seconds"]
    assert list(seconds) == ["wm/PatternEcho-v0"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("info Foo-v0", "`wm envs` lists ours"),
        ("info nowhere_at_all:Foo-v0", "no module nowhere_at_all"),
        ("record CartPole-v1 --episodes 0", "episodes is an integer at least 1, got 0"),
        ("record CartPole-v1 --policy expert --output {folder}/x.npz", "take random actions"),
        ("record CartPole-v1 --policy fool", "one of random, expert: `wm record --help` lists"),
        ("record CartPole-v1 --episode 3", "did you mean --episodes? `wm record --help` lists"),
        ("fit CartPole-v1 --updates 3", "did you mean --num-updates?"),
        ("fit CartPole-v1 --step 3 --sed 4", "did you mean --seed and --steps?"),
        ("plan CartPole-v1 --episodes 0", "episodes is an integer at least 1, got 0"),
        ("train CartPole-v1 --episodes -1", "episodes is an integer at least 1, got -1"),
        ("bench CartPole-v1 --seconds -1", "seconds is a number from 0.001"),
        ("score {folder} --planning-episodes -1", "planning_episodes is an integer at least 0"),
        ("fits CartPole-v1", "did you mean `wm fit`?"),
        ("whatever", "there are envs, info"),
        ("envs extra", "extra"),
        ("record CartPole-v1 --episodes many", "many"),
        ("fit", "A Gymnasium id, or a file"),
        ("play Blackjack-v1", "is shown by --render-mode"),
        ("compile wm/Nowhere-v0", "no environment wm/Nowhere-v0"),
        ("score {folder}", "is no folder of `wm fit`"),
        ("fit {folder}/none.npz", "none.npz"),
        ("fit {folder}/text.npz", "it is no archive of NumPy"),
        ("data fetch circuits --source ftp://x --output-dir {folder}", "source='ftp://x'"),
    ],
)
def test_a_mistake_is_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npz").write_text("steps", encoding="utf-8")
    code, out, err = run(capsys, *words.format(folder=tmp_path).split())
    assert code == 2
    assert out == ""
    assert err.startswith("wm: ")
    assert err.count("\n") == 1
    assert said in err


def test_what_nobody_expected_is_one_line_too(capsys, monkeypatch):
    def fail() -> CommandResult:
        raise RuntimeError("first\nsecond")

    monkeypatch.setitem(command.COMMANDS, "envs", fail)
    assert run(capsys, "envs")[2] == "wm: RuntimeError: first second (WM_DEBUG=1 shows where)\n"
    monkeypatch.setenv("WM_DEBUG", "1")
    with pytest.raises(RuntimeError):
        command.main(["envs"])


def test_numbers_that_json_has_not_are_null(capsys, monkeypatch):
    def measure() -> CommandResult:
        return CommandResult({"a": [float("inf"), 1.0], "b": float("nan")}, "")

    monkeypatch.setitem(command.COMMANDS, "envs", measure)
    assert run_json(capsys, "envs") == {"a": [None, 1.0], "b": None}


def test_an_interruption_is_no_traceback(capsys, monkeypatch):
    def interrupt() -> CommandResult:
        raise KeyboardInterrupt

    monkeypatch.setitem(command.COMMANDS, "envs", interrupt)
    assert run(capsys, "envs")[0] == 130


def test_data_that_are_not_there_come_with_instructions(capsys, tmp_path):
    code, out, _ = run(capsys, "data", "fetch", "votes", "--output-dir", str(tmp_path))
    assert code == 2
    assert f"gzfile('{tmp_path}/un_votes.csv.gz')" in out
    assert not list(tmp_path.iterdir())


def test_a_window_without_a_display_is_one_line(capsys, monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setenv("DISPLAY", ":none")
    code, _, err = run(capsys, "play", "wm/TMaze-v0", "--render-mode", "human")
    assert code == 2
    assert "wm: no display to open a window on" in err.splitlines()[-1]


def test_environments_need_no_torch_and_learners_say_what_to_install(tmp_path):
    words = ("record", "wm/PatternEcho-v0", "--episodes", 2, "--output", "echo.npz")
    recorded = run_without_torch(tmp_path, *words)
    # Where compiling takes long there are lines of progress.
    assert (recorded.returncode, "torch" in recorded.stderr) == (0, False)
    assert (tmp_path / "echo.npz").is_file()
    refused = run_without_torch(tmp_path, "fit", "echo.npz")
    assert refused.returncode == 2
    assert refused.stderr.startswith("wm: wm_agents needs torch")
    assert "pip install 'wm-suite[agents]'" in refused.stderr
    assert refused.stderr.count("\n") == 1
