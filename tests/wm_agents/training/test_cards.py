"""A card's folder says what it is and loads again, ours and Stable-Baselines3's."""

import hashlib
import json
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
import tyro
from stable_baselines3 import A2C, PPO

import wm_envs  # noqa: F401
from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.policy_gradient.sequence_model import NetworkConfig
from wm_agents.training.cards import (
    Card,
    command_line,
    load_policy_weights,
    save_with_card,
    write_card,
)
from wm_agents.world_models import DeterministicModel

ENV_ID = "wm/PatternEcho-v0"
CARD = Card(
    title="REINFORCE: an example",
    env_id=ENV_ID,
    scores={"success_rate": 0.25, "mean_return": float("nan")},
    command="python examples/reinforce.py",
    seeds=(3,),
    limits="Nothing else.",
)


def header_of(folder):
    """The header, read as what it is: one JSON value for each key."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    return {
        line.split(": ", 1)[0]: json.loads(line.split(": ", 1)[1]) for line in header.splitlines()
    }, body


def test_the_folder_holds_all_of_it(tmp_path):
    agent = Reinforce(
        ENV_ID, ReinforceConfig(network=NetworkConfig(), episodes_per_update=8), seed=3
    )
    save_with_card(agent, tmp_path / "new", CARD)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    facts = json.loads((tmp_path / "new" / "config.json").read_text(encoding="utf-8"))
    assert facts["scores"] == {"success_rate": 0.25, "mean_return": None}
    assert facts["checkpoint"]["config"]["episodes_per_update"] == 8
    assert facts["class"] == "wm_agents.policy_gradient.reinforce.Reinforce"
    assert (
        facts["sha256"]
        == hashlib.sha256((tmp_path / "new" / "model.safetensors").read_bytes()).hexdigest()
    )
    header, body = header_of(tmp_path / "new")
    assert header["library_name"] == "wm-suite"
    assert ENV_ID in header["tags"]
    result = header["model-index"][0]["results"][0]
    assert result["metrics"][0] == {"type": "success_rate", "name": "success_rate", "value": 0.25}
    assert "| success rate | 0.25 |" in body
    assert "| mean return | none |" in body
    assert "$ python examples/reinforce.py" in body


def test_the_usage_of_the_readme_runs(tmp_path, monkeypatch):
    agent = Reinforce(ENV_ID, seed=3)
    save_with_card(agent, tmp_path, CARD)
    monkeypatch.chdir(tmp_path)
    _, body = header_of(tmp_path)
    names = {}
    exec(body.split("```python\n")[1].split("```")[0], names)
    assert torch.equal(names["model"].model.flat, agent.model.flat)


def test_world_models_have_cards_too(tmp_path, monkeypatch):
    env = gym.make(ENV_ID)
    model = DeterministicModel(env.observation_space, env.action_space, seed=0)
    save_with_card(model, tmp_path, CARD)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(header_of(tmp_path)[1].split("```python\n")[1].split("```")[0], names)
    assert all(
        torch.equal(a, b)
        for a, b in zip(names["model"].parameters(), model.parameters(), strict=True)
    )


def test_stable_baselines_weights_come_back_without_a_pickle(tmp_path):
    def make(seed, **options):
        return PPO(
            "MlpPolicy",
            gym.make(ENV_ID),
            seed=seed,
            n_steps=8,
            batch_size=8,
            device="cpu",
            **options,
        )

    agent = make(1)
    save_with_card(agent, tmp_path, CARD)
    other = make(2)
    load_policy_weights(other, tmp_path)
    rows = np.eye(8, dtype=np.float32)[:, : agent.observation_space.shape[0]]
    assert np.array_equal(
        agent.predict(rows, deterministic=True)[0], other.predict(rows, deterministic=True)[0]
    )
    for name, tensor in agent.policy.state_dict().items():
        assert torch.equal(tensor, other.policy.state_dict()[name])
    small = make(2, policy_kwargs={"net_arch": [4]})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_policy_weights(small, tmp_path)
    with pytest.raises(CheckpointError, match="policy of PPO, not of A2C"):
        load_policy_weights(A2C("MlpPolicy", gym.make(ENV_ID), device="cpu"), tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert facts["checkpoint"]["settings"]["n_steps"] == 8


def test_what_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_with_card(Reinforce(ENV_ID), tmp_path / "file", CARD)
    with pytest.raises(ConfigError, match="one line"):
        Card(title=" ", env_id=ENV_ID, scores={})


def test_a_card_needs_the_weights_that_it_describes(tmp_path):
    agent = Reinforce(
        ENV_ID, ReinforceConfig(network=NetworkConfig(), episodes_per_update=8), seed=3
    )
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        write_card(agent, tmp_path, CARD)
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Sizes:
    width: int = 8
    depth: int = 2


@dataclass(frozen=True)
class Settings:
    env_id: str = "wm/TMaze-v0"
    seed: int = 0
    rates: tuple[float, ...] = (0.1,)
    sizes: Sizes = field(default_factory=Sizes)
    is_fast: bool = False
    is_checked: bool = True
    source: Path | None = None
    output_dir: Path = Path("runs")


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (Settings(), ""),
        (Settings(output_dir=Path("elsewhere")), ""),
        (Settings(rates=(0.5, 0.25), is_fast=True), " --rates 0.5 0.25 --is-fast"),
        (Settings(sizes=Sizes(depth=3), is_checked=False), " --sizes.depth 3 --no-is-checked"),
        (Settings(source=Path("a folder") / "b.csv"), " --source 'a folder/b.csv'"),
    ],
)
def test_a_command_line_is_read_as_the_settings_it_was_made_from(settings, options):
    command = command_line("examples/x.py", settings)
    assert command == f"python examples/x.py --env-id wm/TMaze-v0 --seed 0{options}"
    again = tyro.cli(Settings, args=shlex.split(command)[2:])
    assert replace(again, output_dir=settings.output_dir) == settings
