"""Whole episodes collected in lockstep for S stacked runs of R episodes each.

All randomness of a collection is a function of (seed, collection number): a run that resumes at
update u draws what the uninterrupted run drew, without any environment state being stored.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.policy_gradient.action_units import ActionUnits
from wm_agents.policy_gradient.sequence_model import Cache, SequenceModel, Sizes
from wm_envs.data.spaces import as_box_values

VectorEnvMaker = Callable[[int], VectorEnv[Any, Any, Any]]


@dataclass
class EpisodeBatch:
    """S x R episodes, padded to the longest of T steps.

    Attributes:
        inputs: What the network read [S, R, T, F].
        actions: int64 [S, R, T], or float32 [S, R, T, A] as drawn, before clipping to the bounds,
            since that is what the policy gives a probability to.
        next_observations: [S, R, T, O].
        rewards: The environment's [S, R, T], 0 after the end.
        mask: 1.0 for steps that happened, else 0.0 [S, R, T].
        successes: The last `info["is_success"]` of each episode [S, R], or None where the
            environment reports none.
        final_inputs: What the network would have read after each episode's last step [S, R, F].
        truncations: Whether an episode ended without a termination [S, R], by the environment's
            limit or `max_steps`.
        cuts: Whether it was `max_steps` that ended it [S, R].
        first_tokens: The network's tokens [S, R, D] of one-step episodes, with their graph; else
            None.
    """

    inputs: Tensor
    actions: Tensor
    next_observations: Tensor
    rewards: Tensor
    mask: Tensor
    successes: NDArray[np.float64] | None
    final_inputs: Tensor
    truncations: Tensor
    cuts: Tensor
    first_tokens: Tensor | None = None

    @property
    def returns(self) -> NDArray[np.float64]:
        """Undiscounted return of each episode [S, R]."""
        return self.rewards.sum(-1).double().numpy()

    @property
    def num_steps(self) -> NDArray[np.int64]:
        """Environment steps of each stacked run [S]."""
        return self.mask.sum((1, 2)).long().numpy()


@dataclass(frozen=True)
class Interface:
    """How an environment's observations and actions become numbers and back.

    Raises SpaceError on other spaces.
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    has_previous_step: bool

    def __post_init__(self) -> None:
        if not isinstance(self.observation_space, spaces.Box | spaces.Discrete):
            raise SpaceError(
                f"observations are Box or Discrete, got {self.observation_space}: wrap the environment in "
                "gymnasium.wrappers.FlattenObservation"
            )
        if not isinstance(self.action_space, spaces.Box | spaces.Discrete):
            raise SpaceError(
                f"actions are Box or Discrete, got {self.action_space}: wrap the environment in "
                "gymnasium.wrappers.TransformAction"
            )
        for space in (self.observation_space, self.action_space):
            if _length(space) == 0:
                raise SpaceError(
                    f"{space} holds no numbers: give observations and actions at least one"
                )

    @property
    def is_continuous(self) -> bool:
        """Whether actions are vectors of numbers."""
        return isinstance(self.action_space, spaces.Box)

    @functools.cached_property
    def sizes(self) -> Sizes:
        """What the network has to offer."""
        num_features, num_actions = _length(self.observation_space), _length(self.action_space)
        num_inputs = num_features + (num_actions + 1 if self.has_previous_step else 0)
        return Sizes(num_inputs, num_actions, num_actions, num_features, self.is_continuous)

    def encode_observations(self, observations: Any) -> Tensor:
        """Float rows [B, O] from a batch of observations."""
        if isinstance(self.observation_space, spaces.Discrete):
            indices = torch.as_tensor(np.asarray(observations) - self.observation_space.start)
            return torch.nn.functional.one_hot(
                indices.long(), int(self.observation_space.n)
            ).float()
        array = np.asarray(observations, np.float32)
        return torch.from_numpy(array.reshape(len(array), -1))

    def action_features(self, actions: Tensor) -> Tensor:
        """[...] int64 or [..., A] float actions as the environment executes them [..., A].

        One-hot, or in the Box.
        """
        if self.is_continuous:
            box: Any = self.action_space
            low, high = (
                torch.from_numpy(bound.reshape(-1)).to(actions) for bound in (box.low, box.high)
            )
            return (actions.round() if np.issubdtype(box.dtype, np.integer) else actions).clamp(
                low, high
            )
        return torch.nn.functional.one_hot(actions, self.sizes.num_action_features).float()

    @functools.cached_property
    def action_units(self) -> ActionUnits | None:
        """In which numbers a Gaussian policy acts; None for Discrete actions."""
        return (
            ActionUnits.of(self.action_space) if isinstance(self.action_space, spaces.Box) else None
        )

    def action_inputs(self, actions: Tensor) -> Tensor:
        """Executed actions as the network reads them [..., A].

        One-hot, or in units of the bounds.
        """
        features = self.action_features(actions)
        if self.action_units is None:
            return features
        centre, unit = (
            torch.from_numpy(values)
            for values in (self.action_units.centre, self.action_units.unit)
        )
        return (features - centre.to(features)) / unit.to(features)

    def decode_actions(self, actions: Tensor) -> NDArray[Any]:
        """Actions that the environment takes.

        Shifted to the first index, or shaped, rounded and clipped to the Box.
        """
        array = actions.numpy()
        if isinstance(self.action_space, spaces.Discrete):
            return array + int(self.action_space.start)
        box: Any = self.action_space
        return as_box_values(array.reshape(-1, *box.shape), box)


