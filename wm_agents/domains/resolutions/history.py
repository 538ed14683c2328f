"""What is known before a date: texts as TF-IDF rows, and countries' habits, blocs and positions.

Words are hashed, so that a word first seen after the training period still makes two later texts
similar; its inverse document frequency, learned on the training period alone, is the largest there
is. A `History` is computed from roll calls strictly before its date.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import Floats, QuestionKind, VoteData

NUM_BUCKETS = 2**18
NUM_KINDS = len(QuestionKind)
# Yes, abstain and no on one line: an abstention is closer to a no than to a yes.
SCORES = np.array([1.0, -0.3, -1.0], np.float32)
NUM_DIMENSIONS = 5


def tf_idf(texts: Sequence[str], is_training: NDArray[np.bool_]) -> Any:
    """Rows of unit length, a sparse matrix [R, 2**18] over single words and pairs.

    Args:
        texts: R texts.
        is_training: [R], those from which document frequencies are learned.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    vectorizer = HashingVectorizer(
        n_features=NUM_BUCKETS,
        ngram_range=(1, 2),
        alternate_sign=False,
        norm=None,
        stop_words="english",
    )
    counts = vectorizer.transform([text.lower() for text in texts])
    counts.data = 1 + np.log(counts.data)
    return (
        TfidfTransformer()
        .fit(counts[np.flatnonzero(is_training)])
        .transform(counts)
        .astype(np.float32)
    )


def novelty(
    rows: Any, years: NDArray[np.float64], selected: NDArray[np.int64], threshold: float = 0.7
) -> NDArray[np.bool_]:
    """Whether no text of an earlier date is as similar as `threshold` to each selected one, [K]."""
    similarity = (rows[selected] @ rows.T).tocsr()
    is_novel = np.empty(len(selected), np.bool_)
    for place, row in enumerate(selected):
        num_earlier = np.searchsorted(years, years[row], "left")
        is_novel[place] = _largest(similarity[place], int(num_earlier)) < threshold
    return is_novel


def _largest(row: Any, num_columns: int) -> float:
    values = row.data[row.indices < num_columns]
    return float(values.max()) if len(values) else 0.0


def topics(rows: Any, is_training: NDArray[np.bool_], size: int = 80) -> NDArray[np.float32]:
    """Dense text features [R, size]: latent semantic analysis fitted on the training texts."""
    from sklearn.decomposition import TruncatedSVD

    training = np.flatnonzero(is_training)
    decomposition = TruncatedSVD(min(size, len(training) - 1), random_state=0).fit(rows[training])
    return decomposition.transform(rows).astype(np.float32)


@dataclass(frozen=True)
class History:
    """State of the world at a date, for C countries.

    Attributes:
        base_rates: [C, 3] shares of yes, abstain, no over five years, recent ones counting more.
        recent_rates: [C, 3] over the last year.
        issue_rates: [I, C, 3] by issue.
        kind_rates: [4, C, 3] by kind of text.
        attendance: [C] share of roll calls of the last year with a vote.
        num_votes: [C] weighted number of votes that the rates rest on.
        agreement: [C, C] share of equal votes.
        bloc_weights: [C, C] rows that sum to one: which other countries speak for a country.
        positions: [C, K] coordinates from the singular value decomposition of five years of votes.
        basis: [C, 1 + K] constant and standardized positions.
        text_map: [F, 1 + K + 3] ridge regression from text features to a roll call's coordinates
            and vote shares.
    """

    base_rates: Floats
    recent_rates: Floats
    issue_rates: Floats
    kind_rates: Floats
    attendance: Floats
    num_votes: Floats
    agreement: Floats
    bloc_weights: Floats
    positions: Floats
    basis: Floats
    text_map: Floats

    @property
    def has_voted(self) -> NDArray[np.bool_]:
        """[C]: whether the rates rest on any vote."""
        return self.num_votes > 0


def text_features(data: VoteData, topic_rows: Floats, rows: NDArray[np.int64]) -> Floats:
    """What the ridge regression sees of each text, [len(rows), F]."""
    kinds = np.eye(NUM_KINDS, dtype=np.float32)[data.kinds[rows]]
    ones = np.ones((len(rows), 1), np.float32)
    return np.concatenate(
        [ones, 5 * topic_rows[rows], data.issues[rows].astype(np.float32), kinds], 1
    )


