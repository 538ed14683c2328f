"""Plenary roll calls as the R package `unvotes` publishes them (E. Voeten's data): three CSV files.

A missing row is an absence. Separate votes on paragraphs and amendments are recorded with what the
President said; they carry the symbol of the draft that they concern, so its title is theirs.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from wm_envs.data.paths import user_path
from wm_envs.errors import TrajectoryError
from wm_envs.resolutions.countries import codes_in, is_missing, resolve
from wm_envs.resolutions.files import RowCount, read_columns, whole_number
from wm_envs.resolutions.records import (
    MAX_MEMBERS,
    VOTE_LISTS,
    Kind,
    Losses,
    ResolutionRecord,
    ballot_of,
    check_date,
    check_same_vote,
    outcome_of,
)

VOTE_COLUMNS = ("rcid", "country", "country_code", "vote")
ROLL_CALL_COLUMNS = ("rcid", "session", "date", "unres", "amend", "para", "short", "descr")
ISSUE_COLUMNS = ("rcid", "issue")
MAX_RCID = 999_999_999
# Of a roll call; there are six in all.
MAX_ISSUES = 50
_LIST_OF_VOTE = {"yes": "in_favour", "no": "against", "abstain": "abstaining"}
# Each pattern takes time linear in the text: spaces are matched from their first one only.
_ADOPTED = re.compile(
    r"(?<!\s)\s*:\s*resolution\s*/\s*adopted by the general assembly.*$", re.IGNORECASE
)
_AGENDA = re.compile(r"^A/\d+/\d+\s+\S+\s*-?\s*")
_SPOKEN = re.compile(
    r"^the\s+(acting\s+|temporary\s+)?president|^(mr|ms|mrs|sir)\.?\s", re.IGNORECASE
)
_ENTITLED = re.compile(r"entitled\s*[_\"“](.+?)(?:<d3>|[_\"”])")


@dataclass
class _RollCall:
    rcid: int
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
    # Of the countries, as the rows have them.
    names: dict[str, str] = field(default_factory=dict)


def read_unvotes(
    votes: Path, roll_calls: Path, issues: Path | None = None, losses: Losses | None = None
) -> list[ResolutionRecord]:
    """Read the three files (each may be packed with gzip) as one trajectory per roll call, by date.

    Args:
        votes: rcid, country, country_code, vote.
        roll_calls: rcid, session, date, unres, amend, para, short, descr.
        issues: rcid, issue.
        losses: Counts what is missing, in place: rows that belong to no roll call, countries that
            are not known, rows that are given twice, roll calls without votes. Without it, a
            warning names the votes that are left out.

    Raises:
        TrajectoryError: Wrong columns, two different rows of a roll call, a vote other than yes, no
            and abstain, two different votes of a country on one roll call, a name and a code of two
            countries, more votes than members, no votes, or more that cannot be used than can; the
            message names file, line and field.
    """
    calls = _read_roll_calls(user_path(roll_calls), losses)
    if issues is not None:
        _add_issues(calls, user_path(issues), losses)
    _add_votes(calls, user_path(votes), losses).finish()
    # After the votes, since a draft without votes names its parts, too.
    _name_after_drafts(calls)
    empty = [call for call in calls.values() if not call.votes]
    if losses is not None:
        losses["roll calls without votes"] += len(empty)
    ordered = sorted(
        (call for call in calls.values() if call.votes), key=lambda call: (call.date, call.rcid)
    )
    return [_trajectory(call) for call in ordered]


def _rcid(text: str, where: str) -> int:
    return whole_number(text, f"{where}: rcid", 0, MAX_RCID)


def _read_roll_calls(path: Path, losses: Losses | None) -> dict[int, _RollCall]:
    calls: dict[int, _RollCall] = {}
    count = RowCount(path, "roll calls", losses)
    for line, (rcid, session, date, symbol, amend, para, short, descr) in read_columns(
        path, ROLL_CALL_COLUMNS
    ):
        where = f"{path}: line {line}"
        number = _rcid(rcid, where)
        title, subject = _title_and_subject(short.strip(), descr.strip())
        call = _RollCall(
            number,
            whole_number(session, f"{where}: session", 1, 999),
            check_date(date, f"{where}: date"),
            _plain_symbol(symbol),
            title,
            subject,
            f"{short} {descr}".strip(),
            _kind(
                descr,
                is_amendment=_flag(amend, f"{where}: amend"),
                is_paragraph=_flag(para, f"{where}: para"),
            ),
            is_spoken=bool(_SPOKEN.match(descr.strip())),
        )
        if calls.setdefault(number, call) is not call:
            if calls[number] != call:
                raise TrajectoryError(
                    f"{where}: rcid: roll call {number} appears twice, and its rows differ: keep "
                    "one"
                )
            count.note("roll calls given twice")
        count.num_read += 1
    count.finish()
    return calls


def _flag(text: str, where: str) -> bool:
    """1, 1.0 or true; what is missing is none."""
    lowered = text.strip().lower()
    if is_missing(lowered) or lowered in ("false", "f", "no"):
        return False
    if lowered in ("true", "t", "yes"):
        return True
    return whole_number(lowered, where, 0, 1) == 1


def _plain_symbol(symbol: str) -> str:
    """One form, A/RES/67/19, for "R/67/19" too."""
    stripped = symbol.strip()
    return f"A/RES/{stripped[2:]}" if stripped.startswith("R/") else stripped


def _title_and_subject(short: str, descr: str) -> tuple[str, str]:
    """The title stands in one column or the other, by session; the library's ending tells which."""
    # Columns changed places between sessions.
    if _ADOPTED.search(short):
        return _ADOPTED.sub("", short), _AGENDA.sub("", descr)
    if _ADOPTED.search(descr):
        return _ADOPTED.sub("", descr), short
    return (descr, short) if short else ("", descr)


