"""Readers of the UN Digital Library: voting data as CSV, and drafts as MARC XML.

The voting data has one row per resolution and member.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wm_envs.data.paths import user_path
from wm_envs.errors import TrajectoryError
from wm_envs.resolutions.countries import code_of, codes_in, is_missing, resolve
from wm_envs.resolutions.files import RowCount, read_bytes, read_columns, whole_number
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
    # Of the members, as the rows have them.
    names: dict[str, str] = field(default_factory=dict)
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
            # Spaces at the ends differ between rows of one record, and mean nothing.
            if shared[name].strip() != resolution.shared[name].strip():
                raise TrajectoryError(
                    f"{where}: {name}: {shared[name][:40]!r}, while an earlier row of undl_id "
                    f"{number} has "
                    f"{resolution.shared[name][:40]!r}: correct one of them"
                )
        _add_vote(resolution, (ms_code, ms_name, ms_vote.strip()), line, rows)
    rows.finish()
    # Votes first: only then is it known which countries a record could not name.
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
    """Number all but the first of several records with one symbol.

    Votes on paragraphs have that of the whole text.
    """
    num_so_far: Counter[str] = Counter()
    for i, trajectory in enumerate(trajectories):
        name = trajectory.trajectory_id
        num_so_far[name] += 1
        if num_so_far[name] > 1:
            trajectories[i] = replace(trajectory, trajectory_id=f"{name} ({num_so_far[name]})")
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
        # Before the country is judged: a row of another file shows itself here.
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
    # Where votes of unknown countries are missing the totals cannot agree, and say nothing.
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
        # A record without a symbol is still told from others by the library's own number.
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


NAMESPACE = "{http://www.loc.gov/MARC21/slim}"
# Bounds for files from anybody: memory and time grow with each of them.
MAX_RECORDS = 100_000
# a record has about fifty; a packed file of a few megabytes can hold hundreds of millions
MAX_ELEMENTS = 5_000_000
_BRACKETS = re.compile(r"\[.*?\]|\((?:A/|on behalf).*?\)")
_DRAFT = re.compile(r"A/(?:C\.(\d)/)?(\d{1,3})/L\.\S+")
# Characters: patterns look for closing brackets from each opening one.
MAX_SUBFIELD = 20_000

Subfields = dict[str, list[str]]


def read_marc(path: Path, losses: Losses | None = None) -> list[ResolutionRecord]:
    """Read draft records as trajectories that end with the draft.

    Symbol, title, sponsors, agenda item, date.

    The sponsors are those of 245$c and 710$a; those of 515$a joined later. Records that are no
    drafts (programmes of work, notes) are counted and left out.

    Args:
        path: The file.
        losses: Counts what is missing, in place; records that say the same as an earlier one too.

    Raises:
        TrajectoryError: Not well-formed, entity declarations, more elements than so many records
            have, two different records of a symbol, no draft at all.
    """
    losses = Losses() if losses is None else losses
    content = read_bytes(user_path(path))
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_PlainRecords()))
    except _RefusedError as error:
        raise TrajectoryError(f"{path}: {error}; this file is not read") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise TrajectoryError(f"{path}: not well-formed: {error}") from error
    records = root.findall(f"{NAMESPACE}record")
    if not 0 < len(records) <= MAX_RECORDS:
        raise TrajectoryError(
            f"{path}: record: expected 1 to {MAX_RECORDS} MARC records, got {len(records)}"
        )
    drafts: dict[str, ResolutionRecord] = {}
    others: list[str] = []
    for number, record in enumerate(records, 1):
        where = f"{path}: record {number}"
        fields = _subfields(record, where)
        draft = _draft(fields, where, losses)
        if draft is None:
            others.append(
                f"191$a {_first(fields, '191a')[:40]!r}, 245$b {_first(fields, '245b')[:40]!r}"
            )
            continue
        # The same record twice is no contradiction.
        if drafts.setdefault(draft.trajectory_id, draft) is draft:
            continue
        if drafts[draft.trajectory_id] != draft:
            raise TrajectoryError(
                f"{where}: 191$a: {draft.trajectory_id} appears twice, and its records differ: "
                "keep one"
            )
        losses["records given twice"] += 1
    if not drafts:
        raise TrajectoryError(
            f"{path}: none of {len(records)} records is a draft resolution, the first: "
            f"{'; '.join(others[:3])}: "
            "191$a has to be a symbol like A/C.3/78/L.49, and 245$b to say draft resolution"
        )
    return list(drafts.values())


class _RefusedError(Exception):
    """What a file of records does not need, and a hostile one does."""


class _PlainRecords(ElementTree.TreeBuilder):
    """Builds the tree, up to a size.

    A document type may hold entities that unfold without end; whatever the encoding, the parser
    reports it before they are used.
    """

    num_elements = 0

    def start(self, tag: str, attrs: dict[Any, Any], /) -> ElementTree.Element:
        self.num_elements += 1
        if self.num_elements > MAX_ELEMENTS:
            raise _RefusedError(f"more than {MAX_ELEMENTS} elements")
        return super().start(tag, attrs)

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002
        raise _RefusedError("DOCTYPE: records declare no document type")


def _subfields(record: ElementTree.Element, where: str) -> Subfields:
    fields: Subfields = defaultdict(list)
    for data in record.findall(f"{NAMESPACE}datafield"):
        for subfield in data.findall(f"{NAMESPACE}subfield"):
            name, text = f"{data.get('tag')}{subfield.get('code')}", subfield.text or ""
            if len(text) > MAX_SUBFIELD:
                raise TrajectoryError(
                    f"{where}: {name[:20]}: {len(text)} characters, at most {MAX_SUBFIELD} are read"
                )
            fields[name].append(text)
    return fields


def _first(fields: Subfields, name: str) -> str:
    return fields[name][0].strip() if fields[name] else ""


def _draft(fields: Subfields, where: str, losses: Losses) -> ResolutionRecord | None:
    symbol, statement = _first(fields, "191a"), _first(fields, "245b").lower()
    match = _DRAFT.match(symbol)
    if match is None or "draft resolution" not in statement:
        losses["records that are no draft resolution"] += 1
        return None
    sponsors = _sponsors(fields, losses)
    joined, rest = codes_in(
        # Additional sponsors stand behind a heading that is part of the text.
        _BRACKETS.sub(" ", _first(fields, "515a").removeprefix("Additional sponsors:"))
    )
    losses["words of sponsor lists that name no known country"] += _num_words(rest)
    losses["drafts without sponsors"] += not sponsors
    resolutions = [text for text in fields["993a"] if text.startswith("A/RES/")]
    losses["drafts without a resulting resolution"] += not resolutions
    date = _first(fields, "269a")
    return ResolutionRecord(
        trajectory_id=symbol,
        symbol=resolutions[0] if resolutions else "",
        title=_first(fields, "245a").rstrip(" :/"),
        subject="; ".join(dict.fromkeys(fields["991d"])),
        description=" ".join((_first(fields, "245a"), *fields["991d"])),
        session=int(match.group(2)),
        committee=int(match.group(1)) if match.group(1) else None,
        agenda_item=_first(fields, "991b") or None,
        final_outcome="adopted" if resolutions else None,
        date=check_date(date, f"{where}: 269$a")
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)
        else None,
        sponsors=sponsors,
        additional_sponsors=tuple(code for code in joined if code not in sponsors),
    )


def _num_words(text: str) -> int:
    """Words that might be names."""
    return len([word for word in text.split() if word not in ("and", "the")])


def _sponsors(fields: Subfields, losses: Losses) -> tuple[str, ...]:
    """Countries of the statement of responsibility.

    After them come those of the added entries that it does not name.
    """
    named, rest = codes_in(_BRACKETS.sub(" ", _first(fields, "245c")))
    losses["words of statements that name no known country"] += _num_words(rest)
    entered: list[str] = []
    # The entered names are fuller than the statement; together they miss the least.
    for text in fields["710a"]:
        code = code_of(text)
        if code is not None:
            entered.append(code)
            continue
        codes, rest = codes_in(text)
        if codes and not rest:
            entered += codes
        else:
            losses["sponsors that are no country"] += 1
    # "on behalf of the Group of 77 and China" enters China, which the statement then names in
    # brackets only.
    groups = codes_in(" ".join(_BRACKETS.findall(_first(fields, "245c"))))[0]
    return tuple(dict.fromkeys([*named, *(code for code in entered if code not in groups)]))


def merge_drafts(trajectories: Sequence[ResolutionRecord]) -> tuple[list[ResolutionRecord], int]:
    """Join the sponsors of a draft to the vote on the whole of its resolution.

    Returns:
        The records, drafts that joined a vote left out, and how many did.

    Raises:
        TrajectoryError: Two records have one id, since a file of them could not be read.
    """
    drafts = {
        # A draft that has votes of its own was not waiting for them.
        t.symbol: t
        for t in trajectories
        if t.symbol and t.num_sponsors and not t.plenary_ballot
    }
    joined: set[str] = set()
    merged = []
    for trajectory in trajectories:
        # Symbols tie both together: votes name the resolution, drafts become it.
        draft = drafts.get(trajectory.symbol)
        if (
            draft
            and trajectory.plenary_ballot
            and trajectory.kind == "whole"
            and not trajectory.sponsors
            # Sponsors that a vote already has are not replaced.
        ):
            trajectory = replace(
                trajectory,
                sponsors=draft.sponsors,
                additional_sponsors=draft.additional_sponsors,
                committee=trajectory.committee or draft.committee,
                agenda_item=trajectory.agenda_item or draft.agenda_item,
            )
            joined.add(draft.trajectory_id)
        merged.append(trajectory)
    kept = [t for t in merged if t.trajectory_id not in joined]
    [(name, count)] = Counter(t.trajectory_id for t in kept).most_common(1) or [("", 0)]
    if count > 1:
        raise TrajectoryError(
            f"trajectory_id: {name} comes from more than one source; leave one out"
        )
    return kept, len(joined)
