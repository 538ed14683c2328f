import json
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from wm_agents.errors import CheckpointError
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[3]
TENSORS = {
    "weight": torch.tensor([[1.5, -0.0], [float("nan"), float("inf")]]),
    "count": torch.tensor(7),
}
METADATA = {
    "kind": "test",
    "note": 'a "quoted" \u00e9',
    "nested": {"sha256": "0" * 64, "list": [1, 2.5, None, True]},
}


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_checkpoint_comes_back(tmp_path):
    path = save_checkpoint(tmp_path / "new" / "model.safetensors", TENSORS, METADATA)
    checkpoint = load_checkpoint(path, kind="test")
    assert checkpoint.metadata == METADATA
    assert sorted(checkpoint.tensors) == ["count", "weight"]
    for name, tensor in TENSORS.items():
        assert checkpoint.tensors[name].dtype == tensor.dtype
        assert checkpoint.tensors[name].shape == tensor.shape
        assert checkpoint.tensors[name].numpy().tobytes() == tensor.numpy().tobytes()
    checkpoint.tensors["weight"].add_(1)
    assert names(path.parent) == ["model.safetensors"]


def test_any_safetensors_tool_reads_it(tmp_path):
    path = save_checkpoint(tmp_path / "a.safetensors", TENSORS, METADATA)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["wm_agents_checkpoint"])["metadata"] == METADATA
        assert file.get_tensor("count").item() == 7


def test_equal_contents_give_equal_files(tmp_path):
    one = save_checkpoint(tmp_path / "a", TENSORS, METADATA).read_bytes()
    assert (
        save_checkpoint(tmp_path / "b", dict(reversed(TENSORS.items())), METADATA).read_bytes()
        == one
    )


def test_views_tied_weights_and_empty_sets_are_stored(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "whole": whole,
        "tied": whole,
        "transposed": whole.T,
        "part": whole[1],
        "empty": torch.zeros(0, 3),
    }
    loaded = load_checkpoint(save_checkpoint(tmp_path / "a", tensors, {})).tensors
    assert all(loaded[name].equal(tensor) for name, tensor in tensors.items())
    assert load_checkpoint(save_checkpoint(tmp_path / "b", {}, {"only": "text"})).metadata == {
        "only": "text"
    }


def test_truncation_at_every_byte_is_found(tmp_path):
    path = save_checkpoint(tmp_path / "a", TENSORS, METADATA)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_every_single_bit_flip_is_found(tmp_path):
    path = save_checkpoint(tmp_path / "a", TENSORS, METADATA)
    data = bytearray(path.read_bytes())
    num_found = 0
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(CheckpointError):
                load_checkpoint(path)
            data[position] ^= 1 << bit
            num_found += 1
    assert num_found == 8 * len(data) > 3900
    path.write_bytes(data)
    load_checkpoint(path)


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch exploded",))


def test_foreign_and_hostile_files_are_refused_and_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pickled").write_bytes(pickle.dumps(Bomb()))
    torch.save({"bomb": Bomb()}, "torch.pt")
    with zipfile.ZipFile("sb3.zip", "w") as file:
        file.writestr("data", pickle.dumps(Bomb()))
    save_file({"a": torch.zeros(2)}, "plain.safetensors")
    save_file({"a": torch.zeros(2)}, "fake.safetensors", {"wm_agents_checkpoint": "{}"})
    Path("empty").write_bytes(b"")
    Path("text").write_text("hello")
    Path("huge_header").write_bytes(b"\xff" * 100)
    Path("folder").mkdir()
    for path in [*names(tmp_path), "absent"]:
        with pytest.raises(CheckpointError, match=path):
            load_checkpoint(path)
    assert not Path("exploded").exists()


def test_kind_and_version_are_checked(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path / "a", TENSORS, METADATA)
    with pytest.raises(CheckpointError, match="of kind 'test', not 'reinforce'"):
        load_checkpoint(path, kind="reinforce")
    monkeypatch.setattr("wm_agents.training.checkpoints.FORMAT_VERSION", 2)
    with pytest.raises(CheckpointError, match="format version 1; this wm_agents reads 2"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"a": [1.0]}, {}, r"tensors\['a'\] is a list"),
        ({1: torch.zeros(1)}, {}, r"tensors\[1\]"),
        ({"a": torch.zeros(1)}, {"rate": float("nan")}, "cannot store"),
        ({"a": torch.zeros(1)}, {"path": Path()}, "cannot store"),
        ({"a": torch.zeros(1)}, {"by_seed": {1: 2}}, r"metadata.by_seed has the key 1"),
        ({"a": torch.zeros(1)}, [1], "metadata is a list"),
        ({"a": torch.zeros(1).to(torch.complex128)}, {}, "cannot store"),
        ({"__metadata__": torch.zeros(1)}, {}, "rename it"),
    ],
)
def test_what_cannot_be_stored_leaves_the_old_file(tensors, metadata, message, tmp_path):
    path = save_checkpoint(tmp_path / "a", TENSORS, METADATA)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(path, tensors, metadata)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a"]


