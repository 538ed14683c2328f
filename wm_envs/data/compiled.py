"""The compile decorator, with a cache on disk that cannot stop a program or load what is damaged.

Whoever compiles imports this module by its own name: it loads Numba, which `wm_envs.data` does not.

Numba unpickles whatever its cache files hold and raises what the file system raises, from the
middle of a step. Here each file ends with a SHA-256 of what precedes, so that a truncated, altered
or foreign file is a miss, which Numba never reads, and is written anew. A folder that cannot be
written costs the compilation and one RuntimeWarning that names it.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import config as numba_config
from numba.core import types
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserProvidedCacheLocator,
)

from wm_envs.data.streams import is_terminal, warn

Function = TypeVar("Function", bound=Callable[..., Any])

config: Any = numba_config  # its attributes are set while it is imported

IS_COMPILED = not config.DISABLE_JIT

_DIGEST_SIZE = hashlib.sha256().digest_size
_has_warned = False
_announced: set[str] = set()  # packages whose compilation was announced


def compiled(function: Function, folder: str | None = None) -> Function:
    """Compile a pure function of scalars and arrays, with its machine code cached on disk.

    No `fastmath`, so that a run with `NUMBA_DISABLE_JIT=1` is bitwise equal. The interpreter lock
    is released.

    Args:
        function: At the top level of a module.
        folder: Where the cache is kept. Numba does not notice an edit in another module than the
            function's own (numba #1833): who calls compiled functions of other modules gives a
            folder that changes with them.
    """
    if not IS_COMPILED:
        return _wrapping_integers(function)
    dispatcher: Any = numba.njit(nogil=True)(function)
    _share_between_constants(dispatcher)
    enable_cache(dispatcher, folder or str(user_cache_folder() / "wm-suite" / "compiled"))
    if function.__module__ != "__main__" and "<locals>" not in function.__qualname__:
        # Numba pickles a copy that has no cache: a spawned process would compile for ten seconds
        # what is on the disk.
        dispatcher.__reduce_ex__ = functools.partial(_pickled_by_name, function.__qualname__)
    compiled_function: Function = dispatcher
    return compiled_function


def _share_between_constants(dispatcher: Any) -> None:
    """Let calls with different constants share one machine code.

    Numba types a constant of the caller by its value, so that a helper was compiled 36 times for
    36 pairs of bounds. The optimizer folds constants where it inlines in either case.
    """
    by_value = dispatcher.get_call_template

    def by_type(args: Iterable[Any], kws: Mapping[str, Any]) -> Any:
        named = {name: types.unliteral(kind) for name, kind in dict(kws).items()}
        return by_value(tuple(types.unliteral(kind) for kind in args), named)

    dispatcher.get_call_template = by_type


def _pickled_by_name(name: str, protocol: int) -> str:  # noqa: ARG001
    """How `pickle` stores what its module holds under this name."""
    return name


def _wrapping_integers(function: Function) -> Function:
    """Let NumPy's uint64 scalars overflow silently, as they do when compiled."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        # Hashes wrap around by design; NumPy warns of it in scalars only.
        with np.errstate(over="ignore"):
            return function(*arguments)

    return wrapped  # type: ignore[return-value]


def user_cache_folder() -> Path:
    """The folder for caches: NUMBA_CACHE_DIR, XDG_CACHE_HOME, or the system's usual one.

    It need not exist.
    """
    selected = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    if selected:
        folder = os.path.expanduser(selected)
        with contextlib.suppress(OSError):  # the current folder may be gone
            folder = os.path.abspath(folder)
        return Path(folder)
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry for this user, as in containers
        home = Path(os.sep)
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def enable_cache(dispatcher: Any, folder: str) -> None:
    """Let a Numba dispatcher keep its machine code in this folder.

    Code without a source file is not kept.
    """
    # Numba reads the folder while a cache is made; the user's own functions keep theirs.
    before, config.CACHE_DIR = config.CACHE_DIR, folder
    try:
        # The attribute that Numba's own `enable_caching` sets, with a cache whose failures are
        # misses.
        dispatcher._cache = _SafeCache(dispatcher.py_func)
    except (OSError, RuntimeError):
        return  # nothing tells whether code without a source is old
    finally:
        config.CACHE_DIR = before


