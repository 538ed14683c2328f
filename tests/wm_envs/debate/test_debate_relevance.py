import numpy as np
import pytest

from wm_envs.debate.generator import generate_person
from wm_envs.debate.observations import load_corpus
from wm_envs.debate.relevance import (
    EmbeddingRelevance,
    KeywordRelevance,
    RelevanceTable,
    TfidfRelevance,
    check_scores,
    default_relevance,
    default_table,
)
from wm_envs.debate.tendencies import TENDENCIES
from wm_envs.errors import ObservationError, OptionError

HELD_OUT = load_corpus("held-out")
OWNERS = np.array([o.owner.index for o in HELD_OUT])


def accuracy(scorer):
    return float((scorer.score(HELD_OUT.texts).argmax(axis=1) == OWNERS).mean())


def test_the_default_scorer_places_held_out_persons():
    default, keywords = accuracy(default_relevance()), accuracy(KeywordRelevance())
    assert default > 0.7
    assert default > keywords > 0.5
    assert accuracy(TfidfRelevance(has_lexicon=False)) > 0.5  # labelled training persons alone


def test_scores_are_shares_and_repeat():
    scores = default_relevance().score(HELD_OUT.texts)
    check_scores(scores, len(HELD_OUT))
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    np.testing.assert_array_equal(scores[:5], default_relevance().score(HELD_OUT.texts[:5]))
    assert default_relevance().score([]).shape == KeywordRelevance().score([]).shape == (0, 7)


def test_plain_words_go_where_they_belong():
    texts = [
        "in danger and starving",
        "the medal and the applause",
        "prayed to god",
        "my dear friend and family",
        "would obey no orders",
        "slept in a warm bed",
        "an experiment to learn",
    ]
    assert default_relevance().score(texts).argmax(axis=1).tolist() == list(range(7))
    assert KeywordRelevance().score(texts).argmax(axis=1).tolist() == list(range(7))


@pytest.mark.parametrize(
    "scores",
    [
        np.full((2, 7), np.nan),
        np.full((2, 7), 1.5),
        np.full((2, 7), -0.1),
        np.zeros((3, 7)),
        None,
        "x",
    ],
)
def test_what_a_scorer_gives_is_checked(scores):
    with pytest.raises(ObservationError, match="scorer"):
        check_scores(scores, 2)


def test_examples_must_match_and_cover_all():
    with pytest.raises(ObservationError, match="owners"):
        TfidfRelevance(["a"], [])
    for owner in (7, -1, "status", 2.5):
        with pytest.raises(ObservationError, match="index of a tendency"):
            TfidfRelevance(["a"], [owner])
    with pytest.raises(ObservationError, match="all seven"):
        TfidfRelevance(["a", "b"], [0, 1], has_lexicon=False, has_corpus=False)


class LetterModel:
    """Embeds a text by its letters: a stand-in with the interface of sentence-transformers."""

    def encode(self, texts):
        return np.array(
            [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], float
        )


def test_embeddings_take_any_model():
    scorer = EmbeddingRelevance(LetterModel())
    scores = scorer.score(HELD_OUT.texts[:9])
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    assert scorer.score([]).shape == (0, 7)
    train = load_corpus("train")
    right = (scorer.score(train.texts).argmax(axis=1) == [o.owner.index for o in train]).mean()
    assert right > 1 / 7


def test_the_shipped_table_is_what_the_scorer_says():
    table = default_table()
    assert len(table.persons) == 12
    assert table.first_rows[-1] == len(table.relevance) == len(load_corpus())
    again = RelevanceTable.score(load_corpus(), default_relevance())
    np.testing.assert_allclose(table.relevance, again.relevance, atol=2e-3)


@pytest.mark.parametrize(
    "relevance",
    [
        {},
        [],
        {"a": []},
        {"a": np.zeros((2, 6))},
        {"a": np.full((2, 7), 2.0)},
        {"a": np.zeros((600, 7))},
        {"a": None},
    ],
    ids=range(7),
)
def test_a_bad_table_is_an_option_error(relevance):
    with pytest.raises(OptionError):
        RelevanceTable.of(relevance)


def test_generated_persons_are_seeded_labelled_and_different():
    person, twin, other = generate_person(3), generate_person(3), generate_person(4)
    assert list(person.observations) == list(twin.observations)
    assert person.observations.texts != other.observations.texts
    assert len(person.observations) == 165
    assert person.drives.sum() == pytest.approx(1)
    many = generate_person(5, 1000)
    shares = np.bincount([o.owner.index for o in many.observations], minlength=7) / 1000
    expected = 0.9 * many.drives + 0.1 / 7
    assert np.abs(shares - expected).max() < 0.05
    assert any(o.metadata["is_contrary"] for o in person.observations)
    assert any(o.metadata["is_distractor"] for o in person.observations)


def test_labels_without_signal_are_uniform():
    person = generate_person(1, 700, has_signal=False)
    counts = np.bincount([o.owner.index for o in person.observations], minlength=len(TENDENCIES))
    assert counts.min() > 60


@pytest.mark.parametrize(
    "options", [{"num_observations": 0}, {"distractor_share": 1.0}, {"contradiction_share": -1}]
)
def test_a_generator_refuses_numbers_out_of_range(options):
    with pytest.raises(OptionError):
        generate_person(0, **options)
