"""How much a text speaks for each tendency.

The scorer protocol, the default scorer, sentence embeddings, and the table of the corpus that
kernels read.

A scorer gives numbers from 0 to 1; ours give shares that sum to 1 for each text. A scorer that
cannot judge raises: no answer is never taken for no relevance.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_envs.data.options import as_integer
from wm_envs.debate.dynamics import MAX_OBSERVATIONS, MAX_PERSONS
from wm_envs.debate.lexicon import seed_words
from wm_envs.debate.observations import Observations, load_corpus
from wm_envs.debate.tendencies import CLAIMS, NUM_TENDENCIES, TENDENCIES
from wm_envs.errors import MissingExtraError, ObservationError, OptionError

Scores = NDArray[np.float64]


class Relevance(Protocol):
    """Scores texts against the seven tendencies."""

    def score(self, texts: Sequence[str]) -> Scores:
        """Relevance [N, 7] of N texts, each number in 0..1, in the order of `TENDENCIES`.

        Raises when it cannot.
        """
        ...


class TfidfRelevance:
    """The default: a regression on TF-IDF over words and over characters.

    It is fitted to a seed lexicon and labelled examples.

    Words carry the themes; pieces of words (three to five characters) carry their endings and
    compounds. Each seed word is one example of its tendency, and so is each labelled observation of
    the corpus' training persons. Settings were chosen by leaving one training person out at a time.

    Args:
        texts: Further labelled examples.
        owners: Their tendencies, as numbers; as many as texts.
        has_lexicon: Learn from the seed words.
        has_corpus: Learn from the labelled training persons.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ObservationError: There is nothing to learn from, or texts and owners do not match.
    """

    # Half of the weight for words and half for parts of words, which also know inflected and
    # misspelled ones.
    WORD_SHARE = 0.5
    INVERSE_PENALTY = 10.0

    def __init__(
        self,
        texts: Sequence[str] = (),
        owners: Sequence[int] = (),
        *,
        has_lexicon: bool = True,
        has_corpus: bool = True,
    ) -> None:
        linear, text = _scikit_learn()
        examples, labels = _examples(texts, owners, has_lexicon=has_lexicon, has_corpus=has_corpus)
        if set(labels) != set(range(NUM_TENDENCIES)):
            raise ObservationError(
                "the scorer learns from examples of all seven tendencies: keep the lexicon"
            )
        # Sublinear: a word that is said five times says hardly more than once.
        self._words = text.TfidfVectorizer(sublinear_tf=True, stop_words="english")
        self._characters = text.TfidfVectorizer(
            analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True
        )
        self._words.fit(examples)
        self._characters.fit(examples)
        self._regression = linear.LogisticRegression(
            # Balanced, since a corpus has few examples of some tendencies.
            C=self.INVERSE_PENALTY,
            class_weight="balanced",
            max_iter=500,
            tol=1e-6,
        )
        self._regression.fit(self._features(examples), labels)

    def score(self, texts: Sequence[str]) -> Scores:
        """Relevance [N, 7]; sums to 1 for each text."""
        # The vectorizers refuse an empty list.
        if not len(texts):
            return np.zeros((0, NUM_TENDENCIES))
        scores: Scores = self._regression.predict_proba(self._features(texts))
        return scores

    def _features(self, texts: Sequence[str]) -> Any:
        from scipy.sparse import hstack

        # Roots, so that the shares are those of the squared lengths.
        words = self._words.transform(texts) * self.WORD_SHARE**0.5
        characters = self._characters.transform(texts) * (1 - self.WORD_SHARE) ** 0.5
        return hstack([words, characters]).tocsr()


class KeywordRelevance:
    """A baseline: the share of seed words of each tendency among those that a text contains.

    Equal shares for none.
    """

    def score(self, texts: Sequence[str]) -> Scores:
        """Relevance [N, 7]."""
        vocabularies = [set(seed_words(tendency)) for tendency in TENDENCIES]
        counts = np.array(
            [[sum(w in v for w in _plain_words(text)) for v in vocabularies] for text in texts],
            float,
        )
        counts = counts.reshape(len(texts), NUM_TENDENCIES)
        totals = counts.sum(axis=1, keepdims=True)
        # A text without any seed word says the same for all.
        return np.where(totals > 0, counts / np.maximum(totals, 1), 1 / NUM_TENDENCIES)


class EmbeddingRelevance:
    """Sentence embeddings: nearness to the claims and to the labelled examples of each tendency.

    Args:
        model: A name that sentence-transformers knows, or an object with `encode(texts) -> [N, D]`.
        temperature: Cosine differences are divided by this before the softmax.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
    """

    def __init__(self, model: Any = "all-MiniLM-L6-v2", temperature: float = 0.05) -> None:
        self._model = _sentence_transformer(model) if isinstance(model, str) else model
        self.temperature = temperature
        corpus = load_corpus("train")
        examples = [[CLAIMS[t], *(o.content for o in corpus if o.owner is t)] for t in TENDENCIES]
        # The mean of the claim and its examples, of length 1 again.
        self._centres = _unit(np.array([self._embed(texts).mean(axis=0) for texts in examples]))

    def score(self, texts: Sequence[str]) -> Scores:
        """Relevance [N, 7]; sums to 1 for each text."""
        if not len(texts):
            return np.zeros((0, NUM_TENDENCIES))
        logits = self._embed(texts) @ self._centres.T / self.temperature
        # The largest is taken off, so that no exponential overflows.
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores: Scores = shares / shares.sum(axis=1, keepdims=True)
        return scores

    def _embed(self, texts: Sequence[str]) -> Scores:
        return _unit(np.asarray(self._model.encode(list(texts)), np.float64))


@cache
def default_relevance() -> TfidfRelevance:
    """The default scorer, fitted once (a third of a second)."""
    return TfidfRelevance()


def check_scores(scores: Any, num_texts: int) -> Scores:
    """Return relevance [N, 7] as floats or raise ObservationError.

    What a scorer gives is not taken on trust.
    """
    try:
        array = np.asarray(scores, np.float64)
    except (TypeError, ValueError) as error:
        raise ObservationError(f"the scorer gave no numbers: {error}") from error
    if array.shape != (num_texts, NUM_TENDENCIES):
        raise ObservationError(
            f"the scorer gave shape {array.shape} for {num_texts} texts, not {(num_texts, 7)}"
        )
    if not np.all((array >= 0) & (array <= 1)):  # False for NaN
        raise ObservationError(
            "the scorer gave relevance outside 0..1 or NaN: mend it, or score these texts again"
        )
    return array


def _examples(
    texts: Sequence[str], owners: Sequence[int], *, has_lexicon: bool, has_corpus: bool
) -> tuple[list[str], list[int]]:
    if len(texts) != len(owners):
        raise ObservationError(f"got {len(texts)} texts and {len(owners)} owners")
    for owner in owners:
        number = as_integer(owner)
        if number is None or not 0 <= number < NUM_TENDENCIES:
            # Named one by one: an owner of 7 would become a class of its own.
            raise ObservationError(
                f"owners are numbers below {NUM_TENDENCIES}, the index of a tendency; got {owner!r}"
            )
    examples, labels = list(texts), [int(owner) for owner in owners]
    if has_corpus:
        for observation in load_corpus("train"):
            if observation.owner is not None:
                examples.append(observation.content)
                labels.append(observation.owner.index)
    if has_lexicon:
        for tendency in TENDENCIES:
            # Each seed word is an example by itself, so that every tendency has some.
            words = seed_words(tendency)
            examples += words
            labels += [tendency.index] * len(words)
    return examples, labels


def _plain_words(text: str) -> list[str]:
    return "".join(c if c.isalpha() else " " for c in text.lower()).split()


def _unit(rows: Scores) -> Scores:
    # The least length keeps a text of no known word from dividing by zero.
    unit: Scores = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return unit


def _scikit_learn() -> tuple[Any, Any]:
    try:
        from sklearn import linear_model
        from sklearn.feature_extraction import text
    except ImportError as error:
        raise MissingExtraError(
            "the default scorer needs scikit-learn: pip install 'wm-suite[text]'"
        ) from error
    return linear_model, text


def _sentence_transformer(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            "EmbeddingRelevance needs sentence-transformers: pip install it"
        ) from error
    return SentenceTransformer(name)


DEFAULT_TABLE = "relevance.json"


@dataclass(frozen=True)
class RelevanceTable:
    """Relevance of the observations of several persons.

    Attributes:
        persons: Names.
        first_rows: [persons + 1]; person p has the rows first_rows[p] up to first_rows[p + 1].
        relevance: float32 [rows, 7], each number in 0..1.
    """

    persons: tuple[str, ...]
    first_rows: NDArray[np.int64]
    relevance: NDArray[np.float32]

    @classmethod
    def of(cls, persons: "Mapping[str, ArrayLike]") -> "RelevanceTable":
        """From relevance [N, 7] by person.

        Raises OptionError on sizes beyond what a state has room for.
        """
        if not isinstance(persons, Mapping) or not 1 <= len(persons) <= MAX_PERSONS:
            raise OptionError(
                f"relevance maps 1 to {MAX_PERSONS} persons to arrays [N, 7], got {type(persons)}"
            )
        try:
            arrays = [check_scores(rows, len(np.asarray(rows))) for rows in persons.values()]
        except (ObservationError, TypeError, ValueError) as error:
            raise OptionError(f"relevance: {error}") from error
        counts = [len(rows) for rows in arrays]
        if min(counts) < 1 or sum(counts) > MAX_OBSERVATIONS:
            raise OptionError(
                f"each person needs an observation and all together at most {MAX_OBSERVATIONS}, "
                f"got {counts}"
            )
        first_rows = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(tuple(persons), first_rows, np.concatenate(arrays).astype(np.float32))

    @classmethod
    def score(cls, observations: Observations, scorer: Relevance) -> "RelevanceTable":
        """By a scorer; neighbours with the same `source_id` are one person."""
        groups = {
            name: [o.content for o in group]
            # Only neighbors are grouped: the order of a file is the order of its persons.
            for name, group in groupby(observations, lambda o: o.source_id)
        }
        return cls.of(
            {name: check_scores(scorer.score(texts), len(texts)) for name, texts in groups.items()}
        )

    def to_plain(self) -> dict[str, Any]:
        """Persons to lists of rows, rounded to four decimals."""
        # Rounded, so that the committed file does not change with the last bits of a library.
        parts = np.split(self.relevance.astype(np.float64).round(4), self.first_rows[1:-1])
        return {name: part.tolist() for name, part in zip(self.persons, parts, strict=True)}


@cache
def default_table() -> RelevanceTable:
    """The corpus by the default scorer; `python -m wm_envs.debate.relevance` computes it again."""
    # Read from the package: computing it would need scikit-learn.
    text = files("wm_envs.debate").joinpath("corpora", DEFAULT_TABLE).read_text(encoding="utf-8")
    return RelevanceTable.of(json.loads(text))


def _rows_as_lines(table: RelevanceTable) -> str:
    # One row a line: the file is committed, and a change of one score is a change of one line.
    blocks = []
    for name, rows in table.to_plain().items():
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        blocks.append(f"{json.dumps(name)}: [\n  {lines}]")
    return "{" + ",\n ".join(blocks) + "}\n"


def main() -> None:
    """Write the default table."""
    from pathlib import Path

    from wm_envs.debate.observations import load_corpus
    from wm_envs.debate.relevance import default_relevance

    table = RelevanceTable.score(load_corpus(), default_relevance())
    path = Path(__file__).parent / "corpora" / DEFAULT_TABLE
    path.write_text(_rows_as_lines(table), encoding="utf-8")
    print(f"wrote {len(table.relevance)} rows to {path}")


if __name__ == "__main__":
    main()
