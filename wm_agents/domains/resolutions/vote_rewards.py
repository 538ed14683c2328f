"""Recorded roll calls as decisions: what each country could have voted, with features of three kinds.

`stage`: the seven functions of the state that were used historically. One's own vote moves a tally
by one in 180 and no stage, so they tell next to nothing about why one votes; `MaxEntIRL` says so.
`alignment`: does the vote agree with that of reference countries, is it yes, is it an abstention.
`precedent`: no reference country. What the text asks, judged by how everybody voted on similar
texts before, and one's own last vote on it. The last one foresees votes very well, and explains
away what it repeats: to learn what somebody is for, leave it out (`VoteProblem.without`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import ABSENT, NO, YES, VoteData
from wm_agents.domains.resolutions.features import Predictors
from wm_agents.errors import ConfigError
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.mdp import Floats, TabularMDP

STAGE_FEATURES = (
    *("is_sponsor", "sponsor_count", "committee_support", "plenary_support"),
    *("in_draft", "in_committee", "in_plenary"),
)
LAST_VOTE = "same_as_last_vote"
PRECEDENT_FEATURES = (
    *("assent", "abstention", "direction_1", "direction_2", "support", "uncertainty", LAST_VOTE),
)
REFERENCES = ("US", "RU", "CN")
_SCORES = np.array([1.0, -0.3, -1.0])  # yes, abstain, no on one line
_ABSTAIN = 1


@dataclass(frozen=True)
class VoteProblem:
    """R roll calls that C countries were asked about.

    Attributes:
        feature_names: F names.
        shared: [R, 3, F] features of yes, abstain and no that do not depend on who votes.
        own: C countries' own additions [R, C, 3] to the feature of the same place as the key.
        votes: [R, C] int8, -1 absent.
        countries: C codes.
    """

    feature_names: tuple[str, ...]
    shared: Floats
    own: dict[int, Floats]
    votes: NDArray[np.int8]
    countries: tuple[str, ...]

    def features(self, country: str, rows: NDArray[np.int64]) -> Floats:
        """[len(rows), 3, F] as one country sees them."""
        column = self.countries.index(country)
        features = self.shared[rows].copy()
        for place, values in self.own.items():
            features[:, :, place] += values[rows, column]
        return features

    def situations(self, rows: NDArray[np.int64]) -> Floats:
        """[len(rows), 3, F] as the median country sees them, so that all can be put before the same."""
        features = self.shared[rows].copy()
        for place, values in self.own.items():
            features[:, :, place] += np.median(values[rows], 1)
        return features

    def without(self, feature_name: str) -> "VoteProblem":
        """The same without one feature."""
        place = self.feature_names.index(feature_name)
        names = tuple(name for name in self.feature_names if name != feature_name)
        own = {key - (key > place): values for key, values in self.own.items() if key != place}
        return VoteProblem(names, np.delete(self.shared, place, 2), own, self.votes, self.countries)

    def decisions(self, country: str, rows: NDArray[np.int64]) -> tuple[TabularMDP, Demonstrations]:
        """The roll calls of an index on which the country voted, each an episode of one decision."""
        column = self.countries.index(country)
        cast = rows[self.votes[rows, column] != ABSENT]
        if not len(cast):
            raise ConfigError(
                f"{country} voted on none of the {len(rows)} roll calls: choose others or leave it out"
            )
        model = TabularMDP(self.features(country, cast), self.feature_names)
        return model, Demonstrations.from_states(np.arange(len(cast)), self.votes[cast, column])


def stage_problem(data: VoteData, rows: NDArray[np.int64]) -> VoteProblem:
    """The historical features; one's own vote counts in the tally of its choice."""
    votes = data.votes[rows]
    counts = np.stack([(votes == choice).sum(1) for choice in range(3)], 1)
    shared = np.zeros((len(rows), 3, len(STAGE_FEATURES)))
    shared[:, :, 1] = data.sponsors[rows].sum(1)[:, None]
    shared[:, :, 6] = 1.0
    voters = np.maximum(counts.sum(1), 1)[:, None]
    others = counts[:, YES, None] - (votes == YES)
    support = np.repeat((others / voters)[:, :, None], 3, 2)
    support[:, :, YES] += 1 / voters
    sponsors = np.repeat(data.sponsors[rows][:, :, None].astype(np.float64), 3, 2)
    return VoteProblem(
        STAGE_FEATURES, shared, {0: sponsors, 3: support}, votes, tuple(data.countries)
    )


