"""Is this state outside what the model knows: scores, calibrated thresholds, a guard for agents.

Three scores of a state and an action, each from what is known before the step is taken: how much
the members of an ensemble disagree; the distance to the nearest recorded steps (Sun et al., "Out of
Distribution Detection with Deep Nearest Neighbors", ICML 2022); and surprise, the mean squared
one-step error of the steps just before, which alone can tell that the dynamics have changed where
observations look as ever. Thresholds are conformal over episodes, as in `evaluation.certified`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.evaluation.calibration import auroc
from wm_agents.evaluation.certified import required_episodes
from wm_agents.evaluation.charts import counted
from wm_agents.evaluation.error_tables import NON_FINITE_ERROR
from wm_agents.evaluation.open_loop import feature_scale
from wm_agents.evaluation.windows import EvaluationWindows, model_rollout
from wm_agents.observation_rows import encoded_rows, episode_starts, raw_spaces
from wm_agents.protocols import Agent, ModelState, Prediction, WorldModel
from wm_agents.training.config_checks import (
    checked_seed,
    require_at_least,
    require_between,
    require_integers,
)
from wm_agents.training.fitted import check_fitted
from wm_agents.world_models.unrolling import Unrolled, recorded_states
from wm_envs.data.spaces import ActionCodec
from wm_envs.data.trajectories import Trajectories

Array = NDArray[np.float64]

STATIC_SCORES = ("disagreement", "density")
_MAX_SQUARE = 9.0
"""A squared error of one feature, in its usual size, counts as no more than this.

Rare jumps, as at the end of a lap, would rule the mean and raise the threshold.
"""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Surprise:
    """A running mean of squared one-step errors, in units of their usual size; 1 is as ever.

    Attributes:
        memory: Steps after which an error counts e times less.
        prior: Steps as usual that every episode is taken to begin with.
    """

    memory: float
    prior: float = 5.0

    def start(self, num_rows: int) -> tuple[Array, Array]:
        """Sums of errors and of weights [B]."""
        # A prior of ordinary errors: one bad step at the beginning is no alarm.
        weights = np.full(num_rows, self.prior)
        return weights.copy(), weights

    def add(self, sums: tuple[Array, Array], errors: Array) -> tuple[Array, Array]:
        """The sums after one more squared error [B]."""
        # An exponential window: what happened `memory` steps ago counts a third.
        kept = np.exp(-1.0 / self.memory)
        return kept * sums[0] + errors, kept * sums[1] + 1.0


class OODDetector:
    """Scores of how far outside of a model's experience a state is, calibrated on other episodes.

    Args:
        model: A fitted world model.
        train: The episodes of the fit.
        calibration: Other episodes of the same environment, played as it will be used; they set
            the thresholds.
        num_neighbors: Of the density score.
        max_reference: Recorded steps that are kept for it, at most.
        memory: Steps after which a past error counts e times less for the surprise.
        seed: Draws the reference.

    Attributes:
        score_names: "disagreement" (where the model reports one), "density" and "surprise".

    Raises:
        TrajectoryError: Calibration episodes that do not have the model's features.
        NotFittedError: The model was never fitted.
    """

    def __init__(
        self,
        model: WorldModel,
        train: Trajectories,
        calibration: Trajectories,
        *,
        num_neighbors: int = 5,
        max_reference: int = 1000,
        memory: float = 25.0,
        seed: int = 0,
    ) -> None:
        seed = checked_seed(seed)
        check_fitted(model)
        require_integers(1, num_neighbors=num_neighbors, max_reference=max_reference)
        width = train.observations.shape[1]
        if calibration.observations.shape[1] != width:
            raise TrajectoryError(
                f"calibration episodes have {calibration.observations.shape[1]} features, those of "
                f"the fit {width}: record both in the same environment"
            )
        self.model = model
        require_at_least(1, memory=memory)
        self._surprise = _Surprise(memory)
        self._actions = ActionCodec(raw_spaces(model)[1])
        self._is_discrete = train.actions.ndim == 1
        self._num_neighbors = num_neighbors
        rows = self._joint(train.observations[train.observation_of_step], train.actions)
        scale, _ = feature_scale(rows, rows)
        self._joint_mean, self._joint_scale = rows.mean(axis=0), scale
        # Distances to all recorded steps would grow with the recording; a drawn part tells density
        # as well.
        drawn = np.random.default_rng(checked_seed(seed)).permutation(len(rows))[:max_reference]
        self._reference = self._standardized(rows[drawn])
        self._num_neighbors = min(num_neighbors, len(self._reference))
        errors = self._one_step_errors(calibration)
        # Each feature by its own usual error, so that a noisy one does not drown the others.
        usual = np.sqrt((errors**2).mean(axis=0))
        self._error_scale = np.where(usual > 0, usual, 1.0)
        self._usual_square = 1.0
        # With the cut-off the mean is below 1; 1 is to be as ever.
        self._usual_square = max(float(self._mean_square(errors).mean()), _ROUNDING)
        self._calibration = self.scores(calibration)
        self._calibration_episodes = calibration.episode_of_step

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores that there are for this model."""
        return tuple(self._calibration)

    def scores(self, trajectories: Trajectories) -> dict[str, Array]:
        """Every score of every recorded step [N], from what was known before it was taken."""
        # Before the step: a guard can only act on what it knows by then.
        before = trajectories.observations[trajectories.observation_of_step]
        found = {"density": self._density(before, trajectories.actions)}
        disagreement = self._disagreement(trajectories)
        if disagreement is not None:
            found = {"disagreement": disagreement, **found}
        squares = self._mean_square(self._one_step_errors(trajectories))
        found["surprise"] = self._running(squares, trajectories)
        return found

    def threshold(self, name: str, alpha: float = 0.05, *, is_whole_episode: bool = False) -> float:
        """The score that a new episode's steps pass with probability at most alpha.

        Args:
            name: Of the score.
            alpha: The risk, between 0 and 1.
            is_whole_episode: That any step of an episode passes it, in place of one at random.

        Raises:
            ConfigError: No such score, or a risk that is none.
            TrajectoryError: Too few calibration episodes for the risk.
        """
        if name not in self._calibration:
            raise ConfigError(f"no score {name!r}: there are {', '.join(self._calibration)}")
        needed = required_episodes(alpha)
        scores, episodes = self._calibration[name], self._calibration_episodes
        numbers, place, counts = np.unique(episodes, return_inverse=True, return_counts=True)
        if len(numbers) < needed:
            raise TrajectoryError(
                f"a risk of {alpha:g} takes at least {counted(needed, 'calibration episode')}, got "
                f"{len(numbers)}: record more or allow a larger alpha"
            )
        weights = 1 / counts[place]
        if is_whole_episode:
            # Of an episode the largest score, when one alarm is enough to stop.
            scores = np.array([scores[place == row].max() for row in range(len(numbers))])
            weights = np.ones(len(numbers))
        # What risk control leaves of the risk may lie above, the largest scores first.
        order = np.argsort(-scores, kind="stable")
        above = np.cumsum(weights[order])
        allowed = alpha * (len(numbers) + 1) - 1 + _ROUNDING
        return float(scores[order[min(int((above <= allowed).sum()), len(order) - 1)]])

    def combined(self, scores: Mapping[str, Array], alpha: float = 0.05) -> Array:
        """The largest of all scores [N], each over its threshold; above 1 one of them passes it."""
        shares = [scores[name] / max(self.threshold(name, alpha), _ROUNDING) for name in scores]
        return np.max(shares, axis=0)

    def model_with_scores(self, alpha: float = 0.05) -> WorldModel:
        """The model with another disagreement: the larger of both static scores over its threshold.

        1 is the threshold, so that `DiscountedReturn(disagreement_penalty=...)` lets planners avoid
        what lies outside, and `ImaginedVectorEnv(disagreement_cutoff=1.0)` stops there.
        """
        limits = {
            name: self.threshold(name, alpha) for name in STATIC_SCORES if name in self.score_names
        }
        return _ScoredModel(self, limits)

    def one_step_error(self, prediction: Prediction, observations: Tensor) -> Array:
        """Squared error [B] of predictions made before observations [B, O], in its usual size."""
        errors = (prediction.observations - observations).double().cpu().numpy()
        return self._mean_square(self._bounded(errors))

    def _mean_square(self, errors: Array) -> Array:
        """Mean squared error [N] of errors [N, O], each in its usual size and cut off."""
        squares = (errors / self._error_scale) ** 2
        mean: Array = np.minimum(squares, _MAX_SQUARE).mean(axis=1)
        return mean / self._usual_square

    def density(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Distance [B] to the nearest recorded steps, in standard deviations a feature."""
        joint = self._joint(observations.cpu().numpy(), actions.cpu().numpy())
        distances = torch.cdist(self._standardized(joint), self._reference)
        nearest = distances.topk(self._num_neighbors, largest=False).values.mean(1)
        # In units of one feature, whatever their number.
        return nearest / np.sqrt(joint.shape[1])

    def _standardized(self, joint: Array) -> Tensor:
        # Centred, since distances are computed from products, which are large beside an offset.
        centred = (joint - self._joint_mean) / self._joint_scale
        return torch.as_tensor(centred, dtype=torch.float32)

    def _joint(self, observations: Any, actions: Any) -> Array:
        """Observations and actions side by side [N, O + A], Discrete ones as one-hots."""
        acts = np.asarray(actions)
        if self._is_discrete:
            space: Any = self._actions.row_space
            acts = np.eye(int(space.n))[acts.astype(np.int64) - int(space.start)]
        return np.concatenate([np.asarray(observations, np.float64), acts], axis=1)

    def _density(self, observations: Any, actions: Any) -> Array:
        # In parts: all distances at once would not fit into memory.
        parts = [
            self.density(
                torch.as_tensor(observations[first : first + 4096]),
                torch.as_tensor(actions[first : first + 4096]),
            )
            for first in range(0, len(actions), 4096)
        ]
        return np.asarray(torch.cat(parts).double().numpy())

    @torch.no_grad()
    def _predictions(self, trajectories: Trajectories) -> Prediction:
        states = recorded_states(self.model, trajectories)
        actions = torch.as_tensor(trajectories.actions, device=states.observations.device)
        return self.model.step(states, actions)[1]

    def _disagreement(self, trajectories: Trajectories) -> Array | None:
        disagreement = self._predictions(trajectories).disagreement
        if disagreement is None:
            return None
        return np.asarray(disagreement.double().cpu().numpy())

    def _one_step_errors(self, trajectories: Trajectories) -> Array:
        """Errors of observations after every recorded step [N, O]."""
        prediction = self._predictions(trajectories)
        seen = prediction.observations.double().cpu().numpy() - trajectories.next_observations
        return self._bounded(np.asarray(seen, np.float64))

    def _bounded(self, errors: Array) -> Array:
        """Errors [N, O] within so many standard deviations of their features."""
        bound = NON_FINITE_ERROR * self._joint_scale[: errors.shape[1]]
        return np.clip(np.where(np.isfinite(errors), errors, bound), -bound, bound)

    def _running(self, squares: Array, trajectories: Trajectories) -> Array:
        """The surprise before every step [N]."""
        found = np.empty(len(squares))
        for first, length in zip(trajectories.step_starts, trajectories.lengths, strict=True):
            sums = self._surprise.start(1)
            for step in range(first, first + length):
                # The surprise of this step itself is known only afterwards.
                found[step] = (sums[0] / sums[1])[0]
                sums = self._surprise.add(sums, squares[step : step + 1])
        return found


class _ScoredModel(Unrolled):
    """A model whose disagreement is the largest of several scores over their thresholds."""

    def __init__(self, detector: OODDetector, limits: Mapping[str, float]) -> None:
        self._detector = detector
        self._limits = dict(limits)
        self._inner = detector.model
        self.observation_space = self._inner.observation_space
        self.action_space = self._inner.action_space
        self.has_memory = getattr(self._inner, "has_memory", True)
        self.device = getattr(self._inner, "device", torch.device("cpu"))

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        return self._inner.start(observations, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        after, prediction = self._inner.step(state, actions, generator)
        scores = []
        if "disagreement" in self._limits and prediction.disagreement is not None:
            limit = max(self._limits["disagreement"], _ROUNDING)
            scores.append(prediction.disagreement / limit)
        distance = self._detector.density(state.observations, actions).to(prediction.rewards)
        scores.append(distance / max(self._limits["density"], _ROUNDING))
        largest = torch.stack(scores).amax(0)
        return after, replace(prediction, disagreement=largest)


class GuardedAgent:
    """An agent that hands over to a fallback for the rest of an episode that has become surprising.

    It steps the detector's model through what the agent does and compares it with what comes. The
    threshold is passed in at most a share alpha of episodes that are as those of the calibration.

    Args:
        agent: Acts as long as all is as ever.
        fallback: Acts from then on.
        detector: Calibrated on episodes that the agent played.
        alpha: Share of episodes as ever that may be handed over.

    Attributes:
        num_stopped: Episodes handed over so far.

    Raises:
        TrajectoryError: Too few calibration episodes for alpha.
    """

    def __init__(
        self, agent: Agent, fallback: Agent, detector: OODDetector, *, alpha: float = 0.05
    ) -> None:
        require_between(0, 1, alpha=alpha)
        self.num_stopped = 0
        self._agents = (agent, fallback)
        self._detector = detector
        self._limit = detector.threshold("surprise", alpha, is_whole_episode=True)
        self._observation_space, action_space = raw_spaces(detector.model)
        self._actions = ActionCodec(action_space)
        self._is_stopped = np.zeros(0, np.bool_)
        self._sums = detector._surprise.start(0)
        self._last: tuple[ModelState, Prediction] | None = None

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions for one observation or a batch [B], and the state to pass on."""
        rows, is_single = encoded_rows(observation, self._observation_space)
        num_rows = len(rows)
        fresh = np.ones(num_rows, np.bool_)
        # A state that was handed out belongs to as many rows as before.
        if state is not None and len(self._is_stopped) == num_rows:
            fresh = episode_starts(episode_start, num_rows)
        inner = (None, None) if state is None else state
        self._watch(torch.as_tensor(rows), fresh)
        # Both agents see everything, so that the fallback knows where it is when it takes over.
        answers = [
            agent.predict(observation, given, episode_start, deterministic)
            for agent, given in zip(self._agents, inner, strict=True)
        ]
        chosen = answers[0][0]
        if is_single and self._is_stopped[0]:
            chosen = answers[1][0]
        if not is_single and self._is_stopped.any():
            # As rows of numbers, in which the actions of two agents can be mixed.
            encoded = [self._actions.encode(answer[0]) for answer in answers]
            mask = self._is_stopped.reshape(-1, *[1] * (encoded[0].ndim - 1))
            chosen = self._actions.decode(np.where(mask, encoded[1], encoded[0]))
        # The model is told what was really done.
        batch = np.asarray(chosen)[None] if is_single else chosen
        self._imagine(torch.as_tensor(rows), batch, fresh)
        return chosen, (answers[0][1], answers[1][1])

    def _watch(self, rows: Tensor, fresh: NDArray[np.bool_]) -> None:
        """Compare what came with what was predicted."""
        if len(self._is_stopped) != len(rows):
            self._is_stopped = np.zeros(len(rows), np.bool_)
            self._sums = self._detector._surprise.start(len(rows))
            self._last = None
        if self._last is not None:
            # The prediction of the last step against what has come.
            errors = self._detector.one_step_error(self._last[1], rows)
            self._sums = self._detector._surprise.add(self._sums, errors)
        start = self._detector._surprise.start(len(rows))
        self._sums = (
            np.where(fresh, start[0], self._sums[0]),
            np.where(fresh, start[1], self._sums[1]),
        )
        is_high = self._sums[0] / self._sums[1] > self._limit
        before = self._is_stopped & ~fresh
        # For the rest of the episode: a world that has changed stays changed.
        self._is_stopped = before | is_high
        self.num_stopped += int((self._is_stopped & ~before).sum())

    @torch.no_grad()
    def _imagine(self, rows: Tensor, actions: Any, fresh: NDArray[np.bool_]) -> None:
        """Predict what the actions lead to."""
        model = self._detector.model
        device = getattr(model, "device", None)
        now = model.start(rows.to(device))
        if self._last is not None and now.hidden and getattr(model, "has_memory", True):
            resumed = model.start(rows.to(device), self._last[0].hidden)
            is_fresh = torch.as_tensor(fresh, device=device)
            hidden = tuple(
                torch.where(is_fresh.view(-1, *[1] * (new.dim() - 1)), new, old)
                for new, old in zip(now.hidden, resumed.hidden, strict=True)
            )
            now = ModelState(now.observations, hidden)
        encoded = torch.as_tensor(self._actions.encode(actions), device=device)
        self._last = model.step(now, encoded)


def window_errors(
    model: WorldModel,
    trajectories: Trajectories,
    *,
    horizon: int,
    train: Trajectories,
    max_windows: int = 2000,
    seed: int = 0,
) -> tuple[NDArray[np.int64], Array]:
    """Steps [W] from which `horizon` steps were recorded, and the largest error on the way [W].

    Of any feature that varies in training, in its standard deviations there. At most `max_windows`
    of the steps, drawn with the seed.
    """
    require_integers(1, horizon=horizon, max_windows=max_windows)
    starts = trajectories.window_starts(horizon)
    if not len(starts):
        raise TrajectoryError(f"no episode lasts {horizon} steps: give a shorter horizon")
    starts = np.sort(np.random.default_rng(checked_seed(seed)).permutation(starts)[:max_windows])
    window = trajectories.windows(horizon, starts)
    states = recorded_states(model, trajectories).select(torch.as_tensor(starts))
    rollout = model_rollout(model, states, _as_windows(window))
    scale, varies = feature_scale(train.observations, train.observations)
    errors = np.abs(rollout.observations.numpy() - window.observations) / scale
    # The largest error on the way, in any feature: one is enough to be wrong.
    return starts, np.nan_to_num(errors, nan=np.inf)[..., varies].max(axis=(1, 2))


@dataclass(frozen=True)
class _Judged:
    """Scores of steps [W] by name, and whether the model errs from there."""

    scores: dict[str, Array]
    is_wrong: NDArray[np.bool_]


def judged(
    detector: OODDetector,
    trajectories: Trajectories,
    *,
    horizon: int,
    tolerance: float,
    train: Trajectories,
    alpha: float = 0.05,
) -> _Judged:
    """Scores of a recording beside its errors, for `pooled_auroc`; arguments as for `ood_auroc`."""
    starts, errors = window_errors(detector.model, trajectories, horizon=horizon, train=train)
    found = detector.scores(trajectories)
    found["combined"] = detector.combined(found, alpha)
    # The same steps for scores and errors.
    scores = {name: values[starts] for name, values in found.items()}
    return _Judged(scores, errors > tolerance)


def pooled_auroc(parts: Sequence[_Judged]) -> dict[str, float | None]:
    """By score the AUROC against errors, over several recordings together."""
    outcomes = np.concatenate([part.is_wrong for part in parts])
    found = {}
    for name in parts[0].scores:
        values = np.concatenate([part.scores[name] for part in parts])
        # Ranks in the place of scores, which have no upper end.
        found[name] = auroc(rankdata(values) / len(values), outcomes)
    return found


def ood_auroc(
    detector: OODDetector,
    recordings: Mapping[str, Trajectories],
    *,
    horizon: int,
    tolerance: float,
    train: Trajectories,
    alpha: float = 0.05,
) -> dict[str, float | None]:
    """How well each score tells steps from which the model errs from the others, over recordings.

    Args:
        detector: Scores.
        recordings: By name, such as those of other policies and parameters; pooled.
        horizon: Steps imagined.
        tolerance: Largest error that is none, in standard deviations.
        train: The episodes of the fit.
        alpha: The risk of the thresholds by which scores are combined.

    Returns:
        By score, and for "combined", the area under the ROC curve; None where all or none err.
    """
    asked: dict[str, Any] = {"horizon": horizon, "tolerance": tolerance, "train": train}
    return pooled_auroc(
        [judged(detector, part, alpha=alpha, **asked) for part in recordings.values()]
    )


def _as_windows(window: Any) -> EvaluationWindows:
    """What `model_rollout` takes; it reads actions alone."""
    num = len(window.actions)
    empty = np.zeros(num, np.int64)
    none = np.zeros(window.mask.shape, np.bool_)
    return EvaluationWindows(
        **vars(window),
        previous_observations=window.observations[:, 0],
        previous_rewards=np.zeros(num),
        episodes=empty,
        positions=empty,
        is_scored=none,
        is_end_scored=none,
    )
