"""Public data that scripts can use: where they come from, how to get them, and whether they are whole.

Every file has a SHA-256, computed from the copies that the tests of this project read. A file that
differs is refused, since results were measured on these very bytes.
"""

import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from wm_envs.data.errors import DownloadError, OptionError
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path, writable_folder

MAX_BYTES = 50_000_000  # of a file
_CHUNK = 1 << 16


class _File(NamedTuple):
    """One file, and the address of the public original where there is a single one."""

    name: str
    sha256: str
    url: str = ""


class _Dataset(NamedTuple):
    what: str
    licence: str
    by_hand: tuple[str, ...]
    files: tuple[_File, ...]


_TRACKS = "https://raw.githubusercontent.com/TUMFTM/racetrack-database"
# The commits in which the public files were last seen with the lengths of ours.
_FIRST = "17644277671b3200894732fa19a2d2e91919f42d"
_INDIANAPOLIS = "00cc46b6cfac838f6abf5a471db2abe98b15025c"
_SMOOTHED = "2b44832e938e707103a0975ff5677a6be80362c4"


def _circuit(name: str, commit: str, sha256: str) -> _File:
    return _File(f"{name}.csv", sha256, f"{_TRACKS}/{commit}/tracks/{name}.csv")


DATASETS: dict[str, _Dataset] = {
    "circuits": _Dataset(
        "centre lines and widths of 15 real circuits",
        "race-track database of TUMFTM, LGPL-3.0",
        (
            "mkdir -p {folder}",
            "git clone https://github.com/TUMFTM/racetrack-database",
            "cd racetrack-database/tracks",
            "cp {files} {folder}",
        ),
        (
            _circuit(
                "Austin",
                _SMOOTHED,
                "60d46180320177ba49bec61bad390872039222dbab225fe12781ca662becda55",
            ),
            _circuit(
                "Catalunya",
                _SMOOTHED,
                "8d6dc9d50e98bdecd818cb880a4b12bb5cec25d699a6b774e0b593c0f8a9da5e",
            ),
            _circuit(
                "Hockenheim",
                _FIRST,
                "5eb6b7d8ff7b9fc905b38caed9a65d8e76e4bd7af5af9ba82aecdf4a6e0eacc5",
            ),
            _circuit(
                "IMS",
                _INDIANAPOLIS,
                "4254dc23f263bbe6c85c67e48d9a466e4f710da03f1370dff3fdc378de705471",
            ),
            _circuit(
                "Melbourne",
                _FIRST,
                "f9ea4395a25dc4189d8b8c692ce9656682de62ad7b784dfd7c024ac8d4f245e9",
            ),
            _circuit(
                "Montreal",
                _FIRST,
                "0b27cf74193ea20ebab058a300cd935d2c07bb6003a898e108febcd63a3c42be",
            ),
            _circuit(
                "Monza",
                _SMOOTHED,
                "4b5993986e67950df1b89efa03a4df02127f07b7213985917f0bad27ad3d48b6",
            ),
            _circuit(
                "Norisring",
                _FIRST,
                "8857d3c362ad2923c1f93c8d257498f50459770b9021adcc7969b71085c31d9a",
            ),
            _circuit(
                "Nuerburgring",
                _FIRST,
                "9fea2a9daa25311bb251be416140b6c55cb2e53bb4f69c28f512fbfce25a3f87",
            ),
            _circuit(
                "Sakhir",
                _SMOOTHED,
                "bc3c23da42f9474dbf5700341037bb45521acaa2ad1389bd0a48540fe179ee7a",
            ),
            _circuit(
                "SaoPaulo",
                _SMOOTHED,
                "7383caa2b7af9af6c321aa5442cc5b47b6cfe1a56f70b56f3216ba1a3c015a04",
            ),
            _circuit(
                "Sepang",
                _FIRST,
                "89ee026fd439e9b41311fc742b44efb120c3c1148f55e5963b38b62971352eaf",
            ),
            _circuit(
                "Silverstone",
                _SMOOTHED,
                "27c51454e81780a75c353d3e6c9f73dbbcd1e82139782e95bd722ade19736e39",
            ),
            _circuit(
                "Spa",
                _SMOOTHED,
                "952673dfa772427be8a9013b8c1cb5ff5935f85c0c21d2a223adb04c6d640c8a",
            ),
            _circuit(
                "Spielberg",
                _SMOOTHED,
                "277b2854c4323021b10b6b63ebfe6a6cc971f494c0728202e910d67d7d65dc8c",
            ),
        ),
    ),
    "votes": _Dataset(
        "plenary votes of the UN General Assembly, 1946 to 2016",
        "E. Voeten's roll-call data through the R package unvotes, CC0",
        (
            "mkdir -p {folder}",
            "and in R: install.packages('unvotes'); library(unvotes)",
            "write.csv(un_votes, gzfile('{folder}/un_votes.csv.gz'), row.names = FALSE)",
            "write.csv(un_roll_calls, gzfile('{folder}/un_roll_calls.csv.gz'), row.names = FALSE)",
            "write.csv(un_roll_call_issues, gzfile('{folder}/un_roll_call_issues.csv.gz'), "
            "row.names = FALSE)",
        ),
        (
            _File(
                "un_votes.csv.gz",
                "4c828d7084891676c80bd52be08f8dfbebfff4305ed53c7e2f41a421050e71c2",
            ),
            _File(
                "un_roll_calls.csv.gz",
                "eb874fae4bde7acd0ae37245a41dc72ff6e855e3034519a3a2c545ba4c6ac448",
            ),
            _File(
                "un_roll_call_issues.csv.gz",
                "932cc8a4770613a0cc05c8ab547b8d06ac822753cdf440cb33e59f78ece9ac49",
            ),
        ),
    ),
}


