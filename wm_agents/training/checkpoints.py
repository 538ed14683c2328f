"""The checkpoint format of all trainers: one file, written whole and never loaded when altered.

A checkpoint is a safetensors file, readable by every safetensors tool. Its header holds, under one
key, a JSON text with the format version, the caller's metadata and a SHA-256. The hash is taken
over the whole file with its own 64 digits set to zero, so that every byte counts: names, types,
shapes, metadata and data. It finds damage, not malice.

A file is written whole or not at all (`wm_envs.data.files.replacing`). A folder has one writer at a
time; readers may come at any moment.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes

from wm_agents.errors import CheckpointError
from wm_agents.training.packing import pack_state, stored_copy, unpack_state
from wm_envs.data.display import short_repr
from wm_envs.data.errors import OptionError
from wm_envs.data.files import replacing
from wm_envs.data.paths import absolute_path, user_path, writable_folder
from wm_envs.data.streams import warn

__all__ = [
    "Checkpoint",
    "CheckpointManager",
    "as_json",
    "load_checkpoint",
    "pack_state",
    "refuse_another_run",
    "refusing_misfits",
    "save_checkpoint",
    "unpack_state",
]

FORMAT_VERSION = 1
_REMEDIES = {
    # Schedules run over the total, so that another total is another run from its first step on.
    "total_timesteps": (
        "give that number, which resumes it, and call learn again on the same agent for further "
        "steps; or give another folder"
    ),
    "first_step": "each call of learn has a folder of its own: give another one",
}
_KEY = "wm_agents_checkpoint"
_NO_DIGEST = "0" * 64
_MAX_HEADER = 100_000_000  # bytes; safetensors reads no longer ones
# The JSON text sits as a string inside the header's JSON, hence the backslashes. Unescaped quotes
# around the key make this sequence impossible inside any tensor name or metadata.
_DIGEST_PATTERN = re.compile(rb'"' + _KEY.encode() + rb'":"\{\\"sha256\\": \\"([0-9a-f]{64})\\"')


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` found.

    Attributes:
        tensors: by name, on the CPU.
        metadata: the caller's JSON object.
    """

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, Any]

    __repr__ = short_repr


