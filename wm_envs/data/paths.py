"""Paths that users give.

`~` is expanded, and what cannot be written is refused before the work and not after it.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wm_envs.data.errors import OptionError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~name` expanded, which a shell leaves as they are in `--output-dir=~/runs`.

    Raises:
        OptionError: It is no path, or the home folder that it names is not known.
    """
    try:
        text = os.fspath(path)
        if not text or "\0" in text:
            raise ValueError("empty" if not text else "a null character")
        return Path(path).expanduser()
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"{path!r} is no path that can be used ({error}): give one without ~"
        ) from error


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """`user_path`, made absolute.

    For a path that is stored and may be read after a change of folder.
    """
    return user_path(path).absolute()


def expand_paths(config: Config) -> Config:
    """A copy of a program's settings, a dataclass, with `user_path` of every path and tuple of paths among them."""
    paths: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Path):
            paths[field.name] = user_path(value)
        elif isinstance(value, tuple) and all(isinstance(item, Path) for item in value):
            paths[field.name] = tuple(user_path(item) for item in value)
    return dataclasses.replace(config, **paths)


def absolute_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an environment as they are stored, with the paths of files among them absolute.

    A path is a `Path`, the option `source`, or text that is written as a path and leads to
    something here: "oval" stays a name, whatever files there are.
    """
    return {name: _absolute_option(name, value) for name, value in options.items()}


def _absolute_option(name: str, value: Any) -> Any:
    if not isinstance(value, str | Path):
        return value
    is_path = isinstance(value, Path) or name == "source"
    if not is_path and not any(sign in str(value) for sign in ("~", ".", os.sep)):
        return value
    with contextlib.suppress(
        OSError, ValueError
    ):  # a long text, or one with null characters, is no path
        path = absolute_path(value)
        return str(path) if path.exists() else value
    return value


def writable_folder(path: str | os.PathLike[str]) -> Path:
    """`user_path` of a folder, made if it is missing, into which files can be written.

    Raises:
        OptionError: It cannot be made or written.
    """
    folder = user_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        raise OptionError(
            f"cannot write into {folder}: {_reason(error)}; give a folder that can be written"
        ) from error
    return folder


def writable_file(path: str | os.PathLike[str]) -> Path:
    """`user_path` of a file that can be written; missing folders are made, the file itself is not.

    Raises:
        OptionError: It is a folder, or its folder cannot be made or written.
    """
    file = user_path(path)
    if file.is_dir():
        raise OptionError(f"{file} is a folder: give the path of a file")
    writable_folder(file.parent)
    return file


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
