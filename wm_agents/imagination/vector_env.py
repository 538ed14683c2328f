"""The dream environment: a world model as a Gymnasium VectorEnv, so that any RL library trains inside it.

Short branches from real states, as in model-based policy optimisation (Janner et al., "When to
Trust Your Model", NeurIPS 2019, algorithm 2); the disagreement penalty is that of Yu et al.,
"MOPO", NeurIPS 2020, equation 2, and the cut-off that of Kidambi et al., "MOReL", NeurIPS 2020,
definition 1, here as a truncation.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.imagination.rows import (
    check_finite,
    join_predictions,
    join_states,
    replace_rows,
    without_rows,
)
from wm_agents.protocols import ModelState, Prediction, WorldModel
from wm_agents.training.config_checks import require_integers
from wm_agents.training.fitted import check_fitted
from wm_agents.world_models.unrolling import recorded_states
from wm_envs.data.infos import BatchInfos, component_key
from wm_envs.data.options import as_integer
from wm_envs.data.spaces import as_box_values
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]
Info = dict[str, Any]
Starts = Trajectories | NDArray[np.floating[Any]] | Tensor | ModelState


class DreamVectorEnv(VectorEnv[Any, Any, Array]):
    """B imagined episodes that start from real observations and are truncated after `horizon` steps.

    Each step's reward is the model's, less the disagreement penalty; both are in the infos as
    `reward_components/model` and `reward_components/disagreement`, and `infos["disagreement"]` is
    the bare number. An episode terminates with the probability that the model gives, and is
    truncated at the horizon or where the ensemble disagrees too much, so that a learner bootstraps
    there. Observations are held within the bounds of the observation space, in which the model was
    fitted.

    Args:
        model: The world model; its spaces become the environment's.
        start_observations: `Trajectories`, of which every step is a start, with what preceded it: a
            model with memory begins with what it remembers of the episode, and the last
            observations of episodes are left out; or real observations [K, O] to branch from (a
            Discrete one as its one-hot), the last ones of episodes left out by `start_states` of
            `wm_agents.planning.learning`; or a ModelState of K rows for models that carry more than
            the observation.
        horizon: Steps per branch, H.
        num_envs: Rows, B.
        disagreement_penalty: Reward lost per standard deviation of disagreement between ensemble
            members.
        disagreement_cutoff: Disagreement above which a branch is truncated; None never does so.
        autoreset_mode: Gymnasium's three modes; `SB3VecEnv` takes each of them.
        is_stochastic: Sample the model and the terminations; False takes the model's best guess,
            and an end where it is more likely than not.
        seed: Seed of starts and samples until `reset` gives another; None draws one.
        action_masks: Which actions [B, A] observations [B, ...] have, such as
            `masks_of_observations` of `wm_envs.resolutions.env`; the environment then has
            `action_masks()`, for sb3-contrib's MaskablePPO.

    Raises:
        ConfigError: On sizes below 1, a negative penalty or cut-off, starts of the wrong shape or
            not finite, and a penalty or cut-off for a model that reports no disagreement.
        SpaceError: On spaces other than Box and Discrete.
        NotFittedError: On a model that was never fitted.
    """

    def __init__(
        self,
        model: WorldModel,
        start_observations: Starts,
        horizon: int,
        num_envs: int,
        *,
        disagreement_penalty: float = 0.0,
        disagreement_cutoff: float | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        is_stochastic: bool = True,
        seed: int | None = None,
        action_masks: Callable[[Array], Array] | None = None,
    ) -> None:
        check_fitted(model)
        require_integers(None, horizon=horizon, num_envs=num_envs)
        if seed is not None:
            require_integers(0, seed=seed)
        if horizon < 1 or num_envs < 1:
            raise ConfigError(f"horizon={horizon} and num_envs={num_envs}: give at least 1")
        if disagreement_penalty < 0 or (
            disagreement_cutoff is not None and disagreement_cutoff < 0
        ):
            raise ConfigError(
                f"penalty {disagreement_penalty} and cut-off {disagreement_cutoff}: give at least 0"
            )
        self.model, self.horizon, self.num_envs, self.is_stochastic = (
            model,
            horizon,
            num_envs,
            is_stochastic,
        )
        self.disagreement_penalty, self.disagreement_cutoff = (
            disagreement_penalty,
            disagreement_cutoff,
        )
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = _served(model.observation_space, "observation")
        self.single_action_space = _served(model.action_space, "action")
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.set_starts(start_observations)
        self._generator = torch.Generator(self._device)
        self._seed(self._row_seeds(secrets.randbits(31) if seed is None else seed))
        self._masks_of_observations = action_masks
        self._state: ModelState | None = None
        self._begun: ModelState | None = (
            None  # each row where its branch began, with what the model carried there
        )
        self._ages = torch.zeros(num_envs, dtype=torch.int64, device=self._device)
        self._has_ended = torch.zeros(num_envs, dtype=torch.bool, device=self._device)
        if disagreement_penalty > 0 or disagreement_cutoff is not None:
            self._check_disagreement()

    @property
    def np_random_seed(self) -> Any:
        """The `seed` of the `reset` that starts the stream again.

        An integer, or one number or None for each row.
        """
        seeds = self._row_seeds_of_stream
        first = seeds[0]
        return first if first is not None and list(seeds) == self._row_seeds(first) else seeds

    @property
    def action_masks(self) -> Callable[[], Array]:
        """A function of no arguments that gives the allowed actions, boolean [B, A].

        Call it after `reset`.
        """
        if self._masks_of_observations is None:
            # An AttributeError, so that libraries see that there are none.
            raise AttributeError(
                "this dream knows no masks: give it action_masks, a function of observations"
            )
        return self._present_masks

    def _present_masks(self) -> Array:
        if self._state is None:
            raise ResetNeeded("call reset() before action_masks()")
        assert self._masks_of_observations is not None
        space = self.single_action_space
        masks = np.asarray(self._masks_of_observations(self._present()))
        expected = (self.num_envs, int(space.n)) if isinstance(space, gym.spaces.Discrete) else None
        if masks.shape != expected or masks.dtype.kind not in "biu":
            raise ConfigError(
                f"action_masks gives booleans of shape {expected}, got {masks.dtype} {masks.shape}"
            )
        return masks.astype(np.bool_)

    def set_starts(self, start_observations: Starts) -> None:
        """Branch from these from the next restart on, for example once more real data are there.

        Raises ConfigError.
        """
        with torch.no_grad():
            if isinstance(start_observations, Trajectories):
                # Nothing follows an episode's last observation: the model was never taught what
                # comes after it.
                start_observations = recorded_states(self.model, start_observations)
            starts = (
                start_observations
                if isinstance(start_observations, ModelState)
                else self._begin(start_observations)
            )
        _check_starts(starts.observations, _flat_size(self.single_observation_space))
        self._starts, self._device = starts, starts.observations.device

    def _begin(self, observations: NDArray[Any] | Tensor) -> ModelState:
        """The model's own state at observations [K, ...], checked before the model sees them."""
        rows = torch.as_tensor(
            observations, dtype=torch.float32, device=getattr(self.model, "device", None)
        )
        rows = rows.reshape(len(rows), -1) if rows.ndim > 2 else rows
        _check_starts(rows, _flat_size(self.single_observation_space))
        return self.model.start(rows)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, Info]:
        """Branch anew in every row, or in those of `options["reset_mask"]`.

        Args:
            seed: One stream serves all rows: an integer s or the sequence s, s + 1, ... seeds it,
                None lets it go on. A partial reset therefore moves the later draws of all rows.
            options: `reset_mask`, booleans [B] with at least one True.
        """
        self._check_open()
        mask = self._reset_mask(options)
        if seed is not None:
            self._seed(self._checked_seeds(seed))
        self._restart(mask)
        return self._present(), self._infos(mask, None)

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Array, Array, Array, Array, Info]:
        """Imagine one step.

        Raises ResetNeeded, InvalidAction and NonFiniteError with nothing changed.
        """
        self._check_open()
        if self._state is None:
            raise ResetNeeded("call reset() before step()")
        if self.autoreset_mode == AutoresetMode.DISABLED and bool(self._has_ended.any()):
            rows = self._has_ended.nonzero().flatten().tolist()
            raise ResetNeeded(
                f"autoreset is disabled and rows {rows} have ended: reset them with options reset_mask"
            )
        state, prediction = self._imagine(self._state, self._checked(actions))
        check_finite(prediction)
        self._state = ModelState(self._bounded(state.observations), state.hidden)
        self._ages += 1
        terminations = self._draw_ends(prediction.terminations)
        truncations = (self._ages >= self.horizon) | self._is_cut_off(prediction)
        rewards = prediction.rewards - self._penalty(prediction)
        return self._finish_step(prediction, rewards, terminations, truncations)

    def _finish_step(
        self, prediction: Prediction, rewards: Tensor, terminations: Tensor, truncations: Tensor
    ) -> tuple[Array, Array, Array, Array, Info]:
        """Restart what has to be restarted, and report as the autoreset mode says."""
        if self.autoreset_mode == AutoresetMode.NEXT_STEP and bool(self._has_ended.any()):
            restarted = self._has_ended.clone()
            self._restart(restarted)
            terminations, truncations, rewards = (
                terminations & ~restarted,
                truncations & ~restarted,
                rewards * ~restarted,
            )
            prediction = without_rows(prediction, restarted)
        ended = terminations | truncations
        flags = _to_array(terminations), _to_array(truncations)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and bool(ended.any()):
            final: Info = {"final_obs": self._final_rows(ended), "_final_obs": _to_array(ended)}
            final |= {"final_info": self._infos(ended, prediction), "_final_info": _to_array(ended)}
            self._restart(ended)
            infos = self._infos(torch.ones_like(ended), without_rows(prediction, ended)) | final
        else:
            self._has_ended = ended
            infos = self._infos(torch.ones_like(ended), prediction)
        return self._present(), _to_array(rewards).astype(np.float64), *flags, infos

    def _imagine(self, state: ModelState, actions: Tensor) -> tuple[ModelState, Prediction]:
        """One step of all rows.

        A model that remembers only from its first step on takes new branches by themselves.
        """
        is_new, begun = self._ages == 0, self._begun
        if begun is None or len(state.hidden) == len(begun.hidden) or not bool(is_new.any()):
            return self.model.step(state, actions, self._sampler)
        first, others = is_new.nonzero().flatten(), (~is_new).nonzero().flatten()
        parts = self.model.step(begun.select(first), actions[first], self._sampler)
        if not len(others):
            return parts
        rest = self.model.step(state.select(others), actions[others], self._sampler)
        order = torch.cat([first, others]).argsort()
        return join_states(parts[0], rest[0], order), join_predictions(parts[1], rest[1], order)

    @torch.no_grad()
    def _restart(self, mask: Tensor) -> None:
        """Put the masked rows at real states drawn with replacement."""
        num_starts, num_rows = len(self._starts.observations), int(mask.sum())
        index = torch.randint(
            num_starts, (num_rows,), generator=self._generator, device=self._device
        )
        fresh, state = self._starts.select(index), self._state
        if state is None or self._begun is None or bool(mask.all()):
            self._state, self._begun = fresh, fresh
        else:
            self._state, self._begun = (
                replace_rows(state, mask, fresh),
                replace_rows(self._begun, mask, fresh),
            )
        self._ages = self._ages.masked_fill(mask, 0)
        self._has_ended = self._has_ended & ~mask

    @property
    def _sampler(self) -> torch.Generator | None:
        return self._generator if self.is_stochastic else None

    def _draw_ends(self, probabilities: Tensor) -> Tensor:
        if not self.is_stochastic:
            return probabilities > 0.5
        return (
            torch.rand(self.num_envs, generator=self._generator, device=self._device)
            < probabilities
        )

    def _penalty(self, prediction: Prediction) -> Tensor:
        if prediction.disagreement is None:
            return torch.zeros_like(prediction.rewards)
        return self.disagreement_penalty * prediction.disagreement

    def _is_cut_off(self, prediction: Prediction) -> Tensor:
        if self.disagreement_cutoff is None or prediction.disagreement is None:
            return torch.zeros_like(self._has_ended)
        return prediction.disagreement > self.disagreement_cutoff

    def _bounded(self, observations: Tensor) -> Tensor:
        space = self.single_observation_space
        if not isinstance(space, gym.spaces.Box):
            return torch.nn.functional.one_hot(observations.argmax(1), observations.shape[1]).to(
                observations.dtype
            )
        low = torch.as_tensor(space.low.ravel(), dtype=observations.dtype, device=self._device)
        high = torch.as_tensor(space.high.ravel(), dtype=observations.dtype, device=self._device)
        return observations.clamp(low, high)

    def _present(self) -> Array:
        """The observations as the observation space has them."""
        assert self._state is not None
        observations, space = self._state.observations, self.single_observation_space
        if isinstance(space, gym.spaces.Discrete):
            return _to_array(observations.argmax(1)) + space.start
        assert isinstance(space, gym.spaces.Box)
        return as_box_values(_to_array(observations).reshape(self.num_envs, *space.shape), space)

    def _final_rows(self, ended: Tensor) -> Array:
        """Gymnasium's form of the last observations: objects [B], None in the rows that go on."""
        final, observations = np.full(self.num_envs, None, dtype=object), self._present()
        for row in ended.nonzero().flatten().tolist():
            final[row] = observations[row]
        return final

    def _infos(self, mask: Tensor, prediction: Prediction | None) -> Info:
        """The same keys at resets and steps: zeros where nothing was imagined."""
        zeros = torch.zeros(self.num_envs, device=self._device)
        rewards = zeros if prediction is None else prediction.rewards
        disagreement = (
            zeros
            if prediction is None or prediction.disagreement is None
            else prediction.disagreement
        )
        flags = _to_array(mask)
        components = {
            "model": rewards * mask,
            "disagreement": -self.disagreement_penalty * disagreement * mask,
        }
        infos = {
            "disagreement": _to_array(disagreement * mask).astype(np.float64),
            "_disagreement": flags,
        }
        for name, value in components.items():
            infos[component_key(name)] = _to_array(value).astype(np.float64)
            infos[f"_{component_key(name)}"] = flags.copy()
        return infos if self.autoreset_mode == AutoresetMode.SAME_STEP else BatchInfos(infos)

    def _checked(self, actions: Any) -> Tensor:
        """Actions as the model takes them: [B] of Discrete, [B, A] of Box; raises InvalidAction."""
        array, space = np.asarray(actions), self.single_action_space
        expected = (self.num_envs, *(space.shape or ()))
        if array.shape != expected:
            raise InvalidAction(
                f"expected actions of shape {expected}, got shape {array.shape}: {actions!r}"
            )
        if isinstance(space, gym.spaces.Discrete):
            low, high = int(space.start), int(space.start + space.n)
            if array.dtype.kind not in "iu" or array.min() < low or array.max() >= high:
                raise InvalidAction(f"expected integers in [{low}, {high}), got {actions!r}")
            return torch.as_tensor(array.astype(np.int64), device=self._device)
        assert isinstance(space, gym.spaces.Box)
        if array.dtype.kind not in "fiu" or not np.all(
            (array >= space.low) & (array <= space.high)
        ):
            raise InvalidAction(f"expected numbers within {space}, got {actions!r}")
        return torch.as_tensor(
            array.reshape(self.num_envs, -1), dtype=torch.float32, device=self._device
        )

    def _check_disagreement(self) -> None:
        space, first = (
            self.single_action_space,
            torch.zeros(1, dtype=torch.int64, device=self._device),
        )
        if isinstance(space, gym.spaces.Discrete):
            action = first + int(space.start)
        else:
            action = torch.zeros(1, _flat_size(space), device=self._device)
        with torch.no_grad():
            _, prediction = self.model.step(self._starts.select(first), action)
        if prediction.disagreement is None:
            raise ConfigError(
                "this model reports no disagreement: use an ensemble, or no penalty and no cut-off"
            )

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("this environment was closed: make another")

    def _reset_mask(self, options: dict[str, Any] | None) -> Tensor:
        if options is None or "reset_mask" not in options or self._state is None:
            return torch.ones(self.num_envs, dtype=torch.bool, device=self._device)
        mask = options["reset_mask"]
        if (
            not isinstance(mask, np.ndarray)
            or mask.dtype != np.bool_
            or mask.shape != (self.num_envs,)
        ):
            raise ConfigError(
                f"reset_mask is a boolean array of shape ({self.num_envs},), got {mask!r}"
            )
        if not mask.any():
            raise ConfigError(
                "reset_mask selects no row: leave step() to go on, or select at least one"
            )
        return torch.as_tensor(mask, device=self._device)

    def _checked_seeds(self, seed: Any) -> list[int | None]:
        """One seed or None for each row; raises ConfigError with nothing changed."""
        first = as_integer(seed)
        if first is not None and first >= 0:
            return list(self._row_seeds(first))
        seeds = list(seed) if np.iterable(seed) and not isinstance(seed, str) else [seed]
        numbers = [None if one is None else as_integer(one) for one in seeds]
        is_wrong = any(
            given is not None and (number is None or number < 0)
            for given, number in zip(seeds, numbers, strict=True)
        )
        if len(seeds) != self.num_envs or is_wrong:
            raise ConfigError(
                f"expected {self.num_envs} seeds that are None or integers from 0 on, or the first one, got {seed!r}"
            )
        return numbers

    def _row_seeds(self, seed: int) -> list[int]:
        """Gymnasium takes an integer for this list."""
        return [seed + row for row in range(self.num_envs)]

    def _seed(self, seeds: Sequence[int | None]) -> None:
        """One stream from the seeds of all rows."""
        self._row_seeds_of_stream = tuple(seeds)
        sequence = np.random.SeedSequence([0 if seed is None else seed + 1 for seed in seeds])
        self._generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _served(space: gym.Space[Any], name: str) -> gym.Space[Any]:
    if not isinstance(space, gym.spaces.Box | gym.spaces.Discrete):
        raise SpaceError(
            f"the {name} space {space} is neither a Box nor a Discrete: wrap the environment first"
        )
    return space


def _flat_size(space: gym.Space[Any]) -> int:
    return (
        int(space.n) if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape or ()))
    )


def _check_starts(observations: Tensor, size: int) -> None:
    if observations.ndim != 2 or observations.shape[1] != size or not len(observations):
        raise ConfigError(
            f"start_observations are Trajectories, or an array [K, {size}] with K >= 1, got {tuple(observations.shape)}"
        )
    if not bool(observations.isfinite().all()):
        row = int((~observations.isfinite()).any(1).nonzero()[0])
        raise ConfigError(f"start_observations row {row} is not finite: leave it out")


def _to_array(values: Tensor) -> Array:
    return values.detach().cpu().numpy().copy()