def _kind(descr: str, *, is_amendment: bool, is_paragraph: bool) -> Kind:
    """What is decided: by the flags, or by the last words of the President before the vote."""
    if not _SPOKEN.match(descr.strip()):
        if is_amendment:
            return "amendment"
        return "paragraph" if is_paragraph else "whole"
    question = _question(descr)
    if _TURNED_TO.search(question):
        return "whole"
    if re.search(r"no action|not to take action|\bmotion\b", question):
        return "motion"
    is_settled = re.search(r"amendments?.{0,160}(not been|has been|have been) adopted", question)
    if re.search(r"\bamendments?\b", question) and not is_settled:
        return "amendment"
    if (
        re.search(r"as a whole\W*$|as (orally )?(amended|corrected)\W*$", question)
        and "paragraph" not in question
    ):
        return "whole"
    has_part = re.search(r"paragraph|separate|the words|section", question)
    return "paragraph" if has_part or (is_paragraph and "decision on" not in question) else "whole"


# What was said before the Assembly turned to a draft, such as an amendment that was adopted, is over.
_TURNED_TO = re.compile(
    r"(turn \w* ?to draft resolution \w+,?|draft resolution \w+ is) entitled [^.]*\W*$"
)

_FORMULA = re.compile(
    r"\s*(,? ?a )?recorded ?votes? ?(on the motion )?(has|have) ?been requested( on [\w "
    r"]+)?\.?|\s+a$"
)


def _question(descr: str) -> str:
    """The sentence that puts something to the vote: the last one that is no formula."""
    text = re.sub(r"\s+", " ", descr).strip().lower()
    text = re.sub(r"\s+a$", "", text)
    # "A recorded vote has been requested" ends many texts and decides nothing.
    text = _FORMULA.sub("", text)
    sentences = [
        part.strip() for part in re.split(r"(?<=[a-z0-9>\"])[.:](?:\s|$)", text) if part.strip()
    ]
    if sentences and _TURNED_TO.search(sentences[-1]):
        return sentences[-1]
    voting = [part for part in sentences if re.search(r"\bvote|decision|motion|amendment", part)]
    return (voting or sentences or [""])[-1]


_SUBMITTED = re.compile(
    r"(?:submitted|proposed|put forward|motion|amendments? of)\W+(?:\w+\W+){0,14}", re.IGNORECASE
)


_INTRODUCED = re.compile(
    r"representative of ((?:\w+\W+){1,10}?)to introduce (?:\w+\W+){0,4}?(?:amendment|motion)",
    re.IGNORECASE,
)


def _movers(call: "_RollCall") -> tuple[str, ...]:
    """Who moved an amendment or a motion, where the President says so."""
    if call.kind not in ("amendment", "motion") or not call.is_spoken:
        return ()
    question = " ".join(match.group() for match in _SUBMITTED.finditer(call.description[-700:]))
    # The first named is the mover; those who seconded follow.
    movers = codes_in(question)[0][:1]
    if not movers:
        # Some time before the vote the mover was given the floor.
        found = _INTRODUCED.search(call.description)
        movers = codes_in(found.group(1))[0][:1] if found else ()
    return movers


def _add_issues(calls: dict[int, _RollCall], path: Path, losses: Losses | None) -> None:
    count = RowCount(path, "issues", losses)
    for line, (rcid, issue) in read_columns(path, ISSUE_COLUMNS):
        call = calls.get(_rcid(rcid, f"{path}: line {line}"))
        if call is None:
            count.drop("issues without a roll call", f"line {line}: rcid {rcid[:20]!r}")
            continue
        count.num_read += 1
        if issue in call.issues:
            count.note("issues given twice")
            continue
        call.issues.append(issue)
        if len(call.issues) > MAX_ISSUES:
            raise TrajectoryError(
                f"{path}: line {line}: issue: more than {MAX_ISSUES} on roll call {call.rcid}"
            )
    count.finish(may_be_empty=True, may_be_partial=True)


def _add_votes(calls: dict[int, _RollCall], path: Path, losses: Losses | None) -> RowCount:
    count = RowCount(path, "votes", losses)
    for line, (rcid, country, country_code, vote) in read_columns(path, VOTE_COLUMNS):
        where = f"{path}: line {line}"
        if vote not in _LIST_OF_VOTE:
            raise TrajectoryError(f"{where}: vote: expected yes, no or abstain, got {vote[:40]!r}")
        call = calls.get(_rcid(rcid, where))
        # Counted and left out: the files need not be of one release.
        if call is None:
            count.drop("votes without a roll call", f"line {line}: rcid {rcid[:20]!r}")
            continue
        code = resolve(country_code, country, where)
        if code is None:
            row = f"line {line}: country {country[:40]!r}, country_code {country_code[:20]!r}"
            count.drop("votes of unknown countries", row)
        elif code not in call.votes:
            call.votes[code] = vote
            call.names[code] = country
            count.num_read += 1
            count.note("votes read")
        else:
            check_same_vote(code, (call.names[code], call.votes[code]), (country, vote), where)
            count.num_read += 1
            count.note("votes given twice")
    for call in calls.values():
        if len(call.votes) > MAX_MEMBERS:
            raise TrajectoryError(
                f"{path}: rcid: {len(call.votes)} votes on {call.rcid}, at most {MAX_MEMBERS}"
            )
    return count


def _name_after_drafts(calls: dict[int, _RollCall]) -> None:
    """Give votes on parts of a draft its title and subject; the symbol ties them together."""
    drafts = {
        call.symbol: call
        for call in calls.values()
        if call.symbol and not call.is_spoken and call.title
    }
    for call in calls.values():
        if not call.is_spoken:
            continue
        draft, entitled = drafts.get(call.symbol), _ENTITLED.findall(call.description)
        if draft is not None:
            call.title, call.subject = draft.title, draft.subject
            call.issues = call.issues or list(draft.issues)
        else:
            call.title, call.subject = (entitled[-1] if entitled else ""), ""


def _trajectory(call: _RollCall) -> ResolutionRecord:
    lists: dict[str, list[str]] = {name: [] for name in VOTE_LISTS}
    for code, vote in call.votes.items():
        lists[_LIST_OF_VOTE[vote]].append(code)
    ballot = ballot_of(lists)
    return ResolutionRecord(
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
