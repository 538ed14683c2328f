import gzip
import json
import random
from pathlib import Path

import pytest

from wm_envs.errors import OptionError, TrajectoryError
from wm_envs.resolutions.digital_library import COLUMNS, read_digital_library, read_marc
from wm_envs.resolutions.records import (
    Ballot,
    Losses,
    ResolutionRecord,
    parse_trajectory,
    read_trajectories,
    to_json,
    write_trajectories,
)
from wm_envs.resolutions.unvotes import read_unvotes
from wm_envs.resolutions.votes import year_of

REAL = Path(__file__).parents[4] / "shared" / "data" / "un"
needs_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="the real records of ../shared/data/un are not here"
)


def real_form(**changes):
    """A trajectory in the form of the real files, lossy as they are."""
    vote = {
        "in_favour": ["Namibia", "Cuba"],
        "against": ["United States of America"],
        "abstaining": ["Peru"],
    }
    document = {
        "trajectory_id": "A/RES/78/196",
        "metadata": {
            "symbol": "A/RES/78/196",
            "title": "Order",
            "session": 78,
            "committee": 3,
            "final_outcome": "adopted",
        },
        "timesteps": [
            {
                "t": 0,
                "date": "UN, 8 Sept. 2023",
                "stage": "agenda_allocation",
                "action": {"actor": "Unknown"},
            },
            {"t": 1, "stage": "draft_submission", "action": {"sponsors": [], "co_sponsors": []}},
            {
                "t": 2,
                "date": "2023-12-19",
                "stage": "plenary_vote",
                "action": {"votes": vote},
                "observation": {"vote_tally": {"yes": 2, "no": 1, "abstain": 1}},
            },
        ],
    }
    document.update(changes)
    return document


def write(tmp_path, content, name="one.json"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_a_lossy_file_is_read_and_what_is_missing_is_counted(tmp_path):
    losses = Losses()
    (trajectory,) = read_trajectories(write(tmp_path, real_form()), losses)
    assert trajectory.plenary_ballot == Ballot(("NA", "CU"), ("US",), ("PE",), (2, 1, 1))
    assert trajectory.date == "2023-12-19"
    assert trajectory.committee_ballot is None
    assert losses["without committee_vote"] == 1
    assert losses["drafts without sponsors"] == 1
    assert losses["unknown countries"] == 0


def test_an_unknown_sponsor_is_not_silently_left_out(tmp_path):
    document = real_form()
    document["timesteps"][1]["action"]["sponsors"] = ["Atlantis", "Papua N. Guinea"]
    losses = Losses()
    (trajectory,) = read_trajectories(write(tmp_path, document), losses)
    assert trajectory.sponsors == ("PG",)
    assert losses["unknown countries"] == 1
    with pytest.warns(UserWarning, match="1 names of sponsors are of no known country"):
        read_trajectories(tmp_path / "one.json")


def test_an_unknown_country_is_left_out_and_counted_but_its_vote_stays_in_the_tally(tmp_path):
    document = real_form()
    document["timesteps"][2]["action"]["votes"]["abstaining"] = ["Atlantis"]
    losses = Losses()
    (trajectory,) = read_trajectories(write(tmp_path, document), losses)
    assert trajectory.plenary_ballot.abstaining == ()
    assert trajectory.plenary_ballot.tally == (2, 1, 1)
    assert losses["unknown countries"] == 1
    with pytest.warns(UserWarning, match="left out are 1 unknown countries.*Atlantis"):
        read_trajectories(tmp_path / "one.json")
    write_trajectories([trajectory], tmp_path / "again.jsonl")
    assert read_trajectories(tmp_path / "again.jsonl") == [trajectory]


def spoil(document, path, value):
    *parents, last = path
    place = document
    for key in parents:
        place = place[key]
    place[last] = value
    return document


VOTES = ("timesteps", 2, "action", "votes")


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("trajectory_id",), "", "trajectory_id"),
        (("metadata",), None, "metadata"),
        (("metadata", "session"), True, "metadata.session"),
        (("metadata", "session"), 1.5, "metadata.session"),
        (("metadata", "final_outcome"), "maybe", "metadata.final_outcome"),
        (("timesteps",), [], "timesteps"),
        (("timesteps", 1, "stage"), "coffee", "timesteps[1].stage"),
        (("timesteps", 1, "t"), 0, "timesteps[1].t"),
        (("timesteps", 2, "observation", "vote_tally", "yes"), 3, "vote_tally"),
        (("timesteps", 2, "observation", "vote_tally", "yes"), 194, "vote_tally.yes"),
        (("timesteps", 2, "observation", "vote_tally", "yes"), -1, "vote_tally.yes"),
        ((*VOTES, "against"), ["Cuba"], "votes"),
        ((*VOTES, "against"), ["Cuba", "CU"], "against"),
        ((*VOTES, "against"), [7], "against[0]"),
        ((*VOTES, "against"), "Cuba", "against"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_field(tmp_path, path, value, field):
    file = write(tmp_path, spoil(real_form(), path, value))
    with pytest.raises(TrajectoryError) as caught:
        read_trajectories(file)
    assert str(file) in str(caught.value)
    assert field in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b'{"trajectory_id": NaN}',
        b'{"trajectory_id": "a", "trajectory_id": "b"}',
        b"[" * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"\xff\xfe",
        b"1" * 5000,
        b"",
    ],
)
def test_hostile_json_is_refused(tmp_path, content):
    with pytest.raises(TrajectoryError, match=r"one\.json"):
        read_trajectories(write(tmp_path, content))


