"""What the votes before a date say about countries: habits, blocs, positions, and how topics map onto positions.

Everything here is computed from roll calls strictly before the date.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import NUM_KINDS, Floats, VoteData

SCORES = np.array([1.0, -0.3, -1.0], np.float32)  # yes, abstain, no on one line
NUM_DIMENSIONS = 5


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
        basis: [C, 1 + K] constant and standardised positions.
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
    """The history before `year`; a country that has not voted yet gets the average and changes nothing for the others.

    Args:
        data: All roll calls; those at or after `year` are not looked at.
        one_hot: `data.one_hot`, computed once.
        topic_rows: Text features [R, T].
        year: The date.
    """
    rows = data.between(year - 5, year)
    decay = np.exp(-(year - data.years[rows]) / 3).astype(np.float32)
    weighted = one_hot[rows] * decay[:, None, None]
    overall = (weighted.sum((0, 1)) + 1e-3) / (
        float(weighted.sum()) + 3e-3
    )  # a third each where nobody has voted
    base = _rates(one_hot[rows], decay, overall, 3.0)
    last = data.between(year - 1.2, year)
    longer = data.between(year - 8, year)
    longer_decay = np.exp(-(year - data.years[longer]) / 3).astype(np.float32)
    agreement, both = _agreement(one_hot[rows], decay)
    num_votes = weighted.sum((0, 2))
    has_voted = num_votes > 0
    positions = np.zeros((len(has_voted), NUM_DIMENSIONS), np.float32)
    positions[has_voted] = _positions(one_hot[rows][:, has_voted], decay)
    spread = (
        np.maximum(positions[has_voted].std(0), 1e-6)
        if has_voted.any()
        else np.ones(NUM_DIMENSIONS, np.float32)
    )
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
    """Smoothed share of equal votes of each pair [C, C], and the weight of the roll calls where both voted."""
    scaled = one_hot * np.sqrt(weights)[:, None, None]
    flat = scaled.transpose(1, 0, 2).reshape(one_hot.shape[1], -1)
    present = scaled.sum(2)
    both = present.T @ present
    return (flat @ flat.T + 1) / (both + 2), both


def _bloc_weights(agreement: Floats, both: Floats) -> Floats:
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
    score, present = one_hot @ SCORES, one_hot.sum(2)
    country_mean = (score * weights[:, None]).sum(0) / ((present * weights[:, None]).sum(0) + 2)
    roll_mean = score.sum(1) / np.maximum(present.sum(1), 1)
    filled = np.where(present > 0, score, 0.7 * roll_mean[:, None] + 0.3 * country_mean)
    centred = (filled - filled.mean(0)) * np.sqrt(weights)[:, None]
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
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
    """Ridge regression over fifteen years from text to where a roll call lies on the present basis."""
    rows = data.between(year - 15, year)
    targets = np.concatenate([coordinates(one_hot[rows], basis), _shares(one_hot[rows])], 1)
    features = text_features(data, topic_rows, rows)
    weights = np.exp(-(year - data.years[rows]) / 6).astype(np.float32)[:, None]
    penalty = 2 * np.eye(features.shape[1], dtype=np.float32)
    penalty[0, 0] = 1e-3
    solution: Floats = np.linalg.solve(
        (features * weights).T @ features + penalty, (features * weights).T @ targets
    )
    return solution


def coordinates(one_hot: Floats, basis: Floats) -> Floats:
    """Each roll call's coefficients on the basis, [R, 1 + K], by ridge regression over those present."""
    score, present = one_hot @ SCORES, one_hot.sum(2)
    gram = np.einsum("rc,ci,cj->rij", present, basis, basis, optimize=True)
    gram += 3 * np.eye(basis.shape[1], dtype=np.float32)
    solution: Floats = np.linalg.solve(gram, ((score * present) @ basis)[..., None])[..., 0]
    return solution


def _shares(one_hot: Floats) -> Floats:
    counts = one_hot.sum(1)
    shares: Floats = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares
