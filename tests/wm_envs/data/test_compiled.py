"""No state of the compile cache may stop a program, and nothing damaged is ever loaded."""

import contextlib
import errno
import importlib.util
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import pytest

from wm_envs.data import compiled as compile_cache
from wm_envs.data.compiled import enable_cache, user_cache_folder

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A maker of fresh dispatchers of one function, all with the same cache folder."""
    monkeypatch.setattr(compile_cache, "_has_warned", False)
    source = tmp_path / "doubling.py"
    source.write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")

    def make(folder=tmp_path / "cache", factor=2):
        source.write_text(f"def double(x):\n    return {factor} * x\n", encoding="utf-8")
        spec = importlib.util.spec_from_file_location("doubling", source)
        module = importlib.util.module_from_spec(spec)
        exec(compile(source.read_text(encoding="utf-8"), str(source), "exec"), module.__dict__)
        module.double.__module__ = "doubling"
        dispatcher = numba.njit(module.double)
        enable_cache(dispatcher, str(folder))
        return dispatcher

    return make


def call(dispatcher):
    """Whether the code came from the cache; the answer must be right in any case."""
    assert dispatcher(21) == 42
    return bool(dispatcher.stats.cache_hits)


def files(folder, suffix):
    found = list(Path(folder).rglob(f"*{suffix}"))
    assert found
    return found


def added(x, y):
    return x + y


def test_calls_with_different_constants_share_one_code(tmp_path):
    helper = compile_cache.compiled(added, str(tmp_path))
    caller = numba.njit(lambda x: helper(x, 1) + helper(x, 2) + helper(y=3, x=x))
    assert caller(1) == 9
    assert len(helper.signatures) == 1
    assert caller(0.5) == 7.5
    assert len(helper.signatures) == 2


def test_code_is_compiled_once(compiled):
    assert [call(compiled()) for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_file_cut_at_any_byte_is_a_miss_and_is_replaced(compiled, tmp_path, suffix):
    call(compiled())
    (file,) = files(tmp_path, suffix)
    whole = file.read_bytes()
    for size in [0, 1, 31, 32, 33, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:size])
        assert not call(compiled())
        assert call(compiled())


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("kind", ["garbage", "altered", "numba's own"])
def test_a_file_of_other_bytes_is_a_miss_and_is_replaced(compiled, tmp_path, suffix, kind):
    call(compiled())
    (file,) = files(tmp_path, suffix)
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    other = {
        "garbage": b"\x80garbage" * 50,
        "altered": bytes(whole),
        "numba's own": pickle.dumps("0.61"),
    }
    file.write_bytes(other[kind])
    assert not call(compiled())
    assert call(compiled())


def test_code_that_the_index_names_and_that_is_gone_is_a_miss(compiled, tmp_path):
    call(compiled())
    files(tmp_path, ".nbc")[0].unlink()
    assert not call(compiled())
    assert call(compiled())


def test_nothing_that_was_not_written_here_is_unpickled(compiled, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    call(compiled())
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(pickle.dumps(Trap()))
    assert not call(compiled())
    assert not (tmp_path / "trapped").exists()


def test_code_of_an_older_source_is_never_taken_even_where_saving_broke_off(
    compiled, tmp_path, monkeypatch
):
    compiled(factor=3)(21)
    monkeypatch.setattr(compile_cache._SealedFiles, "_open_for_write", full_disk)
    with pytest.warns(RuntimeWarning, match=str(tmp_path / "cache")):
        assert not call(compiled())
    monkeypatch.undo()
    assert not call(compiled())


@contextlib.contextmanager
def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")
    yield


def test_a_full_disk_costs_one_warning_that_names_the_folder_and_the_remedy(
    compiled, tmp_path, monkeypatch
):
    monkeypatch.setattr(compile_cache._SealedFiles, "_open_for_write", full_disk)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [call(compiled()) for _ in range(2)] == [False, False]
    assert "NUMBA_CACHE_DIR" in str(caught[0].message)
    assert len(caught) == 1
    assert str(tmp_path / "cache") in str(caught[0].message)
    assert "No space left" in str(caught[0].message)


def test_a_folder_that_is_a_file_costs_one_warning(compiled, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="file"):
        assert not call(compiled(tmp_path / "file"))


def test_a_warm_cache_that_is_read_only_is_used_without_a_word(compiled, monkeypatch):
    call(compiled())
    monkeypatch.setattr("tempfile.TemporaryFile", full_disk)
    monkeypatch.setattr(compile_cache._SealedFiles, "_open_for_write", full_disk)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(compiled())


def test_warnings_as_errors_do_not_let_a_cache_stop_the_program(compiled, monkeypatch, caplog):
    monkeypatch.setattr(compile_cache._SealedFiles, "_open_for_write", full_disk)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not call(compiled())
    assert "NUMBA_CACHE_DIR" in caplog.text


def test_two_signatures_that_took_one_name_are_told_apart(compiled, tmp_path):
    call(compiled())
    (data,) = files(tmp_path, ".nbc")
    of_integers = data.read_bytes()
    for file in tmp_path.rglob("*.nb?"):
        file.unlink()
    assert compiled()(21.5) == 43.0  # takes the same name in an empty folder
    data.write_bytes(of_integers)
    assert compiled()(21.5) == 43.0


def test_code_without_a_source_file_is_compiled_and_not_kept(compiled, tmp_path):
    namespace = {}
    exec(compile("def double(x):\n    return 2 * x\n", "<typed>", "exec"), namespace)
    dispatcher = numba.njit(namespace["double"])
    enable_cache(dispatcher, str(tmp_path / "cache"))
    assert not call(dispatcher)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_the_folder_is_chosen_by_the_environment_and_expanded(name, monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, "~/here")
    assert user_cache_folder() == tmp_path / "here"
    monkeypatch.setenv(name, "~nobody-of-this-name/here")
    assert user_cache_folder().is_absolute()


def test_without_a_home_there_is_a_folder_all_the_same(monkeypatch):
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert user_cache_folder().is_absolute()


def test_kernels_run_where_no_cache_can_be_written_and_warnings_are_errors(tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    program = (
        "import numpy as np\nfrom wm_envs.kernel import key_from_seed\n"
        "key_from_seed(np.uint64(1)); print('called')"
    )
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", program]
    run = subprocess.run(
        command, capture_output=True, text=True, env=variables, check=False, cwd=tmp_path
    )
    assert run.stdout == "called\n", run.stderr
    assert run.stderr.count(str(tmp_path / "cache")) == 1


@pytest.mark.parametrize("is_looked_at", [True, False])
def test_whoever_looks_is_told_once_what_is_compiled(is_looked_at, monkeypatch, capsys):
    monkeypatch.setattr(compile_cache, "_announced", set())
    monkeypatch.setattr(compile_cache, "is_terminal", lambda _: is_looked_at)
    for module in ("wm_envs.kernel", "wm_envs.game.dynamics", "wm_envs.game.render", "doubling"):
        compile_cache._announce(module)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == is_looked_at
    assert not lines or lines[0].startswith("Compiling wm_envs.game for this machine")


def test_only_what_is_not_in_the_cache_is_announced(compiled, monkeypatch):
    said = []
    monkeypatch.setattr(compile_cache, "_announce", said.append)
    assert [call(compiled()) for _ in range(2)] == [False, True]
    assert said == ["doubling"]