def mutated(content, generator):
    """Some bytes changed, cut, doubled or replaced by what parsers stumble over."""
    data = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(data))
        kind = generator.randrange(5)
        if kind == 0:
            data[place] = generator.randrange(256)
        elif kind == 1:
            del data[place : place + generator.randint(1, 30)]
        elif kind == 2:
            data[place:place] = data[place : place + generator.randint(1, 60)]
        elif kind == 3:
            data[place:place] = generator.choice(
                [b"NaN", b"null", b"-1", b"1e999", b"true", b"{", b"]", b'"', b"\\u0000"]
            )
        else:
            data = data[: max(place, 40)]
    return bytes(data)


def test_a_thousand_mutated_files_raise_nothing_but_trajectory_errors(tmp_path):
    generator = random.Random(0)
    content = json.dumps(real_form()).encode()
    outcomes = {"read": 0, "refused": 0, "named": 0}
    for _ in range(1000):
        path = write(tmp_path, mutated(content, generator))
        try:
            read_trajectories(path, Losses())
            outcomes["read"] += 1
        except TrajectoryError as error:
            outcomes["refused"] += 1
            outcomes["named"] += "one.json" in str(error)
    assert outcomes["refused"] == outcomes["named"] > 500
    assert outcomes["read"] > 20


def test_writing_and_reading_gives_the_same(tmp_path):
    trajectories = [
        ResolutionRecord(
            "a",
            title="x",
            date="2001-01-02",
            plenary_ballot=Ballot(("FR",), (), ("NA",), (1, 0, 1)),
        ),
        ResolutionRecord(
            "b",
            kind="amendment",
            sponsors=("CU",),
            additional_sponsors=("PE",),
            issues=("Human rights",),
        ),
        ResolutionRecord(
            "c", committee_ballot=Ballot((), (), (), (80, 29, 65)), final_outcome="adopted"
        ),
    ]
    assert write_trajectories(trajectories, tmp_path / "t.jsonl") == 3
    # The date of a draft without a date is none.
    assert read_trajectories(tmp_path / "t.jsonl") == trajectories


def test_an_id_twice_is_read_once_where_the_records_agree_and_refused_where_not(tmp_path):
    lines = [
        json.dumps(to_json(ResolutionRecord("a", sponsors=(code,)))).encode()
        for code in ("FR", "CU")
    ]
    losses = Losses()
    assert (
        len(read_trajectories(write(tmp_path, lines[0] + b"\n" + lines[0], "t.jsonl"), losses)) == 1
    )
    assert losses["trajectories given twice"] == 1
    with pytest.raises(TrajectoryError, match="more than once"):
        read_trajectories(write(tmp_path, lines[0] + b"\n" + lines[1], "t.jsonl"))
    write(tmp_path, lines[0], "t.jsonl")
    write(tmp_path, lines[1], "u.jsonl")  # also where each file by itself is good
    with pytest.raises(TrajectoryError, match="more than once"):
        read_trajectories(tmp_path)


