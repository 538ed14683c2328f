"""The hub's two calls, against a stub that keeps repositories in a folder."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import wm_agents as wma
from wm_agents.errors import CheckpointError, MissingExtraError
from wm_agents.training.cards import Card

CARD = Card("A pendulum's model", "Pendulum-v1", {"error": 0.25})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the place of huggingface_hub; its repositories are folders."""
    root = tmp_path / "hub"

    class Api:
        def __init__(self, token: str | None = None) -> None:
            self.token = token

        def create_repo(self, repo_id: str, **options: Any) -> None:
            if "/" not in repo_id:
                raise ValueError("Repo id must be user/name")
            (root / repo_id).mkdir(parents=True, exist_ok=options["exist_ok"])

        def upload_folder(self, folder_path: str, repo_id: str, **options: Any) -> str:
            if self.token == "revoked":
                raise OSError("401 Unauthorized")
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
            return f"stub://{repo_id}/{options['commit_message']}"

    def snapshot_download(repo_id: str, **options: Any) -> str:
        assert options["allow_patterns"] == ["model.safetensors", "config.json", "README.md"]
        if not (root / repo_id).is_dir():
            raise OSError("404 Not Found")
        return str(root / repo_id)

    stub = ModuleType("huggingface_hub")
    vars(stub).update(HfApi=Api, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stub)
    return root


@pytest.fixture(scope="module")
def table() -> Any:
    space = gym.spaces.Box(-1, 1, (2,))
    rows = np.random.default_rng(0).uniform(-1, 1, (41, 2)).astype(np.float32)
    data = wma.Trajectories.from_arrays(
        rows, np.zeros((40, 1), np.float32), np.zeros(40), np.zeros(40, bool)
    )
    config = wma.DeterministicConfig(dynamics_widths=(4,), reward_widths=(4,))
    model = wma.DeterministicModel(space, gym.spaces.Box(-1, 1, (1,)), config)
    model.fit(data, wma.FitConfig(num_updates=2))
    return model


def test_what_is_pushed_comes_back(hub: Path, table: Any) -> None:
    address = wma.push_to_hub(table, "ada/pendulum", CARD)
    assert address == "stub://ada/pendulum/A pendulum's model"
    again = wma.from_hub("ada/pendulum", device="cpu")
    rows, acts = np.full((3, 2), 0.5, np.float32), np.zeros((3, 1), np.float32)
    np.testing.assert_array_equal(
        again.predict(rows, acts).observations, table.predict(rows, acts).observations
    )


def test_a_hub_that_refuses_is_one_error(hub: Path, table: Any) -> None:
    with pytest.raises(CheckpointError, match="log in"):
        wma.push_to_hub(table, "ada/pendulum", CARD, token="revoked")
    with pytest.raises(CheckpointError, match="user/name"):
        wma.push_to_hub(table, "pendulum", CARD)
    with pytest.raises(CheckpointError, match="404"):
        wma.from_hub("ada/nothing")


def test_weights_of_another_card_are_refused(hub: Path, table: Any) -> None:
    wma.push_to_hub(table, "ada/swapped", CARD)
    config = hub / "ada" / "swapped" / "config.json"
    facts = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**facts, "sha256": "0" * 64}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="SHA-256"):
        wma.from_hub("ada/swapped")
    config.write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match="save_with_card"):
        wma.from_hub("ada/swapped")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"wm-suite\[hub\]"):
        wma.from_hub("ada/pendulum")
