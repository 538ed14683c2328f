"""Resolutions as they went through the General Assembly.

The record type, its JSON form, and the files of it.

Real records are lossy: stages are missing, sponsors unknown, votes without names. What is missing
stays missing (a country without a vote is absent and did not abstain), is counted in a `Losses`,
and is never filled in.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from wm_envs.data.files import replacing
from wm_envs.data.moved import renamed
from wm_envs.data.paths import user_path
from wm_envs.errors import TrajectoryError
from wm_envs.resolutions.countries import code_of, same_name
from wm_envs.resolutions.files import MAX_LINE_BYTES, Fields, RowCount, parse_json, read_bytes

# Until the next release.
__getattr__ = renamed(__name__, {"Trajectory": "wm_envs.resolutions.records.ResolutionRecord"})

Kind = Literal["whole", "paragraph", "amendment", "motion"]
KINDS: tuple[Kind, ...] = ("whole", "paragraph", "amendment", "motion")
# What was missing or left out -> how often.
Losses = Counter[str]

MAX_MEMBERS = 193
MAX_TIMESTEPS = 10_000
VOTE_LISTS = ("in_favour", "against", "abstaining")  # in the order of TALLY_NAMES
TALLY_NAMES = ("yes", "no", "abstain")
STAGES = (
    "agenda_allocation",
    "draft_submission",
    "committee_deliberation",
    "committee_vote",
    "plenary_discussion",
    "plenary_vote",
)


@dataclass(frozen=True)
class Ballot:
    """A recorded vote.

    Country codes by vote, and the tally (yes, no, abstain) that was announced.
    """

    in_favour: tuple[str, ...]
    against: tuple[str, ...]
    abstaining: tuple[str, ...]
    tally: tuple[int, int, int]


@dataclass(frozen=True)
class ResolutionRecord:
    """One resolution, draft, paragraph or amendment on its way.

    Attributes:
        trajectory_id: Unique in a set, such as "A/RES/78/196" or "unvotes/5292".
        symbol: The document's symbol, "" where it is not known.
        title: What is voted on.
        subject: The agenda subject or library heading.
        description: The recorded text as it was, for models that read text.
        session: Session of the General Assembly.
        committee: Main committee, 1 to 6.
        agenda_item: Such as "71b".
        final_outcome: "adopted" or "rejected".
        date: ISO date of the last vote, else of the draft.
        kind: Whether the whole text, a paragraph, an amendment or a motion is decided.
        issues: Issue names.
        sponsors: Codes of those who submitted the draft.
        additional_sponsors: Codes of those who joined later.
        committee_ballot: The vote in the committee.
        plenary_ballot: The vote in the plenary.
    """

    trajectory_id: str
    symbol: str = ""
    title: str = ""
    subject: str = ""
    description: str = ""
    session: int | None = None
    committee: int | None = None
    agenda_item: str | None = None
    final_outcome: str | None = None
    date: str | None = None
    kind: Kind = "whole"
    issues: tuple[str, ...] = ()
    sponsors: tuple[str, ...] = ()
    additional_sponsors: tuple[str, ...] = ()
    committee_ballot: Ballot | None = None
    plenary_ballot: Ballot | None = None

    @property
    def num_sponsors(self) -> int:
        """Countries that sponsor, those that joined later included; 0 where nobody is known."""
        # A set, since a country may stand in both lists.
        return len({*self.sponsors, *self.additional_sponsors})


def ballot_of(votes: dict[str, list[str]], tally: tuple[int, int, int] | None = None) -> Ballot:
    """A ballot from lists by `VOTE_LISTS` names; the tally is counted where none was announced."""
    lists = [tuple(votes.get(name, ())) for name in VOTE_LISTS]
    # The announced tally may count votes whose country nobody could name.
    counted = (len(lists[0]), len(lists[1]), len(lists[2]))
    return Ballot(lists[0], lists[1], lists[2], counted if tally is None else tally)


def check_same_vote(
    code: str, first: tuple[str, str], second: tuple[str, str], where: str, column: str = "vote"
) -> None:
    """Let pass a second row of a member that says the same as its first one.

    Args:
        code: The member.
        first: Its name and vote in the first row.
        second: Its name and vote in the second row.
        where: File and line of the second row.
        column: Of the votes.

    Raises:
        TrajectoryError: The votes differ, or the names may be those of two countries.
    """
    if first[1] != second[1]:
        raise TrajectoryError(
            f"{where}: {column}: {code} voted {first[1]} and {second[1]} on one roll call: keep "
            "one row"
        )
    if not same_name(first[0], second[0]):
        raise TrajectoryError(
            f"{where}: {first[0][:60]!r} and {second[0][:60]!r} are both read as {code} on one "
            "roll call: "
            "correct the name or the code of one of them"
        )


def check_date(text: str, where: str) -> str:
    """An ISO date as it is; raises TrajectoryError."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise TrajectoryError(
            f"{where}: expected a date like 2012-11-29, got {text[:40]!r}"
        ) from error