def test_a_document_that_is_no_object_is_refused():
    with pytest.raises(TrajectoryError, match="expected an object"):
        parse_trajectory([1], "here", Losses())


# unvotes


def unvotes_files(tmp_path, *, votes=None, roll_calls=None):
    calls = roll_calls or (
        "rcid,session,importantvote,date,unres,amend,para,short,descr\n"
        "3,67.0,0,2012-12-03,R/67/59,,,X,United action : resolution / adopted by the General Assembly\n"
        '4,67.0,0,2012-12-03,R/67/59,,1,,"The President: I now put to the vote operative paragraph 2. '
        'A recorded vote has been requested. A"\n'
        '5,67.0,0,2012-12-03,R/67/59,,1,,"The President: We take a decision on the amendment submitted by the '
        'representative of the Islamic Republic of Iran."\n'
    )
    rows = (
        votes
        or "rcid,country,country_code,vote\n3,Namibia,NA,yes\n3,France,FR,no\n4,Cuba,CU,abstain\n5,Cuba,CU,yes\n"
    )
    (tmp_path / "v.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "r.csv").write_text(calls, encoding="utf-8")
    issues = "rcid,short_name,issue\n3,nu,Nuclear\n99,nu,Nuclear\n"
    (tmp_path / "i.csv").write_text(issues, encoding="utf-8")
    return tmp_path / "v.csv", tmp_path / "r.csv", tmp_path / "i.csv"


def test_a_draft_that_the_president_turned_to_after_an_amendment_is_a_whole_text(tmp_path):
    header = "rcid,session,importantvote,date,unres,amend,para,short,descr\n"
    start = '3,67.0,0,2012-12-03,R/67/59,,,,"The President: We have voted on the amendment.it '
    ends = {
        "We turn first to draft resolution I, entitled _Right to food<d3>. A": "whole",
        "Draft resolution XVI is entitled _Right to food<d3>. A": "whole",
        "Draft resolution I is entitled _Right to food<d3>. We vote on the amendment to it. A": (
            "amendment"
        ),
    }
    votes = "rcid,country,country_code,vote\n3,Cuba,CU,yes\n"
    for end, kind in ends.items():
        files = unvotes_files(tmp_path, votes=votes, roll_calls=f'{header}{start}{end}"\n')
        (call,) = read_unvotes(*files, Losses())
        assert call.kind == kind, end


def test_parts_of_a_draft_take_its_title_and_an_amendment_its_mover(tmp_path):
    losses = Losses()
    whole, paragraph, amendment = read_unvotes(*unvotes_files(tmp_path), losses)
    assert [t.kind for t in (whole, paragraph, amendment)] == ["whole", "paragraph", "amendment"]
    assert whole.title == paragraph.title == amendment.title == "United action"
    assert whole.plenary_ballot == Ballot(("NA",), ("FR",), (), (1, 1, 0))
    assert paragraph.issues == whole.issues == ("Nuclear",)
    assert amendment.sponsors == ("IR",)
    assert losses["issues without a roll call"] == 1
    assert losses["votes read"] == 4


def test_a_mover_is_read_where_the_floor_was_given(tmp_path):
    calls = (
        "rcid,session,importantvote,date,unres,amend,para,short,descr\n"
        '3,59.0,0,2004-12-14,,1,,,"The President: I give the floor to the representative of the United '
        "States of America to introduce the amendments. Mrs. Tamlyn: we wish wide support. The President: "
        'The Assembly will first take a decision on the amendments circulated in document A/59/L.52."\n'
    )
    votes = HEADER + "3,Cuba,CU,yes\n"
    (call,) = read_unvotes(*unvotes_files(tmp_path, votes=votes, roll_calls=calls))
    assert (call.kind, call.sponsors) == ("amendment", ("US",))


def test_a_part_of_a_draft_without_a_symbol_takes_no_title_of_another(tmp_path):
    calls = (
        "rcid,session,importantvote,date,unres,amend,para,short,descr\n"
        "3,29.0,0,1974-11-03,,,,RIGHT TO SPEAK,TO LIMIT SPEECHES\n"
        '4,56.0,0,2001-11-29,,,,,"The President: Draft resolution C is entitled _Depleted uranium<d3>. A recorded vote '
        'has been requested."\n'
        '5,56.0,0,2001-12-14,,,,,"The President: I put to the vote the motion that no action be taken."\n'
    )
    early, spoken, motion = read_unvotes(*unvotes_files(tmp_path, roll_calls=calls))
    assert [t.title for t in (early, spoken, motion)] == [
        "TO LIMIT SPEECHES",
        "Depleted uranium",
        "",
    ]


HEADER = "rcid,country,country_code,vote\n"


@pytest.mark.parametrize(
    ("votes", "problem"),
    [
        (HEADER + "3,France,FR,maybe\n", "line 2: vote"),
        (HEADER + "3,France,FR,yes\n3,France,FR,no\n", "FR voted yes and no"),
        (HEADER + "3,France,FR\n", "3 fields"),
        ("rcid,country,vote\n3,France,yes\n", "header"),
        ("", "header"),
    ],
)
def test_wrong_votes_are_refused(tmp_path, votes, problem):
    with pytest.raises(TrajectoryError, match=problem):
        read_unvotes(*unvotes_files(tmp_path, votes=votes or "\n"))


def test_votes_that_belong_nowhere_are_counted(tmp_path):
    votes = HEADER + "3,France,FR,yes\n3,France,FR,yes\n77,France,FR,yes\n3,Atlantis,XX,yes\n"
    losses = Losses()
    read_unvotes(*unvotes_files(tmp_path, votes=votes), losses)
    kinds = (
        "votes read",
        "votes given twice",
        "votes without a roll call",
        "votes of unknown countries",
    )
    assert [losses[kind] for kind in kinds] == [1, 1, 1, 1]
    assert losses["roll calls without votes"] == 2


def test_a_roll_call_twice_is_read_once_where_the_rows_agree_and_refused_where_not(tmp_path):
    line = "3,67.0,0,2012-12-03,R/67/59,,,X,Y\n"
    calls = "rcid,session,importantvote,date,unres,amend,para,short,descr\n" + line * 2
    losses = Losses()
    assert len(read_unvotes(*unvotes_files(tmp_path, roll_calls=calls), losses)) == 1
    assert losses["roll calls given twice"] == 1
    with pytest.raises(TrajectoryError, match="roll call 3 appears twice"):
        read_unvotes(*unvotes_files(tmp_path, roll_calls=calls + line.replace("Y", "Z")))


def test_a_truncated_archive_is_refused(tmp_path):
    votes, calls, _ = unvotes_files(tmp_path)
    packed = gzip.compress(votes.read_bytes())
    (tmp_path / "v.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(TrajectoryError, match="truncated or damaged"):
        read_unvotes(tmp_path / "v.csv.gz", calls)


@pytest.mark.parametrize("written", ["3", "3.0", "3.", " 3 ", "3e0", "+3", "03"])
@pytest.mark.parametrize("table", ["v.csv", "r.csv", "i.csv"])
def test_a_roll_call_is_one_in_every_way_of_writing_its_number(tmp_path, table, written):
    files = unvotes_files(tmp_path, votes=HEADER + "3,France,FR,yes\n3,Cuba,CU,no\n")
    expected = read_unvotes(*files)
    text = (tmp_path / table).read_text(encoding="utf-8")
    (tmp_path / table).write_text(text.replace("\n3,", f"\n{written},"), encoding="utf-8")
    assert read_unvotes(*files) == expected
    assert expected[0].issues == ("Nuclear",)


@pytest.mark.parametrize(
    "written", ["3.5", "nan", "", "three", "1e400", "-3", "3_0", "1e1.0", "9" * 50]
)
@pytest.mark.parametrize(("table", "line"), [("v.csv", 2), ("r.csv", 2), ("i.csv", 2)])
def test_what_numbers_no_roll_call_is_named(tmp_path, table, line, written):
    files = unvotes_files(tmp_path)
    text = (tmp_path / table).read_text(encoding="utf-8")
    (tmp_path / table).write_text(text.replace("\n3,", f"\n{written},"), encoding="utf-8")
    with pytest.raises(
        TrajectoryError, match=rf"{table}: line {line}: rcid: .*got '{written[:40]}'"
    ):
        read_unvotes(*files)


@pytest.mark.parametrize("written", ["67", "67.0", "6.7e1"])
def test_a_session_is_one_in_every_way_of_writing_its_number(tmp_path, written):
    calls = (
        f"rcid,session,date,unres,amend,para,short,descr\n3,{written},2012-12-03,R/67/59,,,X,Y\n"
    )
    (trajectory,) = read_unvotes(
        *unvotes_files(tmp_path, votes=HEADER + "3,Cuba,CU,yes\n", roll_calls=calls)
    )
    assert trajectory.session == 67
    with pytest.raises(TrajectoryError, match=r"line 2: session: .*got '67\.5'"):
        read_unvotes(*unvotes_files(tmp_path, roll_calls=calls.replace(written, "67.5")))


@pytest.mark.parametrize(
    ("amend", "kind"), [("1", "amendment"), ("1.0", "amendment"), ("0.0", "whole")]
)
def test_flags_written_as_doubles_are_flags(tmp_path, amend, kind):
    calls = (
        f"rcid,session,date,unres,amend,para,short,descr\n3,1,1946-01-01,R/1/66,{amend},NA,X,Y\n"
    )
    (trajectory,) = read_unvotes(
        *unvotes_files(tmp_path, votes=HEADER + "3,Cuba,CU,yes\n", roll_calls=calls)
    )
    assert trajectory.kind == kind


# Names and codes


def ballot_of_rows(tmp_path, rows, losses=None):
    (trajectory,) = read_unvotes(*unvotes_files(tmp_path, votes=HEADER + rows), losses)
    return trajectory.plenary_ballot


def test_a_missing_code_written_as_na_is_no_vote_of_namibia(tmp_path):
    rows = (
        "3,Zanzibar,NA,no\n3,Namibia,NA,yes\n3,Czechoslovakia,NA,no\n3,Yugoslavia,nan,no\n"
        "3,German Democratic Republic,NA,no\n3,Yemen People's Republic,,no\n"
    )
    ballot = ballot_of_rows(tmp_path, rows)
    assert ballot.in_favour == ("NA",)
    assert ballot.against == ("EAZ", "CS", "YU", "DD", "YD")


def test_a_name_and_a_code_of_two_countries_are_refused_with_the_row(tmp_path):
    with pytest.raises(TrajectoryError, match=r"v\.csv: line 3: .*'France'.*'DE' \(Germany\)"):
        ballot_of_rows(tmp_path, "3,Cuba,CU,no\n3,France,DE,yes\n")
    path = library_file(tmp_path, [(1, "DEU", "Y", (1, 0, 0))])
    path.write_text(
        path.read_text(encoding="utf-8").replace("DEU,", "DEU,FRANCE"), encoding="utf-8"
    )
    with pytest.raises(TrajectoryError, match=r"line 2: .*'FRANCE'.*'DEU' \(Germany\)"):
        read_digital_library(path)


def test_a_code_stands_beside_an_unknown_name_until_something_contradicts_it(tmp_path):
    assert ballot_of_rows(tmp_path, "3,Gallia,FR,yes\n").in_favour == ("FR",)
    with pytest.raises(TrajectoryError, match="'France' and 'Gallia' are both read as FR"):
        ballot_of_rows(tmp_path, "3,France,FR,yes\n3,Gallia,FR,yes\n")
    with pytest.raises(TrajectoryError, match="Hong Kong"):
        ballot_of_rows(tmp_path, '3,"Hong Kong SAR, China",CN,yes\n')


def test_a_country_under_two_of_its_names_has_one_vote(tmp_path):
    losses = Losses()
    ballot = ballot_of_rows(tmp_path, "3,France,FR,yes\n3,French Republic,fr,yes\n", losses)
    assert ballot.in_favour == ("FR",)
    assert losses["votes given twice"] == 1


# Nothing read, most rows left out


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("", "there are no votes"),
        ("77,France,FR,yes\n", "1 of 1 votes cannot be used, the first: line 2: rcid '77'"),
        (
            "3,Cuba,CU,yes\n" + "".join(f"3,Land {i},X{i},yes\n" for i in range(4)),
            "'Land 0'.*'Land 1'.*'Land 2'",
        ),
        ("3,Korea,NA,yes\n", "country 'Korea', country_code 'NA'"),
    ],
)
def test_a_file_of_votes_that_is_not_understood_is_refused_with_examples(tmp_path, rows, problem):
    with pytest.raises(TrajectoryError, match=problem) as caught:
        ballot_of_rows(tmp_path, rows, Losses())
    assert "Land 3" not in str(caught.value)


