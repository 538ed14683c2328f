"""A country's seat in the General Assembly as an MDP: sponsor or not, then vote, stage by stage.

A text asks something (see `wm_agents.domains.resolutions.spatial`): with direction b, offset a,
slope v and width w, a country at position x with readiness m to agree and k to abstain has
utilities z = a + b . x + m of yes, -z of no and h = w + v . x + k of an abstention. That is linear
in (x, m, k) with features that only the text decides.

Countries of the calibrated generator have known utilities. Here they act by them (`play_seat`), so
that it can be measured how well the weights are recovered (`recover_utilities`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.irl import Demonstrations, MaxEntConfig, RewardFit, fit_many
from wm_agents.irl.mdp import TabularMDP
from wm_agents.training.seeding import spawn_seeds
from wm_envs.resolutions.codes import ResolutionAction, Stage
from wm_envs.resolutions.generator import Source, generator_source

Doubles = NDArray[np.float64]


NUM_ACTIONS = len(ResolutionAction)
TEXT_FIELDS = ("offset", "direction_1", "direction_2", "width", "slope_1", "slope_2")
SPATIAL_FEATURES = (
    "position_1",
    "position_2",
    "assent",
    "abstention",
    "popularity",
    "uncertainty",
    "outcome",
)
MAX_STEPS = 4

EXPECTED_OUTCOME = 0.986
"""What a sponsor expects at the end, from -1 to 1: 0.7% of recorded texts fail."""
NUM_COUNTRY_WEIGHTS = 4
"""Weights that differ between countries: position in two dimensions, assent, abstention."""

_VOTES = [ResolutionAction.YES, ResolutionAction.NO, ResolutionAction.ABSTAIN]
STAGE_MASKS = np.zeros((len(Stage), NUM_ACTIONS), np.bool_)
STAGE_MASKS[Stage.DRAFT, [ResolutionAction.COSPONSOR, ResolutionAction.NO_ACTION]] = True
STAGE_MASKS[Stage.COMMITTEE_VOTE, _VOTES] = True
STAGE_MASKS[Stage.PLENARY_VOTE, _VOTES] = True
STAGE_MASKS[Stage.TERMINAL, ResolutionAction.NO_ACTION] = True


@dataclass(frozen=True)
class _SeatSteps:
    """N steps of one country in K recorded episodes, concatenated.

    Attributes:
        texts: [N, 6], what the text asks, by `TEXT_FIELDS`.
        stages: [N], by `Stage`.
        is_sponsor: [N].
        actions: [N], by `ResolutionAction`.
        lengths: [K], steps of each episode, at most 4.
    """

    texts: Doubles
    stages: NDArray[np.int64]
    is_sponsor: NDArray[np.bool_]
    actions: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def demonstrations(self) -> Demonstrations:
        """The steps in the states of `staged_model`."""
        return staged_demonstrations(self.is_sponsor, self.actions, self.lengths)

    def model(self, outcome: float = EXPECTED_OUTCOME) -> TabularMDP:
        """What the country could have done in these episodes."""
        return staged_model(self.texts, self.stages, self.lengths, outcome)


def spatial_features(
    texts: Doubles, stages: NDArray[np.int64], is_sponsor: NDArray[np.bool_], outcome: float
) -> Doubles:
    """Features [N, 5, 7] by `SPATIAL_FEATURES` of the five actions in N steps.

    Args:
        texts: [N, 6], what the text asks, by `TEXT_FIELDS`.
        stages: [N].
        is_sponsor: [N].
        outcome: What a sponsor expects at the end, from -1, surely rejected, to 1, surely adopted.
    """
    offset, direction_1, direction_2, width, slope_1, slope_2 = texts.T
    one = np.ones_like(offset)
    zero = np.zeros_like(offset)
    agree = np.stack([direction_1, direction_2, one, zero, offset, zero, zero], 1)
    abstain = np.stack([slope_1, slope_2, zero, one, zero, width, zero], 1)
    features = np.zeros((len(texts), NUM_ACTIONS, len(SPATIAL_FEATURES)))
    is_vote = ((stages == Stage.COMMITTEE_VOTE) | (stages == Stage.PLENARY_VOTE))[:, None]
    features[:, ResolutionAction.YES] = agree * is_vote
    features[:, ResolutionAction.NO] = -agree * is_vote
    features[:, ResolutionAction.ABSTAIN] = abstain * is_vote
    features[:, :, -1] = (outcome * ((stages == Stage.TERMINAL) & is_sponsor))[:, None]
    return features


def seat_utilities(
    texts: Doubles,
    stages: NDArray[np.int64],
    is_sponsor: NDArray[np.bool_],
    outcome: float,
    weights: Doubles,
) -> Doubles:
    """Utilities [N, 5] of the five actions, what follows included.

    Minus infinity for those that a stage has not.
    """
    features = spatial_features(texts, stages, is_sponsor, outcome)
    utilities = np.where(STAGE_MASKS[stages], features @ weights, -np.inf)
    # Sponsoring is rewarded at the end; whatever else follows is the same for all actions.
    may_join = (stages == Stage.DRAFT) & ~is_sponsor
    utilities[may_join, ResolutionAction.COSPONSOR] += weights[-1] * outcome
    return utilities


def staged_model(
    texts: Doubles, stages: NDArray[np.int64], lengths: NDArray[np.int64], outcome: float
) -> TabularMDP:
    """The choices that recorded episodes offered, each step once as a sponsor and once not.

    One vote in 180 moves neither the stage nor, to speak of, the outcome, so only sponsoring has
    consequences: state 2 n is step n for a country that does not sponsor, 2 n + 1 for one that
    does.

    Args:
        texts: [N, 6], by `TEXT_FIELDS`, concatenated.
        stages: [N].
        lengths: [K], steps of each episode, at most 4.
        outcome: As in `spatial_features`.
    """
    num_steps = len(stages)
    doubled = np.repeat(np.arange(num_steps), 2)
    is_sponsor = np.tile([False, True], num_steps)
    features = spatial_features(texts[doubled], stages[doubled], is_sponsor, outcome)
    is_last = np.zeros(num_steps, np.bool_)
    is_last[np.cumsum(lengths) - 1] = True
    states, actions = np.meshgrid(
        np.flatnonzero(~is_last[doubled]), np.arange(NUM_ACTIONS), indexing="ij"
    )
    joins = is_sponsor[states] | (actions == ResolutionAction.COSPONSOR)
    next_states = 2 * (doubled[states] + 1) + joins
    rows = (states * NUM_ACTIONS + actions).ravel()
    shape = (num_steps * 2 * NUM_ACTIONS, num_steps * 2)
    transitions = sparse.csr_array((np.ones(len(rows)), (rows, next_states.ravel())), shape=shape)
    return TabularMDP(
        features,
        SPATIAL_FEATURES,
        mask=STAGE_MASKS[stages[doubled]],
        transitions=transitions,
        horizon=MAX_STEPS,
    )


def staged_demonstrations(
    is_sponsor: NDArray[np.bool_], actions: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Demonstrations:
    """Recorded steps [N] in the states of `staged_model`."""
    states = 2 * np.arange(len(actions)) + np.asarray(is_sponsor, np.int64)
    return Demonstrations.from_states(states, actions, lengths)


# Recovery of known utilities


@dataclass(frozen=True)
class Recovery:
    """How the weights of C countries were recovered; F features in standardized units.

    Attributes:
        cosines: [C], of inferred with true weights.
        own_cosines: [C], of the four weights that differ between countries.
        pooled_cosines: [C], with a prior learned from all countries.
        shuffled_cosines: [C], with actions shuffled between episodes.
        is_covered: [C, F], by Laplace intervals.
        is_bootstrap_covered: [C, F], by bootstrap intervals; empty without resamples.
    """

    cosines: Doubles
    own_cosines: Doubles
    pooled_cosines: Doubles
    shuffled_cosines: Doubles
    is_covered: NDArray[np.bool_]
    is_bootstrap_covered: NDArray[np.bool_]


def recover_utilities(
    num_countries: int = 20, num_episodes: int = 200, num_resamples: int = 0, seed: int = 0
) -> Recovery:
    """Let countries of the generator act by known utilities, and infer these.

    Args:
        num_countries: C, drawn at random.
        num_episodes: Of each.
        num_resamples: Of the bootstrap by episode.
        seed: Of countries, episodes and actions.
    """
    source = generator_source()
    generator = np.random.default_rng(seed)
    codes = sorted(generator.choice(source.countries, num_countries, replace=False))
    truths = {code: true_weights(source, code) for code in codes}
    seeds = spawn_seeds(seed, len(codes))
    played = {
        code: play_seat(code, truths[code], num_episodes, own_seed)
        for code, own_seed in zip(codes, seeds, strict=True)
    }
    models = {code: steps.model() for code, steps in played.items()}
    demonstrations = {code: steps.demonstrations for code, steps in played.items()}
    shuffled = {code: shuffle_actions(steps, generator) for code, steps in played.items()}
    settings = MaxEntConfig(confidence=0.9)
    resampled = MaxEntConfig(confidence=0.9, num_resamples=num_resamples, seed=seed)
    fits = fit_many(demonstrations, models, resampled)
    pooled_fits = fit_many(demonstrations, models, settings, num_rounds=5)
    shuffled_fits = fit_many(shuffled, models, settings)
    is_bootstrap_covered = np.zeros((0, len(SPATIAL_FEATURES)), np.bool_)
    if num_resamples:
        limits = [(code, *fits[code].bootstrap_limits()) for code in codes]
        is_bootstrap_covered = np.stack([_within(truths[c], low, high) for c, low, high in limits])
    return Recovery(
        cosines=_cosines(fits, truths),
        own_cosines=_cosines(fits, truths, NUM_COUNTRY_WEIGHTS),
        pooled_cosines=_cosines(pooled_fits, truths),
        shuffled_cosines=_cosines(shuffled_fits, truths),
        is_covered=np.stack([_within(truths[c], fit.low, fit.high) for c, fit in fits.items()]),
        is_bootstrap_covered=is_bootstrap_covered,
    )


def true_weights(source: Source, code: str) -> Doubles:
    """A country's weights by `SPATIAL_FEATURES`; the last three are the same for all."""
    row = source.parameters[source.countries.index(code)]
    fields = ("position_1", "position_2", "assent", "abstention")
    return np.array([*(row[field] for field in fields), 1.0, 1.0, 1.0])