def outcome_of(ballot: Ballot) -> str:
    """More yes than no adopts; motions and amendments too."""
    return "adopted" if ballot.tally[0] > ballot.tally[1] else "rejected"


def outcome_value(trajectory: ResolutionRecord) -> int:
    """1 if the text was adopted, -1 if it was rejected.

    0 where neither the record nor a vote in the plenary says.
    """
    outcome = trajectory.final_outcome
    if outcome is None and trajectory.plenary_ballot is not None:
        outcome = outcome_of(trajectory.plenary_ballot)
    return {"adopted": 1, "rejected": -1, None: 0}[outcome]


# Reading


def read_trajectories(path: Path | str, losses: Losses | None = None) -> list[ResolutionRecord]:
    """Read a trajectory file or a folder of them.

    A file is .json (one or a list) or .jsonl (one a line), either with .gz.

    Args:
        path: The file or folder.
        losses: Counts what is missing, in place.

    Raises:
        TrajectoryError: The file is malformed, two trajectories of one id differ, there is none, or
            most votes are of unknown countries; the message names file and field.
    """
    path = user_path(path)
    if path.is_dir():
        # In the order of their names, so that the first record of two is the same on every machine.
        files = sorted(file for file in path.iterdir() if re.search(r"\.jsonl?(\.gz)?$", file.name))
        # Which the builder of trajectories writes beside them.
        files = [file for file in files if file.name != "summary.json"]
        if not files:
            raise TrajectoryError(f"{path}: no .json or .jsonl trajectory file in this folder")
        return _unique([t for file in files for t in read_trajectories(file, losses)], path, losses)
    counted = Losses() if losses is None else losses
    names = RowCount(path, "countries of votes", losses)
    trajectories = [
        parse_trajectory(value, where, counted, names) for where, value in _documents(path)
    ]
    if not trajectories:
        raise TrajectoryError(f"{path}: there are no trajectories in this file: give one with some")
    # Texts adopted without a vote have no countries at all.
    names.finish(may_be_empty=True)
    num_unknown = counted["unknown countries"]  # those of votes are judged above
    if losses is None and num_unknown > 0:
        warnings.warn(
            f"{path}: {num_unknown} names of sponsors are of no known country and left out; give "
            "losses=Losses() to count them yourself",
            stacklevel=2,
        )
    return _unique(trajectories, path, losses)


def _unique(
    trajectories: list[ResolutionRecord], path: Path, losses: Losses | None
) -> list[ResolutionRecord]:
    """Each trajectory once; two that differ in more than nothing cannot both be it."""
    by_id: dict[str, ResolutionRecord] = {}
    for trajectory in trajectories:
        name = trajectory.trajectory_id
        # The first of its id; what follows is the same again or a contradiction.
        if by_id.setdefault(name, trajectory) is trajectory:
            continue
        if by_id[name] != trajectory:
            raise TrajectoryError(
                f"{path}: trajectory_id: {name[:80]!r} appears more than once, and its records "
                "differ: keep one"
            )
        if losses is not None:
            losses["trajectories given twice"] += 1
    return list(by_id.values())


