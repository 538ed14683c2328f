"""Where each country stood in each session of the General Assembly, with intervals.

    python examples/ideal_points.py --votes runs/un --output-dir runs/ideal_points

Reads what build_trajectories.py wrote and fits a point per country and session (`IdealPoints`).
Writes ideal_points.csv, the fitted model, ideal_points.png, a page for each of --pages, and
summary.json with the largest changes. `--reference FILE`, a CSV with the columns country, session,
point, low and high, compares them with another estimate: the correlation within each session, and
how far the changes agree. What of it cannot be joined is counted and named.
"""

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import wm_agents as wma
from wm_agents.domains.resolutions import IdealPoints, IdealPointsConfig, VoteData
from wm_agents.domains.resolutions.ideal_points_page import compare, read_reference, write_pages
from wm_agents.domains.resolutions.pictures import save_ideal_points
from wm_envs.data.files import replacing
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.records import read_trajectories
from wm_envs.resolutions.votes import vote_arrays, year_of

NUM_CHANGES = 20


@dataclass(frozen=True)
class Config:
    """Which votes, and what to show."""

    votes: Path = Path("runs/un")
    """Trajectory file or folder, as build_trajectories.py writes it."""
    since: str = "1946-01-01"
    """Roll calls from this date on (a date or a year)."""
    until: str = "9999-01-01"
    """And before this one."""
    poles: tuple[str, str] = ("US", "CU")
    """Two countries; points rise towards the first."""
    reference: Path | None = None
    """Another estimate to compare with."""
    pages: tuple[str, ...] = ("US", "RU", "CN", "IN", "BR", "FR", "CU")
    """Countries that get a page and a line in the picture; "all" gives everybody a page."""
    output_dir: Path = Path("runs/ideal_points")
    """Folder for all files."""
    quiet: bool = False
    """No progress, only the closing result."""


def main(config: Config) -> dict[str, Any]:
    """Fit, compare, draw; returns the summary that is written."""
    config = wma.expand_paths(config)
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    reference = None if config.reference is None else read_reference(config.reference)
    data = VoteData(**vote_arrays(read_trajectories(config.votes)))
    rows = data.between(year_of(config.since), year_of(config.until))
    if not len(rows):
        raise wma.ConfigError(f"no roll call from {config.since} until {config.until}")
    data = data.select(rows)
    pages = list(data.countries)
    if config.pages != ("all",):
        pages = [code_of(page) or page for page in config.pages]
    unknown = sorted(set(pages) - set(data.countries))
    if unknown:
        raise wma.ConfigError(f"no votes of {unknown}, for whom a page was asked")

    started = time.perf_counter()
    model = IdealPoints(IdealPointsConfig(poles=config.poles))
    model.fit(data, progress=not config.quiet)
    seconds = time.perf_counter() - started
    model.save(folder / "ideal_points")
    write_table(model, folder / "ideal_points.csv")
    save_ideal_points(model, pages[:7], folder / "ideal_points.png")
    write_pages(model, folder, pages)
    right = (model.probabilities().argmax(2) == data.votes)[data.is_present]
    summary: dict[str, Any] = {
        "num_roll_calls": len(data.years),
        "num_sessions": len(model.sessions),
        "num_points": int(np.isfinite(model.points).sum()),
        "walk_std": model.walk_std,
        "accuracy_on_fitted_votes": float(right.mean()),
        "seconds": seconds,
        "largest_changes": largest_changes(model),
    }
    if reference is not None:
        summary["reference"] = compare(model, reference)
    wma.write_summary(folder, summary)
    for change in summary["largest_changes"][:8]:
        print("{country} in session {session}: {change:+.2f} ({ratio:.1f} sd)".format(**change))
    if reference is not None:
        figures = summary["reference"]
        print(f"median correlation with the reference: {figures['median_correlation']:.4f}")
        print(f"agreement on the sign of changes: {figures['change_sign_agreement']:.4f}")
    print(f"{summary['num_points']} points after {seconds:.0f} s: {folder}")
    return summary


def write_table(model: IdealPoints, path: Path) -> None:
    """All points in the columns that --reference reads, so that two runs can be compared."""
    with replacing(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["country", "session", "point", "low", "high", "num_votes"])
        for c, code in enumerate(model.countries):
            for s in np.flatnonzero(np.isfinite(model.points[:, c])):
                numbers = [f"{array[s, c]:.5f}" for array in (model.points, model.low, model.high)]
                writer.writerow([code, model.sessions[s], *numbers, model.num_votes[s, c]])


def largest_changes(model: IdealPoints) -> list[dict[str, Any]]:
    """The clearest changes from one session to the next, such as those of governments."""
    ratios = np.abs(model.changes) / model.change_stds
    order = np.argsort(-np.nan_to_num(ratios, nan=-1.0), axis=None)[:NUM_CHANGES]
    places = [np.unravel_index(place, ratios.shape) for place in order]
    return [
        {
            "country": model.countries[c],
            "session": int(model.sessions[s]),
            "change": float(model.changes[s, c]),
            "ratio": float(ratios[s, c]),
        }
        for s, c in places
        if np.isfinite(ratios[s, c])
    ]


if __name__ == "__main__":
    main(tyro.cli(Config))