def test_issues_of_other_roll_calls_are_refused(tmp_path):
    files = unvotes_files(tmp_path)
    files[2].write_text("rcid,issue\n98,Nuclear\n99,Nuclear\n", encoding="utf-8")
    with pytest.raises(TrajectoryError, match="2 of 2 issues"):
        read_unvotes(*files)


def test_what_is_left_out_is_warned_about_where_nobody_counts_it(tmp_path):
    rows = "3,France,FR,yes\n3,Cuba,CU,yes\n3,Atlantis,XX,yes\n"
    with pytest.warns(
        UserWarning,
        match="2 votes are read, and left out are 1 votes of unknown countries.*Atlantis",
    ):
        ballot_of_rows(tmp_path, rows)
    ballot_of_rows(tmp_path, rows, Losses())


def test_a_trajectory_file_whose_votes_are_not_understood_is_refused(tmp_path):
    document = real_form()
    votes = {"in_favour": ["Atlantis", "Korea"], "against": ["Utopia"], "abstaining": ["Peru"]}
    document["timesteps"][2]["action"]["votes"] = votes
    with pytest.raises(
        TrajectoryError, match=r"3 of 4 countries of votes .*in_favour\[0\] 'Atlantis'"
    ):
        read_trajectories(write(tmp_path, document))
    with pytest.raises(TrajectoryError, match="no trajectories"):
        read_trajectories(write(tmp_path, []))


