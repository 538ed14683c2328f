"""Checkpoints that a disk cut, filled up or altered: never loaded, never lost."""

import resource
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from tests.reliability.trainers import TRAINERS
from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def files(request, tmp_path_factory):
    """A checkpoint of each trainer, as bytes."""
    names = TRAINERS if request.config.getoption("--long") else ("debate", "vector_ppo")
    found = {}
    for name in names:
        folder = tmp_path_factory.mktemp(name)
        TRAINERS[name](folder)
        found[name] = max(folder.glob("step_*")).read_bytes()
    return found


def is_refused(path, data):
    path.write_bytes(data)
    try:
        load_checkpoint(path)
    except CheckpointError:
        return True
    return False


def test_bit_flips_are_never_loaded(files, tmp_path, is_long, counted, random):
    for name, data in files.items():
        num_loaded, num_tried = 0, 1000 if is_long else 100
        for position, bit in zip(
            random.integers(len(data), size=num_tried),
            random.integers(8, size=num_tried),
            strict=True,
        ):
            flipped = bytearray(data)
            flipped[position] ^= 1 << int(bit)
            num_loaded += not is_refused(tmp_path / "a", bytes(flipped))
        counted("bit flips in a checkpoint, none loaded", name, tried=num_tried, failed=num_loaded)
        assert num_loaded == 0
        assert not is_refused(tmp_path / "a", data)


def test_truncations_are_never_loaded(files, tmp_path, is_long, counted, random):
    for name, data in files.items():
        # Every byte of the smallest; of the others every byte of the header and many more.
        lengths = np.arange(len(data))
        if not is_long or len(data) > 20_000:
            lengths = np.unique(
                np.append(
                    np.arange(min(len(data), 200)),
                    random.integers(len(data), size=1000 if is_long else 50),
                )
            )
        num_loaded = sum(
            not is_refused(tmp_path / "a", data[:length]) for length in lengths.tolist()
        )
        counted(
            "truncations of a checkpoint, none loaded", name, tried=len(lengths), failed=num_loaded
        )
        assert num_loaded == 0


def test_a_small_checkpoint_truncated_at_every_byte(tmp_path, counted):
    data = save_checkpoint(
        tmp_path / "a", {"weight": torch.ones(3)}, {"kind": "small"}
    ).read_bytes()
    num_loaded = sum(not is_refused(tmp_path / "a", data[:length]) for length in range(len(data)))
    counted(
        "truncation of a checkpoint at every byte, none loaded",
        "small",
        tried=len(data),
        failed=num_loaded,
    )
    assert num_loaded == 0


@contextmanager
def file_size_limit(num_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, is_long, counted, random):
    manager = CheckpointManager(tmp_path, keep=2)
    before = manager.save(1, {"a": torch.ones(100)}, {}).read_bytes()
    limits = random.integers(0, 40_000, size=200 if is_long else 20).tolist()
    num_wrong = 0
    for limit in [0, *limits]:
        with (
            file_size_limit(limit),
            pytest.raises(CheckpointError, match=r"cannot write .*unchanged"),
        ):
            manager.save(2, {"a": torch.zeros(10_000)}, {})
        names = [path.name for path in tmp_path.iterdir()]
        num_wrong += (
            names != ["step_000000000001.safetensors"] or manager.paths()[0].read_bytes() != before
        )
    counted(
        "disk full while saving, the last good one untouched",
        "checkpoint",
        tried=len(limits) + 1,
        failed=num_wrong,
    )
    assert num_wrong == 0
    assert manager.latest().metadata["step"] == 1


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_on_a_full_disk_stops_with_a_clear_error(name, tmp_path, counted):
    (tmp_path / "warm").mkdir()
    (tmp_path / "run").mkdir()
    TRAINERS[name](tmp_path / "warm")  # so that compiled code is cached before the disk is full
    with file_size_limit(10), pytest.raises((CheckpointError, ConfigError), match="cannot write"):
        TRAINERS[name](tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {"log.jsonl"}
    counted("disk full from the start, a clear error", name, tried=1, failed=0)


def test_checkpoints_of_another_run_are_refused(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.save_state(1, {"a": 1}, {"kind": "x", "seed": 1, "rates": (0.1, 0.2)})
    assert manager.latest_state({"kind": "x", "seed": 1, "rates": [0.1, 0.2]}) == (1, {"a": 1})
    with pytest.raises(
        CheckpointError, match=r"a run with seed=1, this one has 2; repeat that run"
    ):
        manager.latest_state({"kind": "x", "seed": 2, "rates": [0.1, 0.2]})
    manager.save(2, {}, {"kind": "x"})
    with pytest.raises(CheckpointError, match="without a run's state"):
        manager.latest_state({"kind": "x"})
