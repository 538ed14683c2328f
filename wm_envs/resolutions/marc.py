"""Draft resolutions as the UN Digital Library exports them.

MARCXML records with the sponsors of each draft.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wm_envs.data.paths import user_path
from wm_envs.errors import TrajectoryError
from wm_envs.resolutions.countries import code_of, codes_in
from wm_envs.resolutions.files import read_bytes
from wm_envs.resolutions.records import Losses, ResolutionRecord, check_date

NAMESPACE = "{http://www.loc.gov/MARC21/slim}"
MAX_RECORDS = 100_000
# a record has about fifty; a packed file of a few megabytes can hold hundreds of millions
MAX_ELEMENTS = 5_000_000
_BRACKETS = re.compile(r"\[.*?\]|\((?:A/|on behalf).*?\)")
_DRAFT = re.compile(r"A/(?:C\.(\d)/)?(\d{1,3})/L\.\S+")
MAX_SUBFIELD = 20_000  # characters: patterns look for closing brackets from each opening one

Subfields = dict[str, list[str]]


def read_marc(path: Path, losses: Losses | None = None) -> list[ResolutionRecord]:
    """Read draft records as trajectories that end with the draft: symbol, title, sponsors, agenda item, date.

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
        if drafts.setdefault(draft.trajectory_id, draft) is draft:
            continue
        if drafts[draft.trajectory_id] != draft:
            raise TrajectoryError(
                f"{where}: 191$a: {draft.trajectory_id} appears twice, and its records differ: keep one"
            )
        losses["records given twice"] += 1
    if not drafts:
        raise TrajectoryError(
            f"{path}: none of {len(records)} records is a draft resolution, the first: {'; '.join(others[:3])}: "
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
    """Countries of the statement of responsibility, then those of the added entries that it does not name."""
    named, rest = codes_in(_BRACKETS.sub(" ", _first(fields, "245c")))
    losses["words of statements that name no known country"] += _num_words(rest)
    entered: list[str] = []
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
