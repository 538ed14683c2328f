"""Files from strangers, each with a payload that would leave a canary: refused, never run."""

import io
import os
import pickle
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch

from tests.reliability.readers import readers
from wm_agents.domains.debate.model import DebateModel
from wm_agents.errors import CheckpointError
from wm_agents.policy_gradient.ppo import PPO
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint, save_checkpoint
from wm_agents.world_models import DeterministicModel, EnsembleModel, TokenModel
from wm_envs.errors import TrajectoryError


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("canary",))


def payloads(folder):
    """Files by name: plain pickles of all protocols, and everything that holds one."""
    bomb = pickle.dumps(Bomb())
    found = {
        f"pickle{protocol}": pickle.dumps(Bomb(), protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    }
    stream = io.BytesIO()
    torch.save({"weight": Bomb()}, stream)
    found["torch.pt"] = stream.getvalue()
    stream = io.BytesIO()
    torch.save({"weight": Bomb()}, stream, _use_new_zipfile_serialization=False)
    found["old_torch.pt"] = stream.getvalue()
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    found["array.npy"] = stream.getvalue()
    stream = io.BytesIO()
    np.savez(stream, observations=np.array([Bomb()], dtype=object), rewards=np.zeros(1))
    found["arrays.npz"] = stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("data", "policy.pth", "pytorch_variables.pth", "data.pkl", "observations.npy"):
            archive.writestr(name, bomb)
    found["stable_baselines.zip"] = stream.getvalue()
    found["hdf5"] = _hdf5(folder, bomb)
    found["json.json"] = (
        b'{"__reduce__": ["os.mkdir", ["canary"]], "py/reduce": [{"py/function": "os.mkdir"}]}'
    )
    found["entity.xml"] = (
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    )
    return found


def _hdf5(folder, bomb):
    import h5py

    path = folder / "payload.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.void(bomb)
        file.attrs["data"] = np.void(bomb)
    return path.read_bytes()


def loaders(folder):
    """Everything of ours that opens a file."""
    found = {name: reader.read for name, reader in readers(folder).items()}
    found["Reinforce"] = Reinforce.load
    found["PPO"] = PPO.load
    for model in (DeterministicModel, EnsembleModel, TokenModel):
        found[model.__name__] = model.load
    found["DebateModel"] = DebateModel.load
    return found


def quietly(load, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(path)


def test_no_payload_runs(tmp_path, monkeypatch, counted):
    (tmp_path / "good").mkdir()
    readers_and_loaders = loaders(tmp_path / "good")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    files, num_tried = payloads(tmp_path), 0
    for loader, load in readers_and_loaders.items():
        suffix = "." + loader.split(".", 1)[1] if "." in loader else ".safetensors"
        for name, data in files.items():
            for ending in {suffix, "." + name.rpartition(".")[2]}:
                path = tmp_path / f"payload{ending}"
                path.write_bytes(data)
                with pytest.raises((CheckpointError, ValueError, RuntimeError)) as raised:
                    quietly(load, path)
                assert raised.type.__module__.split(".")[0] in ("wm_envs", "wm_agents"), (
                    loader,
                    name,
                    raised.value,
                )
                num_tried += 1
    assert num_tried > 200
    canaries = list((tmp_path / "here").iterdir())
    counted(
        "hostile files, none run",
        f"{len(readers_and_loaders)} loaders",
        tried=num_tried,
        failed=len(canaries),
    )
    assert not canaries
    pickle.loads(files["pickle2"])  # the payload works
    assert (tmp_path / "here" / "canary").exists()


def test_a_folder_of_payloads_is_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "step_000000000001.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        CheckpointManager(tmp_path).latest()
    assert not (tmp_path / "canary").exists()


def test_a_minari_dataset_of_payloads_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("minari")
    from wm_envs.data.minari import load_minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "wm" / "hostile-v0" / "data"
    folder.mkdir(parents=True)
    (folder / "main_data.hdf5").write_bytes(_hdf5(tmp_path, pickle.dumps(Bomb())))
    (folder / "metadata.json").write_text("{}")
    with pytest.raises((TrajectoryError, ValueError)):
        load_minari("wm/hostile-v0")
    assert not (tmp_path / "canary").exists()


def test_a_checkpoint_cannot_have_a_module_imported(tmp_path, monkeypatch, counted):
    """Gymnasium imports what stands before the colon of an id."""
    (tmp_path / "stranger.py").write_text("import os\nos.mkdir('canary')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    path = Reinforce("wm/TMaze-v0", ReinforceConfig(device="cpu")).save(tmp_path / "agent")
    stored = load_checkpoint(path)
    save_checkpoint(path, stored.tensors, {**stored.metadata, "env_id": "stranger:wm/TMaze-v0"})
    with pytest.raises(CheckpointError, match="import 'stranger' first, or give env="):
        Reinforce.load(path)
    assert "stranger" not in sys.modules
    assert not (tmp_path / "canary").exists()
    counted("hostile files, none run", "module named by a checkpoint", tried=1, failed=0)