def _documents(path: Path) -> Iterator[tuple[str, Any]]:
    content = read_bytes(path)
    # Not the suffix, which is .gz where a file is packed.
    if ".jsonl" not in path.name:
        value = parse_json(content, str(path))
        yield from (
            ((f"{path}: [{i}]", v) for i, v in enumerate(value))
            if isinstance(value, list)
            else [(str(path), value)]
        )
        return
    for number, line in enumerate(content.split(b"\n"), 1):
        if len(line) > MAX_LINE_BYTES:
            raise TrajectoryError(f"{path}: line {number}: longer than {MAX_LINE_BYTES} bytes")
        if line.strip():
            yield f"{path}: line {number}", parse_json(line, f"{path}: line {number}")


def parse_trajectory(
    value: Any, where: str, losses: Losses, names: RowCount | None = None
) -> ResolutionRecord:
    """A trajectory from its JSON value; raises TrajectoryError.

    Args:
        value: The document.
        where: File and line, for messages.
        losses: Counts what is missing, in place.
        names: Counts the countries of votes, in place, where several documents are judged together.
    """
    # Whoever reads one value alone has no file whose countries could be judged.
    if names is None:
        names = RowCount(where, "countries of votes", losses)
    document = Fields(value, where)
    name = document.text("trajectory_id")
    if not name:
        raise document.error("trajectory_id", "expected a name, got nothing")
    metadata = document.fields("metadata")
    if metadata is None:
        raise document.error("metadata", "expected an object, got nothing")
    kind = metadata.text("kind") or "whole"
    if kind not in KINDS:
        raise metadata.error("kind", f"expected one of {KINDS}, got {kind[:40]!r}")
    outcome = metadata.text("final_outcome")
    if outcome not in (None, "adopted", "rejected"):
        raise metadata.error("final_outcome", f"expected adopted or rejected, got {outcome!r}")
    trajectory = ResolutionRecord(
        trajectory_id=name,
        symbol=metadata.text("symbol") or "",
        title=metadata.text("title") or "",
        subject=metadata.text("subject") or "",
        description=metadata.text("description") or "",
        session=metadata.integer("session", 1, 1000),
        committee=metadata.integer("committee", 1, 7),
        agenda_item=metadata.text("agenda_item"),
        final_outcome=outcome,
        kind=kind,
        issues=metadata.texts("issues"),
    )
    return _with_timesteps(trajectory, document, losses, names)


def _with_timesteps(
    trajectory: ResolutionRecord, document: Fields, losses: Losses, names: RowCount
) -> ResolutionRecord:
    timesteps = document.list("timesteps")
    if not 0 < len(timesteps) <= MAX_TIMESTEPS:
        raise document.error(
            "timesteps", f"expected 1 to {MAX_TIMESTEPS} of them, got {len(timesteps)}"
        )
    # A record may begin at 0.
    previous = -1
    for index, value in enumerate(timesteps):
        step = Fields(value, document.where, f"timesteps[{index}]")
        stage = step.text("stage")
        if stage not in STAGES:
            raise step.error("stage", f"expected one of {STAGES}, got {stage!r:.60}")
        time = step.integer("t", 0, MAX_TIMESTEPS)
        # Stages without a time are allowed: many records have none.
        if time is not None and time <= previous:
            raise step.error("t", f"expected more than {previous}, got {time}")
        previous = previous if time is None else time
        trajectory = _with_step(trajectory, stage, step, losses, names)
    for stage in ("draft_submission", "committee_vote", "plenary_vote"):
        losses[f"without {stage}"] += stage not in {value.get("stage") for value in timesteps}
    return trajectory