@contextmanager
def file_size_limit(num_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 100, 5000])
def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(limit, tmp_path):
    path = save_checkpoint(tmp_path / "a", TENSORS, METADATA)
    before = path.read_bytes()
    with (
        file_size_limit(limit),
        pytest.raises(CheckpointError, match=r"cannot write checkpoint .*unchanged"),
    ):
        save_checkpoint(path, {"large": torch.zeros(10_000)}, {})
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a"]


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write checkpoint .*file/a"):
        save_checkpoint(tmp_path / "file" / "a", TENSORS, {})
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save_checkpoint(tmp_path, TENSORS, {})
    assert names(tmp_path) == ["file"]


def test_an_interrupt_leaves_no_temporary(tmp_path, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "a", TENSORS, {})
    assert names(tmp_path) == []


# A child is killed at each file operation of a save in turn; what it leaves must be the old or the
# new checkpoint.
KILL_SCRIPT = """
import os, signal, sys, builtins
import torch
from pathlib import Path
from wm_agents.training.checkpoints import CheckpointManager

torch.set_num_threads(1)
directory = Path(sys.argv[1])

def kill(): os.kill(os.getpid(), signal.SIGKILL)

class HalfFile:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): self.file.close()
    def write(self, data):
        self.file.write(data[: len(data) // 2]); self.file.flush(); kill()

def before(name):
    setattr(os, name, lambda *a, **k: kill())

def after(name):
    real = getattr(os, name)
    def call(*a, **k): real(*a, **k); kill()
    setattr(os, name, call)

def half_write():
    real = builtins.open
    def fake(path, mode="r", *a, **k):
        file = real(path, mode, *a, **k)
        return HalfFile(file) if "w" in mode else file
    builtins.open = fake

def before_second_fsync():
    real, calls = os.fsync, []
    def fake(descriptor):
        calls.append(1)
        kill() if len(calls) == 2 else real(descriptor)
    os.fsync = fake

points = [half_write, lambda: before("fsync"), lambda: after("fsync"), lambda: before("replace"),
          lambda: after("replace"), before_second_fsync, lambda: before("unlink")]
manager = CheckpointManager(directory, keep=1)
for number, arm in enumerate(points):
    step = 2 * number
    manager.save(step, {"a": torch.full((1000,), float(step))}, {})
    child = os.fork()
    if child == 0:
        arm()
        manager.save(step + 1, {"a": torch.full((1000,), float(step + 1))}, {})
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), (number, status)
    left = CheckpointManager(directory).latest()
    assert left.metadata["step"] in (step, step + 1), left.metadata
    assert left.tensors["a"].unique().tolist() == [left.metadata["step"]]
    manager.save(step + 1, {"a": torch.zeros(1)}, {})
    assert len(os.listdir(directory)) == 1, (number, os.listdir(directory))
    print("survived", number)
"""


def test_a_kill_at_any_file_operation_leaves_a_whole_checkpoint(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", KILL_SCRIPT, str(tmp_path / "run")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("survived") == 7


def fill(directory, *steps, keep=3):
    manager = CheckpointManager(directory, keep=keep, kind="test")
    for step in steps:
        manager.save(step, {"step": torch.tensor(step)}, {"note": "x"})
    return manager


def steps_in(manager):
    return [int(path.stem.removeprefix("step_")) for path in manager.paths()]


def test_the_newest_are_kept(tmp_path):
    manager = fill(tmp_path / "run", 5, 10, 100, 1000, 20_000)
    assert steps_in(manager) == [100, 1000, 20_000]
    latest = CheckpointManager(tmp_path / "run", kind="test").latest()
    assert latest.metadata == {"step": 20_000, "kind": "test", "note": "x"}
    assert latest.tensors["step"].item() == 20_000


def test_an_empty_folder_has_no_latest(tmp_path):
    assert CheckpointManager(tmp_path / "absent").latest() is None


def test_a_damaged_newest_is_passed_over_aloud_and_replaced_on_the_way(tmp_path):
    manager = fill(tmp_path, 1, 2, 3)
    manager.paths()[-1].write_bytes(b"damage")
    resumed = CheckpointManager(tmp_path, keep=1, kind="test")
    with pytest.warns(RuntimeWarning, match=r"using the older checkpoint .*000002.*000003"):
        assert resumed.latest().metadata["step"] == 2
    # The damaged file of a later step neither blocks the next save nor pushes it out, even when one
    # is kept.
    resumed.save(2, {"a": torch.zeros(1)}, {})
    assert 2 in steps_in(resumed)
    resumed.save(3, {"a": torch.ones(1)}, {})
    assert steps_in(resumed) == [3]
    assert resumed.latest().tensors["a"].item() == 1


def test_all_damaged_is_an_error(tmp_path):
    manager = fill(tmp_path, 1, 2)
    for path in manager.paths():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"no checkpoint .* can be used: .*000002.*000001"):
        manager.latest()


