"""The voting data that the UN Digital Library publishes as CSV.

One row per resolution and member.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from wm_envs.data.paths import user_path
from wm_envs.errors import TrajectoryError
from wm_envs.resolutions.countries import is_missing, resolve
from wm_envs.resolutions.files import RowCount, read_columns, whole_number
from wm_envs.resolutions.records import (
    MAX_MEMBERS,
    VOTE_LISTS,
    Losses,
    ResolutionRecord,
    ballot_of,
    check_date,
    check_same_vote,
    outcome_of,
)

MAX_RECORD_NUMBER = 10**12
TOTALS = ("total_yes", "total_no", "total_abstentions")
COLUMNS = (
    *(
        "undl_id",
        "ms_code",
        "ms_name",
        "ms_vote",
        "date",
        "session",
        "resolution",
        "draft",
        "title",
    ),
    *("agenda_title", "subjects", *TOTALS),
)
_LIST_OF_VOTE = {"Y": "in_favour", "N": "against", "A": "abstaining"}


# What all rows of a resolution say alike, by its column: where they differ, nobody can say which is
# right.
SHARED = ("date", "session", "resolution", *TOTALS)


@dataclass
class _Resolution:
    shared: dict[str, str]
    votes: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of the members, as the rows have them
    num_unknown: int = 0


def read_digital_library(path: Path, losses: Losses | None = None) -> list[ResolutionRecord]:
    """Read the file (it may be packed with gzip) as one trajectory per resolution, by date.

    `X` is a member that did not vote: absent. A resolution whose totals do not add up with its rows
    is left out and counted, since nobody can say which of both is wrong. So is a row that says the
    same as one before.

    Args:
        path: The file.
        losses: Counts what is missing, in place. Without it, a warning names what is left out.

    Raises:
        TrajectoryError: Wrong columns, an unknown kind of vote, two different votes of a member on
            one resolution, a name and a code of two countries, a malformed date or total, nothing
            that can be read, or more that cannot be used than can; the message names file, line and
            field.
    """
    path = user_path(path)
    resolutions: dict[str, _Resolution] = {}
    rows = RowCount(path, "rows", losses)
    for line, (undl_id, ms_code, ms_name, ms_vote, *others) in read_columns(path, COLUMNS):
        where = f"{path}: line {line}"
        number = _record_number(undl_id, where)
        shared = dict(zip(COLUMNS[4:], others, strict=True))
        resolution = resolutions.setdefault(number, _Resolution(shared))
        for name in SHARED:
            if shared[name].strip() != resolution.shared[name].strip():
                raise TrajectoryError(
                    f"{where}: {name}: {shared[name][:40]!r}, while an earlier row of undl_id {number} has "
                    f"{resolution.shared[name][:40]!r}: correct one of them"
                )
        _add_vote(resolution, (ms_code, ms_name, ms_vote.strip()), line, rows)
    rows.finish()
    records = RowCount(path, "resolutions with votes", losses)
    read = [_trajectory(number, resolution, records) for number, resolution in resolutions.items()]
    records.finish()
    return _by_date(_with_own_ids([trajectory for trajectory in read if trajectory is not None]))


def _record_number(text: str, where: str) -> str:
    """The number of a record in one form, for 4026910.0 too."""
    if not text.strip():
        raise TrajectoryError(f"{where}: undl_id: expected a record number, got nothing")
    return str(whole_number(text, f"{where}: undl_id", 0, MAX_RECORD_NUMBER))


def _with_own_ids(trajectories: list[ResolutionRecord]) -> list[ResolutionRecord]:
    """Where several records have one symbol, as with votes on paragraphs, all but the first are numbered."""
    seen: Counter[str] = Counter()
    for i, trajectory in enumerate(trajectories):
        name = trajectory.trajectory_id
        seen[name] += 1
        if seen[name] > 1:
            trajectories[i] = replace(trajectory, trajectory_id=f"{name} ({seen[name]})")
    return trajectories


def _by_date(trajectories: Iterable[ResolutionRecord]) -> list[ResolutionRecord]:
    return sorted(
        trajectories, key=lambda trajectory: (trajectory.date or "", trajectory.trajectory_id)
    )


def _add_vote(
    resolution: _Resolution, row: tuple[str, str, str], line: int, rows: RowCount
) -> None:
    code, name, vote = row
    where = f"{rows.path}: line {line}"
    if vote not in ("Y", "N", "A", "X", ""):
        raise TrajectoryError(f"{where}: ms_vote: expected Y, N, A or X, got {vote[:40]!r}")
    member = resolve(code, name, where)
    if vote in ("X", ""):
        rows.num_read += 1
        rows.note("members that did not vote")
    elif member is None:
        shown = f"line {line}: ms_name {name[:40]!r}, ms_code {code[:20]!r}"
        rows.drop("votes of unknown countries", shown)
        resolution.num_unknown += 1
    elif member in resolution.votes:
        first = resolution.names[member], resolution.votes[member]
        check_same_vote(member, first, (name, vote), where, "ms_vote")
        rows.num_read += 1
        rows.note("votes given twice")
    else:
        resolution.votes[member] = vote
        resolution.names[member] = name
        rows.num_read += 1
        rows.note("votes read")


def _trajectory(number: str, resolution: _Resolution, records: RowCount) -> ResolutionRecord | None:
    shared = resolution.shared
    where = f"{records.path}: undl_id {number}"
    lists: dict[str, list[str]] = {name: [] for name in VOTE_LISTS}
    for code, vote in resolution.votes.items():
        lists[_LIST_OF_VOTE[vote]].append(code)
    announced = [_total(shared[name], f"{where}: {name}") for name in TOTALS]
    counted = [len(lists[name]) for name in VOTE_LISTS]
    differs = any(a is not None and a != c for a, c in zip(announced, counted, strict=True))
    if resolution.num_unknown == 0 and differs:
        shown = f"undl_id {number}: announced {announced}, counted {counted}"
        records.drop("resolutions whose totals do not add up", shown)
        records.note("votes of such resolutions", sum(counted))
        return None
    if not any(counted):
        records.note("resolutions without votes")
        return None
    records.num_read += 1
    ballot = ballot_of(lists)
    title, agenda_title, subjects = shared["title"], shared["agenda_title"], shared["subjects"]
    return ResolutionRecord(
        trajectory_id=shared["resolution"] or f"undl/{number}",
        symbol=shared["resolution"],
        title=title,
        subject=agenda_title or subjects,
        description=" ".join(filter(None, (title, agenda_title, subjects))),
        session=_session(shared["session"], where, records),
        final_outcome=outcome_of(ballot),
        date=check_date(shared["date"], f"{where}: date"),
        plenary_ballot=ballot,
    )


def _session(text: str, where: str, records: RowCount) -> int | None:
    """The number of a regular session; special ones, such as "10emsp", have none."""
    if not re.fullmatch(r"[0-9.eE+-]+", text.strip()):
        records.note("resolutions without the number of a session")
        return None
    return whole_number(text, f"{where}: session", 1, 999)


def _total(text: str, where: str) -> int | None:
    if is_missing(text):
        return None
    return whole_number(text, where, 0, MAX_MEMBERS)
