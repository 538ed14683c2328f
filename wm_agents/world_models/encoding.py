"""How the values of an environment's spaces enter a network.

Rows by the codecs, actions as inputs.
"""

from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.networks import Affine
from wm_agents.observation_rows import observation_tensor
from wm_agents.world_models.normalization import change_of_units, divisors, spread
from wm_envs.data.display import html_card
from wm_envs.data.spaces import ActionCodec, ObservationCodec
from wm_envs.data.trajectories import Trajectories


class EncodedSpaces:
    """The spaces of a model, of any kind; inside it there are only rows of the codecs.

    Attributes:
        observation_codec: From observations to rows and back.
        action_codec: From actions to indices or vectors and back.
        observation_space: The space of a row: Discrete or a one-dimensional Box.
        action_space: Discrete or a one-dimensional Box.
        num_features: O, the length of a row.
    """

    observation_codec: ObservationCodec
    action_codec: ActionCodec
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    num_features: int

    @classmethod
    def for_env(cls, env: Any, config: Any = None, *, seed: int = 0, **env_kwargs: Any) -> Self:
        """A model with the spaces of an environment.

        Args:
            env: An id, an environment or a vector environment, which is only asked for its spaces.
            config: The class's configuration; None takes its defaults.
            seed: Draws the initial weights.
            **env_kwargs: Options of the environment, with an id.

        Raises:
            SpaceError: The class does not serve these spaces.
            ConfigError: Options beside an environment that is already made.
        """
        observation_space, action_space = spaces_of(env, **env_kwargs)
        # Through a hook: a subclass may need the spaces in another form, or fix an option.
        return cls._of_spaces(observation_space, action_space, config, seed)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}: {value}" for name, value in self._facts().items())
        return f"{type(self).__name__}({facts})"

    def _repr_html_(self) -> str:
        return html_card(type(self).__name__, self._facts())

    def _facts(self) -> dict[str, str]:
        facts = {} if getattr(self, "is_fitted", True) else {"fitted": "no"}
        if (num_parameters := getattr(self, "num_parameters", 0)) > 0:
            facts["parameters"] = f"{num_parameters:,}"
        spaces = {"observations": self.raw_observation_space, "actions": self.raw_action_space}
        return facts | {name: str(space) for name, space in spaces.items()}

    @property
    def raw_observation_space(self) -> gym.Space[Any]:
        """The environment's own, as it was given."""
        return self.observation_codec.space

    @property
    def raw_action_space(self) -> gym.Space[Any]:
        """The environment's own, as it was given."""
        return self.action_codec.space

    @classmethod
    def _of_spaces(
        cls,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any,
        seed: int,
    ) -> Self:
        return cls(observation_space, action_space, config, seed=seed)  # type: ignore[call-arg]

    def _set_spaces(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        # Rows of numbers inside, whatever the spaces are: no network below knows of Dict or Tuple.
        self.observation_codec = ObservationCodec(observation_space)
        self.action_codec = ActionCodec(action_space)
        self.observation_space = self.observation_codec.row_space
        self.action_space = self.action_codec.row_space
        self.num_features = self.observation_codec.size

    def _check_trajectories(self, trajectories: Trajectories) -> None:
        """Raise SpaceError unless they could come from an environment with the model's spaces."""
        check_fit_spaces(trajectories, self.raw_observation_space, self.raw_action_space)

    def _check_env(self, env: Any) -> None:
        """Raise SpaceError unless an environment, or None, has the model's spaces."""
        if env is not None:
            check_same_rows(self.observation_codec, self.action_codec, *spaces_of(env), "the env")


def spaces_of(env: Any, **env_kwargs: Any) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """The observation and action space of an id, an environment.

    Or one row of a vector environment.

    Raises:
        ConfigError: Options beside an environment that is already made.
    """
    if isinstance(env, str):
        # Made for its spaces alone; a model must not keep an environment open.
        made = gym.make(env, **env_kwargs)
        made.close()
        return made.observation_space, made.action_space
    if env_kwargs:
        raise ConfigError(
            f"{sorted(env_kwargs)} are options of an id, got an environment: make it with them"
        )
    # Of a vector environment the space of one row.
    observation_space = getattr(env, "single_observation_space", env.observation_space)
    action_space = getattr(env, "single_action_space", env.action_space)
    return observation_space, action_space


def check_same_rows(
    observations: ObservationCodec,
    actions: ActionCodec,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    owner: str,
) -> None:
    """Raise SpaceError unless other spaces have rows of the same meaning, whatever their bounds.

    Args:
        observations: Of the model.
        actions: Of the model.
        observation_space: Of the owner.
        action_space: Of the owner.
        owner: Whose spaces these are, for the message.
    """
    # Groups and not spaces: bounds may differ between versions of an environment, meaning may not.
    if ObservationCodec(observation_space).groups != observations.groups:
        raise SpaceError(
            f"the model expects observations from {observations.space}, {owner} has "
            f"{observation_space}: build a model with for_env for it"
        )
    ours = actions.row_space
    theirs = ActionCodec(action_space).row_space
    is_same = ours.shape == theirs.shape and isinstance(theirs, type(ours))
    # How many actions there are, and from which number on, decides what an index means.
    if isinstance(ours, spaces.Discrete):
        is_same = ours == theirs
    if not is_same:
        raise SpaceError(
            f"the model expects actions from {actions.space}, {owner} has {action_space}: "
            "build a model with for_env for it"
        )


def _num_inputs(space: gym.Space[Any]) -> int:
    """The number of network inputs that an action takes."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise SpaceError(f"expected the row space of an ActionCodec, got {space}")


# Shares of half the range: actions that vary less, or lie further out, are not measured by the
# bounds.
_MIN_SHARE = 1e-3
_MAX_SHARE = 10.0


class ActionEncoder(nn.Module):
    """Actions as network inputs: one-hots for Discrete, about -1..1 for Box.

    The unit of a Box action is half the range between its bounds, where there are any and the
    recorded actions make use of it; else it is measured, since a network that is shown 1e-30 does
    not see it.
    """

    centre: Tensor
    radius: Tensor

    def __init__(self, space: gym.Space[Any]) -> None:
        super().__init__()
        self.size = _num_inputs(space)
        # Indices may start anywhere; a one-hot starts at 0.
        self.first = int(space.start) if isinstance(space, spaces.Discrete) else None
        centre = torch.zeros(self.size)
        radius = torch.ones(self.size)
        if isinstance(space, spaces.Box):
            # Declared infinite bounds leave the actions as they are until `fit` measures them.
            # In float64, in which the range of a float32 does not overflow.
            low = torch.as_tensor(space.low).double()
            high = torch.as_tensor(space.high).double()
            is_bounded = torch.isfinite(low) & torch.isfinite(high) & (high > low)
            centre = torch.where(is_bounded, (low + high) / 2, centre).float()
            radius = torch.where(is_bounded, (high - low) / 2, radius).float()
        self.register_buffer("centre", centre)
        self.register_buffer("radius", radius)

    def forward(self, actions: Tensor) -> Tensor:
        """Actions [...] or [..., A] -> inputs [..., size]."""
        if self.first is None:
            return (actions.to(self.centre.dtype) - self.centre) / self.radius
        return F.one_hot(actions.long() - self.first, self.size).to(self.centre.dtype)

    def fit(self, actions: Any) -> Affine:
        """Measure the unit of recorded actions [S, A] where the present one does not suit them.

        Returns:
            From inputs in the unit that is now in use to inputs in the one before, for weights that
            are to be kept.
        """
        if self.first is not None or not len(actions):
            # One-hots have no unit that could be measured.
            return Affine.identity(self.size, self.centre.device)
        rows = torch.as_tensor(actions, device=self.centre.device).double()
        mean = rows.mean(0)
        spreads = spread(rows, mean)
        distance = (rows - self.centre.double()).abs().amax(0)
        # An action that never varied keeps its unit: dividing by nothing would blow up the first
        # one that does.
        is_fine = (spreads == 0) | (spreads >= _MIN_SHARE * self.radius.double())
        is_fine &= distance <= _MAX_SHARE * self.radius.double()
        # Copies, since the buffers are overwritten on the next lines.
        old = self.centre.clone(), self.radius.clone()
        self.centre.copy_(torch.where(is_fine, old[0].double(), mean))
        self.radius.copy_(torch.where(is_fine, old[1].double(), divisors(spreads)))
        return change_of_units(old, (self.centre, self.radius), torch.ones_like(is_fine))


def check_fit_spaces(
    trajectories: Trajectories, observation_space: gym.Space[Any], action_space: gym.Space[Any]
) -> None:
    """Raise SpaceError unless trajectories could come from an environment with these spaces.

    Where trajectories know their own spaces, these are compared; else the numbers are.
    """
    observations = ObservationCodec(observation_space)
    actions = ActionCodec(action_space)
    _check_arrays(trajectories, observations, actions)
    check_same_rows(
        observations,
        # Recorded spaces where they are known, else only the arrays can be compared.
        actions,
        trajectories.observation_space or observation_space,
        trajectories.action_space or action_space,
        "what the trajectories were recorded from",
    )


def _check_arrays(
    trajectories: Trajectories, observations: ObservationCodec, codec: ActionCodec
) -> None:
    size = observations.size
    if trajectories.observations.shape[1] != size:
        raise SpaceError(
            f"the model expects observations of size {size} from {observations.space}, the "
            f"trajectories have {trajectories.observations.shape[1]}"
        )
    actions = trajectories.actions
    space = codec.row_space
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        last = int(space.start + space.n) - 1
        if actions.ndim != 1:
            raise SpaceError(
                f"{codec.space} needs integer actions [S], the trajectories have shape "
                # Whole numbers, in one float array or another: what is outside is no action of this
                # space.
                f"{actions.shape}"
            )
        odd = np.flatnonzero((actions < first) | (actions > last))
        if len(odd):
            raise SpaceError(f"actions, row {odd[0]}: {actions[odd[0]]} is outside {space}")
    elif actions.ndim != 2 or actions.shape[1] != space.shape[0]:
        raise SpaceError(
            f"{codec.space} needs actions [S, {space.shape[0]}], got shape {actions.shape}"
        )


def as_actions(space: gym.Space[Any], actions: Any, device: torch.device) -> Tensor:
    """Actions as the tensor that the space calls for: int64 indices or float32 vectors."""
    dtype = torch.int64 if isinstance(space, spaces.Discrete) else torch.float32
    return torch.as_tensor(actions, dtype=dtype, device=device)


def check_observations(observations: Any, size: int, device: torch.device) -> Tensor:
    """Observations as float32 [B, O].

    Raises SpaceError for any other shape and for what is not finite numbers.
    """
    return observation_tensor(observations, size, device)
