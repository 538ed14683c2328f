"""Agents and their files need no terminal, and take paths as users write them."""

import io
import sys

import gymnasium as gym
import numpy as np
import pytest
from matplotlib.figure import Figure

import wm_envs  # noqa: F401
from wm_agents.domains.debate.loggers import DebateConsoleLogger, DebateJSONLogger
from wm_agents.errors import CheckpointError
from wm_agents.evaluation.plots import save_figure
from wm_agents.policy_gradient.ppo import PPO
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.loggers import (
    ConsoleLogger,
    JSONLLogger,
    TensorBoardLogger,
    read_jsonl,
    run_directory,
)
from wm_agents.training.progress import progress
from wm_agents.training.summary import make_output_directory, write_summary
from wm_agents.world_models import DeterministicModel, FitConfig
from wm_envs import record
from wm_envs.data.trajectories import Trajectories

ENV_ID = "wm/SequenceNext-v0"


class Bare:
    def write(self, text):
        return len(text)

    def flush(self):
        pass


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.fixture(params=["none", "bare", "closed"])
def no_terminal(request, monkeypatch):
    stream = {"none": lambda: None, "bare": Bare, "closed": closed}[request.param]()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "current").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "current")
    yield tmp_path / "home"
    assert not (tmp_path / "current" / "~").exists()


def cartpole():
    data = record("CartPole-v1", episodes=4, seed=0)
    env = gym.make("CartPole-v1")
    return data, DeterministicModel(env.observation_space, env.action_space)


@pytest.mark.parametrize("enabled", [None, True, False])
def test_a_progress_bar_needs_no_stream(no_terminal, enabled):
    with progress(3, "work", enabled) as bar:
        bar.advance(2, loss=0.5)


def test_loggers_of_the_console_need_no_stream(no_terminal):
    ConsoleLogger().log(0, {"loss": 0.5})


def test_training_needs_no_stream(no_terminal):
    Reinforce(ENV_ID, ReinforceConfig(), seed=0).learn(
        50, progress_bar=True, logger=ConsoleLogger()
    )


def test_a_debate_that_is_shown_needs_no_stream(no_terminal, monkeypatch):
    monkeypatch.setattr("wm_agents.domains.debate.loggers.epoch_lines", lambda *_: ["a line"])
    DebateConsoleLogger().log_epoch(None, None)


def test_what_saves_and_loads_expands_its_path(home):
    agent = Reinforce(ENV_ID, ReinforceConfig(), seed=0)
    assert agent.save("~/agent.safetensors") == home / "agent.safetensors"
    Reinforce.load("~/agent.safetensors")
    data, model = cartpole()
    model.save("~/model.safetensors")
    DeterministicModel.load("~/model.safetensors")
    policy = PPO((model.observation_space, model.action_space))
    policy.save("~/policy.safetensors")
    PPO.load("~/policy.safetensors")
    data.save("~/data.npz")
    assert Trajectories.load("~/data.npz").num_steps == data.num_steps


def test_loggers_and_folders_expand_their_paths(home):
    with JSONLLogger("~/log.jsonl") as logger:
        logger.log(0, {"loss": 1.0})
    assert len(list(read_jsonl("~/log.jsonl"))) == 1
    pytest.importorskip("tensorboard")
    TensorBoardLogger("~/board").close()
    assert list((home / "board").iterdir())
    assert run_directory(ENV_ID, "test", 0, "~/runs").parent == home / "runs"
    folder = make_output_directory("~/output")
    assert (
        write_summary(folder, {"a": 1})
        == write_summary("~/output", {"a": 1})
        == home / "output" / "summary.json"
    )
    assert save_figure(Figure(), "~/pictures/plot.png") == home / "pictures" / "plot.png"


def test_what_stores_a_path_goes_on_after_a_change_of_folder(home, monkeypatch):
    checkpoints, logger = CheckpointManager("checkpoints"), DebateJSONLogger("log.json")
    monkeypatch.chdir(home)
    assert checkpoints.directory == home.parent / "current" / "checkpoints"
    assert logger.path == home.parent / "current" / "log.json"


def test_a_stored_agent_finds_the_files_of_its_environment(home, monkeypatch):
    from wm_envs.data.paths import absolute_options

    np.savetxt("file.csv", [0])
    stored = absolute_options({"track": "file.csv"})
    assert stored == {"track": str(home.parent / "current" / "file.csv")}


def test_a_folder_that_cannot_be_written_is_refused_before_training(home):
    (home / "file").touch()
    agent = Reinforce(ENV_ID, ReinforceConfig(), seed=0)
    with pytest.raises(CheckpointError, match="cannot write into"):
        agent.learn(50, checkpoints=CheckpointManager("~/file/checkpoints"), checkpoint_every=10**6)
    assert agent.num_updates == 0
    data, model = cartpole()
    for checkpoint in ("~/file/checkpoint", CheckpointManager("~/file/checkpoints")):
        with pytest.raises(CheckpointError, match="cannot write into"):
            model.fit(data, FitConfig(num_updates=5), checkpoints=checkpoint)
