"""Paths that users give: `~` is expanded, and what cannot be written is refused before the work and not after it."""

import os
import tempfile
from pathlib import Path

from wm_envs.errors import OptionError


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~name` expanded, which a shell leaves as they are in `--output-dir=~/runs`.

    Raises:
        OptionError: It is no path, or the home folder that it names is not known.
    """
    try:
        return Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise OptionError(f"{path!r} is no path that can be used ({error}): give one without ~") from error


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """`user_path`, made absolute: for a path that is stored and may be read after a change of folder."""
    return user_path(path).absolute()


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
        raise OptionError(f"cannot write into {folder}: {_reason(error)}; give a folder that can be written") from error
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
