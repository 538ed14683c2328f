import json
import random

import pytest

from wm_envs.debate.observations import (
    MAX_BYTES,
    Observation,
    Observations,
    cut,
    load_corpus,
    to_tendency,
)
from wm_envs.debate.tendencies import TENDENCIES, Tendency
from wm_envs.errors import ObservationError


def some(*texts):
    return Observations([Observation(f"o{i}", text) for i, text in enumerate(texts)], "test")


def test_text_is_cut_at_a_word():
    assert cut("  short \n") == "short"
    text = "abcd " * 100
    assert cut(text) == ("abcd " * 56).strip()
    assert len(cut("x" * 400)) == MAX_BYTES
    assert cut("é" * 200) == "é" * 140  # never within a character
    assert cut("abc def", 3) == "abc"
    assert cut("abc def", 5) == "abc"
    for space in ("\n", "\t", "\u00a0"):
        assert cut(f"first{space}line{space}second", 12) == f"first{space}line"


@pytest.mark.parametrize("content", ["", "   ", None, 3, "x" * 281, "\ud800"])
def test_bad_content_is_refused(content):
    with pytest.raises(ObservationError):
        Observation("a", content)


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"id": 3},
        {"source_id": None},
        {"timestamp": 1845},
        {"metadata": []},
        {"metadata": {"owner": "hunger"}},
    ],
)
def test_bad_fields_are_refused(fields):
    with pytest.raises(ObservationError):
        Observation(**{"id": "a", "content": "text", **fields})


def test_duplicates_are_dropped_by_content():
    observations = some("One  thing.", "one thing.", "Another.")
    assert [o.id for o in observations] == ["o0", "o2"]
    assert observations.num_duplicates == 1


def test_equal_ids_are_refused():
    with pytest.raises(ObservationError, match="two observations have the id"):
        Observations([Observation("a", "one"), Observation("a", "two")])


def test_a_file_comes_back_as_it_went(tmp_path):
    observations = Observations(
        [Observation("a", "One.", "b", "1845", {"owner": "status", "n": 1})], "here"
    )
    observations.save(tmp_path / "o.json")
    data = json.loads((tmp_path / "o.json").read_text())
    assert (data["source"], data["count"]) == ("here", 1)
    loaded = Observations.load(tmp_path / "o.json")
    assert list(loaded) == list(observations)
    assert loaded[0].owner is Tendency.STATUS


BAD_FILES = [
    "",
    "[]",
    "{}",
    '{"observations": 3}',
    '{"observations": [3]}',
    '{"observations": [{"id": "a"}]}',
    '{"observations": [{"id": "a", "content": ""}]}',
    '{"observations": [{"content": "x"}]}',
    '{"observations": [{"id": "a", "content": "x", "polarity": 1}]}',
    '{"count": 2, "observations": [{"id": "a", "content": "x"}]}',
    '{"source": 3, "observations": []}',
    '{"observations": [{"id": "a", "content": "x", "metadata": {"n": NaN}}]}',
    '{"observations": [], "observations": []}',
    '{"observations": [{"id": "a", "content": "x", "metadata": {"owner": "hunger"}}]}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_corrupt_file_is_an_observation_error_that_names_it(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ObservationError, match=r"bad\.json"):
        Observations.load(path)


def test_mutated_files_give_no_other_error(tmp_path):
    good = json.dumps(some("One.", "Two.", "Three.").to_plain()).encode()
    generator = random.Random(0)
    path = tmp_path / "o.json"
    num_refused = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(bytes(data[: generator.randint(len(data) // 2, len(data))]))
        try:
            Observations.load(path)
        except ObservationError:
            num_refused += 1
    assert num_refused > 200


def test_missing_and_unreadable_files(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("none", "bytes", "."):
        with pytest.raises(ObservationError, match="cannot read"):
            Observations.load(tmp_path / name)


def test_the_split_is_disjoint_whole_and_seeded():
    observations = some(*(f"text {i}" for i in range(165)))
    train, held_out = observations.split(0.2, seed=3)
    assert (len(train), len(held_out)) == (132, 33)
    assert {o.id for o in train} | {o.id for o in held_out} == {o.id for o in observations}
    assert [o.id for o in held_out] == [o.id for o in observations.split(0.2, seed=3)[1]]
    assert [o.id for o in held_out] != [o.id for o in observations.split(0.2, seed=4)[1]]
    with pytest.raises(ObservationError):
        observations.split(1.0)


def test_the_corpus_keeps_its_promises():
    train, held_out = load_corpus("train"), load_corpus("held-out")
    assert len(load_corpus()) == len(train) + len(held_out) >= 250
    assert not {o.source_id for o in train} & {o.source_id for o in held_out}
    assert not {o.content_hash for o in train} & {o.content_hash for o in held_out}
    for part in (train, held_out):
        assert part.num_duplicates == 0
        assert {o.owner for o in part} == set(TENDENCIES)
        assert all({"person", "work", "place"} <= set(o.metadata) for o in part)
    with pytest.raises(ObservationError):
        load_corpus("test")


def test_unknown_tendencies_name_the_known():
    with pytest.raises(ObservationError, match="survival, status"):
        to_tendency("hunger")
