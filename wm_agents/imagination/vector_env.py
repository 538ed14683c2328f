"""A world model as a Gymnasium VectorEnv, so that any RL library trains inside it.

Short branches from real states, as in model-based policy optimization (Janner et al., "When to
Trust Your Model", NeurIPS 2019, algorithm 2); the disagreement penalty is that of Yu et al.,
"MOPO", NeurIPS 2020, equation 2, and the cut-off that of Kidambi et al., "MOReL", NeurIPS 2020,
definition 1, here as a truncation.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, NonFiniteError, SpaceError
from wm_agents.observation_rows import raw_spaces
from wm_agents.protocols import ModelState, Prediction, WorldModel
from wm_agents.training.config_checks import require_at_least, require_integers
from wm_agents.training.fitted import check_fitted
from wm_agents.world_models.unrolling import recorded_states
from wm_envs.data.infos import BatchInfos, component_key
from wm_envs.data.moved import renamed
from wm_envs.data.options import as_integer, check_row_seeds
from wm_envs.data.spaces import ActionCodec, ObservationCodec
from wm_envs.data.trajectories import Trajectories

if TYPE_CHECKING:
    from wm_agents.sb3.vec_env import SB3VecEnv

Array = NDArray[Any]
Info = dict[str, Any]
Starts = (
    Trajectories
    | NDArray[np.floating[Any]]
    | Tensor
    | dict[str, Any]
    | tuple[Any, ...]
    | ModelState
)

# Until the next release.
__getattr__ = renamed(
    __name__, {"DreamVectorEnv": "wm_agents.imagination.vector_env.ImaginedVectorEnv"}
)


class ImaginedVectorEnv(VectorEnv[Any, Any, Array]):
    """B imagined episodes from real observations, truncated after `horizon` steps.

    Each step's reward is the model's, less the disagreement penalty; both are in the infos as
    `reward_components/model` and `reward_components/disagreement`, and `infos["disagreement"]` is
    the bare number. An episode terminates with the probability that the model gives, and is
    truncated at the horizon or where the ensemble disagrees too much, so that a learner bootstraps
    there. Observations are clipped to the bounds of the observation space, in which the model was
    fitted.

    Args:
        model: The world model; its spaces become the environment's.
        start_observations: `Trajectories`, of which every step is a start, with what preceded it: a
            model with memory begins with what it remembers of the episode, and the last
            observations of episodes are left out, since nothing follows them; or rows of real
            observations [K, O] to branch from (a Discrete one as its one-hot), such as
            `trajectories.start_observations`; or a batch of observations of a Dict or Tuple space;
            or a ModelState of K rows for models that carry more than the observation.
        horizon: Steps per branch, H.
        num_envs: Rows, B.
        disagreement_penalty: Reward lost per standard deviation of disagreement between ensemble
            members.
        disagreement_cutoff: Disagreement above which a branch is truncated; None never does so.
        cuts_at_rewards: Also truncate a branch where the model's reward is not 0. Where rewards are
            rare the learner's value then stands for all that would follow the first of them, which
            is far away from the real state that the branch began with.
        autoreset_mode: Gymnasium's three modes; `as_sb3` takes each of them.
        is_stochastic: Sample the model and the terminations; False takes the model's best guess,
            and an end where it is more likely than not.
        seed: Seed of starts and samples until `reset` gives another; None draws one.
        action_masks: Which actions [B, A] observations [B, ...] have, such as
            `masks_of_observations` of `wm_envs.resolutions.env`; the environment then has
            `action_masks()`, for sb3-contrib's MaskablePPO.

    Raises:
        ConfigError: On sizes below 1, a negative penalty or cut-off, starts of the wrong shape or
            not finite, and a penalty or cut-off for a model that reports no disagreement.
        SpaceError: On spaces that no codec serves.
        NotFittedError: On a model that was never fitted.
    """

    honors_reset_mask = True
    """Ended rows can be restarted by `reset` before the next step, in every autoreset mode."""

    def __init__(
        self,
        model: WorldModel,
        start_observations: Starts,
        horizon: int,
        num_envs: int,
        *,
        disagreement_penalty: float = 0.0,
        disagreement_cutoff: float | None = None,
        cuts_at_rewards: bool = False,
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
        require_at_least(0, disagreement_penalty=disagreement_penalty)
        if disagreement_cutoff is not None:
            require_at_least(0, disagreement_cutoff=disagreement_cutoff)
        self.model = model
        self.horizon = horizon
        self.num_envs = num_envs
        self.is_stochastic = is_stochastic
        self.disagreement_penalty = disagreement_penalty
        self.disagreement_cutoff = disagreement_cutoff
        self.cuts_at_rewards = cuts_at_rewards
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.single_observation_space, self.single_action_space = raw_spaces(model)
        self._observation_codec = ObservationCodec(self.single_observation_space)
        self._action_codec = ActionCodec(self.single_action_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.set_starts(start_observations)
        self._generator = torch.Generator(self._device)
        # A seed of its own where none is given, so that it can be reported and set again.
        self._seed(self._row_seeds(secrets.randbits(31) if seed is None else seed))
        self._masks_of_observations = action_masks
        self._state: ModelState | None = None
        self._ages = torch.zeros(num_envs, dtype=torch.int64, device=self._device)
        self._has_ended = torch.zeros(num_envs, dtype=torch.bool, device=self._device)
        if disagreement_penalty > 0 or disagreement_cutoff is not None:
            self._check_disagreement()

    def as_sb3(self) -> "SB3VecEnv":
        """This environment as a Stable-Baselines3 `VecEnv`."""
        # Imported here: imagining needs no Stable-Baselines3, which takes a second to import.
        from wm_agents.sb3.vec_env import SB3VecEnv

        return SB3VecEnv(self)

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
                "this imagined environment knows no masks: give it action_masks, a function of "
                "observations"
            )
        return self._current_masks

    def _current_masks(self) -> Array:
        if self._state is None:
            raise ResetNeeded("call reset() before action_masks()")
        assert self._masks_of_observations is not None
        masks = np.asarray(self._masks_of_observations(self._observations()))
        space = self.single_action_space
        expected = (self.num_envs, int(space.n)) if isinstance(space, spaces.Discrete) else None
        if masks.shape != expected or masks.dtype.kind not in "biu":
            raise ConfigError(
                f"action_masks gives booleans of shape {expected}, got {masks.dtype} {masks.shape}"
            )
        return masks.astype(np.bool_)

    def set_starts(self, start_observations: Starts) -> None:
        """Branch from these from the next restart on, for example once more real data are there.

        Raises:
            ConfigError: Starts of the wrong shape or not finite; nothing was changed.
        """
        with torch.no_grad():
            if isinstance(start_observations, Trajectories):
                starts = recorded_states(self.model, start_observations)
            elif isinstance(start_observations, ModelState):
                starts = start_observations
            else:
                # Checked before the model reads them, since its own message knows no "starts".
                rows = self._start_rows(start_observations)
                _check_starts(rows, self._observation_codec.size)
                # The model's own start adds whatever memory its states carry beside the rows.
                starts = self.model.start(rows)
        _check_starts(starts.observations, self._observation_codec.size)
        self._starts = starts
        self._device = starts.observations.device

    def _start_rows(self, observations: Any) -> Tensor:
        """Rows [K, O] of observations [K, ...], or of a batch of a Dict or Tuple space."""
        if isinstance(observations, dict | tuple):
            observations = self._observation_codec.encode(observations)
        device = getattr(self.model, "device", None)
        try:
            rows = torch.as_tensor(observations, dtype=torch.float32, device=device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"start_observations are Trajectories or an array of numbers [K, ...], got "
                f"{type(observations).__name__}: {error}"
            ) from error
        return rows.reshape(len(rows), -1) if rows.ndim > 2 else rows

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, Info]:
        """Branch anew in every row, or in those of `options["reset_mask"]`.

        Args:
            seed: One stream serves all rows: an integer s or the sequence s, s + 1, ... seeds it,
                None lets it continue. A partial reset therefore moves the later draws of all rows.
            options: `reset_mask`, booleans [B] with at least one True.
        """
        self._check_open()
        mask = self._reset_mask(options)
        if seed is not None:
            self._seed(self._checked_seeds(seed))
        self._restart(mask)
        return self._observations(), self._infos(mask, None)

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
                f"autoreset is disabled and rows {rows} have ended: reset them with options "
                "reset_mask"
            )
        state, prediction = self.model.step(
            self._state, self._checked_actions(actions), self._sampler
        )
        _check_finite(prediction)
        if len(state.hidden) != len(self._state.hidden):
            raise ConfigError(
                f"{type(self.model).__name__}.step carries {len(state.hidden)} tensors and its "
                f"start {len(self._state.hidden)}: let start give all of them"
            )
        self._state = ModelState(self._bounded(state.observations), state.hidden)
        self._ages += 1
        terminations = self._draw_ends(prediction.terminations)
        # Cut off where the ensemble disagrees: what it would imagine from there is not to be
        # trusted.
        truncations = (self._ages >= self.horizon) | self._is_cut_off(prediction)
        # The penalty takes from the reward what a policy could win by going where the model errs.
        rewards = prediction.rewards - self._penalty(prediction)
        return self._finish_step(prediction, rewards, terminations, truncations)

    def _finish_step(
        self, prediction: Prediction, rewards: Tensor, terminations: Tensor, truncations: Tensor
    ) -> tuple[Array, Array, Array, Array, Info]:
        """Restart what has to be restarted, and report as the autoreset mode says."""
        # Rows that ended in the step before ignore their action and begin anew (Gymnasium's
        # NEXT_STEP).
        if self.autoreset_mode == AutoresetMode.NEXT_STEP and bool(self._has_ended.any()):
            restarted = self._has_ended.clone()
            self._restart(restarted)
            # The step of a restart belongs to no episode.
            terminations = terminations & ~restarted
            truncations = truncations & ~restarted
            rewards = rewards * ~restarted
            prediction = _without_rows(prediction, restarted)
        ended = terminations | truncations
        flags = _to_array(terminations), _to_array(truncations)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and bool(ended.any()):
            final: Info = {"final_obs": self._final_rows(ended), "_final_obs": _to_array(ended)}
            final |= {"final_info": self._infos(ended, prediction), "_final_info": _to_array(ended)}
            self._restart(ended)
            infos = self._infos(torch.ones_like(ended), _without_rows(prediction, ended)) | final
        else:
            self._has_ended = ended
            infos = self._infos(torch.ones_like(ended), prediction)
        return self._observations(), _to_array(rewards).astype(np.float64), *flags, infos

    @torch.no_grad()
    def _restart(self, mask: Tensor) -> None:
        """Put the masked rows at real states drawn with replacement."""
        index = torch.randint(
            len(self._starts.observations),
            (int(mask.sum()),),
            generator=self._generator,
            device=self._device,
        )
        fresh = self._starts.select(index)
        if self._state is None or bool(mask.all()):
            self._state = fresh
        else:
            self._state = _with_rows(self._state, mask, fresh)
        self._ages = self._ages.masked_fill(mask, 0)
        self._has_ended = self._has_ended & ~mask

    @property
    def _sampler(self) -> torch.Generator | None:
        return self._generator if self.is_stochastic else None

    def _draw_ends(self, probabilities: Tensor) -> Tensor:
        # Without draws an end is what is more probable than not.
        if not self.is_stochastic:
            return probabilities > 0.5
        draws = torch.rand(self.num_envs, generator=self._generator, device=self._device)
        return draws < probabilities

    def _penalty(self, prediction: Prediction) -> Tensor:
        if prediction.disagreement is None:
            return torch.zeros_like(prediction.rewards)
        return self.disagreement_penalty * prediction.disagreement

    def _is_cut_off(self, prediction: Prediction) -> Tensor:
        is_cut_off = torch.zeros_like(self._has_ended)
        if self.disagreement_cutoff is not None and prediction.disagreement is not None:
            is_cut_off = prediction.disagreement > self.disagreement_cutoff
        if self.cuts_at_rewards:
            is_cut_off = is_cut_off | (prediction.rewards != 0)
        return is_cut_off

    def _bounded(self, rows: Tensor) -> Tensor:
        """Imagined rows [B, O] with numbers within their bounds and choices as one-hots."""
        space = self._observation_codec.row_space
        bounded = rows
        if isinstance(space, spaces.Box):
            low = torch.as_tensor(space.low, dtype=rows.dtype, device=self._device)
            high = torch.as_tensor(space.high, dtype=rows.dtype, device=self._device)
            bounded = rows.clamp(low, high)
        for group in self._observation_codec.groups:
            if group.kind == "number":
                continue
            # Scores decide before they are clamped, which would make some of them equal.
            columns = slice(group.start, group.stop)
            scores = rows[:, columns]
            if group.kind == "one_hot":
                width = group.stop - group.start
                decided = torch.nn.functional.one_hot(scores.argmax(1), width)
            else:
                decided = scores >= 0.5
            if bounded is rows:
                bounded = rows.clone()
            bounded[:, columns] = decided.to(rows.dtype)
        return bounded

    def _observations(self) -> Any:
        """The current observations [B, ...] as the observation space has them."""
        assert self._state is not None
        return self._observation_codec.decode(_to_array(self._state.observations))

    def _final_rows(self, ended: Tensor) -> Array:
        """Gymnasium's form of the last observations: objects [B], None in the rows that go on."""
        final = np.full(self.num_envs, None, dtype=object)
        rows = list(iterate(self.observation_space, self._observations()))
        for row in ended.nonzero().flatten().tolist():
            final[row] = rows[row]
        return final

    def _infos(self, mask: Tensor, prediction: Prediction | None) -> Info:
        """The same keys at resets and steps: zeros where nothing was imagined."""
        rewards = torch.zeros(self.num_envs, device=self._device)
        disagreement = rewards
        if prediction is not None:
            rewards = prediction.rewards
            if prediction.disagreement is not None:
                disagreement = prediction.disagreement
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

    def _checked_actions(self, actions: Any) -> Tensor:
        """Actions as the model takes them: [B] of Discrete, [B, A] of Box; raises InvalidAction."""
        space = self.single_action_space
        if isinstance(space, spaces.Box | spaces.Discrete):
            self._check_plain_actions(np.asarray(actions), space)
        try:
            rows = self._action_codec.encode(actions)
        except SpaceError as error:
            raise InvalidAction(f"expected {self.num_envs} actions of {space}: {error}") from error
        if len(rows) != self.num_envs:
            raise InvalidAction(f"expected {self.num_envs} actions of {space}, got {len(rows)}")
        row_space = self._action_codec.row_space
        if isinstance(row_space, spaces.Box):
            # As float32, since a number may be rounded to just outside of a bound of 64 bits.
            low = row_space.low.astype(np.float32)
            high = row_space.high.astype(np.float32)
            if not np.all((rows >= low) & (rows <= high)):
                raise InvalidAction(f"expected numbers within {space}, got {actions!r}")
        return torch.as_tensor(rows, device=self._device)

    def _check_plain_actions(self, actions: Array, space: spaces.Box | spaces.Discrete) -> None:
        """Raise InvalidAction for what a Box or Discrete space does not contain, type for type."""
        expected = (self.num_envs, *(space.shape or ()))
        if actions.shape != expected:
            raise InvalidAction(
                f"expected actions of shape {expected}, got shape {actions.shape}: {actions!r}"
            )
        if isinstance(space, spaces.Discrete):
            low = int(space.start)
            high = int(space.start + space.n)
            if actions.dtype.kind not in "iu" or actions.min() < low or actions.max() >= high:
                raise InvalidAction(f"expected integers in [{low}, {high}), got {actions!r}")
            return
        # Written so that NaN, which compares with nothing, is refused.
        if actions.dtype.kind not in "fiu" or not np.all(
            (actions >= space.low) & (actions <= space.high)
        ):
            raise InvalidAction(f"expected numbers within {space}, got {actions!r}")

    def _check_disagreement(self) -> None:
        first = torch.zeros(1, dtype=torch.int64, device=self._device)
        space = self._action_codec.row_space
        if isinstance(space, spaces.Discrete):
            action = first + int(space.start)
        else:
            action = torch.zeros(1, *space.shape, device=self._device)
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
                "reset_mask selects no row: call step() without a reset, or select at least one"
            )
        return torch.as_tensor(mask, device=self._device)

    def _checked_seeds(self, seed: Any) -> list[int | None]:
        """One seed or None for each row; raises ConfigError with nothing changed."""
        first = as_integer(seed)
        if first is not None and first >= 0:
            return list(self._row_seeds(first))
        return check_row_seeds(seed, self.num_envs, ConfigError)

    def _row_seeds(self, seed: int) -> list[int]:
        """Gymnasium takes an integer for this list."""
        return [seed + row for row in range(self.num_envs)]

    def _seed(self, seeds: Sequence[int | None]) -> None:
        """One stream from the seeds of all rows."""
        self._row_seeds_of_stream = tuple(seeds)
        # None and 0 are different seeds, hence the shift by one.
        sequence = np.random.SeedSequence([0 if seed is None else seed + 1 for seed in seeds])
        self._generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _with_rows(state: ModelState, mask: Tensor, fresh: ModelState) -> ModelState:
    """A copy of B rows in which the masked ones are fresh; a model may still hold the original."""

    def replaced(values: Tensor, new: Tensor) -> Tensor:
        values = values.clone()
        values[mask] = new
        return values

    hidden = tuple(
        replaced(values, new) for values, new in zip(state.hidden, fresh.hidden, strict=True)
    )
    return ModelState(replaced(state.observations, fresh.observations), hidden)