def _length(space: gym.Space[Any]) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    return int(np.prod(space.shape or ()))


def environment_maker(
    environment: str | gym.Env[Any, Any] | VectorEnvMaker,
    options: Mapping[str, Any],
    num_seeds: int = 1,
) -> VectorEnvMaker:
    """A function from a number of rows to a vector environment, from an id, a made environment or such a function.

    Several stacked seeds need a seed for each row. Where a native batch takes one number only, as
    that of Gymnasium's CartPole does, single environments are stepped in its place.

    Raises:
        ConfigError: Options beside a function.
        SpaceError: An environment that cannot be made again, or a function's that refuses a seed
            for each row.
    """
    if callable(environment):
        if options:
            raise ConfigError(
                f"a function of num_envs takes no options, got {dict(options)}: set them inside it"
            )
        if num_seeds > 1 and not _takes_row_seeds(environment):
            raise SpaceError(
                f"reset() of this vector environment refuses a list of seeds, which num_seeds={num_seeds} needs: "
                "give a SyncVectorEnv of single environments, or num_seeds=1"
            )
        return environment
    if isinstance(environment, VectorEnv):
        raise SpaceError(
            "a ready vector environment has its number of rows: give a function of num_envs that makes one, such as "
            "lambda num_envs: gym.make_vec(id, num_envs), or the id"
        )
    if not isinstance(environment, gym.Env):
        return _remaker(environment, options, num_seeds)
    spec = environment.spec
    if spec is None:
        raise SpaceError(
            "this environment was not made by gym.make: give its id or a function of num_envs instead"
        )
    # The specification holds the time limit and wrappers, and a native batch cannot wear wrappers
    # of single ones.
    mode = "sync" if spec.additional_wrappers else None
    return _remaker(spec, {"vectorization_mode": mode, **options}, num_seeds)


@dataclass(frozen=True)
class _Remaker:
    """Makes vector environments; a class and no closure, so that an agent can be pickled."""

    environment: str | EnvSpec
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, num_envs: int) -> VectorEnv[Any, Any, Any]:
        return gym.make_vec(self.environment, num_envs, **self.options)


def _remaker(
    environment: str | EnvSpec, options: Mapping[str, Any], num_seeds: int
) -> VectorEnvMaker:
    make = _Remaker(environment, dict(options))
    if num_seeds == 1 or _takes_row_seeds(make):
        return make
    return _Remaker(environment, {**options, "vectorization_mode": "sync"})


def _takes_row_seeds(maker: VectorEnvMaker) -> bool:
    environment = maker(1)
    try:
        environment.reset(seed=[0])  # type: ignore[arg-type]
    except (gym.error.Error, TypeError, ValueError):
        return False
    finally:
        environment.close()
    return True