def alignment_problem(
    data: VoteData, rows: NDArray[np.int64], references: Sequence[str] = REFERENCES
) -> VoteProblem:
    """Agreement with references: 1 for the same vote, 1/2 where one of the two abstains, 0 for opposite votes.

    Where a reference was absent, and for the reference itself, agreement is 0 whatever one votes.

    Raises:
        ConfigError: A reference that is not in the data.
    """
    missing = [code for code in references if code not in data.countries]
    if missing:
        raise ConfigError(f"references {missing} are not among the countries: choose others")
    names = ("assent", "abstention", *(f"agrees_with_{code}" for code in references))
    votes = data.votes[rows]
    own = {}
    for place, code in enumerate(references, 2):
        column = list(data.countries).index(code)
        theirs = votes[:, column]
        agreement = 1 - np.abs(np.arange(3) - theirs[:, None]) / 2
        agreement[theirs == ABSENT] = 0
        values = np.repeat(agreement[:, None], votes.shape[1], 1)
        values[:, column] = 0
        own[place] = values
    return VoteProblem(
        names, _signed_ones(len(rows), len(names)), own, votes, tuple(data.countries)
    )


def precedent_problem(
    data: VoteData, rows: NDArray[np.int64], predictors: Predictors, positions: Floats
) -> VoteProblem:
    """What a text asks, from votes on similar texts before it.

    Args:
        data: All roll calls.
        rows: Those to be voted on [R].
        predictors: Of these rows.
        positions: [C, 2] of the countries on the axes of voting, see `principal_positions`; zeros
            for the unknown.
    """
    expected = predictors.neighbours.astype(np.float64)
    coefficients = text_directions(expected @ _SCORES, positions)
    shared = _signed_ones(len(rows), len(PRECEDENT_FEATURES))
    for place, column in ((2, 1), (3, 2), (4, 0)):
        shared[:, YES, place], shared[:, NO, place] = (
            coefficients[:, column],
            -coefficients[:, column],
        )
    shared[:, _ABSTAIN, 5] = expected[:, :, _ABSTAIN].mean(1)
    own = {6: predictors.precedent.astype(np.float64)}
    return VoteProblem(PRECEDENT_FEATURES, shared, own, data.votes[rows], tuple(data.countries))


def principal_positions(
    votes: NDArray[np.int8], num_dimensions: int = 2, min_votes: int = 20
) -> Floats:
    """Countries [C, K] on the principal axes of votes [R, C], standardised.

    0 for those that hardly voted.
    """
    is_present = votes != ABSENT
    scores = np.where(is_present, _SCORES[np.maximum(votes, 0)], 0.0)
    means = scores.sum(1, keepdims=True) / np.maximum(is_present.sum(1, keepdims=True), 1)
    vectors = np.linalg.svd(np.where(is_present, scores - means, 0.0), full_matrices=False)[2]
    positions: Floats = vectors[:num_dimensions].T / np.maximum(
        vectors[:num_dimensions].std(1), 1e-12
    )
    positions[is_present.sum(0) < min_votes] = 0
    return positions


def text_directions(scores: Floats, positions: Floats) -> Floats:
    """How expected scores [R, C] depend on where countries stand.

    Level and slopes [R, 1 + K], by least squares.
    """
    known = (positions != 0).any(1)
    design = np.column_stack([np.ones(known.sum()), positions[known]])
    coefficients: Floats = np.linalg.lstsq(design, scores[:, known].T, rcond=None)[0].T
    return coefficients


def _signed_ones(num_rows: int, num_features: int) -> Floats:
    """Features with the first two filled in: assent, 1 for yes and -1 for no, and abstention."""
    features = np.zeros((num_rows, 3, num_features))
    features[:, YES, 0], features[:, NO, 0], features[:, _ABSTAIN, 1] = 1, -1, 1
    return features