def play_seat(code: str, weights: Doubles, num_episodes: int, seed: int) -> _SeatSteps:
    """Episodes of a country that acts by the soft-optimal policy of these weights.

    One in each row of a vector environment; every text is put to the vote.
    """
    envs: Any = gym.make_vec(
        "wm/UNResolution-v0", num_envs=num_episodes, country=code, consensus=False
    )
    envs.reset(seed=seed)
    generator = np.random.default_rng(seed)
    is_running = np.ones(num_episodes, np.bool_)
    columns = []
    while is_running.any():
        states = envs.clone_state()
        texts = np.stack([states[field] for field in TEXT_FIELDS], 1)
        stages = states["stage"].astype(np.int64)
        is_sponsor = states["is_sponsor"].astype(np.bool_)
        utilities = seat_utilities(texts, stages, is_sponsor, EXPECTED_OUTCOME, weights)
        # The largest of utilities with Gumbel noise is a draw from their softmax.
        actions = (utilities + generator.gumbel(size=utilities.shape)).argmax(1)
        columns.append((texts, stages, is_sponsor, actions, is_running.copy()))
        _, _, terminations, truncations, _ = envs.step(actions)
        is_running &= ~(terminations | truncations)
    envs.close()
    texts, stages, is_sponsor, actions, was_running = (
        np.stack(part, 1) for part in zip(*columns, strict=True)
    )
    return _SeatSteps(
        texts[was_running],
        stages[was_running],
        is_sponsor[was_running],
        actions[was_running],
        was_running.sum(1),
    )


