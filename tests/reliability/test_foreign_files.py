"""Checkpoints of other runs, other trainers and other versions, and places where nothing can be read or written."""

import ast
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import PPO

from tests.reliability.model_files import (
    description_of,
    model_readers,
    with_description,
    with_header,
)
from tests.reliability.readers import readers
from tests.reliability.trainers import TRAINERS
from wm_agents.domains.debate.model import DebateModel
from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.training.cards import WEIGHTS, Card, load_policy_weights, save_with_card
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint
from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import ObservationError

ROOT = Path(__file__).parents[2]
REFUSED = (CheckpointError, ConfigError)
QUICK = ("vector_ppo", "object_model", "adversarial_irl", "debate")


@pytest.fixture(scope="module")
def checkpoints(request, tmp_path_factory):
    """The newest checkpoint of each trainer."""
    found = {}
    for name in TRAINERS if request.config.getoption("--long") else QUICK:
        TRAINERS[name](folder := tmp_path_factory.mktemp(name))
        found[name] = max(folder.glob("step_*"))
    return found


def test_a_trainer_refuses_the_checkpoints_of_all_others(checkpoints, tmp_path, counted):
    num_tried = 0
    for name in checkpoints:
        for other, path in checkpoints.items():
            fits = {name, other} <= {"world_model", "ensemble", "recurrent", "latent", "token"}
            if name != other and not fits:
                folder = tmp_path / f"{name}-{other}"
                folder.mkdir()
                copy = shutil.copy(path, folder)
                with pytest.raises(REFUSED):
                    TRAINERS[name](folder)
                assert Path(copy).read_bytes() == path.read_bytes()
                num_tried += 1
    counted(
        "checkpoints of another trainer refused, left as they were",
        "all pairs",
        tried=num_tried,
        failed=0,
    )


@pytest.mark.parametrize(
    "change", ["version", "run", "structure", "no structure", "step", "tensors"]
)
def test_a_forged_checkpoint_is_one_clear_error(change, checkpoints, tmp_path, counted):
    """The hash fits: somebody wrote it on purpose, or another version of this library did."""
    for name, path in checkpoints.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / path.name).write_bytes(forged(path.read_bytes(), change))
        with pytest.raises(REFUSED):
            TRAINERS[name](folder)
    counted("forged checkpoints refused", change, tried=len(checkpoints), failed=0)


def forged(good, change):
    metadata = json.loads(description_of(good))
    if change == "version":
        text = json.dumps({"sha256": "0" * 64, "version": 2, "metadata": metadata})
        return with_header(good, text)
    if change == "run":
        for name in ("run", "config", "fingerprint"):
            if name in metadata:
                metadata[name] = "another"
    elif change == "step":
        metadata |= {"step": "seven", "num_updates": "seven", "structure": None}
    elif change == "structure":  # another shape of what is nested
        metadata |= {"structure": {"dict": [["a", 1]]}, "num_steps": {}, "sizes": []}
    elif change == "no structure":
        for name in ("structure", "sizes"):
            metadata.pop(name, None)
    else:  # names of tensors that are not there
        text = (
            json.dumps(metadata)
            .replace('"tensor": "', '"tensor": "x')
            .replace('"data": "', '"data": "x')
        )
        metadata = json.loads(text) | {"sizes": {}}
    return with_description(good, json.dumps(metadata).encode())


def test_a_file_cannot_ask_for_more_memory_than_it_holds(tmp_path, counted):
    """Each number of each saved configuration made enormous, with a hash that fits, in 2 GB of address space."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import tests.reliability.test_foreign_files as t; t.ask_for_memory()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    num_tried, num_refused = json.loads(run.stdout.splitlines()[-1])
    counted(
        "files that ask for gigabytes, refused without taking them",
        "models",
        tried=num_tried,
        failed=0,
    )
    assert num_tried > 40
    assert (
        num_refused > num_tried // 2
    )  # the others are numbers of no consequence, such as weights of the loss


def ask_for_memory():
    folder = Path.cwd()
    listed = [reader for reader in model_readers(folder) if reader.name.endswith(".model")]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, used + 2**31))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    num_tried = num_refused = 0
    for reader in listed:
        for text in enormous(json.loads(reader.unpack(reader.good))):
            path, began = folder / reader.name, time.perf_counter()
            path.write_bytes(reader.pack(text.encode()))
            try:
                reader.read(path)
            except CheckpointError:
                num_refused += 1
            assert time.perf_counter() - began < 20, text
            num_tried += 1
    gained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert gained < 700_000, f"{gained} kB for files of a few kilobytes"
    print(json.dumps([num_tried, num_refused]))


def enormous(metadata):
    """The metadata with each whole number of its configuration in turn made 200 million."""
    config = metadata["config"]
    for holder in [config, *(value for value in config.values() if isinstance(value, dict))]:
        for name, value in list(holder.items()):
            items = value if isinstance(value, list) else [value]
            if items and all(type(item) is int for item in items):
                holder[name] = [2 * 10**8] * len(items) if isinstance(value, list) else 2 * 10**8
                yield json.dumps(metadata)
                holder[name] = value


def test_links_folders_and_devices_in_the_place_of_files(tmp_path, counted):
    """A link is followed, one that leads nowhere or to itself is an absent file, and a folder is none."""
    num_tried, found = 0, readers(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, reader in found.items():
        place = tmp_path / "links" / name
        place.parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(reader.good)
        place.symlink_to(tmp_path / name)
        reader.read(place)
        for target in (place, tmp_path / "folder"):
            place.unlink()
            place.symlink_to(target)
            with pytest.raises(reader.error):
                reader.read(place)
            num_tried += 1
    counted(
        "links to themselves and to folders refused",
        f"{len(found)} readers",
        tried=num_tried,
        failed=0,
    )


def test_a_link_in_the_place_of_a_checkpoint_is_replaced_not_followed(tmp_path):
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("untouched")
    manager = CheckpointManager(tmp_path / "run")
    manager.directory.mkdir()
    (manager.directory / "step_000000000004.safetensors").symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        manager.latest()
    assert manager.save_state(4, {"a": 1}, {}).read_bytes() == manager.paths()[-1].read_bytes()
    assert elsewhere.read_text() == "untouched"
    assert not manager.paths()[-1].is_symlink()


def test_a_folder_in_the_place_of_a_checkpoint(tmp_path):
    manager = CheckpointManager(tmp_path)
    good = manager.save_state(1, {"a": 1}, {})
    (tmp_path / "step_000000000002.safetensors").mkdir()
    with pytest.warns(RuntimeWarning, match="using the older checkpoint"):
        assert manager.latest_state({}) == (1, {"a": 1})
    with pytest.raises(CheckpointError, match="cannot write"):
        manager.save_state(2, {"a": 2}, {})
    assert good.exists()
    assert not list(tmp_path.glob(".*"))


def test_an_archive_whose_members_would_climb_out_of_the_folder(tmp_path, monkeypatch):
    """Nothing is ever unpacked to the disk; such members are no trajectories."""
    import zipfile

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with zipfile.ZipFile(tmp_path / "here" / "a.npz", "w") as archive:
        for name in (
            "../escaped.npy",
            "/tmp/escaped.npy",
            "..\\escaped.npy",
            "observations.npy/../../escaped",
        ):
            archive.writestr(name, b"x")
    with pytest.raises(ValueError, match="no trajectory file"):
        Trajectories.load("a.npz")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.npz", "here"]


@pytest.mark.parametrize("header", [2**63 - 1, 2**40, 10**9, 8, 0])
def test_a_header_that_lies_about_its_length(header, tmp_path):
    manager = CheckpointManager(tmp_path)
    path = manager.save_state(1, {"a": np.zeros(3)}, {})
    path.write_bytes(header.to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


@pytest.mark.parametrize("offsets", [[0, 10**15], [0, 4], [8, 0], [-1, 3], [0, 2**64 - 1]])
def test_a_header_that_lies_about_a_tensor(offsets, tmp_path):
    """The hash fits the lie."""
    path = CheckpointManager(tmp_path).save_state(1, {"a": np.zeros(3)}, {})
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = next(name for name in header if name != "__metadata__")
    header[name]["data_offsets"] = offsets
    text = json.dumps(header, separators=(",", ":")).encode()
    forgery = len(text).to_bytes(8, "little") + text + data[8 + size :]
    stored = json.loads(header["__metadata__"]["wm_agents_checkpoint"])["sha256"].encode()
    import hashlib

    blank = forgery.replace(stored, b"0" * 64)
    path.write_bytes(blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode(), 1))
    with pytest.raises(CheckpointError, match="no checkpoint of wm_agents"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "text", ['{"a":' * 100_000, "[" * 100_000, '{"a": 1e999}', '{"a": NaN}', '{"a": -Infinity}']
)
def test_json_that_is_deep_or_not_finite(text, tmp_path):
    for name, reader in readers(tmp_path).items():
        if name.endswith((".json", ".jsonl")):
            (tmp_path / name).write_text(text)
            with pytest.raises(reader.error):
                reader.read(tmp_path / name)


def test_a_policy_of_another_kind_is_refused(tmp_path):
    agent = PPO(
        "MlpPolicy",
        "CartPole-v1",
        n_steps=8,
        batch_size=8,
        device="cpu",
        policy_kwargs={"net_arch": [4]},
    )
    save_with_card(agent, tmp_path, Card("A title", "CartPole-v1", {}))
    path, before = tmp_path / WEIGHTS, agent.policy.state_dict()["action_net.weight"].clone()
    load_policy_weights(agent, tmp_path)
    good = path.read_bytes()
    for metadata in (
        {},
        {"kind": "stable-baselines3 policy"},
        {"kind": "stable-baselines3 policy", "algorithm": 7},
    ):
        path.write_bytes(with_description(good, json.dumps(metadata).encode()))
        with pytest.raises(CheckpointError):
            load_policy_weights(agent, tmp_path)
    assert (agent.policy.state_dict()["action_net.weight"] == before).all()


def test_a_debate_needs_observations(tmp_path):
    (tmp_path / "a.json").write_text('{"source": "x", "count": 0, "observations": []}')
    for path in (tmp_path / "a.json", tmp_path / "absent.json"):
        with pytest.raises(ObservationError):
            DebateModel.create("A", path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="give a writable folder"):
        CheckpointManager(tmp_path / "run").save_state(1, {}, {})


@pytest.mark.parametrize("folder", ["/proc/run", "/dev/null/run"])
def test_a_place_where_nothing_can_be_written_is_named(folder):
    with pytest.raises(CheckpointError, match=r"cannot write checkpoint .*give a writable folder"):
        CheckpointManager(folder).save_state(1, {}, {})
    for name in QUICK[:1]:
        with pytest.raises(REFUSED):
            TRAINERS[name](Path(folder))


BY_READERS = "test_readers.py, by bytes and by value"
IN_MEMORY = "takes arrays or objects in memory"
LOADERS = {
    "wm_agents/agent.py:load_state_dict": "through WorldModelAgent.load, test_agent.py",
    "wm_agents/domains/driving/analytic.py:load_state_dict": "through Trainer, which refuses misfits",
    "wm_agents/domains/driving/decisions.py:load_state_dict": IN_MEMORY,
    "wm_agents/domains/driving/network.py:load": BY_READERS,
    "wm_agents/domains/driving/planner.py:from_scratch": IN_MEMORY,
    "wm_agents/domains/pong/dreaming.py:load_state_dict": "through Trainer, which refuses misfits",
    "wm_agents/learners/base.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/imagination/stacked_dreams.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/irl/adversarial.py:from_clone": IN_MEMORY,
    "wm_agents/irl/adversarial.py:from_nothing": IN_MEMORY,
    "wm_agents/learners/imagined_frames.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/learners/imagined_policy.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/learners/replay_buffer.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/world_models/stacked.py:from_json": "through StackedForestModel.load",
    "wm_agents/world_models/stacked_search.py:from_json": "of an interrupted dream's checkpoint",
    "wm_agents/learners/memory_policy.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/learners/race.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/learners/replay_values.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/learners/search.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/learners/table.py:load_state_dict": "through WorldModelAgent.load",
    "wm_agents/planning/learning.py:load_state_dict": "through Trainer, which refuses misfits",
    "wm_agents/planning/value.py:load_state_dict": IN_MEMORY,
    "wm_agents/policy_gradient/ppo.py:load_state_dict": "through Trainer, which refuses misfits",
    "wm_agents/policy_gradient/reinforce.py:load_state_dict": "through Trainer",
    "wm_agents/world_models/program.py:load": "ProgramError, test_program.py",
    "wm_agents/world_models/program_text.py:read_program": "ProgramError, test_program.py",
    "wm_envs/datasets.py:load_minari": "test_readers.py",
    "wm_agents/domains/debate/model.py:load": BY_READERS,
    "wm_agents/domains/debate/trainer.py:load_state_dict": IN_MEMORY,
    "wm_agents/domains/debate/validation.py:read_labels": "ObservationError, test_validation.py",
    "wm_agents/domains/resolutions/classifier.py:from_parts": "through load",
    "wm_agents/domains/resolutions/classifier.py:load_state_dict": IN_MEMORY,
    "wm_agents/domains/resolutions/ideal_points.py:load_state_dict": IN_MEMORY,
    "wm_agents/domains/resolutions/ideal_points_page.py:read_reference": "test_ideal_points.py",
    "wm_agents/domains/resolutions/spatial.py:load_state_dict": IN_MEMORY,
    "wm_agents/domains/resolutions/vote_rewards.py:read_votes": "through read_trajectories",
    "wm_agents/domains/resolutions/world_model.py:load_state_dict": IN_MEMORY,
    "wm_agents/domains/resolutions/world_model.py:load_weights": IN_MEMORY,
    "wm_agents/irl/mdp.py:from_transition_table": IN_MEMORY,
    "wm_agents/irl/mdp.py:from_world_model": IN_MEMORY,
    "wm_agents/irl/adversarial.py:load_state_dict": "through Trainer, which refuses misfits",
    "wm_agents/irl/cloning.py:load_state_dict": "through Trainer, which refuses misfits",
    "wm_agents/irl/maxent.py:load_state_dict": "through Trainer, which refuses misfits",
    "wm_agents/irl/sampled.py:load_state_dict": "through Trainer, which refuses misfits",
    "wm_agents/irl/demonstrations.py:from_states": IN_MEMORY,
    "wm_agents/policy_gradient/reinforce.py:from_checkpoint": "through load",
    "wm_agents/planning/safety.py:from_json": IN_MEMORY,
    "wm_agents/training/cards.py:load_policy_weights": "test_a_policy_of_another_kind_is_refused",
    "wm_agents/training/checkpoints.py:load_checkpoint": BY_READERS,
    "wm_agents/training/curriculum.py:load_state_dict": IN_MEMORY,
    "wm_agents/training/loggers.py:read_jsonl": BY_READERS,
    "wm_envs/data/trajectories.py:from_arrays": IN_MEMORY,
    "wm_envs/data/trajectories.py:from_transitions": IN_MEMORY,
    "wm_envs/data/trajectories.py:load": BY_READERS,
    "wm_agents/world_models/adapters.py:from_json": "through the models' load",
    "wm_agents/world_models/object_fitting.py:from_json": "through ObjectModel.load",
    "wm_agents/world_models/object_fitting.py:load_state_dict": IN_MEMORY,
    "wm_agents/training/cards.py:from_hub": "through wma.load, of what was downloaded",
    "wm_agents/training/saving.py:load": "through the loaders of each kind",
    "wm_agents/training/trainer.py:load_state_dict": "test_kills.py and test_other_runs.py",
    "wm_agents/training/trainer.py:load_weights": IN_MEMORY,
    "wm_agents/world_models/fitting.py:load_state_dict": "through CheckpointManager.latest_state",
    "wm_agents/world_models/fitting.py:load_weights": IN_MEMORY,
    "wm_agents/world_models/token.py:from_json": "through TokenModel.load",
    "wm_envs/data/compiled.py:from_function": IN_MEMORY,
    "wm_envs/data/compiled.py:load": "test_compiled.py; machine code, trusted as the package's own files are",
    "wm_envs/data/compiled.py:load_overload": "through load",
    "wm_envs/data/minari.py:load_minari": "test_readers.py, by bytes, and test_hostile_files.py",
    "wm_envs/debate/observations.py:from_plain": "through Observations.load",
    "wm_envs/debate/observations.py:from_text": IN_MEMORY,
    "wm_envs/debate/observations.py:load": BY_READERS,
    "wm_envs/debate/observations.py:load_corpus": "the package's own file",
    "wm_envs/driving/track.py:from_points": IN_MEMORY,
    "wm_envs/driving/track.py:read_csv": BY_READERS,
    "wm_envs/pong/atari.py:load_rows": IN_MEMORY,
    "wm_envs/pong/workers.py:load": "bytes of a state that clone_state gave",
    "wm_agents/domains/pong/object_view.py:from_json": "test_pong_view.py",
    "wm_envs/resolutions/digital_library.py:read_digital_library": BY_READERS,
    "wm_envs/resolutions/files.py:read_bytes": "through the readers of resolutions",
    "wm_envs/resolutions/files.py:read_columns": "through the readers of resolutions",
    "wm_envs/resolutions/files.py:read_text": "through the readers of resolutions",
    "wm_envs/resolutions/digital_library.py:read_marc": BY_READERS,
    "wm_envs/resolutions/records.py:read_trajectories": BY_READERS,
    "wm_envs/resolutions/unvotes.py:read_unvotes": BY_READERS,
    "wm_envs/rules.py:load_rows": IN_MEMORY,
}


def test_every_public_loader_is_known_here(counted):
    """A new `load`, `from_...` or `read_...` says where it is tested with hostile files."""
    found = set()
    for path in sorted((*ROOT.glob("wm_agents/**/*.py"), *ROOT.glob("wm_envs/**/*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith(
                ("load", "from_", "read_")
            ):
                found.add(f"{path.relative_to(ROOT).as_posix()}:{node.name}")
    counted(
        "public loaders that a test covers",
        "load, from_, read_",
        tried=len(found),
        failed=len(found - set(LOADERS)),
    )
    assert found == set(LOADERS)


def test_no_file_of_ours_is_ever_unpickled():
    """Neither pickle nor torch.load nor NumPy's pickles are called by the packages."""
    forbidden = (
        "pickle.load",
        "torch.load(",
        "allow_pickle=True",
        "marshal.load",
        "shelve.",
        "yaml.load",
        "exec(",
    )
    # The info of a step is made by a function that is compiled from names of our own.
    own = {("wm_envs/environment.py", "exec(")}
    for path in (*ROOT.glob("wm_agents/**/*.py"), *ROOT.glob("wm_envs/**/*.py")):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        assert not [word for word in forbidden if word in text and (name, word) not in own], path