def test_a_country_twice_in_one_list_is_one_and_counted(tmp_path):
    document = real_form()
    document["timesteps"][2]["action"]["votes"]["against"] = ["United States", "US"]
    losses = Losses()
    (trajectory,) = read_trajectories(write(tmp_path, document), losses)
    assert trajectory.plenary_ballot == Ballot(("NA", "CU"), ("US",), ("PE",), (2, 1, 1))
    assert losses["countries named twice"] == 1


# Digital Library


def library_file(tmp_path, rows):
    lines = [",".join(COLUMNS)]
    for record, code, vote, totals in rows:
        values = (
            record,
            code,
            "",
            vote,
            "2020-12-01",
            "75",
            f"A/RES/75/{record}",
            "",
            "Title",
            "Agenda",
            "S",
            *totals,
        )
        lines.append(",".join(map(str, values)))
    path = tmp_path / "library.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_library_votes_are_grouped_and_a_non_voter_is_absent(tmp_path):
    totals = (2, 0, 1)
    rows = [
        (1, "NAM", "Y", totals),
        (1, "FRA", "A", totals),
        (1, "CUB", "Y", totals),
        (1, "PER", "X", totals),
    ]
    losses = Losses()
    (trajectory,) = read_digital_library(library_file(tmp_path, rows), losses)
    assert trajectory.plenary_ballot == Ballot(("NA", "CU"), (), ("FR",), (2, 0, 1))
    assert losses["members that did not vote"] == 1