def history_at(data: VoteData, one_hot: Floats, topic_rows: Floats, year: float) -> History:
    """The history before `year`.

    A country that has not voted yet gets the average and changes nothing for the others.

    Args:
        data: All roll calls; those at or after `year` are not looked at.
        one_hot: `data.one_hot`, computed once.
        topic_rows: Text features [R, T].
        year: The date.
    """
    # Five years: long enough for texts that return each year, short enough for governments that do
    # not.
    rows = data.between(year - 5, year)
    decay = np.exp(-(year - data.years[rows]) / 3).astype(np.float32)
    weighted = one_hot[rows] * decay[:, None, None]
    # The small counts make it a third each where nobody has voted.
    overall = (weighted.sum((0, 1)) + 1e-3) / (float(weighted.sum()) + 3e-3)
    base = _rates(one_hot[rows], decay, overall, 3.0)
    # A little more than a year, so that the last session is in it whatever the month.
    last = data.between(year - 1.2, year)
    longer = data.between(year - 8, year)
    longer_decay = np.exp(-(year - data.years[longer]) / 3).astype(np.float32)
    agreement, both = _agreement(one_hot[rows], decay)
    num_votes = weighted.sum((0, 2))
    has_voted = num_votes > 0
    positions = np.zeros((len(has_voted), NUM_DIMENSIONS), np.float32)
    # Newcomers stand in the middle: filled in by means, they would move the axes for everybody.
    positions[has_voted] = _positions(one_hot[rows][:, has_voted], decay)
    spread = np.ones(NUM_DIMENSIONS, np.float32)
    if has_voted.any():
        spread = np.maximum(positions[has_voted].std(0), 1e-6)
    basis = np.concatenate([np.ones((len(positions), 1), np.float32), positions / spread], 1)
    memberships = data.issues[longer].astype(np.float32)
    kinds = np.eye(NUM_KINDS, dtype=np.float32)[data.kinds[longer]]
    return History(
        base_rates=base,
        recent_rates=_rates(one_hot[last], np.ones(len(last), np.float32), base, 5.0),
        issue_rates=_rates_by(one_hot[longer], longer_decay, memberships, base),
        kind_rates=_rates_by(one_hot[longer], longer_decay, kinds, base),
        attendance=(one_hot[last].sum((0, 2)) + 1) / (len(last) + 1.2),
        num_votes=num_votes,
        agreement=agreement,
        bloc_weights=_bloc_weights(agreement, both),
        positions=positions,
        basis=basis,
        text_map=_text_map(data, one_hot, topic_rows, basis, year),
    )


def _rates(one_hot: Floats, weights: Floats, prior: Floats, strength: float) -> Floats:
    counts = np.einsum("r,rck->ck", weights, one_hot)
    rates: Floats = (counts + strength * prior) / (counts.sum(1, keepdims=True) + strength)
    return rates


def _rates_by(one_hot: Floats, weights: Floats, groups: Floats, prior: Floats) -> Floats:
    if groups.shape[1] == 0:
        return np.zeros((0, *prior.shape), np.float32)
    return np.stack([_rates(one_hot, weights * group, prior, 3.0) for group in groups.T])


def _agreement(one_hot: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Smoothed share of equal votes [C, C] of each pair, and the weight of what both voted on."""
    scaled = one_hot * np.sqrt(weights)[:, None, None]
    flat = scaled.transpose(1, 0, 2).reshape(one_hot.shape[1], -1)
    present = scaled.sum(2)
    both = present.T @ present
    return (flat @ flat.T + 1) / (both + 2), both


def _bloc_weights(agreement: Floats, both: Floats) -> Floats:
    # Sharp in agreement, so that a bloc is those who nearly always vote alike; cautious where few
    # roll calls say so.
    weights = np.exp((agreement - 1) * 25) * (both / (both + 3))
    np.fill_diagonal(weights, 0)
    scaled: Floats = weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)
    return scaled


def _positions(one_hot: Floats, weights: Floats) -> Floats:
    """Principal coordinates of the countries.

    An absence is filled by the roll call's and the country's means.
    """
    if one_hot.size == 0:
        return np.zeros((one_hot.shape[1], NUM_DIMENSIONS), np.float32)
    score = one_hot @ SCORES
    present = one_hot.sum(2)
    country_mean = (score * weights[:, None]).sum(0) / ((present * weights[:, None]).sum(0) + 2)
    roll_mean = score.sum(1) / np.maximum(present.sum(1), 1)
    filled = np.where(present > 0, score, 0.7 * roll_mean[:, None] + 0.3 * country_mean)
    centered = (filled - filled.mean(0)) * np.sqrt(weights)[:, None]
    _, values, vectors = np.linalg.svd(centered, full_matrices=False)
    positions = np.zeros((one_hot.shape[1], NUM_DIMENSIONS), np.float32)
    count = min(NUM_DIMENSIONS, len(values))
    positions[:, :count] = vectors[:count].T * values[:count] / np.sqrt(weights.sum())
    # Signs are arbitrary: the most extreme country stands on the positive side.
    extreme = np.abs(positions).argmax(0)
    signs = np.sign(positions[extreme, np.arange(NUM_DIMENSIONS)])
    return positions * np.where(signs == 0, 1, signs).astype(np.float32)


def _text_map(
    data: VoteData, one_hot: Floats, topic_rows: Floats, basis: Floats, year: float
) -> Floats:
    """Ridge regression over fifteen years from a text to its coordinates on the present basis."""
    rows = data.between(year - 15, year)
    targets = np.concatenate([coordinates(one_hot[rows], basis), _shares(one_hot[rows])], 1)
    features = text_features(data, topic_rows, rows)
    weights = np.exp(-(year - data.years[rows]) / 6).astype(np.float32)[:, None]
    penalty = 2 * np.eye(features.shape[1], dtype=np.float32)
    penalty[0, 0] = 1e-3  # the constant is not shrunk
    weighted = (features * weights).T
    solution: Floats = np.linalg.solve(weighted @ features + penalty, weighted @ targets)
    return solution


def coordinates(one_hot: Floats, basis: Floats) -> Floats:
    """Each roll call's coefficients [R, 1 + K] on the basis.

    By ridge regression over those present.
    """
    score = one_hot @ SCORES
    present = one_hot.sum(2)
    gram = np.einsum("rc,ci,cj->rij", present, basis, basis, optimize=True)
    gram += 3 * np.eye(basis.shape[1], dtype=np.float32)
    solution: Floats = np.linalg.solve(gram, ((score * present) @ basis)[..., None])[..., 0]
    return solution


def _shares(one_hot: Floats) -> Floats:
    counts = one_hot.sum(1)
    shares: Floats = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares
