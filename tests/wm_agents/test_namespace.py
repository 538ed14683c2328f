"""`import wm_agents as wma`: every public name, the same for editors, and no torch until one is asked for."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import wm_agents as wma
import wm_envs
from wm_agents.old_names import MOVED

SOURCE = Path(wma.__file__).read_text(encoding="utf-8")


def test_every_public_name_is_there():
    for name in wma.__all__:
        assert getattr(wma, name) is not None
    shown = {name for name in dir(wma) if not name.startswith("__")}
    assert set(wma.__all__) <= shown
    # What else is there are packages, and no `os` or `sys`.
    assert all(hasattr(getattr(wma, name), "__path__") for name in shown - set(wma.__all__))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        wma.nothing_of_the_kind  # noqa: B018


def test_help_shows_the_name_of_a_type_and_not_its_definition():
    for name in wma.__all__:
        public = getattr(wma, name)
        members = vars(public).values() if isinstance(public, type) else (public,)
        for member in members:
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function):
                assert "_NestedSequence" not in str(inspect.signature(function)), name


def test_editors_read_the_same_names():
    block = next(
        node
        for node in ast.parse(SOURCE).body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    )
    typed = {
        (statement.module, alias.name) for statement in block.body for alias in statement.names
    }
    assert typed == {(module, name) for module, names in wma._HOMES.items() for name in names}


def test_the_import_alone_loads_no_torch():
    code = "import sys, wm_agents; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(wma.__file__).parents[1], check=False
        ).returncode
        == 0
    )


def is_said(text, warned):
    """Whether one of the warnings says so: a package that has moved too warns beside its module."""
    return any(text in str(warning.message) for warning in warned)


@pytest.mark.parametrize("old", MOVED.modules)
def test_an_old_path_leads_to_the_new_with_a_warning(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)  # Python warns at the first import only
    with pytest.warns(DeprecationWarning, match="has moved|is now") as warned:
        module = importlib.import_module(old)
    assert is_said(f"{old} has moved: import from wm_", warned)
    present = importlib.import_module(MOVED.modules[old])
    public = [name for name in vars(present) if not name.startswith("_")]
    assert public
    assert all(getattr(module, name) is getattr(present, name) for name in public)


@pytest.mark.parametrize("old", MOVED.names)
def test_an_old_name_leads_to_the_new_with_a_warning(old):
    path, _, name = old.rpartition(".")
    with pytest.warns(DeprecationWarning, match="has moved|is now") as warned:
        found = getattr(importlib.import_module(path), name)
    assert is_said(f"{old} is now", warned)
    new_path, _, new_name = MOVED.names[old].rpartition(".")
    assert found is getattr(importlib.import_module(new_path), new_name)


def test_what_user_code_looks_like(tmp_path, monkeypatch):
    """The lines at the end of the architecture, with small budgets."""
    monkeypatch.chdir(tmp_path)
    train, test = wm_envs.record("Pendulum-v1", episodes=10, seed=0).split((0.8, 0.2), seed=0)
    model = wma.EnsembleModel.for_env(
        "Pendulum-v1", wma.EnsembleConfig(num_members=2, dynamics_widths=(32,))
    )
    model.fit(train, wma.FitConfig(num_updates=100, horizon=2))
    report = wma.open_loop_error(model, test, train=train)
    assert report.trusted_steps >= 0
    agent = wma.PlanningAgent(
        model, wma.ICEM(horizon=5, num_samples=8, num_iterations=1, num_elites=2)
    )
    action, _ = agent.predict(gym.make("Pendulum-v1").reset(seed=0)[0])
    assert np.shape(action) == (1,)
    imagined = wma.ImaginedVectorEnv(model, train, horizon=5, num_envs=4).as_sb3()
    assert imagined.reset().shape == (4, 3)
    wma.save(model, "pendulum")
    again = wma.load("pendulum")
    assert type(again) is wma.EnsembleModel
    start = train.start_observations[:3]
    assert np.array_equal(
        again.predict(start, np.zeros((3, 1))).observations,
        model.predict(start, np.zeros((3, 1))).observations,
    )


USER_CODE = """
import gymnasium as gym, wm_envs, wm_agents as wma

train, test = wm_envs.record("Pendulum-v1", episodes=20, seed=0).split((0.8, 0.2), seed=0)
model = wma.EnsembleModel.for_env("Pendulum-v1")
model.fit(train)
print(wma.open_loop_error(model, test, train=train).trusted_steps)
agent = wma.PlanningAgent(model, wma.ICEM(horizon=20))
imagined = wma.ImaginedVectorEnv(model, train, horizon=30, num_envs=16).as_sb3()
wma.save(model, "pendulum"); model = wma.load("pendulum")
"""


def test_the_lines_at_the_end_of_the_architecture_run_as_written(tmp_path, monkeypatch, capsys):
    """Word for word, on all twenty episodes.

    A fit by default takes more than a minute, so that what is smaller here is the default number of
    updates, which the lines do not name.
    """
    monkeypatch.chdir(tmp_path)
    defaults = wma.FitConfig.__init__.__defaults__
    assert defaults[0] == wma.FitConfig().num_updates
    monkeypatch.setattr(wma.FitConfig.__init__, "__defaults__", (20, *defaults[1:]))
    names = {}
    exec(USER_CODE, names)
    assert int(capsys.readouterr().out) >= 0
    assert (names["train"].num_episodes, names["test"].num_episodes) == (16, 4)
    assert names["imagined"].reset().shape == (16, 3)
    action, _ = names["agent"].predict(names["gym"].make("Pendulum-v1").reset(seed=0)[0])
    assert np.shape(action) == (1,)
    # The model that was loaded plans in place of the one that was saved.
    assert type(names["model"]) is wma.EnsembleModel
    again = wma.PlanningAgent(names["model"], wma.ICEM(horizon=20))
    assert np.shape(again.predict(names["train"].start_observations[0])[0]) == (1,)


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("wm_agents.reinforce", "Reinforce"),
        ("wm_agents.trajectories", "Trajectories"),
        ("wm_agents.imagination", "DreamVectorEnv"),
        ("wm_agents.sb3_adapter", "SB3VecEnv"),
        ("wm_agents.safety", "RiskCalibrator"),
        ("wm_agents.votes", "VoteModel"),
        ("wm_agents.debate", "Trainer"),
        ("wm_agents.vector_ppo", "VectorPPO"),
        ("wm_agents.irl", "BehaviourCloning"),
        ("wm_agents.evaluation.intervals", "stratified_bootstrap"),
        ("wm_envs.pong.view", "PongView"),
        ("wm_envs.datasets", "record"),
    ],
)
def test_old_paths_of_documented_names_still_lead_there(old, name):
    code = f"import warnings; warnings.simplefilter('ignore'); from {old} import {name}"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(wma.__file__).parents[1], check=False
        ).returncode
        == 0
    )