def test_totals_that_do_not_add_up_are_counted_and_left_out(tmp_path):
    losses = Losses()
    wrong, right = (1, "FRA", "Y", (2, 0, 0)), (2, "FRA", "Y", (1, 0, 0))
    (trajectory,) = read_digital_library(library_file(tmp_path, [wrong, right]), losses)
    assert trajectory.symbol == "A/RES/75/2"
    assert losses["resolutions whose totals do not add up"] == 1
    with pytest.raises(
        TrajectoryError, match=r"undl_id 1: announced \[2, 0, 0\], counted \[1, 0, 0\]"
    ):
        read_digital_library(library_file(tmp_path, [wrong]))


@pytest.mark.parametrize(
    "rows", [[(1, "FRA", "Q", (1, 0, 0))], [(1, "FRA", "Y", (1, 0, 0)), (1, "FRA", "N", (1, 0, 0))]]
)
def test_wrong_library_votes_are_refused(tmp_path, rows):
    with pytest.raises(TrajectoryError, match="ms_vote"):
        read_digital_library(library_file(tmp_path, rows))


def test_a_library_row_twice_is_one_vote_and_counted(tmp_path):
    losses = Losses()
    (trajectory,) = read_digital_library(
        library_file(tmp_path, [(1, "FRA", "Y", (1, 0, 0))] * 2), losses
    )
    assert trajectory.plenary_ballot == Ballot(("FR",), (), (), (1, 0, 0))
    assert losses["votes given twice"] == 1