class _Locator(UserProvidedCacheLocator):
    """The folder that was set, which need not be there or writable.

    A warm cache may be read only.
    """

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """The locator of a function, None for one without a source file."""
        return cls(py_func, py_file) if os.path.exists(py_file) else None


class _CacheImplementation(CompileResultCacheImpl):
    # Numba's next choice is beside the source, where code is not told from that of other versions
    # of the kernels.
    _locator_classes = [_Locator]


class _SealedFiles(IndexDataCacheFile):
    """Numba's index and data files of one function.

    Each ends with a SHA-256 of what precedes and of its source.

    Numba reads its own files, which end for it before the digest, and only those that are whole.
    """

    def save(self, key: Any, data: Any) -> None:
        """Write the code of a key, and only then the index that names it."""
        names = self._load_index()
        if key not in names:
            taken = set(names.values())
            names[key] = next(
                name for i in itertools.count(1) if (name := self._data_name(i)) not in taken
            )
        self._save_data(names[key], (key, data))
        self._save_index(names)

    def load(self, key: Any) -> Any:
        """The code of a key, None where there is none that is whole."""
        name = self._load_index().get(key)
        if name is None or not self._is_whole(self._data_path(name)):
            return None
        # Two programs that compile at once may both have taken a name: what the file holds tells
        # whose it is.
        stored_key, data = self._load_data(name)
        return data if stored_key == key else None

    def _load_index(self) -> dict[Any, str]:
        return super()._load_index() if self._is_whole(self._index_path) else {}

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + self._digest(content.getvalue()))

    def _is_whole(self, path: str) -> bool:
        """Whether a file is there as it was written, for this source."""
        try:
            sealed = Path(path).read_bytes()
        except OSError:
            return False
        return sealed[-_DIGEST_SIZE:] == self._digest(sealed[:-_DIGEST_SIZE])

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(repr((self._version, self._source_stamp)).encode() + content).digest()


class _SafeCache(FunctionCache):
    """Numba's cache of one function, for which every failure is a miss."""

    _impl_class = _CacheImplementation

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        self._py_func = py_func
        locator = self._impl.locator
        self._cache_file = _SealedFiles(
            self._cache_path, self._impl.filename_base, locator.get_source_stamp()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled code of a signature, None where there is none that can be used."""
        try:
            code = super().load_overload(sig, target_context)
        except Exception:
            code = None  # it is compiled, and saving it says what is wrong with the folder
        if code is None:
            _announce(self._py_func.__module__)
        return code

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code if that is possible."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _warn_once(self._cache_path, error)


def _announce(module: str) -> None:
    """Say once for each package of kernels that it is compiled now, to somebody who looks and waits.

    What packages share, in modules of their own, takes a moment and is not worth a line.
    """
    package = ".".join(module.split(".")[:-1])
    if package.count(".") == 0 or package == __package__ or package in _announced:
        return
    _announced.add(package)
    if is_terminal(sys.stderr):
        print(
            f"Compiling {package} for this machine: up to half a minute, once.",
            file=sys.stderr,
            flush=True,
        )


def _warn_once(path: str, error: Exception) -> None:
    """Say that nothing is kept.

    A warning, and where warnings are errors a line of logging, as a cache stops nobody.
    """
    global _has_warned
    if _has_warned:
        return
    _has_warned = True
    reason = getattr(error, "strerror", None) or repr(error)
    message = (
        f"compiled code cannot be kept in {Path(path).parent} ({reason}), so that every program "
        "compiles it anew: set NUMBA_CACHE_DIR to a folder that can be written"
    )
    try:
        warn(message, stacklevel=3)
    except RuntimeWarning:
        logging.getLogger(__name__).warning(message)