def data_folder(name: str) -> Path:
    """Where a data set is looked for: below WM_DATA_DIR, else in the user's folder for data.

    It need not exist.
    """
    chosen = os.environ.get("WM_DATA_DIR")
    if chosen:
        return user_path(chosen) / name
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(os.path.expanduser(base)) / "wm-suite" / name


def instructions(name: str, folder: str | os.PathLike[str] | None = None) -> str:
    """How to get a data set by hand.

    Raises:
        OptionError: There is no such data set.
    """
    dataset = _dataset(name)
    target = user_path(folder) if folder is not None else data_folder(name)
    files = " ".join(file.name for file in dataset.files)
    steps = [step.format(folder=target, files=files) for step in dataset.by_hand]
    lines = [
        f"{name}: {dataset.what} ({dataset.licence}).",
        f"They are looked for in {target}. To put them there by hand:",
        *[f"    {step}" for step in steps],
        "From a server that holds the files under their names, checked by their SHA-256:",
        f"    wm data fetch {name} --source URL",
    ]
    if all(file.url for file in dataset.files):
        lines += [
            "From the public repository, checked in the same way:",
            f"    wm data fetch {name} --source public",
        ]
    return "\n".join(lines)


def missing_files(name: str, folder: str | os.PathLike[str] | None = None) -> list[str]:
    """The files of a data set that are not in the folder, or not with the bytes that they should have.

    Raises:
        OptionError: There is no such data set.
    """
    target = user_path(folder) if folder is not None else data_folder(name)
    return [file.name for file in _dataset(name).files if not _is_whole(target, file)]


def fetch(
    name: str,
    source: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    timeout: float = 30.0,
    on_file: Callable[[str], None] | None = None,
) -> Path:
    """Download what is missing of a data set, each file whole and with its SHA-256 or not at all.

    Args:
        name: "circuits" or "votes".
        source: "public" for the original's own addresses, else the address of a folder on a server
            that holds the files under their names.
        folder: Where they go; None takes `data_folder(name)`.
        timeout: Seconds that a server may be silent, and ten times as many for a whole file.
        on_file: Called with the name of each file before it is downloaded.

    Returns:
        The folder.

    Raises:
        OptionError: There is no such data set or source, or the folder cannot be written.
        DownloadError: The server cannot be reached, refuses, is too slow, breaks off, or sends
            something else. What was downloaded before stays and is not downloaded again.
    """
    dataset = _dataset(name)
    if source == "public":
        urls = [file.url for file in dataset.files]
    elif source.startswith(("https://", "http://")):
        urls = [f"{source.rstrip('/')}/{file.name}" for file in dataset.files]
    else:
        urls = [""]
    if not all(urls):
        raise OptionError(
            f"source={source!r} has no files of {name}: give the http(s) address of a folder that "
            f"holds {', '.join(file.name for file in dataset.files[:3])}, ..."
        )
    target = writable_folder(folder if folder is not None else data_folder(name))
    for file, url in zip(dataset.files, urls, strict=True):
        if _is_whole(target, file):
            continue
        if on_file is not None:
            on_file(file.name)
        content = _download(url, timeout)
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            raise DownloadError(
                f"{url} is not the file that was expected: its SHA-256 is {found}, not "
                f"{file.sha256}; try another source, or get the data by hand"
            )
        with replacing(target / file.name, "wb") as stream:
            stream.write(content)
    return target


def _dataset(name: str) -> _Dataset:
    if name not in DATASETS:
        raise OptionError(f"no data set {name!r}: known are {', '.join(DATASETS)}")
    return DATASETS[name]


def _is_whole(folder: Path, file: _File) -> bool:
    try:
        content = (folder / file.name).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == file.sha256


def _download(url: str, timeout: float) -> bytes:
    """The bytes behind an address; whatever goes wrong is one DownloadError that names it."""
    # The timeout of `urlopen` is for one read; the whole of a file may take ten of them.
    deadline = time.monotonic() + 10 * timeout
    parts: list[bytes] = []
    num_bytes = 0
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            announced = response.headers.get("Content-Length")
            while part := response.read1(_CHUNK):
                parts.append(part)
                num_bytes += len(part)
                if num_bytes > MAX_BYTES:
                    raise DownloadError(
                        f"{url} is larger than {MAX_BYTES:,} bytes: nothing was kept"
                    )
                # A server that sends a byte at a time is never silent.
                if time.monotonic() > deadline:
                    raise DownloadError(
                        f"{url} is too slow: {num_bytes:,} bytes in {10 * timeout:g} s; try again "
                        "with a larger timeout, or get the data by hand"
                    )
    except urllib.error.HTTPError as error:
        error.close()  # it is an answer, with a connection of its own
        raise DownloadError(
            f"{url} answers {error.code} {error.reason}: try another source, or get the data by hand"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, DownloadError):
            raise
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"cannot fetch {url} ({reason}): try again with a network, or get the data by hand"
        ) from error
    # `read1` does not complain about an answer that ends early.
    if announced is not None and announced.isdigit() and num_bytes != int(announced):
        raise DownloadError(
            f"{url} was cut off after {num_bytes:,} of {int(announced):,} bytes: try again"
        )
    return b"".join(parts)