def test_library_rows_of_one_resolution_that_disagree_are_refused(tmp_path):
    path = library_file(tmp_path, [(1, "FRA", "Y", (1, 1, 0)), (1, "CUB", "N", (1, 2, 0))])
    with pytest.raises(TrajectoryError, match=r"line 3: total_no: '2', .* has '1'"):
        read_digital_library(path)


def test_library_numbers_written_as_doubles_are_the_same_numbers(tmp_path):
    rows = [(1, "FRA", "Y", ("1.0", 1, "")), ("1.0", "CUB", "N", ("1.0", 1, ""))]
    path = library_file(tmp_path, rows)
    text = (
        path.read_text(encoding="utf-8")
        .replace("A/RES/75/1.0", "A/RES/75/1")
        .replace(",75,", ",75.0,")
    )
    path.write_text(text, encoding="utf-8")
    (trajectory,) = read_digital_library(path)
    assert trajectory.plenary_ballot.tally == (1, 1, 0)
    assert trajectory.session == 75
    path.write_text(text.replace(",75.0,", ",75.5,"), encoding="utf-8")
    with pytest.raises(TrajectoryError, match=r"session: expected a whole number .* got '75\.5'"):
        read_digital_library(path)
    path.write_text(text.replace(",75.0,", ",10emsp,"), encoding="utf-8")
    losses = Losses()
    assert read_digital_library(path, losses)[0].session is None
    assert losses["resolutions without the number of a session"] == 1


# MARCXML


def marc(*records):
    body = "".join(
        "<record>"
        + "".join(
            f'<datafield tag="{tag[:3]}"><subfield code="{tag[3]}">{text}</subfield></datafield>'
            for tag, text in record
        )
        + "</record>"
        for record in records
    )
    return f'<collection xmlns="http://www.loc.gov/MARC21/slim">{body}</collection>'.encode()


def test_draft_records_give_sponsors_by_name(tmp_path):
    record = [
        ("191a", "A/C.3/78/L.49"),
        ("245a", "Digital technologies :"),
        ("245b", "draft resolution /"),
        (
            "245c",
            "Bosnia and Herzegovina, Guinea-Bissau and Cuba [on behalf of the Group of 77 and China]",
        ),
        ("515a", "Additional sponsors: C\u00c3\u00b4te d'Ivoire and Namibia (A/78/481)."),
        ("993a", "A/RES/78/213"),
        ("269a", "2023-11-08"),
    ]
    (draft,) = read_marc(write(tmp_path, marc(record), "d.xml"))
    assert draft.sponsors == ("BA", "GW", "CU")
    assert draft.additional_sponsors == ("CI", "NA")
    assert (draft.symbol, draft.session, draft.committee) == ("A/RES/78/213", 78, 3)


def test_sponsors_are_known_by_inverted_names_too(tmp_path):
    record = [
        ("191a", "A/C.3/78/L.49"),
        ("245b", "draft resolution /"),
        ("245c", "Japan, Korea, Republic of, Republic of Moldova and Iran (Islamic Republic of)"),
        (
            "515a",
            "Additional sponsors: Bahamas, The, Tanzania, United Republic of and American Samoa.",
        ),
        ("710a", "Viet Nam"),
        ("710a", "Venezuela, RB"),
    ]
    losses = Losses()
    (draft,) = read_marc(write(tmp_path, marc(record), "d.xml"), losses)
    assert draft.sponsors == ("JP", "KR", "MD", "IR", "VN", "VE")
    assert draft.additional_sponsors == ("BS", "TZ")
    assert losses["words of sponsor lists that name no known country"] == 2


