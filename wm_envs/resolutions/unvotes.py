"""Plenary roll calls as the R package `unvotes` publishes them (E. Voeten's data): three CSV files.

A missing row is an absence. Separate votes on paragraphs and amendments are recorded with what the President said; they
carry the symbol of the draft that they concern, so its title is theirs.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from wm_envs.errors import TrajectoryError
from wm_envs.paths import user_path
from wm_envs.resolutions.countries import code_of, codes_in
from wm_envs.resolutions.files import read_columns
from wm_envs.resolutions.records import (
    MAX_MEMBERS,
    VOTE_LISTS,
    Kind,
    Losses,
    Trajectory,
    ballot_of,
    check_date,
    outcome_of,
)

VOTE_COLUMNS = ("rcid", "country", "country_code", "vote")
ROLL_CALL_COLUMNS = ("rcid", "session", "date", "unres", "amend", "para", "short", "descr")
ISSUE_COLUMNS = ("rcid", "issue")
MAX_ISSUES = 50  # of a roll call; there are six in all
_LIST_OF_VOTE = {"yes": "in_favour", "no": "against", "abstain": "abstaining"}
# Each pattern takes time linear in the text: spaces are matched from their first one only.
_ADOPTED = re.compile(r"(?<!\s)\s*:\s*resolution\s*/\s*adopted by the general assembly.*$", re.IGNORECASE)
_AGENDA = re.compile(r"^A/\d+/\d+\s+\S+\s*-?\s*")
_SPOKEN = re.compile(r"^the\s+(acting\s+|temporary\s+)?president|^(mr|ms|mrs|sir)\.?\s", re.IGNORECASE)
_ENTITLED = re.compile(r"entitled\s*[_\"“](.+?)(?:<d3>|[_\"”])")


@dataclass
class _RollCall:
    rcid: str
    session: int
    date: str
    symbol: str
    title: str
    subject: str
    description: str
    kind: Kind
    is_spoken: bool
    issues: list[str] = field(default_factory=list)
    votes: dict[str, str] = field(default_factory=dict)


def read_unvotes(
    votes: Path, roll_calls: Path, issues: Path | None = None, losses: Losses | None = None
) -> list[Trajectory]:
    """Read the three files (each may be packed with gzip) as one trajectory per roll call, by date.

    Args:
        votes: rcid, country, country_code, vote.
        roll_calls: rcid, session, date, unres, amend, para, short, descr.
        issues: rcid, issue.
        losses: Counts what is missing, in place: rows that belong to no roll call, countries that are not known, votes
            that are given twice, roll calls without votes.

    Raises:
        TrajectoryError: Wrong columns, duplicate roll calls, a vote other than yes, no and abstain, two different votes
            of a country on one roll call, more votes than members; the message names file, line and field.
    """
    losses = Losses() if losses is None else losses
    calls = _read_roll_calls(user_path(roll_calls))
    if issues is not None:
        _add_issues(calls, user_path(issues), losses)
    _add_votes(calls, user_path(votes), losses)
    _name_after_drafts(calls)
    empty = [call for call in calls.values() if not call.votes]
    losses["roll calls without votes"] += len(empty)
    ordered = sorted((call for call in calls.values() if call.votes), key=lambda call: (call.date, int(call.rcid)))
    return [_trajectory(call) for call in ordered]


def _read_roll_calls(path: Path) -> dict[str, _RollCall]:
    calls: dict[str, _RollCall] = {}
    for line, (rcid, session, date, symbol, amend, para, short, descr) in read_columns(path, ROLL_CALL_COLUMNS):
        where = f"{path}: line {line}"
        if not re.fullmatch(r"\d{1,9}", rcid):
            raise TrajectoryError(f"{where}: rcid: expected a number, got {rcid[:40]!r}")
        if rcid in calls:
            raise TrajectoryError(f"{where}: rcid: roll call {rcid} appears twice")
        if not re.fullmatch(r"\d{1,3}(\.0)?", session):
            raise TrajectoryError(f"{where}: session: expected a number like 67.0, got {session[:40]!r}")
        title, subject = _title_and_subject(short.strip(), descr.strip())
        calls[rcid] = _RollCall(
            rcid,
            int(float(session)),
            check_date(date, f"{where}: date"),
            _plain_symbol(symbol),
            title,
            subject,
            f"{short} {descr}".strip(),
            _kind(descr, is_amendment=amend == "1", is_paragraph=para == "1"),
            is_spoken=bool(_SPOKEN.match(descr.strip())),
        )
    return calls


def _plain_symbol(symbol: str) -> str:
    """One form, A/RES/67/19, for "R/67/19" too."""
    stripped = symbol.strip()
    return f"A/RES/{stripped[2:]}" if stripped.startswith("R/") else stripped


def _title_and_subject(short: str, descr: str) -> tuple[str, str]:
    """The title stands in one column or the other, by session; the library's ending tells which."""
    if _ADOPTED.search(short):
        return _ADOPTED.sub("", short), _AGENDA.sub("", descr)
    if _ADOPTED.search(descr):
        return _ADOPTED.sub("", descr), short
    return (descr, short) if short else ("", descr)