@dataclass
class Collector:
    """Plays episodes with a network in environments that it makes when it first needs them.

    Attributes:
        makers: One maker of vector environments per level.
        interface: Numbers in, actions out.
        seeds: The seed of each stacked run, S of them.
        max_steps: Episodes longer than this are cut.
    """

    makers: Sequence[VectorEnvMaker]
    interface: Interface
    seeds: Sequence[int]
    max_steps: int

    def __post_init__(self) -> None:
        self._environments: dict[tuple[int, int], VectorEnv[Any, Any, Any]] = {}
        self._last_num_steps = 0

    def __getstate__(self) -> dict[str, Any]:
        """Without environments, which a copy makes anew.

        No collection depends on what was played before.
        """
        return {**vars(self), "_environments": {}}

    def collect(
        self,
        model: SequenceModel,
        num_rows: int,
        number: Sequence[int],
        levels: Sequence[int] | None = None,
        is_greedy: bool = False,
        max_steps: int | None = None,
    ) -> EpisodeBatch:
        """Play R episodes for each stacked run.

        Args:
            model: The network of S runs.
            num_rows: Episodes per run, R.
            number: Names this collection; with the seed it determines all randomness.
            levels: The level that each run plays [S]; None is level 0 for all.
            is_greedy: Take the likeliest action.
            max_steps: In place of the collector's own.
        """
        max_steps = self.max_steps if max_steps is None else max_steps
        levels = list(levels) if levels is not None else [0] * model.num_seeds
        groups = {
            level: [s for s, own in enumerate(levels) if own == level]
            for level in sorted(set(levels))
        }
        if len(groups) == 1:
            return self._play(
                model,
                levels[0],
                list(range(model.num_seeds)),
                num_rows,
                number,
                is_greedy,
                max_steps,
            )
        parts = [
            self._play(
                model.select(members), level, members, num_rows, number, is_greedy, max_steps
            )
            for level, members in groups.items()
        ]
        order = np.argsort(np.concatenate(list(groups.values())))
        return _merge(parts, order)

    def close(self) -> None:
        """Close the environments."""
        for environment in self._environments.values():
            environment.close()
        self._environments.clear()

    def _environment(self, level: int, num_envs: int) -> VectorEnv[Any, Any, Any]:
        if (level, num_envs) not in self._environments:
            environment = self.makers[level](num_envs)
            mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
            if mode == AutoresetMode.DISABLED or mode == AutoresetMode.SAME_STEP:
                raise SpaceError(
                    f"episodes are collected with autoreset_mode NEXT_STEP, got {mode}: make it with that"
                )
            self._environments[level, num_envs] = environment
        return self._environments[level, num_envs]

    def _play(
        self,
        model: SequenceModel,
        level: int,
        members: list[int],
        num_rows: int,
        number: Sequence[int],
        is_greedy: bool,
        max_steps: int,
    ) -> EpisodeBatch:
        environment = self._environment(level, len(members) * num_rows)
        draws = [np.random.default_rng([self.seeds[member], *number]) for member in members]
        first_seeds = [int(draw.integers(2**31)) for draw in draws]
        # One number stands for its successors too, and is quicker than their list.
        seed: Any = first_seeds[0]
        if len(members) > 1:
            seed = [first + row for first in first_seeds for row in range(num_rows)]
        observations, _ = environment.reset(seed=seed)
        player = _Player(model, self.interface, (len(members), num_rows), draws, is_greedy)
        num_envs = len(members) * num_rows
        is_running = np.ones(num_envs, np.bool_)
        episode = _Recorder()
        encoded = self.interface.encode_observations(observations)
        while is_running.any() and len(episode.rewards) < max_steps:
            inputs, actions = player.act(
                encoded, keeps_graph=self._last_num_steps == 1 and not is_greedy
            )
            observations, rewards, terminated, truncated, infos = environment.step(
                self.interface.decode_actions(actions)
            )
            encoded = self.interface.encode_observations(observations)
            episode.add(inputs, actions, encoded, rewards, is_running, infos)
            player.observe(actions, rewards)
            episode.end(player.inputs(encoded), is_running, terminated, truncated)
            is_running &= ~(terminated | truncated)
        self._last_num_steps = len(episode.rewards)
        tokens = player.first_tokens if self._last_num_steps == 1 else None
        return episode.finish((len(members), num_rows), is_running, tokens)


class _Player:
    """Chooses actions step by step, with a cache of what was attended to."""

    def __init__(
        self,
        model: SequenceModel,
        interface: Interface,
        shape: tuple[int, int],
        draws: Sequence[np.random.Generator],
        is_greedy: bool,
    ) -> None:
        self._model, self._interface, self._shape = model, interface, shape
        self._draws, self._is_greedy = draws, is_greedy
        self._previous = torch.zeros(shape[0] * shape[1], interface.sizes.num_action_features + 1)
        self._cache: Cache | None = None
        self._attended: list[Tensor] | None = None
        self.first_tokens: Tensor | None = None

    def act(self, observations: Tensor, keeps_graph: bool) -> tuple[Tensor, Tensor]:
        """Inputs [S * R, F] and actions [S * R, ...] of the next step."""
        inputs = self.inputs(observations)
        with torch.set_grad_enabled(keeps_graph and self._attended is None):
            tokens = self._encode(inputs.view(*self._shape, -1).to(self._model.device))
            outputs = self._model.policy(tokens).detach()
        return inputs, self._sample(outputs).flatten(0, 1).cpu()

    def inputs(self, observations: Tensor) -> Tensor:
        """What the network reads of the present step [S * R, F]."""
        if self._interface.has_previous_step:
            return torch.cat([observations, self._previous], 1)
        return observations

    def observe(self, actions: Tensor, rewards: NDArray[Any]) -> None:
        """Remember the step for the next token."""
        if self._interface.has_previous_step:
            features = self._interface.action_inputs(actions)
            self._previous = torch.cat(
                [features, torch.from_numpy(np.asarray(rewards, np.float32))[:, None]], 1
            )

    def _encode(self, inputs: Tensor) -> Tensor:
        if self._attended is None:
            self.first_tokens, self._attended = self._model.encode_first(inputs)
            return self.first_tokens
        if self._cache is None:
            self._cache = self._model.cache_first(self._attended)
        return self._model.encode_next(inputs, self._cache)

    def _sample(self, outputs: Tensor) -> Tensor:
        if self._interface.is_continuous:
            if self._is_greedy:
                return outputs
            noise = np.stack(
                [draw.standard_normal(outputs.shape[1:], np.float32) for draw in self._draws]
            )
            return outputs + self._model.action_spread().detach() * torch.from_numpy(noise).to(
                outputs.device
            )
        if self._is_greedy:
            return outputs.argmax(-1)
        uniform = np.stack([draw.random(outputs.shape[1], np.float32) for draw in self._draws])
        return sample_categorical(outputs, torch.from_numpy(uniform).to(outputs.device))