def shuffle_actions(steps: _SeatSteps, generator: np.random.Generator) -> Demonstrations:
    """The same actions in other episodes, within each stage.

    A demonstrator without preferences about texts.
    """
    actions = steps.actions.copy()
    for stage in (Stage.DRAFT, Stage.COMMITTEE_VOTE, Stage.PLENARY_VOTE):
        places = np.flatnonzero(steps.stages == stage)
        actions[places] = actions[generator.permutation(places)]
    # Who sponsors follows from the shuffled actions: from the start on, or from the step after
    # COSPONSOR.
    is_sponsor = steps.is_sponsor.copy()
    starts = np.cumsum(steps.lengths) - steps.lengths
    for start, length in zip(starts, steps.lengths, strict=True):
        joins = actions[start] == ResolutionAction.COSPONSOR
        is_sponsor[start + 1 : start + length] = is_sponsor[start] | joins
    return staged_demonstrations(is_sponsor, actions, steps.lengths)


def recovery_figures(parts: Sequence[Recovery]) -> dict[str, float]:
    """Medians, worst deciles and coverage over several runs."""
    figures = {}
    for prefix, name in (("", "cosines"), ("own_", "own_cosines"), ("pooled_", "pooled_cosines")):
        values = np.concatenate([getattr(part, name) for part in parts])
        figures[f"{prefix}cosine_median"] = float(np.median(values))
        figures[f"{prefix}cosine_worst_decile"] = float(np.quantile(values, 0.1))
    shuffled = np.concatenate([part.shuffled_cosines for part in parts])
    figures["shuffled_cosine_median"] = float(np.median(shuffled))
    is_covered = np.concatenate([part.is_covered for part in parts])
    figures["coverage_90"] = float(is_covered.mean())
    for name, share in zip(SPATIAL_FEATURES, is_covered.mean(0), strict=True):
        figures[f"coverage_90_{name}"] = float(share)
    bootstrap = np.concatenate([part.is_bootstrap_covered for part in parts])
    if len(bootstrap):
        figures["coverage_90_bootstrap"] = float(bootstrap.mean())
    return figures


def _within(weights: Doubles, low: Doubles, high: Doubles) -> NDArray[np.bool_]:
    return (low <= weights) & (weights <= high)


def _cosines(
    fits: dict[str, RewardFit], truths: dict[str, Doubles], num_weights: int | None = None
) -> Doubles:
    """Cosines [C] of inferred with true weights, per standard deviation of each feature."""
    cosines = []
    for code, fit in fits.items():
        inferred = fit.scaled_weights[:num_weights]
        true = (truths[code] * fit.scale)[:num_weights]
        norms = float(np.linalg.norm(inferred) * np.linalg.norm(true))
        cosines.append(inferred @ true / max(norms, 1e-12))
    return np.array(cosines)