def _without_rows(prediction: Prediction, mask: Tensor) -> Prediction:
    """The prediction with the rewards and disagreement of the masked rows set to zero."""
    disagreement = prediction.disagreement
    if disagreement is not None:
        disagreement = disagreement.masked_fill(mask, 0.0)
    rewards = prediction.rewards.masked_fill(mask, 0.0)
    return Prediction(prediction.observations, rewards, prediction.terminations, disagreement)


def _check_finite(prediction: Prediction) -> None:
    """Raise NonFiniteError that names the part and the first row."""
    for name in ("observations", "rewards", "terminations", "disagreement"):
        values: Tensor | None = getattr(prediction, name)
        if values is not None and not bool(values.isfinite().all()):
            row = int((~values.isfinite()).reshape(len(values), -1).any(1).nonzero()[0])
            raise NonFiniteError(
                f"the model's {name.rstrip('s')}s are not finite in row {row}: shorten the horizon "
                "or fit it longer"
            )


def _check_starts(observations: Tensor, size: int) -> None:
    if observations.ndim != 2 or observations.shape[1] != size or not len(observations):
        raise ConfigError(
            f"start_observations are Trajectories, or an array [K, {size}] with K >= 1, got "
            f"{tuple(observations.shape)}"
        )
    if not bool(observations.isfinite().all()):
        row = int((~observations.isfinite()).any(1).nonzero()[0])
        raise ConfigError(f"start_observations row {row} is not finite: leave it out")


def _to_array(values: Tensor) -> Array:
    return values.detach().cpu().numpy().copy()