def _with_step(
    trajectory: ResolutionRecord, stage: str, step: Fields, losses: Losses, names: RowCount
) -> ResolutionRecord:
    dated = _iso_date(step.text("date"))
    # A missing action is an empty one: many records have steps without content.
    action = step.fields("action") or Fields({}, step.where, f"{step.path}.action")
    if stage == "draft_submission":
        sponsors = _codes(action, "sponsors", losses)
        joined = tuple(
            code for code in _codes(action, "co_sponsors", losses) if code not in sponsors
        )
        losses["drafts without sponsors"] += not sponsors
        return replace(
            trajectory, sponsors=sponsors, additional_sponsors=joined, date=trajectory.date or dated
        )
    if stage.endswith("_vote"):
        is_committee = stage == "committee_vote"
        if (trajectory.committee_ballot if is_committee else trajectory.plenary_ballot) is not None:
            raise step.error("stage", f"a second {stage} in one trajectory")
        ballot, date = _ballot(action, step, losses, names), dated or trajectory.date
        if is_committee:
            return replace(trajectory, committee_ballot=ballot, date=date)
        return replace(trajectory, plenary_ballot=ballot, date=date)
    # Utterances are checked and not kept.
    for utterance in action.list("utterances"):
        Fields(utterance, step.where, f"{step.path}.action.utterances").integer(
            "word_count", 0, 10**7
        )
    return trajectory


def _iso_date(text: str | None) -> str | None:
    """The date where it is in ISO form; library dates such as "UN, 30 Oct. 2023" are left out."""
    match = re.search(r"\d{4}-\d{2}-\d{2}", text or "")
    try:
        return date.fromisoformat(match.group()).isoformat() if match else None
    except ValueError:
        return None


def _codes(fields: Fields, name: str, losses: Losses) -> tuple[str, ...]:
    """The countries of a list, each once; names that are not known are counted."""
    texts = fields.texts(name)
    # Twice as many as there are members: a list may name each of them twice and is then merely
    # careless.
    if len(texts) > 2 * MAX_MEMBERS:
        raise fields.error(name, f"{len(texts)} countries are more than there can be")
    # Names and codes of any spelling; the set of countries is closed.
    codes = [code_of(text) for text in texts]
    known = [code for code in codes if code is not None]
    losses["unknown countries"] += codes.count(None)
    losses["countries named twice"] += len(known) - len(set(known))
    return tuple(dict.fromkeys(known))


def _voters(
    votes: Fields, name: str, losses: Losses, names: RowCount
) -> tuple[tuple[str, ...], int]:
    """The countries of a list of votes.

    The second value is the number of votes in it, those of unknown countries included.
    """
    counted = Losses()
    codes = _codes(votes, name, counted)
    for place, text in enumerate(votes.texts(name)):
        if code_of(text) is None:
            names.drop(
                "unknown countries", f"{votes.where}: {votes.path}.{name}[{place}] {text[:40]!r}"
            )
        else:
            names.num_read += 1
    losses["countries named twice"] += counted["countries named twice"]
    return codes, len(codes) + counted["unknown countries"]


def _ballot(action: Fields, step: Fields, losses: Losses, names: RowCount) -> Ballot | None:
    votes = action.fields("votes") or Fields({}, step.where, f"{step.path}.action.votes")
    voters = [_voters(votes, name, losses, names) for name in VOTE_LISTS]
    lists = [codes for codes, _ in voters]
    list_of: dict[str, str] = {}
    for name, codes in zip(VOTE_LISTS, lists, strict=True):
        for code in codes:
            if list_of.setdefault(code, name) != name:
                raise action.error(
                    "votes", f"{code} is both in {list_of[code]} and in {name}: keep one"
                )
    unnamed = _unnamed(votes)
    named = [number + more for (_, number), more in zip(voters, unnamed, strict=True)]
    tally = _tally(step)
    if tally is None and not any(named):
        losses["votes without names and tally"] += 1
        # Nothing to learn from a vote of which neither names nor numbers are known.
        return None
    if tally is not None and any(named) and list(tally) != named:
        raise step.error(
            "observation.vote_tally", f"{list(tally)} does not add up with {named} named votes"
        )
    losses["votes without names"] += not any(named)
    return Ballot(lists[0], lists[1], lists[2], tally or (named[0], named[1], named[2]))


def _unnamed(votes: Fields) -> list[int]:
    """Each list's votes whose country could not be named when the file was written."""
    unnamed = votes.fields("unnamed") or Fields({}, votes.where, f"{votes.path}.unnamed")
    return [unnamed.integer(name, 0, MAX_MEMBERS) or 0 for name in VOTE_LISTS]


def _tally(step: Fields) -> tuple[int, int, int] | None:
    observation = step.fields("observation")
    tally = observation.fields("vote_tally") if observation else None
    if tally is None:
        return None
    yes, no, abstain = (tally.integer(name, 0, MAX_MEMBERS) for name in TALLY_NAMES)
    if yes is None or no is None or abstain is None:
        raise step.error(
            "observation.vote_tally", f"expected {TALLY_NAMES}, got {sorted(tally.value)}"
        )
    if yes + no + abstain > MAX_MEMBERS:
        raise step.error(
            "observation.vote_tally", f"{yes}-{no}-{abstain} are more votes than there are members"
        )
    return yes, no, abstain


# Writing


def to_json(trajectory: ResolutionRecord) -> dict[str, Any]:
    """The JSON value that `parse_trajectory` reads back.

    Stages that did not happen are left out.
    """
    names = (
        "symbol",
        "title",
        "subject",
        "description",
        "session",
        "committee",
        "agenda_item",
        "final_outcome",
    )
    metadata = {name: getattr(trajectory, name) for name in names}
    metadata.update(kind=trajectory.kind, issues=list(trajectory.issues))
    steps = (
        [_draft_step(trajectory)]
        if trajectory.num_sponsors or not trajectory.plenary_ballot
        else []
    )
    for stage, ballot in (
        ("committee_vote", trajectory.committee_ballot),
        ("plenary_vote", trajectory.plenary_ballot),
    ):
        if ballot is not None:
            steps.append(_vote_step(stage, ballot, trajectory.date))
    timesteps = [{"t": t, **step} for t, step in enumerate(steps)]
    return {"trajectory_id": trajectory.trajectory_id, "metadata": metadata, "timesteps": timesteps}


def _draft_step(trajectory: ResolutionRecord) -> dict[str, Any]:
    joined = [code for code in trajectory.additional_sponsors if code not in trajectory.sponsors]
    return {
        "date": trajectory.date,
        "stage": "draft_submission",
        "action_type": "submit_draft",
        "action": {"sponsors": list(trajectory.sponsors), "co_sponsors": joined},
        "observation": {"sponsor_count": trajectory.num_sponsors},
    }


def _vote_step(stage: str, ballot: Ballot, dated: str | None) -> dict[str, Any]:
    votes: dict[str, Any] = {name: list(getattr(ballot, name)) for name in VOTE_LISTS}
    unnamed = {
        n: t - len(votes[n])
        for n, t in zip(VOTE_LISTS, ballot.tally, strict=True)
        if t != len(votes[n])
    }
    # A tally without names is complete by itself; votes without a name are missing from lists.
    if unnamed and any(map(len, votes.values())):
        votes["unnamed"] = unnamed
    return {
        "date": dated,
        "stage": stage,
        "action_type": "recorded_vote",
        "action": {"votes": votes},
        "observation": {"vote_tally": dict(zip(TALLY_NAMES, ballot.tally, strict=True))},
    }


def write_trajectories(trajectories: Iterable[ResolutionRecord], path: Path) -> int:
    """Write JSON lines, one trajectory a line, and give their number.

    After an error an earlier file is as it was.
    """
    number = 0
    with replacing(path) as stream:
        for trajectory in trajectories:
            stream.write(
                # Compact and with its own letters, since files of all sessions are large.
                json.dumps(to_json(trajectory), ensure_ascii=False, separators=(",", ":")) + "\n"
            )
            number += 1
    return number
