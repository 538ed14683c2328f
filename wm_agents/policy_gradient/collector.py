"""Whole episodes collected in lockstep for S stacked runs of R episodes each.

All randomness of a collection is a function of (seed, collection number): a run that resumes at
update u draws what the uninterrupted run drew, without any environment state being stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import SpaceError
from wm_agents.policy_gradient.environments import VectorEnvMaker
from wm_agents.policy_gradient.sequence_model import Cache, SequenceModel, Sizes
from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_envs.data.trajectories import TrajectoryBatch


@dataclass(frozen=True, repr=False)
class StackedBatch(TrajectoryBatch[Tensor]):
    """R whole episodes of each of S stacked runs, padded to the longest of T steps.

    What stands beyond an episode's end is whatever its environment showed there, and masked.

    Attributes:
        observations: [S, R, T + 1, O].
        actions: int64 [S, R, T], or float32 [S, R, T, A] as drawn, before clipping to the bounds,
            since that is what the policy gives a probability to.
        rewards: The environment's [S, R, T], 0 after the end.
        terminations: [S, R, T].
        mask: 1.0 for steps that happened, else 0.0 [S, R, T].
        truncations: Whether an episode ended without a termination [S, R], by the environment's
            limit or `max_steps`.
        cuts: Whether it was `max_steps` that ended it [S, R].
        successes: The last `info["is_success"]` of each episode [S, R], or None where the
            environment reports none.
        previous: The action and reward before each observation as the network reads them
            [S, R, T + 1, A + 1]; None where it does not.
        first_tokens: The network's tokens [S, R, D] of one-step episodes, with their graph; else
            None.
    """

    truncations: Tensor
    cuts: Tensor
    successes: NDArray[np.float64] | None
    previous: Tensor | None = None
    first_tokens: Tensor | None = None

    def __repr__(self) -> str:
        num_seeds, num_rows, num_steps = self.mask.shape
        success = "" if self.successes is None else f", success {self.successes.mean():.3f}"
        return (
            f"StackedBatch({num_seeds} seeds, {num_rows} episodes each of up to {num_steps} steps, "
            f"mean return {self.returns.mean():.4g}{success})"
        )

    @property
    def all_inputs(self) -> Tensor:
        """What the network reads of every observation, the last one included [S, R, T + 1, F]."""
        if self.previous is None:
            return self.observations
        return torch.cat([self.observations, self.previous], -1)

    @property
    def inputs(self) -> Tensor:
        """What the network read before each step [S, R, T, F]."""
        return self.all_inputs[:, :, :-1]

    @property
    def next_observations(self) -> Tensor:
        """What each step led to [S, R, T, O]."""
        return self.observations[:, :, 1:]

    @property
    def returns(self) -> NDArray[np.float64]:
        """Undiscounted return of each episode [S, R]."""
        return self.rewards.sum(-1).double().numpy()

    @property
    def num_steps(self) -> NDArray[np.int64]:
        """Environment steps of each stacked run [S]."""
        return self.mask.sum((1, 2)).long().numpy()


def network_sizes(known: PolicySpaces, has_previous_step: bool) -> Sizes:
    """What an environment asks of the network that plays it."""
    size = known.observations.size
    num_previous = known.num_actions + 1 if has_previous_step else 0
    return Sizes(
        size + num_previous, known.num_actions, known.num_actions, size, known.is_continuous
    )


@dataclass
class EpisodeCollector:
    """Plays episodes with a network in environments that it makes when it first needs them.

    Attributes:
        makers: One maker of vector environments per level.
        spaces: Numbers in, actions out.
        seeds: The seed of each stacked run, S of them.
        max_steps: Episodes longer than this are cut.
        has_previous_step: Each token also carries the action and reward before it.
    """

    makers: Sequence[VectorEnvMaker]
    spaces: PolicySpaces
    seeds: Sequence[int]
    max_steps: int
    has_previous_step: bool = False

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
    ) -> StackedBatch:
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
                    "episodes are collected with autoreset_mode NEXT_STEP, got "
                    f"{mode}: make it with that"
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
    ) -> StackedBatch:
        environment = self._environment(level, len(members) * num_rows)
        draws = [np.random.default_rng([self.seeds[member], *number]) for member in members]
        first_seeds = [int(draw.integers(2**31)) for draw in draws]
        # One number stands for its successors too, and is quicker than their list.
        seed: Any = first_seeds[0]
        if len(members) > 1:
            seed = [first + row for first in first_seeds for row in range(num_rows)]
        observations, _ = environment.reset(seed=seed)
        num_envs = len(members) * num_rows
        player = _Player(
            model, self.spaces, (len(members), num_rows), draws, is_greedy, self.has_previous_step
        )
        steps: list[tuple[Any, ...]] = []
        successes: NDArray[np.float64] | None = None
        is_running = np.ones(num_envs, np.bool_)
        encoded = self.spaces.encode_observations(observations)
        while is_running.any() and len(steps) < max_steps:
            # One-step episodes learn from the very tokens that they acted on.
            keeps_graph = self._last_num_steps == 1 and not is_greedy
            actions = player.act(encoded, keeps_graph)
            following, rewards, terminated, truncated, infos = environment.step(
                self.spaces.decode_actions(actions)
            )
            # Only the rows that were running count.
            steps.append(
                (
                    encoded,
                    player.previous,
                    actions,
                    np.where(is_running, rewards, 0.0),
                    is_running & terminated,
                    is_running & truncated & ~terminated,
                    is_running,
                )
            )
            if "is_success" in infos:
                known = np.asarray(infos["is_success"], np.float64)
                successes = np.where(is_running, known, known if successes is None else successes)
            encoded = self.spaces.encode_observations(following)
            player.observe(actions, rewards)
            is_running = is_running & ~(terminated | truncated)
        self._last_num_steps = len(steps)
        return _joined(steps, encoded, player, is_running, successes)


class _Player:
    """Chooses actions step by step, with a cache of what was attended to."""

    def __init__(
        self,
        model: SequenceModel,
        spaces: PolicySpaces,
        shape: tuple[int, int],
        draws: Sequence[np.random.Generator],
        is_greedy: bool,
        has_previous_step: bool,
    ) -> None:
        self._model = model
        self._spaces = spaces
        self.shape = shape
        self._draws = draws
        self._is_greedy = is_greedy
        self.previous: Tensor | None = None
        if has_previous_step:
            self.previous = torch.zeros(shape[0] * shape[1], spaces.num_actions + 1)
        self._cache: Cache | None = None
        self._attended: list[Tensor] | None = None
        self.first_tokens: Tensor | None = None

    def act(self, observations: Tensor, keeps_graph: bool) -> Tensor:
        """Actions [S * R, ...] of the next step."""
        inputs = observations
        if self.previous is not None:
            inputs = torch.cat([observations, self.previous], 1)
        with torch.set_grad_enabled(keeps_graph and self._attended is None):
            tokens = self._encode(inputs.view(*self.shape, -1).to(self._model.device))
            outputs = self._model.policy(tokens).detach()
        return self._sample(outputs).flatten(0, 1).cpu()

    def observe(self, actions: Tensor, rewards: NDArray[Any]) -> None:
        """Remember the step for the next token."""
        if self.previous is not None:
            received = torch.from_numpy(np.asarray(rewards, np.float32))[:, None]
            self.previous = torch.cat([self._spaces.action_inputs(actions), received], 1)

    def _encode(self, inputs: Tensor) -> Tensor:
        if self._attended is None:
            self.first_tokens, self._attended = self._model.encode_first(inputs)
            return self.first_tokens
        if self._cache is None:
            self._cache = self._model.cache_first(self._attended)
        return self._model.encode_next(inputs, self._cache)

    def _sample(self, outputs: Tensor) -> Tensor:
        if self._spaces.is_continuous:
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
    """Draw indices [...] from logits [..., A].

    By inverting the distribution function at uniform numbers [...].
    """
    cumulative = logits.softmax(-1).cumsum(-1)
    return (cumulative < uniform.unsqueeze(-1)).sum(-1).clamp_(max=logits.shape[-1] - 1)


def _joined(
    steps: list[tuple[Any, ...]],
    last: Tensor,
    player: _Player,
    is_running: NDArray[np.bool_],
    successes: NDArray[np.float64] | None,
) -> StackedBatch:
    """The batch of steps that were played one after the other.

    Args:
        steps: Observations, what came before them, actions, rewards, terminations, truncations and
            masks of all rows, by step.
        last: The observations that the last step led to.
        player: Who has played.
        is_running: The rows whose episodes have not ended.
        successes: Of each row, None where the environment reports none.
    """
    observations, previous, actions, rewards, terminations, truncations, masks = zip(
        *steps, strict=True
    )
    before = None
    if player.previous is not None:
        before = torch.stack([*previous, player.previous], 1).unflatten(0, player.shape)
    is_cut = torch.from_numpy(np.any(truncations, axis=0) | is_running)
    return StackedBatch(
        torch.stack([*observations, last], 1).unflatten(0, player.shape),
        torch.stack(actions, 1).unflatten(0, player.shape),
        _stacked(rewards, np.float32).unflatten(0, player.shape),
        _stacked(terminations, np.bool_).unflatten(0, player.shape),
        _stacked(masks, np.float32).unflatten(0, player.shape),
        is_cut.unflatten(0, player.shape),
        torch.from_numpy(is_running).unflatten(0, player.shape),
        None if successes is None else successes.reshape(player.shape),
        before,
        player.first_tokens if len(steps) == 1 else None,
    )


def _stacked(steps: Sequence[NDArray[Any]], dtype: Any) -> Tensor:
    """[N, T] of T arrays [N]."""
    return torch.from_numpy(np.stack(steps, 1).astype(dtype))


def _merge(parts: list[StackedBatch], order: NDArray[np.intp]) -> StackedBatch:
    """Pad groups to a common length, and join them with the seeds in their order."""
    num_steps = max(part.mask.shape[2] for part in parts)
    index = torch.from_numpy(order)

    def padded(tensors: list[Tensor], length: int) -> Tensor:
        parts = []
        for tensor in tensors:
            missing = length - tensor.shape[2]
            zeros = tensor.new_zeros(*tensor.shape[:2], missing, *tensor.shape[3:])
            parts.append(torch.cat([tensor, zeros], 2) if missing else tensor)
        return torch.cat(parts)[index]

    previous = [part.previous for part in parts if part.previous is not None]
    successes = [part.successes for part in parts if part.successes is not None]
    return StackedBatch(
        padded([part.observations for part in parts], num_steps + 1),
        padded([part.actions for part in parts], num_steps),
        padded([part.rewards for part in parts], num_steps),
        padded([part.terminations for part in parts], num_steps),
        padded([part.mask for part in parts], num_steps),
        torch.cat([part.truncations for part in parts])[index],
        torch.cat([part.cuts for part in parts])[index],
        np.concatenate(successes)[order] if len(successes) == len(parts) else None,
        padded(previous, num_steps + 1) if previous else None,
    )