def save_checkpoint(
    path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> Path:
    """Writes a checkpoint atomically: after any failure `path` holds the old one untouched.

    Args:
        path: file to write, missing folders included; used as given, `.safetensors` is the fitting
            suffix.
        tensors: dense tensors by name, copied to the CPU.
        metadata: JSON-able object with text keys; NaN and infinity are refused, tuples come back as
            lists (`pack_state` keeps both). By convention "kind" names what the checkpoint is of.

    Returns:
        The path.

    Raises:
        CheckpointError: when something cannot be stored, or the disk is full or not writable.
    """
    path = user_path(path)
    data = _encode(tensors, metadata)
    try:
        with replacing(path, "wb") as file:
            file.write(data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(
            f"cannot write checkpoint {path}: {reason}; free space or give a writable folder. "
            "An earlier checkpoint there is unchanged"
        ) from error
    return path


def load_checkpoint(path: str | Path, kind: str | None = None) -> Checkpoint:
    """Reads a checkpoint after checking its SHA-256, its format version and its kind.

    Args:
        path: file that `save_checkpoint` wrote.
        kind: value that metadata["kind"] must have; None accepts any.

    Raises:
        CheckpointError: when the file is missing, truncated, altered, foreign, of another version
            or of another kind.
    """
    path = user_path(path)
    try:
        data = _read_if_ours(path)
    except OSError as error:
        raise CheckpointError(
            f"cannot read checkpoint {path}: {error.strerror or error}"
        ) from error
    checkpoint = _decode(data, path)
    _check_kind(checkpoint, path, kind)
    return checkpoint


class CheckpointManager:
    """Numbered checkpoints of one run in one folder, of which the newest few are kept.

    Args:
        directory: folder, made when a trainer begins; it belongs to one run.
        keep: how many checkpoints stay, at least 1; with 2 or more a damaged newest one has a
            predecessor.
        kind: if given, written into and required of every checkpoint.
    """

    def __init__(
        self, directory: str | os.PathLike[str], keep: int = 3, kind: str | None = None
    ) -> None:
        if keep < 1:
            raise CheckpointError(f"keep={keep}; give at least 1")
        self.directory = absolute_path(directory)
        self.keep = keep
        self.kind = kind
        self._damaged: set[Path] = set()
        # `_files` when this manager last looked, None before.
        self._known: dict[Path, int] | None = None

    def require_writable(self) -> None:
        """Raises CheckpointError where nothing can be saved, so that nobody trains for that.

        Makes the folder.
        """
        try:
            writable_folder(self.directory)
        except OptionError as error:
            raise CheckpointError(str(error)) from error

    def paths(self) -> list[Path]:
        """The files of all checkpoints, oldest step first."""
        return sorted(self.directory.glob("step_" + "[0-9]" * 12 + ".safetensors"))

    def save(
        self, step: int, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
    ) -> Path:
        """Saves under `step`, also stored as metadata["step"].

        Then deletes the oldest beyond `keep`.

        Raises:
            CheckpointError: as `save_checkpoint`, and when the folder holds good checkpoints of
                later steps, or some that another process has saved meanwhile: they belong to
                another run.
        """
        path = self.directory / f"step_{step:012d}.safetensors"
        self._refuse_other_writers(path)
        later = [other for other in self.paths() if other > path and other not in self._damaged]
        if not 0 <= step < 10**12 or later:
            reason = (
                f"{self.directory} holds {later[-1].name}, a later step"
                if later
                else "a step is 0..10^12-1"
            )
            raise CheckpointError(
                f"cannot save step {step}: {reason}; resume from the latest or use an empty folder"
            )
        own = {"step": step} if self.kind is None else {"step": step, "kind": self.kind}
        _sweep_temporaries(self.directory, "step_*.safetensors")
        save_checkpoint(path, tensors, {**metadata, **own})
        self._damaged.discard(path)
        for old in [other for other in self.paths() if other not in self._damaged][: -self.keep]:
            self._delete(old)
        self._known = self._files()
        return path

    def _files(self) -> dict[Path, int]:
        """All checkpoints with what tells a file from one that replaces it."""
        numbers = {}
        for path in self.paths():
            with contextlib.suppress(FileNotFoundError):  # deleted by its writer meanwhile
                numbers[path] = os.lstat(path).st_ino
        return numbers

    def _refuse_other_writers(self, path: Path) -> None:
        """Two runs in one folder would replace and delete each other's checkpoints.

        One of them has to stop.
        """
        if self._known is None:
            return
        for other, number in self._files().items():
            if other != path and self._known.get(other) != number:
                raise CheckpointError(
                    f"cannot save {path.name}: another run in {self.directory} has written "
                    f"{other.name} meanwhile; "
                    "give each run its own folder"
                )

    def _delete(self, old: Path) -> None:
        """Deletes an old checkpoint; where that fails, the new one is there all the same."""
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            self._damaged.add(old)  # not tried again
            warn(f"cannot delete the old {old}: {error.strerror or error}", stacklevel=3)

    def save_state(self, step: int, state: Any, run: Mapping[str, Any]) -> Path:
        """`save` for a trainer whose state is nested: everything that `pack_state` takes.

        Args:
            step: Its number.
            state: All that the trainer needs to resume bitwise.
            run: JSON object that says which run this is, such as its configuration and seed;
                `latest_state` wants the same again.
        """
        tensors, structure = pack_state(state)
        return self.save(step, tensors, {"run": as_json(run), "structure": structure})

    def latest_state(self, run: Mapping[str, Any]) -> tuple[int, Any] | None:
        """Step and state of the newest checkpoint that is whole, None when there are none.

        Raises:
            CheckpointError: As `latest`, and when the checkpoint is of a run that `run` does not
                describe.
        """
        wanted = as_json(run)  # in an empty folder too: nobody trains for what cannot be saved
        self.require_writable()
        found = self.latest()
        if found is None:
            return None
        if not isinstance(found.metadata.get("run"), dict) or "structure" not in found.metadata:
            raise CheckpointError(
                f"{self.directory} holds checkpoints without a run's state; give another folder"
            )
        refuse_another_run(self.directory, found.metadata["run"], wanted)
        try:
            return int(found.metadata["step"]), unpack_state(
                found.metadata["structure"], found.tensors
            )
        except (CheckpointError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.directory} holds a state of another form: {error}"
            ) from error

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None when there are none at all.

        A damaged one is passed over with a warning that names it, and its predecessor is used.

        Raises:
            CheckpointError: when all are damaged, or the newest whole one is of another kind.
        """
        reasons, self._known = [], self._files()
        for path in sorted(self._known, reverse=True):
            try:
                checkpoint = load_checkpoint(path)
            except CheckpointError as error:
                if not os.path.lexists(path):  # the writer has a newer one and deleted this
                    return self.latest()
                self._damaged.add(path)
                reasons.append(str(error))
                continue
            if reasons:
                warn(f"using the older checkpoint {path}: {'; '.join(reasons)}", stacklevel=2)
            _check_kind(checkpoint, path, self.kind)
            return checkpoint
        if reasons:
            raise CheckpointError(
                f"no checkpoint in {self.directory} can be used: {'; '.join(reasons)}"
            )
        return None


def refuse_another_run(
    directory: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any], place: str = ""
) -> None:
    """Raises CheckpointError with the first setting in which a stored run and this one differ.

    Args:
        directory: the folder, for the message.
        stored: settings by name that a checkpoint holds; those that are objects are compared
            setting by setting.
        wanted: those of this run, as JSON gives them back.
        place: of these settings among all.
    """
    for name in sorted(stored.keys() | wanted.keys()):
        theirs, ours = stored.get(name), wanted.get(name)
        if isinstance(theirs, dict) and isinstance(ours, dict):
            refuse_another_run(directory, theirs, ours, f"{place}{name}.")
        elif theirs != ours:
            remedy = _REMEDIES.get(name, "repeat that run or give another folder")
            raise CheckpointError(
                f"{directory} belongs to a run with {place}{name}={theirs!r}, this one has "
                f"{ours!r}; {remedy}"
            )


def as_json(run: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a run as a checkpoint gives it back.

    Raises CheckpointError where JSON has no such value.
    """
    try:
        _check_keys(dict(run), "run")
        settings: dict[str, Any] = json.loads(json.dumps(dict(run), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"this run cannot be told from others, {error}: give settings that are text, numbers "
            "and lists of them"
        ) from error
    return settings


@contextlib.contextmanager
def refusing_misfits(place: str | Path | None) -> Iterator[None]:
    """Around the lines that take a stored state apart: all they raise becomes a CheckpointError.

    The hash of a checkpoint finds damage; a file that somebody wrote on purpose has a hash that
    fits.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
    ) as error:
        raise CheckpointError(
            f"the checkpoint in {place} does not fit this run: {error!r}"
        ) from error


def _check_kind(checkpoint: Checkpoint, path: Path, kind: str | None) -> None:
    if kind is not None and checkpoint.metadata.get("kind") != kind:
        raise CheckpointError(
            f"{path} is a checkpoint of kind {checkpoint.metadata.get('kind')!r}, not {kind!r}"
        )


def _read_if_ours(path: Path) -> bytes:
    """The file, of whose size nothing is believed before its header is that of a checkpoint."""
    with open(path, "rb") as file:
        start = file.read(8)
        start += file.read(min(int.from_bytes(start, "little"), _MAX_HEADER))
        _find_digest(start, path)
        file.seek(0)
        return file.read()


def _encode(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The whole file, its SHA-256 included."""
    _check_names(tensors, metadata)
    try:
        header = json.dumps(
            {"sha256": _NO_DIGEST, "version": FORMAT_VERSION, "metadata": dict(metadata)},
            allow_nan=False,
        )
        data = tensors_to_bytes(
            {name: stored_copy(tensor) for name, tensor in tensors.items()}, {_KEY: header}
        )
    except (
        TypeError,
        ValueError,
        KeyError,
        RecursionError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise CheckpointError(
            f"cannot store this as tensors and JSON: {error}; pack_state stores more types"
        ) from error
    # The digest is of the file with zeros in its place, since a file cannot hold its own hash.
    start, end = _find_digest(data)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:start] + digest + data[end:]


def _check_names(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise CheckpointError(
                f"tensors[{name!r}] is a {type(tensor).__name__}; give tensors by text name"
            )
    if "__metadata__" in tensors:
        raise CheckpointError(
            "a tensor is named '__metadata__', which safetensors keeps for itself; rename it"
        )
    if not isinstance(metadata, Mapping):
        raise CheckpointError(f"metadata is a {type(metadata).__name__}; give a dict")
    _check_keys(dict(metadata), "metadata")


def _check_keys(value: Any, place: str) -> None:
    """Refuses keys that JSON would silently turn into text."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise CheckpointError(
                    f"{place} has the key {key!r}; JSON keys are text, pack_state keeps others"
                )
            _check_keys(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item, place)


def _decode(data: bytes, path: Path) -> Checkpoint:
    """The contents of a file, every byte of which has been checked."""
    start, end = _find_digest(data, path)
    digest = hashlib.sha256(data[:start])
    digest.update(_NO_DIGEST.encode())
    digest.update(data[end:])
    if digest.hexdigest().encode() != data[start:end]:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 does not fit; use an earlier checkpoint"
        )
    try:
        header = json.loads(json.loads(data[8 : 8 + _header_length(data)])["__metadata__"][_KEY])
        version, metadata = header["version"], header["metadata"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format version {version}; this wm_agents reads {FORMAT_VERSION}"
            )
        if not isinstance(metadata, dict):
            raise CheckpointError(f"{path} has metadata that are no JSON object")
        return Checkpoint(load_tensors(data), metadata)
    except (
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
        RuntimeError,
        SafetensorError,
    ) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is no checkpoint of wm_agents: {error}") from error


def _find_digest(data: bytes, path: Path | None = None) -> tuple[int, int]:
    """Where the 64 digits are."""
    found = list(_DIGEST_PATTERN.finditer(data, 8, 8 + _header_length(data)))
    if len(found) != 1:
        raise CheckpointError(f"{path} is no checkpoint of wm_agents, or its header is damaged")
    return found[0].span(1)


def _header_length(data: bytes) -> int:
    return min(int.from_bytes(data[:8], "little"), len(data))


def _sweep_temporaries(directory: Path, pattern: str) -> None:
    """Removes what a killed writer left behind."""
    for stale in directory.glob(f".{pattern}.*.tmp"):
        if re.fullmatch(r"\..+\.\d+\.tmp", stale.name):
            # What cannot be removed, such as a folder, is no reason not to save.
            with contextlib.suppress(OSError):
                stale.unlink()
