"""What is known of each vote before it is cast: one row of numbers per roll call and country.

Four kernels weigh earlier roll calls by the similarity of their texts, from the same field to
near-repeats; each one smooths the one before it, through the country's own votes and those of its
bloc. Beside them stand the last vote on the same text, habits by issue and kind, a low-rank
prediction from the text, the country's position, and its closeness to whoever moved an amendment.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import CHOICES, Floats, QuestionKind, VoteData
from wm_agents.domains.resolutions.history import (
    NUM_DIMENSIONS,
    History,
    coordinates,
    history_at,
    text_features,
    tf_idf,
    topics,
)
from wm_envs.resolutions.codes import Vote

MEMORY_YEARS = 25.0
PRECEDENT_SIMILARITY = 0.7
# Power of the similarity, years by which it decays, strength of the prior below it: from broad to
# narrow.
KERNELS = ((2, 6.0, 0.3), (4, 4.0, 0.15), (8, 1.5, 0.1))
RECENT_ROLL_CALLS = (10, 40)
MAX_QUESTION = 700  # characters at the end of a description, in which something is put to the vote
NUM_PROCEDURAL = 7
PROCEDURAL_DECAY = 0.3  # years: who moves amendments, and against what, changes with each session
REPEATED_DECAY = 3.0  # years: the same mover returns to the same text year after year
SAME_MOVER = 0.5  # counts like a text of similarity .7
# Weights at which half is believed of a parent's votes, and of earlier questions on the same text.
PARENT_STRENGTH = 0.3
REPEATED_STRENGTH = 0.1
BROAD_DECAY = 4.0  # years
BROAD_STRENGTH = 1.0


@dataclass(frozen=True)
class Predictors:
    """Features and the simple predictions that they contain, for K roll calls of C countries.

    Attributes:
        features: [K, C, F] float32.
        issue_rates: [K, C, 3] the country's rates on the roll call's issues: the country-mode
            baseline.
        precedent: [K, C, 3] one-hot last vote on the same text, zero where there is none.
        neighbors: [K, C, 3] text-kernel average.
        attendance: [K, C, 11] what tells who will vote at all: a constant, log-odds of the
            country's presence on nearly equal texts, over the last year, and on the last ten and
            forty roll calls, the Assembly's means of these but the second, and the season.
        procedural: [K, C, 3, 7] what speaks for each choice on amendments and motions, as logits
            whose weights are learned: yes, no, recent rates on questions of that kind, closeness to
            whoever moved it, rates on earlier questions about the same text or by the same mover,
            rates on the parent text, and whether it is for the parent; 0 for other kinds.
    """

    features: Floats
    issue_rates: Floats
    precedent: Floats
    neighbors: Floats
    attendance: Floats
    procedural: Floats


class FeatureBuilder:
    """Computes features for roll calls from what happened before each of them.

    Args:
        data: All roll calls.
        train_before: Document frequencies and topics are learned on texts before this year.
        history_until: No vote from this year on enters a feature; infinity lets the history grow
            with each date.
    """

    def __init__(self, data: VoteData, train_before: float, history_until: float = np.inf) -> None:
        self.data = data
        self.history_until = history_until
        is_training = data.years < train_before
        self.full_rows = tf_idf(data.titles, is_training)
        self.title_rows = tf_idf([_title(text) for text in data.titles], is_training)
        self.topic_rows = topics(self.full_rows, is_training)
        self.one_hot = data.one_hot
        self.is_present = data.is_present
        self.sides = procedural_sides(data)
        self._histories: dict[float, History] = {}

    def history(self, year: float) -> History:
        """The slow-moving history, computed anew each quarter."""
        quarter = min(np.floor(year * 4) / 4, self.history_until)
        if quarter not in self._histories:
            self._histories[quarter] = history_at(self.data, self.one_hot, self.topic_rows, quarter)
        return self._histories[quarter]

    def build(self, rows: Iterable[int]) -> Predictors:
        """The predictors of these roll calls."""
        parts = [self._roll_call(int(row)) for row in rows]
        return Predictors(*(np.stack(column) for column in zip(*parts, strict=True)))

    def _roll_call(self, row: int) -> tuple[Floats, ...]:
        """The fields of `Predictors` for one roll call."""
        data = self.data
        kind = int(data.kinds[row])
        year = min(data.years[row], self.history_until)
        history = self.history(data.years[row])
        earlier = data.between(year - MEMORY_YEARS, year)
        issue_rates = self._issue_rates(row, history)
        similarity = 0.5 * (
            _dot(self.full_rows, row, earlier) + _dot(self.title_rows, row, earlier)
        )
        age = (data.years[row] - data.years[earlier]).astype(np.float32)
        affinity = _kind_affinity(kind, data.kinds[earlier])

        # Kernels, from broad to narrow.
        weights = self._kernel_weights(row, earlier, similarity, age)
        counts = [self._counts(earlier, weight * affinity) for weight in weights]
        strengths = [BROAD_STRENGTH, *(strength for _, _, strength in KERNELS)]
        levels, blocs = _smoothed(counts, strengths, issue_rates, history)
        is_whole = data.kinds[earlier] == QuestionKind.WHOLE
        whole_weight = similarity**4 * np.exp(-age / 4) * is_whole
        whole_counts = self._counts(earlier, whole_weight)
        whole = (whole_counts + 0.3 * issue_rates) / (whole_counts.sum(1, keepdims=True) + 0.3)

        # The last vote on the same text, and the most similar text at all.
        precedent, precedent_facts = self._precedent(row, earlier, similarity, age)
        nearest = -1
        nearest_age = MEMORY_YEARS
        nearest_votes = np.zeros_like(issue_rates)
        if len(earlier):
            nearest = int(np.argmax(similarity * affinity * np.exp(-age / 8)))
            nearest_age = age[nearest]
            nearest_votes = self.one_hot[earlier[nearest]]

        # Where the text lies on the axes of voting: from its words, and from the neighbors' votes.
        texts = text_features(data, self.topic_rows, np.array([row]))
        coefficients = texts[0] @ history.text_map
        located = coordinates((levels[1] * history.has_voted[:, None])[None], history.basis)[0]
        size = 1 + NUM_DIMENSIONS

        # Attendance on nearly equal texts: some countries stay away from some subjects.
        narrow = (weights[3] * affinity).sum()
        attendance = (counts[3].sum(1) + 0.3 * history.attendance) / (narrow + 0.3)
        # No is left out of most rates: the three sum to one.
        by_country = [
            *(level[:, :2] for level in reversed(levels)),
            issue_rates[:, :2],
            blocs[:, :2],
            precedent,
            nearest_votes,
            np.stack([counts[3].sum(1), counts[2].sum(1)], 1),
            history.base_rates[:, :2],
            history.recent_rates[:, :2],
            history.kind_rates[kind][:, :2],
            np.stack([history.basis @ coefficients[:size], history.basis @ located], 1),
            np.stack([history.attendance, history.num_votes], 1),
            whole[:, ::2],
            history.positions,
            self._closeness(row, history)[:, None],
        ]
        shared = [
            similarity.max(initial=0.0),
            (similarity * affinity).max(initial=0.0),
            *precedent_facts,
            nearest_age,
            *np.concatenate([_share(level, history) for level in levels]),
            *coefficients[: size + 2],
            *located,
            data.kinds[row],
            *data.issues[row],
            *(weight.sum() for weight in weights[1:]),
            whole_weight.max(initial=0.0),
            *_share(whole, history),
            data.years[row] % 1,
        ]
        shared_row = np.array(shared, np.float32)
        shared_columns = np.broadcast_to(shared_row, (len(issue_rates), len(shared)))
        features = np.concatenate([*by_country, shared_columns], 1).astype(np.float32)
        coming = self._attendance(row, earlier, attendance, history)
        parent = _confident(whole, float(whole_weight.sum()), PARENT_STRENGTH)
        procedural = self._procedural(row, earlier, similarity, parent, history)
        return features, issue_rates, precedent, levels[1], coming, procedural

    def _attendance(
        self, row: int, earlier: NDArray[np.int64], narrow: Floats, history: History
    ) -> Floats:
        """The field of `Predictors` for one roll call."""
        is_known = history.has_voted
        shares = [narrow, history.attendance]
        for length in RECENT_ROLL_CALLS:
            last = self.is_present[earlier[-length:]]
            ages = np.arange(len(last))[::-1]
            weights = np.exp(-ages / (length / 2))
            shares.append((weights @ last + 0.5) / (weights.sum() + 1))
        odds = [_log_odds(share) for share in shares]
        means = [
            _log_odds(share[is_known].mean() if is_known.any() else np.float64(0.5))
            for share in (shares[0], *shares[2:])
        ]
        phase = self.data.years[row] % 1
        # Spring and summer, the first half of the main session, and the last days of December have
        # an attendance of their own.
        season = [phase < 0.65, 0.65 <= phase < 0.9, phase >= 0.97]
        shared = np.array([1.0, *means, *season])
        columns = np.broadcast_to(shared, (len(narrow), len(shared)))
        return np.column_stack([columns, *odds]).astype(np.float32)

    def _procedural(
        self,
        row: int,
        earlier: NDArray[np.int64],
        similarity: Floats,
        parent: Floats,
        history: History,
    ) -> Floats:
        """The field of `Predictors` for one roll call; `parent` are logits [C, 3] of its text."""
        data = self.data
        num_countries = len(data.countries)
        result = np.zeros((num_countries, len(CHOICES), NUM_PROCEDURAL), np.float32)
        kind = data.kinds[row]
        if kind < QuestionKind.AMENDMENT:
            return result
        age = data.years[row] - data.years[earlier]
        is_same_kind = data.kinds[earlier] == kind
        recent = np.exp(-age / PROCEDURAL_DECAY) * is_same_kind

        # Earlier questions about this text, or by this mover, that took the same side.
        is_mover = data.sponsors[row]
        has_mover = (data.sponsors[earlier] & is_mover).any(1)
        alike = (similarity**2 + SAME_MOVER * has_mover) * np.exp(-age / REPEATED_DECAY)
        repeated = alike * np.where(is_same_kind, 1.0, 0.5)
        repeated *= self.sides[earlier] == self.sides[row]

        # What is against a text is favored by those who are against the text.
        side = self.sides[row]
        stance = parent if side > 0 else parent[:, ::-1]
        weights = history.attendance * history.has_voted
        # Only differences between countries: how many oppose a text does not say how many want it
        # changed.
        stance = stance - weights @ stance / np.maximum(weights.sum(), 1e-9)
        closeness = self._closeness(row, history)
        closeness = np.nan_to_num(4 * (closeness - closeness.mean()))  # nobody known: no opinion
        for_yes = np.array([1.0, 0.0, -1.0], np.float32)  # by `CHOICES`

        result[:, Vote.YES, 0] = 1
        result[:, Vote.NO, 1] = 1
        result[..., 2] = _logits(self._shared_rates(earlier, recent, history))
        result[..., 3] = closeness[:, None] * for_yes
        result[..., 4] = _confident(
            self._shared_rates(earlier, repeated, history), float(repeated.sum()), REPEATED_STRENGTH
        )
        result[..., 5] = stance
        result[..., 6] = side * for_yes
        return result

    def _shared_rates(
        self, earlier: NDArray[np.int64], weights: Floats, history: History
    ) -> Floats:
        """Rates [C, 3] over few roll calls: those who mostly vote alike speak for each other."""
        counts = self._counts(earlier, weights)
        overall = (counts.sum(0) + 0.3) / (counts.sum() + 0.9)
        alike = np.exp((history.agreement - 1) * 12)
        np.fill_diagonal(alike, 0)
        of_bloc = 8 * alike @ counts / np.maximum(alike.sum(1, keepdims=True), 1e-9)
        prior = (of_bloc + overall) / (of_bloc.sum(1, keepdims=True) + 1)
        rates: Floats = (counts + 2 * prior) / (counts.sum(1, keepdims=True) + 2)
        return rates

    def _kernel_weights(
        self, row: int, earlier: NDArray[np.int64], similarity: Floats, age: Floats
    ) -> list[Floats]:
        """Weights of the earlier roll calls, one array for each kernel, from broad to narrow."""
        # Issues count too in the broadest one, which finds the field of a text that is new.
        alike = 0.3 * (similarity + 0.1 * self._issue_similarity(row, earlier))
        broad = alike * np.exp(-age / BROAD_DECAY)
        return [broad, *(similarity**power * np.exp(-age / decay) for power, decay, _ in KERNELS)]

    def _issue_rates(self, row: int, history: History) -> Floats:
        is_of_issue = self.data.issues[row]
        if not is_of_issue.any():
            return history.base_rates
        rates: Floats = history.issue_rates[is_of_issue].mean(0)
        return rates / rates.sum(1, keepdims=True)

    def _issue_similarity(self, row: int, earlier: NDArray[np.int64]) -> Floats:
        issues = self.data.issues.astype(np.float32)
        sizes = np.sqrt(issues[earlier].sum(1) * issues[row].sum())
        similarity: Floats = (issues[earlier] @ issues[row]) / np.maximum(sizes, 1)
        return similarity

    def _counts(self, earlier: NDArray[np.int64], weights: Floats) -> Floats:
        """Weighted votes [C, 3].

        What weighs nothing is left out, which makes it several times faster.
        """
        near = weights > 1e-4
        num_near = int(near.sum())
        flat = self.one_hot[earlier[near]].reshape(num_near, self.one_hot[0].size)
        counts: Floats = (weights[near].astype(np.float32) @ flat).reshape(self.one_hot.shape[1:])
        return counts

    def _precedent(
        self, row: int, earlier: NDArray[np.int64], similarity: Floats, age: Floats
    ) -> tuple[Floats, tuple[float, float]]:
        """The latest vote on the same text and kind, with its similarity and age in years."""
        same = (similarity > PRECEDENT_SIMILARITY) & (
            self.data.kinds[earlier] == self.data.kinds[row]
        )
        if not same.any():
            return np.zeros(self.one_hot.shape[1:], np.float32), (0.0, 30.0)
        places = np.flatnonzero(same)
        last = places[np.argmax(self.data.years[earlier][places] + 0.01 * similarity[places])]
        return self.one_hot[earlier[last]], (float(similarity[last]), float(age[last]))

    def _closeness(self, row: int, history: History) -> Floats:
        """Mean agreement with the sponsors; not a number where nobody is known."""
        sponsors = self.data.sponsors[row]
        if not sponsors.any():
            return np.full(len(sponsors), np.nan, np.float32)
        closeness: Floats = history.agreement[:, sponsors].mean(1)
        return closeness


# A motion against an amendment is for the text; any other motion, and an amendment, against it.
_AGAINST_AMENDMENT = re.compile(r"no action\W+(?:\w+\W+){0,5}?amendments?", re.IGNORECASE)


def procedural_sides(data: VoteData) -> NDArray[np.int8]:
    """Whether each roll call [R] would help (1) or hinder (-1) its parent text, 0 for the text itself.

    Read from the description. Sponsors may revise their text without a vote: what is put to the
    vote as an amendment comes from those who would rather not have it as it is.
    """
    is_procedural = data.kinds >= QuestionKind.AMENDMENT
    sides = np.where(is_procedural, -1, 0).astype(np.int8)
    for row in np.flatnonzero(data.kinds == QuestionKind.MOTION).tolist():
        if _AGAINST_AMENDMENT.search(data.descriptions[row][-MAX_QUESTION:]):
            sides[row] = 1
    return sides


def _logits(rates: Floats) -> Floats:
    """Logarithms less their mean over the choices."""
    logs = np.log(np.maximum(rates, 0.02))
    centered: Floats = logs - logs.mean(-1, keepdims=True)
    return centered


def _confident(rates: Floats, weight: float, strength: float) -> Floats:
    """Logits that count as much as the weight that they rest on deserves."""
    return _logits(rates) * np.float32(weight / (weight + strength))


def _log_odds(share: Any) -> Any:
    clipped = np.clip(share, 0.01, 0.99)
    return np.log(clipped / (1 - clipped))


def _title(text: str) -> str:
    """The title without the subject, or everything where there is no title."""
    title = text.split(" . ")[0]
    return title if title.strip() else text


def _dot(rows: Any, row: int, earlier: NDArray[np.int64]) -> Floats:
    if len(earlier) == 0:
        return np.zeros(0, np.float32)
    products: Floats = (rows[row] @ rows[earlier[0] : earlier[-1] + 1].T).toarray()[0]
    return products


def _kind_affinity(kind: int, earlier: NDArray[np.int8]) -> Floats:
    """How much an earlier vote on another kind of question tells.

    Texts and paragraphs a little about each other, amendments and motions nearly nothing.
    """
    affinity = np.full(len(earlier), 0.05, np.float32)
    if kind <= QuestionKind.PARAGRAPH:
        affinity[earlier <= QuestionKind.PARAGRAPH] = 0.3
    affinity[earlier == kind] = 1.0
    return affinity


def _smoothed(
    counts: list[Floats], strengths: list[float], prior: Floats, history: History
) -> tuple[list[Floats], Floats]:
    """Rates of each kernel, from broad to narrow, and those of the blocs.

    Each is shrunk to the one before and to the country's bloc.
    """
    levels = []
    blocs = prior
    for place, (count, strength) in enumerate(zip(counts, strengths, strict=True)):
        of_bloc = history.bloc_weights @ count
        bloc_rates = (of_bloc + 0.3 * strength * prior) / (
            of_bloc.sum(1, keepdims=True) + 0.3 * strength
        )
        target = 0.5 * (prior + bloc_rates)
        prior = (count + strength * target) / (count.sum(1, keepdims=True) + strength)
        levels.append(prior)
        if place == 2:  # narrow enough to be about this text, and broad enough to hold votes
            blocs = bloc_rates
    return levels, blocs


def _share(rates: Floats, history: History) -> Floats:
    """Expected shares of yes and abstain among those who tend to be there.

    0 where nobody has voted yet.
    """
    attendance = history.attendance * history.has_voted
    shares: Floats = attendance @ rates[:, :2] / np.maximum(attendance.sum(), 1e-9)
    return shares