def _kind(descr: str, *, is_amendment: bool, is_paragraph: bool) -> Kind:
    """What is decided: by the flags, or by the last words of the President before the vote."""
    if not _SPOKEN.match(descr.strip()):
        return "amendment" if is_amendment else "paragraph" if is_paragraph else "whole"
    question = _question(descr)
    if re.search(r"no action|not to take action|\bmotion\b", question):
        return "motion"
    is_settled = re.search(r"amendments?.{0,160}(not been|has been|have been) adopted", question)
    if re.search(r"\bamendments?\b", question) and not is_settled:
        return "amendment"
    if re.search(r"as a whole\W*$|as (orally )?(amended|corrected)\W*$", question) and "paragraph" not in question:
        return "whole"
    has_part = re.search(r"paragraph|separate|the words|section", question)
    return "paragraph" if has_part or (is_paragraph and "decision on" not in question) else "whole"


_FORMULA = re.compile(
    r"\s*(,? ?a )?recorded ?votes? ?(on the motion )?(has|have) ?been requested( on [\w ]+)?\.?|\s+a$"
)


def _question(descr: str) -> str:
    """The sentence that puts something to the vote: the last one that is no formula."""
    text = re.sub(r"\s+", " ", descr).strip().lower()
    text = re.sub(r"\s+a$", "", text)
    text = _FORMULA.sub("", text)
    sentences = [part.strip() for part in re.split(r"(?<=[a-z0-9>\"])[.:](?:\s|$)", text) if part.strip()]
    voting = [part for part in sentences if re.search(r"\bvote|decision|motion|amendment", part)]
    return (voting or sentences or [""])[-1]


_SUBMITTED = re.compile(r"(?:submitted|proposed|put forward|motion|amendments? of)\W+(?:\w+\W+){0,14}", re.IGNORECASE)


def _movers(call: "_RollCall") -> tuple[str, ...]:
    """Who moved an amendment or a motion, where the President says so."""
    if call.kind not in ("amendment", "motion") or not call.is_spoken:
        return ()
    question = " ".join(match.group() for match in _SUBMITTED.finditer(call.description[-700:]))
    return codes_in(question)[0][:1]


def _add_issues(calls: dict[str, _RollCall], path: Path, losses: Losses) -> None:
    for line, (rcid, issue) in read_columns(path, ISSUE_COLUMNS):
        if rcid not in calls:
            losses["issues without a roll call"] += 1
        elif issue not in calls[rcid].issues:
            calls[rcid].issues.append(issue)
            if len(calls[rcid].issues) > MAX_ISSUES:
                raise TrajectoryError(f"{path}: line {line}: issue: more than {MAX_ISSUES} on roll call {rcid}")


def _add_votes(calls: dict[str, _RollCall], path: Path, losses: Losses) -> None:
    codes: dict[tuple[str, str], str | None] = {}
    for line, (rcid, country, country_code, vote) in read_columns(path, VOTE_COLUMNS):
        if vote not in _LIST_OF_VOTE:
            raise TrajectoryError(f"{path}: line {line}: vote: expected yes, no or abstain, got {vote[:40]!r}")
        call = calls.get(rcid)
        if call is None:
            losses["votes without a roll call"] += 1
            continue
        pair = (country_code, country)
        if pair not in codes:
            codes[pair] = code_of(country_code) if country_code else code_of(country)
        code = codes[pair]
        if code is None:
            losses["votes of unknown countries"] += 1
        elif code not in call.votes:
            call.votes[code] = vote
            losses["votes read"] += 1
        elif call.votes[code] == vote:
            losses["votes given twice"] += 1
        else:
            raise TrajectoryError(f"{path}: line {line}: vote: {code} voted {call.votes[code]} and {vote} on {rcid}")
    for call in calls.values():
        if len(call.votes) > MAX_MEMBERS:
            raise TrajectoryError(f"{path}: rcid: {len(call.votes)} votes on {call.rcid}, at most {MAX_MEMBERS}")


def _name_after_drafts(calls: dict[str, _RollCall]) -> None:
    """Give votes on parts of a draft its title and subject; the symbol ties them together."""
    drafts = {call.symbol: call for call in calls.values() if call.symbol and not call.is_spoken and call.title}
    for call in calls.values():
        if not call.is_spoken:
            continue
        draft, entitled = drafts.get(call.symbol), _ENTITLED.findall(call.description)
        if draft is not None:
            call.title, call.subject = draft.title, draft.subject
            call.issues = call.issues or list(draft.issues)
        else:
            call.title, call.subject = (entitled[-1] if entitled else ""), ""


def _trajectory(call: _RollCall) -> Trajectory:
    lists: dict[str, list[str]] = {name: [] for name in VOTE_LISTS}
    for code, vote in call.votes.items():
        lists[_LIST_OF_VOTE[vote]].append(code)
    ballot = ballot_of(lists)
    return Trajectory(
        trajectory_id=f"unvotes/{call.rcid}",
        symbol=call.symbol,
        title=call.title,
        subject=call.subject,
        description=call.description,
        session=call.session,
        final_outcome=outcome_of(ballot),
        date=call.date,
        kind=call.kind,
        issues=tuple(call.issues),
        sponsors=_movers(call),
        plenary_ballot=ballot,
    )