def test_a_record_twice_is_read_once_where_both_agree_and_refused_where_not(tmp_path):
    record = [("191a", "A/C.3/78/L.49"), ("245b", "draft resolution /"), ("245c", "Cuba")]
    other = [*record[:2], ("245c", "Peru")]
    losses = Losses()
    assert len(read_marc(write(tmp_path, marc(record, record), "d.xml"), losses)) == 1
    assert losses["records given twice"] == 1
    with pytest.raises(TrajectoryError, match=r"record 2: 191\$a: A/C\.3/78/L\.49 appears twice"):
        read_marc(write(tmp_path, marc(record, other), "d.xml"))


def test_a_file_without_a_draft_is_refused_with_examples(tmp_path):
    with pytest.raises(
        TrajectoryError, match=r"none of 1 records is a draft resolution, .*'A/78/1'"
    ):
        read_marc(write(tmp_path, marc([("191a", "A/78/1"), ("245b", "note /")]), "d.xml"))


@pytest.mark.parametrize(
    "content",
    [
        b"<collection>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><x/>",
        b"<x/>",
        marc([("191a", "A/C.3/78/L.1")])[:-9],
    ],
)
def test_malformed_marc_is_refused(tmp_path, content):
    with pytest.raises(TrajectoryError, match=r"d\.xml"):
        read_marc(write(tmp_path, content, "d.xml"))


def test_dates_are_years_and_what_is_none_is_refused_by_name():
    assert [year_of(day) for day in ("2013", "2013-01-01", "2012-12-31")] == [
        2013.0,
        2013.0,
        2012 + 365 / 366,
    ]
    assert year_of("9999-12-31") == pytest.approx(9999 + 364 / 365)
    with pytest.raises(OptionError, match="'spring'"):
        year_of("spring")


# The real files


@needs_data
def test_the_real_sample_is_read_whole():
    (trajectory,) = read_trajectories(REAL / "trajectory_sample.json")
    assert trajectory.plenary_ballot.tally == (91, 54, 6)
    assert len(trajectory.plenary_ballot.in_favour) == 91
    assert (trajectory.session, trajectory.committee, trajectory.agenda_item) == (78, 3, "71b")


@needs_data
def test_the_real_drafts_are_read_and_their_sponsors_grow():
    losses = Losses()
    drafts = read_marc(REAL / "session_78_committee_3_drafts.xml", losses)
    assert len(drafts) + losses["records that are no draft resolution"] == 94
    growing = [draft.num_sponsors > len(draft.sponsors) for draft in drafts if draft.sponsors]
    assert sum(growing) > 45


@needs_data
def test_the_real_roll_calls_are_read_without_loss():
    losses = Losses()
    files = (REAL / f"un_{name}.csv.gz" for name in ("votes", "roll_calls", "roll_call_issues"))
    trajectories = read_unvotes(*files, losses)
    assert len(trajectories) == 5888
    assert losses["votes read"] == 814_357 == sum(sum(t.plenary_ballot.tally) for t in trajectories)
    assert any("NA" in t.plenary_ballot.in_favour for t in trajectories)


def test_blank_lines_are_no_rows(tmp_path):
    votes = HEADER + "3,France,FR,yes\n\n3,China,CN,no\n\n"
    plain = read_unvotes(*unvotes_files(tmp_path, votes=votes.replace("\n\n", "\n")))
    assert read_unvotes(*unvotes_files(tmp_path, votes=votes)) == plain


def test_records_of_one_symbol_get_names_of_their_own(tmp_path):
    path = library_file(tmp_path, [(1, "FRA", "Y", (1, 0, 0)), (2, "FRA", "Y", (1, 0, 0))])
    text = path.read_text(encoding="utf-8").replace("A/RES/75/2", "A/RES/75/1")
    path.write_text(text, encoding="utf-8")
    trajectories = read_digital_library(path)
    assert [trajectory.trajectory_id for trajectory in trajectories] == [
        "A/RES/75/1",
        "A/RES/75/1 (2)",
    ]
    write_trajectories(trajectories, tmp_path / "again.jsonl")
    assert len(read_trajectories(tmp_path / "again.jsonl")) == 2
