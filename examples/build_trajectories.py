r"""Turn records of the General Assembly into one set of trajectories.

    python examples/build_trajectories.py --votes un_votes.csv.gz \
        --roll-calls un_roll_calls.csv.gz --issues un_roll_call_issues.csv.gz --output-dir runs/un
    python examples/build_trajectories.py --library-votes voting.csv --drafts drafts.xml \
        --trajectories more.json

Reads the three files of the R package `unvotes`, the voting CSV and draft records (MARCXML) of the
UN Digital Library, and trajectory JSON, in any combination. Drafts and votes with the same
resolution symbol become one trajectory. Writes trajectories.jsonl and summary.json, which says what
was missing; its counts add up.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import track

import wm_agents as wma
from wm_agents.domains.resolutions.data import record_contents
from wm_agents.domains.resolutions.pictures import save_years
from wm_envs.errors import TrajectoryError
from wm_envs.resolutions.digital_library import merge_drafts, read_digital_library, read_marc
from wm_envs.resolutions.records import (
    Losses,
    ResolutionRecord,
    read_trajectories,
    write_trajectories,
)
from wm_envs.resolutions.unvotes import read_unvotes


@dataclass(frozen=True)
class Config:
    """Which files to read; at least one source."""

    votes: Path | None = None
    """un_votes.csv of the R package unvotes; needs --roll-calls."""
    roll_calls: Path | None = None
    """un_roll_calls.csv."""
    issues: Path | None = None
    """un_roll_call_issues.csv."""
    library_votes: Path | None = None
    """Voting CSV of the UN Digital Library."""
    drafts: tuple[Path, ...] = ()
    """MARCXML files of draft resolutions."""
    trajectories: tuple[Path, ...] = ()
    """Trajectory files (.json, .jsonl) or folders of them."""
    output_dir: Path = Path("runs/un")
    """Folder for trajectories.jsonl and summary.json."""


def main(config: Config) -> dict[str, Any]:
    """Read, merge, write; returns the summary."""
    config = wma.expand_paths(config)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    started = time.perf_counter()
    losses = Losses()
    read = read_all(config, losses)
    merged, num_merged = merge_drafts([trajectory for part in read.values() for trajectory in part])
    num_written = write_trajectories(
        track(merged, "write", console=Console(stderr=True), disable=not sys.stderr.isatty()),
        config.output_dir / "trajectories.jsonl",
    )
    summary = {
        "num_trajectories": num_written,
        "num_read": {name: len(part) for name, part in read.items()},
        "num_drafts_joined_to_votes": num_merged,
        **record_contents(merged),
        "losses": dict(sorted(losses.items())),
        "seconds": time.perf_counter() - started,
    }
    # No record may get lost or appear twice on the way.
    assert num_written == sum(map(len, read.values())) - num_merged
    save_years(merged, config.output_dir / "years.png")
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


def read_all(config: Config, losses: Losses) -> dict[str, list[ResolutionRecord]]:
    """The trajectories of each source; raises TrajectoryError."""
    if (config.votes is None) != (config.roll_calls is None):
        raise TrajectoryError("--votes and --roll-calls belong together: give both")
    read: dict[str, list[ResolutionRecord]] = {}
    if config.votes is not None and config.roll_calls is not None:
        read["unvotes"] = read_unvotes(config.votes, config.roll_calls, config.issues, losses)
    if config.library_votes is not None:
        read["digital_library"] = read_digital_library(config.library_votes, losses)
    if config.drafts:
        read["drafts"] = [draft for path in config.drafts for draft in read_marc(path, losses)]
    if config.trajectories:
        read["trajectories"] = [
            t for path in config.trajectories for t in read_trajectories(path, losses)
        ]
    if not read:
        raise TrajectoryError(
            "nothing to read: give --votes with --roll-calls, --library-votes, --drafts or "
            "--trajectories"
        )
    return read


if __name__ == "__main__":
    main(tyro.cli(Config))
