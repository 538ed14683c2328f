import json
import math
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from wm_agents.errors import ConfigError
from wm_agents.training.loggers import (
    ConsoleLogger,
    JSONLLogger,
    Logger,
    LoggerGroup,
    TensorBoardLogger,
    WandbLogger,
    read_jsonl,
    run_directory,
)

ROOT = Path(__file__).parents[3]


class Recorder:
    def __init__(self, fails=False):
        self.calls, self.is_closed, self.fails = [], False, fails

    def log(self, step, metrics):
        self.calls.append((step, dict(metrics)))

    def close(self):
        self.is_closed = True
        if self.fails:
            raise OSError("broken")


def test_a_log_that_is_kept_nowhere():
    with JSONLLogger("/dev/null") as logger:
        logger.log(1, {"loss": 0.5})


def test_console_lines_are_aligned(capsys):
    with ConsoleLogger() as logger:
        logger.log(64, {"loss": 0.123456, "success[%]": 5})
        logger.log(1_000_000, {"loss": 12.5, "success[%]": np.float32(97.5)})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "          64  loss    0.1235  success[%]         5"
    assert second == "   1,000,000  loss      12.5  success[%]      97.5"


def test_console_may_be_quiet_or_sparse(capsys):
    ConsoleLogger(quiet=True).log(1, {"loss": 1.0})
    assert capsys.readouterr().out == ""
    logger = ConsoleLogger(every=3)
    for step in range(7):
        logger.log(step, {"loss": 1.0})
    assert [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()] == [0, 3, 6]
    with pytest.raises(ConfigError, match="every=0"):
        ConsoleLogger(every=0)


def test_jsonl_records_and_appends(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    with JSONLLogger(path) as logger:
        logger.log(1, {"loss": 0.1, "b": np.float64(2)})
        assert path.read_text() == '{"step": 1, "loss": 0.1, "b": 2.0}\n'
    with JSONLLogger(path) as logger:
        logger.log(2, {"loss": math.nan, "b": -math.inf})
    assert list(read_jsonl(path)) == [
        {"step": 1, "loss": 0.1, "b": 2.0},
        {"step": 2, "loss": None, "b": None},
    ]


def test_jsonl_repairs_a_line_cut_anywhere(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with JSONLLogger(path) as logger:
        logger.log(1, {"loss": 0.1})
    first = path.read_bytes()
    with JSONLLogger(path) as logger:
        logger.log(2, {"loss": 0.2})
    whole = path.read_bytes()
    for length in range(len(first), len(whole)):
        path.write_bytes(whole[:length])
        assert [record["step"] for record in read_jsonl(path)] == [1]
        with JSONLLogger(path) as logger:
            logger.log(2, {"loss": 0.2})
        assert path.read_bytes() == whole


def test_a_resumed_jsonl_equals_an_uninterrupted_one(tmp_path):
    def log(path, steps, resume_step=None):
        with JSONLLogger(path, resume_step) as logger:
            for step in steps:
                logger.log(step, {"loss": 1 / (step + 1)})

    log(tmp_path / "whole", range(10))
    log(tmp_path / "killed", range(7))
    log(tmp_path / "killed", range(5, 10), resume_step=4)
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(
    "content", [b"my notes", b"my notes\n", b'{"step": 1}\n{"other": 2}\n', b"[1]\n", b"\x00"]
)
def test_a_foreign_file_is_refused_and_left_alone(content, tmp_path):
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="which is no record"):
        JSONLLogger(path)
    assert path.read_bytes() == content


def test_an_unwritable_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot write"):
        JSONLLogger(tmp_path)
    with pytest.raises(ConfigError, match="cannot write"):
        JSONLLogger("/dev/null/metrics.jsonl")


@pytest.mark.parametrize(
    ("step", "metrics", "message"),
    [
        (-1, {"loss": 1.0}, "step=-1"),
        (1.5, {"loss": 1.0}, "step=1.5"),
        (True, {"loss": 1.0}, "step=True"),
        (1, {"step": 1.0}, "'step'"),
        (1, {2: 1.0}, "named 2"),
        (1, {"loss": "high"}, "'high'"),
        (1, {"loss": None}, "None"),
        (1, {"loss": np.ones(2)}, "one number"),
    ],
)
def test_bad_metrics_are_named_and_not_written(step, metrics, message, tmp_path):
    with (
        JSONLLogger(tmp_path / "metrics.jsonl") as logger,
        pytest.raises(ConfigError, match=message),
    ):
        logger.log(step, metrics)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_tensorboard_files_hold_the_scalars(tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    with TensorBoardLogger(tmp_path) as logger:
        logger.log(1, {"loss": 0.5})
        logger.log(2, {"loss": 0.25})
    with TensorBoardLogger(tmp_path, resume_step=1) as logger:
        logger.log(2, {"loss": 0.125})
    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.125)]


def test_wandb_gets_run_and_metrics(monkeypatch):
    calls = []
    run = types.SimpleNamespace(
        log=lambda metrics, step: calls.append((step, metrics)),
        finish=lambda: calls.append("finished"),
    )
    fake = types.ModuleType("wandb")
    fake.init = lambda **arguments: calls.append(arguments) or run
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with WandbLogger("project", name="run", config={"seed": 1}, directory=Path("runs")) as logger:
        logger.log(3, {"loss": np.float32(0.5)})
        logger.close()
    assert calls == [
        {"project": "project", "name": "run", "config": {"seed": 1}, "dir": "runs"},
        (3, {"loss": 0.5}),
        "finished",
    ]


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("wandb", lambda path: WandbLogger("project"), "tracking"),
        ("torch.utils.tensorboard", lambda path: TensorBoardLogger(path), "agents"),
    ],
)
def test_a_missing_extra_is_named(module, make, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"wm-suite\[{extra}\]"):
        make(tmp_path)


def test_a_group_logs_to_all_and_closes_all():
    first, second = Recorder(), Recorder(fails=True)
    with pytest.raises(OSError, match="broken"), LoggerGroup(first, second) as group:
        group.log(1, {"loss": 0.5})
    assert first.calls == second.calls == [(1, {"loss": 0.5})]
    assert first.is_closed
    assert second.is_closed


def test_all_satisfy_the_protocol(tmp_path):
    loggers = [ConsoleLogger(), JSONLLogger(tmp_path / "a"), LoggerGroup(), Recorder()]
    assert all(isinstance(logger, Logger) for logger in loggers)
    for logger in loggers:
        logger.close()
        logger.close()


def test_run_directories_are_named_and_never_shared(tmp_path):
    first = run_directory(
        "wm/RuleRecall-v0", "my ablation", 7, root=tmp_path / "runs", timestamp=1700000000.9
    )
    assert first == tmp_path / "runs" / "wm-RuleRecall-v0__my-ablation__7__1700000000"
    assert first.is_dir()
    second = run_directory(
        "wm/RuleRecall-v0", "my ablation", 7, root=tmp_path / "runs", timestamp=1700000000.1
    )
    assert second.name == first.name + "-2"


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make"):
        run_directory("a", "b", 0, root=tmp_path / "file")


def test_nothing_heavy_is_loaded_before_it_is_used():
    code = (
        "import sys, wm_agents.training; assert not {'torch', 'rich', 'tensorboard'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_jsonl_is_plain_json(tmp_path):
    with JSONLLogger(tmp_path / "a") as logger:
        logger.log(0, {"tiny": 5e-324, "third": 1 / 3})
    assert json.loads((tmp_path / "a").read_text()) == {"step": 0, "tiny": 5e-324, "third": 1 / 3}
