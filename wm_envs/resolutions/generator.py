"""The parameters of the environment from each source.

The calibrated generator, a fitted model, or recorded votes.

The generator draws one of many recurring texts, varies it, and lets every country vote by the
spatial model

    z = offset + direction . position + assent,   h = width + slope . position + abstention,
    P(yes, abstain, no) = softmax(z, h, -z)

(adjacent-category logits, Agresti 2010, section 4.1), so that each country's true utilities of yes,
abstain and no are z, h and -z, linear in what a text asks. Positions and texts in calibration.json
come from such a model fitted to roll calls of 2000-2016; shares of texts adopted without a vote and
numbers of sponsors come from the figures published with those records.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.options import check_integer, check_seed
from wm_envs.data.paths import user_path
from wm_envs.errors import OptionError, TrajectoryError
from wm_envs.kernel import empty_rows
from wm_envs.resolutions import dynamics
from wm_envs.resolutions.codes import TALLIES
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.files import Fields, parse_json, read_bytes
from wm_envs.resolutions.records import (
    Ballot,
    ResolutionRecord,
    ballot_of,
    outcome_of,
    outcome_value,
    read_trajectories,
)
from wm_envs.rules import Array

CALIBRATION = Path(__file__).with_name("calibration.json")

THEMES = (
    "Israel and Palestine",
    "nuclear weapons and disarmament",
    "human rights",
    "decolonisation",
    "development",
    "peace and security",
    "budget and institutions",
)
# Shares of texts adopted without a vote, by theme, in the order above.
CONSENSUS_RATES = (0.10, 0.48, 0.68, 0.76, 0.83, 0.86, 0.91)
# Quantiles at these shares, of 62 drafts of one session of the Third Committee.
_SPONSOR_SHARES = (0.0, 0.10, 0.25, 0.50, 0.75, 0.90, 1.0)
_INITIAL_SPONSORS = (1, 1, 2, 4, 25, 41, 60)
_FINAL_SPONSORS = (1, 1, 7, 48, 72, 88, 120)
# Of texts voted on in the plenary, those that had a vote in a committee.
COMMITTEE_RATE = 0.8
# In the order of `utilities`.
_VOTE_LISTS_BY_UTILITY = ("in_favour", "abstaining", "against")
TOPIC_NOISE = 0.15
COMMITTEE_DRIFT = 0.15

_THEME_OF_ISSUE = {
    "Palestinian conflict": 0,
    "Nuclear weapons and nuclear material": 1,
    "Arms control and disarmament": 1,
    "Human rights": 2,
    "Colonialism": 3,
    "Economic development": 4,
}


@dataclass(frozen=True)
class Document:
    """What a draft is called; texts stay out of the observation."""

    symbol: str
    title: str
    theme: str


@dataclass(frozen=True)
class Source:
    """Parameters [N] for any country's seat, the countries by index, the documents by draft."""

    parameters: Array
    countries: tuple[str, ...]
    documents: tuple[Document, ...]


@cache
def generator_source() -> Source:
    """The embedded, calibrated generator."""
    calibration = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    countries = calibration["countries"]
    drafts = np.array(calibration["drafts"], np.float64)
    # The first number of a calibrated draft is its theme, the others are spatial.
    themes = drafts[:, 0].astype(int)
    parameters = _parameters(dynamics.GENERATOR, countries, len(drafts))
    parameters["absences"] = calibration["absences"]
    rows = parameters[: len(drafts)]
    # 0 is an unknown topic.
    rows["topic"] = themes + 1
    for name, column in zip(dynamics.SPATIAL_FIELDS, drafts[:, 1:].T, strict=True):
        rows[name] = column
    rows["consensus_rate"] = np.array(CONSENSUS_RATES)[themes]
    documents = tuple(
        Document(f"draft {number}", f"Recurring text {number} on {THEMES[theme]}", THEMES[theme])
        for number, theme in enumerate(themes)
    )
    return Source(parameters, tuple(countries), documents)


def utilities(source: Source) -> NDArray[np.float64]:
    """True utilities [N drafts, C countries, 3] of yes, abstain and no.

    What inverse reinforcement learning recovers.

    They are those of each recurring text without its yearly variation.
    """
    countries = source.parameters[: len(source.countries)]
    drafts = source.parameters[: len(source.documents)]
    z = drafts["offset"][:, None] + countries["assent"]
    h = drafts["width"][:, None] + countries["abstention"]
    for axis in ("1", "2"):
        z = z + np.outer(drafts[f"direction_{axis}"], countries[f"position_{axis}"])
        h = h + np.outer(drafts[f"slope_{axis}"], countries[f"position_{axis}"])
    return np.stack([z, h, -z], 2)


