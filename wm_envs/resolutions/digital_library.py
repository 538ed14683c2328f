"""The voting data that the UN Digital Library publishes as CSV: one row per resolution and member."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from wm_envs.errors import TrajectoryError
from wm_envs.paths import user_path
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.files import read_columns
from wm_envs.resolutions.records import (
    MAX_MEMBERS,
    VOTE_LISTS,
    Losses,
    Trajectory,
    ballot_of,
    check_date,
    outcome_of,
)

TOTALS = ("total_yes", "total_no", "total_abstentions")
COLUMNS = (
    *("undl_id", "ms_code", "ms_name", "ms_vote", "date", "session", "resolution", "draft", "title"),
    *("agenda_title", "subjects", *TOTALS),
)
_LIST_OF_VOTE = {"Y": "in_favour", "N": "against", "A": "abstaining"}


@dataclass
class _Resolution:
    shared: list[str]
    votes: dict[str, str] = field(default_factory=dict)
    num_unknown: int = 0


def read_digital_library(path: Path, losses: Losses | None = None) -> list[Trajectory]:
    """Read the file (it may be packed with gzip) as one trajectory per resolution, by date.

    `X` is a member that did not vote: absent. A resolution whose totals do not add up with its rows is left out and
    counted, since nobody can say which of both is wrong.

    Raises:
        TrajectoryError: Wrong columns, an unknown kind of vote, two votes of a member on one resolution, a malformed
            date or total; the message names file, line and field.
    """
    losses = Losses() if losses is None else losses
    resolutions: dict[str, _Resolution] = {}
    for line, (undl_id, ms_code, ms_name, ms_vote, *shared) in read_columns(user_path(path), COLUMNS):
        where = f"{path}: line {line}"
        if not undl_id:
            raise TrajectoryError(f"{where}: undl_id: expected a record number, got nothing")
        resolution = resolutions.setdefault(undl_id, _Resolution(shared))
        _add_vote(resolution, ms_code, ms_name, ms_vote.strip(), where, losses)
    read = [_trajectory(undl_id, resolution, path, losses) for undl_id, resolution in resolutions.items()]
    return _by_date(_with_own_ids([trajectory for trajectory in read if trajectory is not None]))


def _with_own_ids(trajectories: list[Trajectory]) -> list[Trajectory]:
    """Where several records have one symbol, as with votes on paragraphs, all but the first are numbered."""
    seen: Counter[str] = Counter()
    for i, trajectory in enumerate(trajectories):
        name = trajectory.trajectory_id
        seen[name] += 1
        if seen[name] > 1:
            trajectories[i] = replace(trajectory, trajectory_id=f"{name} ({seen[name]})")
    return trajectories


def _by_date(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    return sorted(trajectories, key=lambda trajectory: (trajectory.date or "", trajectory.trajectory_id))


def _add_vote(resolution: _Resolution, code: str, name: str, vote: str, where: str, losses: Losses) -> None:
    if vote not in ("Y", "N", "A", "X", ""):
        raise TrajectoryError(f"{where}: ms_vote: expected Y, N, A or X, got {vote[:40]!r}")
    member = code_of(code) or code_of(name)
    if vote in ("X", ""):
        losses["members that did not vote"] += 1
    elif member is None:
        losses["votes of unknown countries"] += 1
        resolution.num_unknown += 1
    elif member in resolution.votes:
        raise TrajectoryError(f"{where}: ms_code: {member} voted twice")
    else:
        resolution.votes[member] = _LIST_OF_VOTE[vote]
        losses["votes read"] += 1


def _trajectory(undl_id: str, resolution: _Resolution, path: Path, losses: Losses) -> Trajectory | None:
    date, session, symbol, _draft, title, agenda_title, subjects, *totals = resolution.shared
    where = f"{path}: undl_id {undl_id[:40]}"
    lists: dict[str, list[str]] = {name: [] for name in VOTE_LISTS}
    for code, name in resolution.votes.items():
        lists[name].append(code)
    announced = [_total(text, f"{where}: {name}") for name, text in zip(TOTALS, totals, strict=True)]
    counted = [len(lists[name]) for name in VOTE_LISTS]
    if resolution.num_unknown == 0 and any(a is not None and a != c for a, c in zip(announced, counted, strict=True)):
        losses["resolutions whose totals do not add up"] += 1
        losses["votes of such resolutions"] += sum(counted)
        return None
    if not any(counted):
        losses["resolutions without votes"] += 1
        return None
    ballot = ballot_of(lists)
    return Trajectory(
        trajectory_id=symbol or f"undl/{undl_id}",
        symbol=symbol,
        title=title,
        subject=agenda_title or subjects,
        description=" ".join(filter(None, (title, agenda_title, subjects))),
        session=int(session) if re.fullmatch(r"\d{1,3}", session) else None,
        final_outcome=outcome_of(ballot),
        date=check_date(date, f"{where}: date"),
        plenary_ballot=ballot,
    )


def _total(text: str, where: str) -> int | None:
    if not text.strip():
        return None
    if not re.fullmatch(r"\d{1,3}(\.0)?", text.strip()) or float(text) > MAX_MEMBERS:
        raise TrajectoryError(f"{where}: expected a number from 0 to {MAX_MEMBERS}, got {text[:40]!r}")
    return int(float(text))