def test_another_kind_is_an_error_and_no_damage(tmp_path):
    fill(tmp_path, 1, 2)
    with pytest.raises(CheckpointError, match="kind 'test', not 'other'"):
        CheckpointManager(tmp_path, kind="other").latest()


def test_the_folder_of_another_run_is_not_overwritten(tmp_path):
    fill(tmp_path, 100, 200)
    manager = CheckpointManager(tmp_path)
    with pytest.raises(CheckpointError, match="holds step_000000000200"):
        manager.save(10, {}, {})
    assert steps_in(manager) == [100, 200]


def test_stale_temporaries_are_swept_and_other_files_are_not(tmp_path):
    stale = [".step_000000000001.safetensors.4242.tmp", ".step_000000000007.safetensors.1.tmp"]
    kept = [".step_000000000001.safetensors.note.tmp", "notes.tmp", ".hidden"]
    for name in [*stale, *kept]:
        (tmp_path / name).write_text("")
    fill(tmp_path, 1)
    assert names(tmp_path) == sorted([*kept, "step_000000000001.safetensors"])


@pytest.mark.parametrize("step", [-1, 10**12])
def test_a_step_out_of_range_is_refused(step, tmp_path):
    with pytest.raises(CheckpointError, match=f"cannot save step {step}"):
        fill(tmp_path, step)
    with pytest.raises(CheckpointError, match="keep=0"):
        CheckpointManager(tmp_path, keep=0)


def test_two_runs_in_one_folder_do_not_replace_each_other(tmp_path):
    """Both begin in the empty folder, and save the same steps in turn.

    As two seeds by one script do.
    """
    first, second = CheckpointManager(tmp_path, keep=1), CheckpointManager(tmp_path, keep=1)
    assert first.latest() is None
    assert second.latest() is None
    first.save(1, {"a": torch.zeros(1)}, {})
    second.save(1, {"a": torch.ones(1)}, {})
    with pytest.raises(
        CheckpointError,
        match=r"another run in .* has written step_000000000001.safetensors meanwhile",
    ):
        first.save(2, {"a": torch.zeros(1)}, {})
    second.save(2, {"a": torch.ones(1)}, {})
    with pytest.raises(CheckpointError, match=r"another run in .* has written step_000000000002"):
        first.save(3, {"a": torch.zeros(1)}, {})
    assert steps_in(second) == [2]
    assert second.latest().tensors["a"].item() == 1


def test_a_reader_whose_file_the_writer_replaces_takes_the_newer_one(tmp_path, monkeypatch):
    manager, reader = fill(tmp_path, 1, keep=1), CheckpointManager(tmp_path)
    files = reader._files

    def files_before_the_next_save():
        seen = files()
        if steps_in(manager) == [1]:
            manager.save(2, {"step": torch.tensor(2)}, {})
        return seen

    monkeypatch.setattr(reader, "_files", files_before_the_next_save)
    assert reader.latest().metadata["step"] == 2


def test_folders_with_the_names_of_files_do_not_stop_a_run(tmp_path):
    (tmp_path / ".step_000000000002.safetensors.7.tmp").mkdir()
    (tmp_path / "step_000000000001.safetensors").mkdir()
    manager = CheckpointManager(tmp_path, keep=1)
    with pytest.warns(
        RuntimeWarning,
        match=r"cannot delete the old .*step_000000000001.safetensors: Is a directory",
    ):
        manager.save(2, {"a": torch.zeros(1)}, {})
    manager.save(3, {"a": torch.ones(1)}, {})
    assert steps_in(manager) == [1, 3]


@pytest.mark.parametrize("setting", [np.float32(0.1), Path("circuit.csv"), float("nan"), {1: 2}])
def test_what_could_not_be_saved_is_said_before_training(setting, tmp_path):
    with pytest.raises(CheckpointError, match="text"):
        CheckpointManager(tmp_path).latest_state({"setting": setting})


def test_the_setting_that_differs_is_named_within_a_configuration(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.save_state(1, {}, {"config": {"network": {"width": 8, "depth": 2}, "seed": 1}})
    with pytest.raises(
        CheckpointError, match=r"a run with config.network.width=8, this one has 16; repeat"
    ):
        manager.latest_state({"config": {"network": {"width": 16, "depth": 2}, "seed": 1}})
