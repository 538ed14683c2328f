"""ONNX files give what the learners give, to 1e-5, and what has no exporter is refused."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import wm_agents as wma
from wm_agents.errors import ConfigError, MissingExtraError, NotFittedError
from wm_agents.training import onnx_export
from wm_agents.world_models import DerivedFeature, FeatureLayout
from wm_envs import record
from wm_envs.errors import OptionError

onnxruntime = pytest.importorskip("onnxruntime", reason="parity takes ONNX Runtime")
pytest.importorskip("onnxscript", reason="exporting takes onnxscript")

SMALL: dict[str, Any] = {"dynamics_widths": (16, 16), "reward_widths": (8,)}


def run(path: Path, **inputs: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, inputs)
    return outputs


def fitted(env_id: str, config: Any, **options: Any) -> tuple[Any, wma.Trajectories]:
    data = record(env_id, episodes=8, seed=0, progress=False)
    kind: Any = (
        wma.EnsembleModel if isinstance(config, wma.EnsembleConfig) else wma.DeterministicModel
    )
    with gym.make(env_id) as env:
        model = kind(env.observation_space, env.action_space, config, **options)
    model.fit(data, wma.FitConfig(num_updates=60))
    return model, data


@pytest.mark.parametrize(
    ("env_id", "config"),
    [
        ("Pendulum-v1", wma.DeterministicConfig(**SMALL, activation="tanh")),  # a circle, a Box
        ("CartPole-v1", wma.DeterministicConfig(**SMALL, latent_size=4, encoder_widths=(8,))),
        ("CartPole-v1", wma.EnsembleConfig(**SMALL, num_members=3)),  # ends, counted actions
    ],
    ids=["circle", "encoder", "ensemble"],
)
def test_a_step_of_a_world_model_is_the_same(env_id: str, config: Any, tmp_path: Path) -> None:
    model, data = fitted(env_id, config)
    path = model.export_onnx(tmp_path / "model")
    assert path.name == "model.onnx"
    for rows in (slice(0, 1), slice(0, 150)):
        observations, actions = data.start_observations[rows], data.actions[rows]
        theirs = run(path, observations=observations, actions=actions)
        ours = model.predict(observations, actions)
        for a, b in zip((ours.observations, ours.rewards, ours.terminations), theirs, strict=True):
            np.testing.assert_allclose(b, a.numpy(), rtol=1e-5, atol=1e-5)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["wm_agents"])
    assert metadata["kind"] == model.kind
    assert metadata["action_space"]["type"] in ("box", "discrete")


def test_actions_that_begin_elsewhere_and_layouts_with_rules(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(301, 4)).astype(np.float32)
    rows[1:, 2] = rows[:-1, 1]  # an exact copy
    rows[:, 3] = np.mod(np.arange(301) * 0.4 + np.pi, 2 * np.pi) - np.pi  # an angle that wraps
    acts = np.random.default_rng(1).integers(3, 6, 300)
    data = wma.Trajectories.from_arrays(rows, acts, rows[1:, 0], np.zeros(300, bool))
    layout = FeatureLayout(4, angles=(3,), copies=((2, 1),), absolutes=(0,), for_heads=(1,))
    model = wma.DeterministicModel(
        gym.spaces.Box(-np.inf, np.inf, (4,)),
        gym.spaces.Discrete(3, start=3),
        wma.DeterministicConfig(**SMALL),
        layout=layout,
    )
    model.fit(data, wma.FitConfig(num_updates=30))
    path = wma.export_onnx(model, tmp_path / "model.onnx")
    theirs = run(path, observations=data.start_observations, actions=data.actions)
    ours = model.predict(data.start_observations, data.actions)
    np.testing.assert_allclose(theirs[0], ours.observations.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(theirs[1], ours.rewards.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "CartPole-v1"])
def test_policies_act_the_same(env_id: str, tmp_path: Path) -> None:
    agent = wma.PPO(env_id, wma.PPOConfig(num_envs=2, n_steps=32, widths=(8,)), seed=1)
    agent.learn(256)
    data = record(env_id, episodes=4, seed=3, progress=False)
    cloning = wma.BehavioralCloning(agent.observation_space, agent.action_space)
    cloning.fit(data, wma.CloningConfig(widths=(8,), num_updates=20))
    rows = data.start_observations[:100]
    for policy in (agent, cloning):
        path = wma.export_onnx(policy, tmp_path / "policy")
        actions = policy.predict(rows, deterministic=True)[0]
        np.testing.assert_allclose(run(path, observations=rows)[0], actions, rtol=1e-5, atol=1e-5)


def test_what_has_no_exporter_is_refused_by_name(tmp_path: Path) -> None:
    data = record("wm/LightsOut-v0", episodes=40, seed=0, progress=False)
    token = wma.TokenModel.for_env("wm/LightsOut-v0")
    token.fit(data)
    memory = wma.PPO("CartPole-v1", wma.PPOConfig(num_envs=2, memory_width=4))
    learners: tuple[Any, ...] = (token, token.to_program(), memory, object())
    for learner in learners:
        with pytest.raises(ConfigError, match=f"a {type(learner).__name__} has no ONNX exporter"):
            wma.export_onnx(learner, tmp_path / "model")
    with pytest.raises(NotFittedError):
        wma.DeterministicModel.for_env("Pendulum-v1").export_onnx(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_feature_that_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    def looked_up(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[sum(row)] for row in before.detach().tolist()])

    layout = FeatureLayout(3, derived=(DerivedFeature((2,), looked_up),))
    model, _ = fitted("Pendulum-v1", wma.DeterministicConfig(**SMALL), layout=layout)
    with pytest.raises(ConfigError, match="cannot be written as ONNX"):
        model.export_onnx(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = fitted("Pendulum-v1", wma.DeterministicConfig(**SMALL))
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"wm-suite\[onnx\]"):
        model.export_onnx(tmp_path / "model")


def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("worked"))
    model, _ = fitted("CartPole-v1", wma.DeterministicConfig(**SMALL))
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "file" / "model", "", None):
        with pytest.raises(OptionError):
            model.export_onnx(path)