def sample_categorical(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw indices [...] from logits [..., A] by inverting the distribution function at uniform numbers [...]."""
    cumulative = logits.softmax(-1).cumsum(-1)
    return (cumulative < uniform.unsqueeze(-1)).sum(-1).clamp_(max=logits.shape[-1] - 1)


class _Recorder:
    """Gathers the steps of one collection."""

    def __init__(self) -> None:
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []
        self.rewards: list[NDArray[Any]] = []
        self._masks: list[NDArray[np.bool_]] = []
        self._successes: NDArray[np.float64] | None = None
        self._truncations: NDArray[np.bool_] | None = None
        self._final_inputs: Tensor | None = None

    def add(
        self,
        inputs: Tensor,
        actions: Tensor,
        next_observations: Tensor,
        rewards: NDArray[Any],
        is_running: NDArray[np.bool_],
        infos: dict[str, Any],
    ) -> None:
        self._steps.append((inputs, actions, next_observations))
        self.rewards.append(np.where(is_running, rewards, 0.0))
        self._masks.append(is_running.copy())
        if "is_success" in infos:
            known = np.asarray(infos["is_success"], np.float64)
            self._successes = np.where(
                is_running, known, known if self._successes is None else self._successes
            )

    def end(
        self,
        inputs: Tensor,
        is_running: NDArray[np.bool_],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Keep what follows this step, and whether it truncated the episode, in the rows that were running."""
        is_truncated = is_running & truncated & ~terminated
        if self._final_inputs is None or self._truncations is None:
            self._final_inputs, self._truncations = inputs, is_truncated
            return
        self._final_inputs = torch.where(
            torch.from_numpy(is_running)[:, None], inputs, self._final_inputs
        )
        self._truncations = self._truncations | is_truncated

    def finish(
        self, shape: tuple[int, int], is_running: NDArray[np.bool_], first_tokens: Tensor | None
    ) -> EpisodeBatch:
        assert self._final_inputs is not None
        assert self._truncations is not None
        inputs, actions, next_observations = (
            torch.stack(column, 1).unflatten(0, shape) for column in zip(*self._steps, strict=True)
        )
        rewards = torch.from_numpy(np.stack(self.rewards, 1).astype(np.float32)).unflatten(0, shape)
        mask = torch.from_numpy(np.stack(self._masks, 1).astype(np.float32)).unflatten(0, shape)
        successes = None if self._successes is None else self._successes.reshape(shape)
        return EpisodeBatch(
            inputs,
            actions,
            next_observations,
            rewards,
            mask,
            successes,
            self._final_inputs.unflatten(0, shape),
            torch.from_numpy(self._truncations | is_running).unflatten(0, shape),
            torch.from_numpy(is_running.copy()).unflatten(0, shape),
            first_tokens,
        )


def _merge(parts: list[EpisodeBatch], order: NDArray[np.intp]) -> EpisodeBatch:
    """Pad the groups to a common length, join them along the seed axis and put the seeds in their order."""
    num_steps = max(part.mask.shape[2] for part in parts)

    def joined(tensors: list[Tensor]) -> Tensor:
        padded = [
            torch.cat([t, t.new_zeros(*t.shape[:2], num_steps - t.shape[2], *t.shape[3:])], 2)
            if t.shape[2] < num_steps
            else t
            for t in tensors
        ]
        return torch.cat(padded)[torch.from_numpy(order)]

    def ordered(tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors)[torch.from_numpy(order)]

    successes = [part.successes for part in parts if part.successes is not None]
    return EpisodeBatch(
        joined([part.inputs for part in parts]),
        joined([part.actions for part in parts]),
        joined([part.next_observations for part in parts]),
        joined([part.rewards for part in parts]),
        joined([part.mask for part in parts]),
        np.concatenate(successes)[order] if len(successes) == len(parts) else None,
        ordered([part.final_inputs for part in parts]),
        ordered([part.truncations for part in parts]),
        ordered([part.cuts for part in parts]),
    )