def generated_records(
    years: Sequence[int], *, texts_per_year: int = 40, seed: int = 0
) -> list[ResolutionRecord]:
    """Plenary votes that the calibrated generator draws: what recorded votes look like, without them.

    The same texts come back every year in December, each with its yearly variation; they are votes
    of nobody, and serve to try a method before real ones are at hand.

    Args:
        years: Of the votes.
        texts_per_year: Different texts, at most the 400 of the generator.
        seed: Draws the texts, their variation, and every vote.

    Raises:
        OptionError: Fewer than one text, or more than there are.
    """
    source = generator_source()
    texts_per_year = check_integer("texts_per_year", texts_per_year, 1, len(source.documents))
    generator = np.random.default_rng(check_seed(seed))
    # The same texts every year: recurring texts are what a forecast can learn from.
    texts = np.sort(generator.permutation(len(source.documents))[:texts_per_year])
    utility = utilities(source)[texts]
    absence = source.parameters["absence_rate"][: len(source.countries)]
    records = []
    for year in years:
        # The largest utility plus Gumbel noise is a draw from the softmax of the utilities.
        noise = generator.gumbel(size=utility.shape)
        variation = TOPIC_NOISE * generator.normal(size=(len(texts), 1, 1))
        # Yes gains what no loses, see `utilities`.
        votes = (utility + variation * np.array([1.0, 0.0, -1.0]) + noise).argmax(2)
        is_absent = generator.random(votes.shape) < absence
        for place, text in enumerate(texts):
            lists: dict[str, list[str]] = {name: [] for name in _VOTE_LISTS_BY_UTILITY}
            for country in np.flatnonzero(~is_absent[place]):
                name = _VOTE_LISTS_BY_UTILITY[votes[place, country]]
                lists[name].append(source.countries[country])
            ballot = ballot_of(lists)
            document = source.documents[text]
            records.append(
                ResolutionRecord(
                    f"generated/{year}/{text}",
                    title=document.title,
                    subject=document.theme,
                    session=year - 1945,
                    final_outcome=outcome_of(ballot),
                    # Spread over December, so that the order of the dates is that of the texts.
                    date=f"{year}-12-{1 + place * 28 // len(texts):02d}",
                    issues=(document.theme,),
                    plenary_ballot=ballot,
                )
            )
    return records


def fitted_source(path: str | Path) -> Source:
    """A spatial model that was fitted to votes, as JSON.

    What the forecast example writes as spatial_model.json.

    The document has `countries`, code or name -> [position_1, position_2, assent, abstention,
    absence_rate], and `drafts`, a list of objects with symbol, title, topic and the six numbers of
    `dynamics.SPATIAL_FIELDS`.

    Raises:
        TrajectoryError: The file is malformed, or has a country twice.
    """
    document = Fields(parse_json(read_bytes(user_path(path)), str(path)), str(path))
    countries_field = document.fields("countries")
    drafts = [
        Fields(value, str(path), f"drafts[{i}]") for i, value in enumerate(document.list("drafts"))
    ]
    if (
        countries_field is None
        # A few more than there are members: files may hold past ones.
        or not 1 < len(countries_field.value) <= dynamics.NUM_MEMBERS + 10
        or not drafts
    ):
        raise TrajectoryError(
            f"{path}: countries and drafts: expected both, with at least two countries"
        )
    countries: dict[str, list[float]] = {}
    for name in countries_field.value:
        code = code_of(name) or name
        if code in countries:
            raise countries_field.error(name[:60], f"{code} has its numbers twice: leave one out")
        countries[code] = _numbers(countries_field, name, 5)
    parameters = _parameters(dynamics.FITTED, countries, len(drafts))
    rows = parameters[: len(drafts)]
    for row, draft in enumerate(drafts):
        rows["topic"][row] = draft.integer("topic", 0, len(THEMES)) or 0
        for name, value in zip(
            dynamics.SPATIAL_FIELDS, _numbers(draft, "parameters", 6), strict=True
        ):
            rows[name][row] = value
    documents = tuple(Document(d.text("symbol") or "", d.text("title") or "", "") for d in drafts)
    # A fitted text is that of one year: it neither varies nor passes without a vote.
    parameters["topic_noise"] = 0.0
    parameters["has_consensus"] = 0
    return Source(parameters, tuple(countries), documents)


def recorded_source(path: str | Path, country: str) -> Source:
    """Recorded trajectories as the given country's seat sees them.

    Everybody else does what they did.

    Raises:
        TrajectoryError: The file is malformed, or none of it has a vote.
        OptionError: The country takes part in none of them.
    """
    trajectories = [
        t
        for t in read_trajectories(path)
        if t.plenary_ballot or t.committee_ballot or t.final_outcome
    ]
    if not trajectories:
        raise TrajectoryError(f"{path}: no trajectory has a vote or an outcome to replay")
    countries = sorted({code for t in trajectories for code in _countries_of(t)})
    if country not in countries:
        raise OptionError(
            f"country {country!r} takes part in nothing in {path}; there are {countries[:20]}..."
        )
    # A replay needs no positions.
    parameters = _parameters(
        dynamics.RECORDED, {code: [0.0] * 5 for code in countries}, len(trajectories)
    )
    for row, trajectory in enumerate(trajectories):
        _record(parameters[row : row + 1], trajectory, country)
    documents = tuple(Document(t.symbol, t.title, "; ".join(t.issues)) for t in trajectories)
    return Source(parameters, tuple(countries), documents)


def topic_of(issues: Sequence[str], committee: int | None = None) -> int:
    """The topic id of an observation.

    1 to 7 by `THEMES`, 10 + the main committee where no issue is known, else 0.
    """
    themes = [_THEME_OF_ISSUE[issue] for issue in issues if issue in _THEME_OF_ISSUE]
    if themes:
        return 1 + min(themes)
    return 10 + committee if committee else 0


def with_seat(source: Source, country: str, **settings: float) -> Array:
    """The parameters with the country's seat and the options filled in.

    Raises OptionError for a country unknown.
    """
    code = code_of(country) if isinstance(country, str) else None
    if code not in source.countries:
        raise OptionError(
            f"country is one of {list(source.countries)[:12]}... or its name, got {country!r}"
        )
    parameters = source.parameters.copy()
    parameters["country"] = source.countries.index(code)
    for name, value in settings.items():
        parameters[name] = value
    return parameters


def _parameters(kind: int, countries: Mapping[str, Sequence[float]], num_drafts: int) -> Array:
    # Countries and drafts share the rows of one array, whichever are more.
    parameters = empty_rows(max(len(countries), num_drafts), dynamics.PARAMETERS)
    shares = np.linspace(0, 1, dynamics.NUM_QUANTILES)
    settings: dict[str, Any] = {
        "dynamics": kind,
        "num_countries": len(countries),
        "num_drafts": num_drafts,
        "has_consensus": 1,
        "topic_noise": TOPIC_NOISE,
        "drift": COMMITTEE_DRIFT,
        "initial_sponsors": np.interp(shares, _SPONSOR_SHARES, _INITIAL_SPONSORS),
        "final_sponsors": np.interp(shares, _SPONSOR_SHARES, _FINAL_SPONSORS),
        "absences": 1.0,
        "committee_rate": COMMITTEE_RATE,
    }
    for name, value in settings.items():
        parameters[name] = value
    # Filled by columns: one row a country, of the five numbers that it has.
    columns = np.array(list(countries.values()), np.float64).T
    for name, column in zip(dynamics.COUNTRY_FIELDS, columns, strict=True):
        parameters[name][: len(countries)] = column
    return parameters


def _record(row: Array, trajectory: ResolutionRecord, country: str) -> None:
    """A recorded draft without the country's own part, which the agent takes."""
    # The agent's country keeps its recorded sponsorship, which is part of the draft on the table.
    is_sponsor = country in trajectory.sponsors
    # Without the agent's country, whose joining is an action of the agent.
    joining = {*trajectory.additional_sponsors} - {*trajectory.sponsors, country}
    row["topic"] = topic_of(trajectory.issues, trajectory.committee)
    row["num_sponsors"], row["num_joining"] = len(trajectory.sponsors), len(joining)
    outcome, ballot = outcome_value(trajectory), trajectory.plenary_ballot
    row["is_sponsor"], row["is_adopted"], row["is_decided"] = is_sponsor, outcome > 0, outcome != 0
    row["is_counted"] = ballot is not None and (outcome_of(ballot) == "adopted") == (outcome > 0)
    for stage, ballot in (
        ("committee", trajectory.committee_ballot),
        ("plenary", trajectory.plenary_ballot),
    ):
        for name, count in zip(TALLIES, _others(ballot, country), strict=True):
            row[f"{stage}_{name}"] = count


def _others(ballot: Ballot | None, country: str) -> tuple[int, int, int]:
    """Yes, no and abstentions without the country's own vote; -1 where there was no vote."""
    if ballot is None:
        return -1, -1, -1
    lists = (ballot.in_favour, ballot.against, ballot.abstaining)
    yes, no, abstain = (
        total - (country in codes) for total, codes in zip(ballot.tally, lists, strict=True)
    )
    return yes, no, abstain


def _countries_of(trajectory: ResolutionRecord) -> set[str]:
    codes = {*trajectory.sponsors, *trajectory.additional_sponsors}
    for ballot in (trajectory.committee_ballot, trajectory.plenary_ballot):
        if ballot is not None:
            codes |= {*ballot.in_favour, *ballot.against, *ballot.abstaining}
    return codes


def _numbers(fields: Fields, name: str, count: int) -> list[float]:
    values = fields.list(name)
    if len(values) != count or not all(_is_finite(value) for value in values):
        raise fields.error(name, f"expected {count} finite numbers")
    return [float(value) for value in values]


def _is_finite(value: Any) -> bool:
    # math.isfinite raises for whole numbers beyond the range of floats; a comparison is False for
    # NaN.
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )
