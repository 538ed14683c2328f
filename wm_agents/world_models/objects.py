"""Worlds of moving things: each value that changes is looked up or classified, one after the other.

A view, given with the environment, says which values change (the parts of the world), what is
expected of each if nothing happens, and in which situation it is: a number that should have one
outcome relative to what is expected. Situations that had one outcome whenever they were recorded
are looked up. Everything else is classified by a small network per part, which reads symbols
(integers that name a place in a table of embeddings). Later parts see what was decided for earlier
ones, so that a drawn future can happen as a whole; whatever is chosen is decoded exactly.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import SpaceError
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint, save_checkpoint
from wm_agents.training.fitted import FittedModule
from wm_agents.training.stored_shapes import check_counts, check_shapes, reading_description
from wm_agents.world_models.encoding import check_fit_spaces, check_observations
from wm_agents.world_models.symbols import PartReader, SymbolNetwork
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]

_KIND = "object world model"


class PartView(Protocol):
    """How a domain reads as D parts, values that change from step to step; a memory has M integers.

    Attributes:
        parts: Names, in the order in which they are decided.
        outcomes: The parts whose changes make the reward and whose values end episodes.
        absent: For each part the value that says that it is not there, or None.
        observation_size: O.
        memory_size: M.
    """

    @property
    def parts(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def outcomes(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def absent(self) -> tuple[int | None, ...]: ...  # noqa: D102
    @property
    def observation_size(self) -> int: ...  # noqa: D102
    @property
    def memory_size(self) -> int: ...  # noqa: D102

    def begin(self, observations: Array) -> NDArray[np.int32]:
        """Memories [B, M] of observations [B, O] alone.

        Raises ValueError for observations of another layout.
        """
        ...

    def remember(
        self, observations: Array, actions: Array, lengths: Array
    ) -> tuple[NDArray[np.int32], Array]:
        """Memories [S, M] before each step of episodes laid end to end, and the parts [S, D] after it."""
        ...

    def look(
        self, part: int, memories: Array, actions: Array, decided: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is expected of a part [B], and the number [B] of the situation that it is in, 0 where it has none."""
        ...

    def symbols(
        self, part: int, memories: Array, actions: Array, decided: Array
    ) -> tuple[NDArray[np.int32], int]:
        """What a part's network reads [B, K], and how many different symbols there can be."""
        ...

    def advance(self, memories: Array, actions: Array, decided: Array) -> NDArray[np.int32]:
        """Memories after a step; rows with a negative action stay as they are."""
        ...

    def present(self, observations: Array) -> NDArray[np.int64]:
        """The parts [B, D] that observations show."""
        ...

    def observations(self, memories: Array) -> NDArray[np.float32]:
        """The observations [B, O] that memories hold."""
        ...


@dataclass(frozen=True)
class ObjectConfig:
    """Shape and training of an `ObjectModel`.

    Attributes:
        width: Hidden units of each part's layers.
        num_layers: Hidden layers behind the embedding.
        dropout: Share of hidden units that are silent in training.
        num_updates: Optimiser steps of each part's network.
        batch_size: Transitions per update.
        learning_rate: AdamW's at its highest; it falls to 1 % by a cosine.
        weight_decay: Decoupled.
        fewest: Situations recorded less often than this are not looked up.
        fewest_symbols: Symbols recorded less often than this are not told apart.
        purity: Share of equal outcomes from which on a situation is looked up; above 1 nothing is.
        known_share: Share of each batch that the network sees of what is looked up, so that it can
            stand in elsewhere.
        longest_step: A part that ends at most this far from what is expected is predicted as a
            difference to it.
    """

    width: int = 128
    num_layers: int = 2
    dropout: float = 0.0
    num_updates: int = 800
    batch_size: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    fewest: int = 1
    fewest_symbols: int = 4
    purity: float = 0.98
    known_share: float = 0.25
    longest_step: int = 25


class ObjectModel(Unrolled, FittedModule):
    """A world model of parts, situations and symbols.

    Without a generator each value is the likeliest one; with one it is drawn. `hidden` is (memory
    [B, M], action [B]): what preceded the newest observation and the action that led to it, -1 at
    the beginning.

    Args:
        observation_space: One-dimensional Box of the view's size.
        action_space: Discrete.
        view: How the domain reads as objects.
        config: None takes `ObjectConfig()`.
        seed: Draws weights and batches.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("start", "step")

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        view: PartView,
        config: ObjectConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(action_space, spaces.Discrete):
            raise SpaceError(f"object models serve Discrete actions, got {action_space}")
        if observation_space.shape != (view.observation_size,):
            raise SpaceError(
                f"the view reads observations of size {view.observation_size}, got {observation_space}"
            )
        self.observation_space, self.action_space = observation_space, action_space
        self.first_action, self.num_actions = int(action_space.start), int(action_space.n)
        self.view, self.config, self.seed = view, config or ObjectConfig(), seed
        self.readers: list[PartReader] = []
        self.networks = nn.ModuleList()
        self.reward_weights = np.zeros(0)
        self.endings: list[tuple[int, ...]] = []

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Observations [B, O], alone or with what preceded them.

        Raises SpaceError for another layout.
        """
        rows = check_observations(observations, self.view.observation_size, torch.device("cpu"))
        if not hidden:
            hidden = (self._begin(rows), torch.full((len(rows),), -1))
        return ModelState(rows, hidden)

    def starts(self, trajectories: Trajectories) -> ModelState:
        """The state before every recorded step [S], with all that preceded it in its episode."""
        memories, _ = self._remember(trajectories)
        seen = trajectories.observations[trajectories.observation_of_step]
        return ModelState(
            torch.from_numpy(seen), (torch.from_numpy(memories), torch.full((len(seen),), -1))
        )

    @torch.no_grad()
    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B]; raises SpaceError for one outside the action space."""
        acts = actions.numpy().astype(np.int64) - self.first_action
        if (
            len(acts) and not 0 <= acts.min() <= acts.max() < self.num_actions
        ):  # views look up what an action does
            raise SpaceError(
                f"expected actions of {self.action_space}, got {actions.min()} to {actions.max()}"
            )
        present = self.view.present(state.observations.numpy())
        memories = self.view.advance(state.hidden[0].numpy(), state.hidden[1].numpy(), present)
        decided = self.decide(memories, acts, present, generator)
        observations = torch.from_numpy(
            self.view.observations(self.view.advance(memories, acts, decided))
        )
        rewards, terminations = self.outcomes(present, decided)
        hidden = (torch.from_numpy(memories), torch.from_numpy(acts))
        prediction = Prediction(
            observations, torch.from_numpy(rewards), torch.from_numpy(terminations)
        )
        return ModelState(observations, hidden), prediction

    def decide(
        self, memories: Array, acts: Array, present: Array, generator: torch.Generator | None
    ) -> Array:
        """The next values [B, D], part by part."""
        decided = present.copy()
        for part, reader in enumerate(self.readers):
            expected, situations = self.view.look(part, memories, acts, decided)
            tokens, is_known = reader.situations.lookup(situations)
            rows = np.flatnonzero(~is_known)
            if len(rows):
                symbols, _ = self.view.symbols(part, memories[rows], acts[rows], decided[rows])
                read = torch.from_numpy(reader.table.encode(symbols))
                tokens[rows] = self.network(part).draw(read, generator).numpy()
            decided[:, part] = reader.codec.decode(expected, tokens)
        return decided

    def network(self, part: int) -> SymbolNetwork:
        """The network of a part."""
        network = self.networks[part]
        assert isinstance(network, SymbolNetwork)
        return network

    def outcomes(
        self, present: Array, decided: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rewards [B] and terminations [B] of a change of values."""
        parts = list(self.view.outcomes)
        rewards = ((decided - present)[:, parts] @ self.reward_weights).astype(np.float32)
        ended = np.zeros(len(decided), np.float32)
        for part, values in zip(parts, self.endings, strict=True):
            ended[np.isin(decided[:, part], values)] = 1.0
        return rewards, ended

    def fit(
        self,
        trajectories: Trajectories,
        *,
        progress: bool | None = None,
        checkpoints: CheckpointManager | None = None,
        checkpoint_every: int = 200,
    ) -> dict[str, float]:
        """Learn from recorded episodes, afresh each time.

        Args:
            trajectories: What to learn from.
            progress: Show a progress bar; None shows it on a terminal only.
            checkpoints: Where to save. The same call goes on from the newest checkpoint there, to
                the bit as if it had never stopped.
            checkpoint_every: In updates; the end of each part is saved too.

        Returns:
            For each part the share of the steps that are looked up, `<part>_known`, and the
            network's loss at the end.

        Raises:
            SpaceError: The trajectories do not fit the spaces or the view.
            ConfigError: `checkpoint_every` below 1.
            CheckpointError: The checkpoints are of another fit, or none of them is whole.
            NonFiniteError: A loss or gradient is not finite: nothing was updated or saved with it.
        """
        from wm_agents.world_models.object_fitting import fit_parts

        check_fit_spaces(trajectories, self.observation_space, self.action_space)
        memories, decided = self._remember(trajectories)
        before = self.view.present(trajectories.observations[trajectories.observation_of_step])
        self._fit_outcomes(before, decided, trajectories)
        actions = trajectories.actions - self.first_action
        self.is_fitted = False
        figures = fit_parts(
            self, memories, actions, before, decided, progress, checkpoints, checkpoint_every
        )
        self.is_fitted = True
        return figures

    def arrange(self, readers: list["PartReader"]) -> None:
        """Make the networks afresh for what was learned without gradients."""
        config, self.readers = self.config, readers
        self.networks = nn.ModuleList(
            SymbolNetwork(
                reader.table.num_known + 1, config.width, config.num_layers, reader.codec.num_tokens, config.dropout,
                torch.Generator().manual_seed(self.seed + 1000 * number),
            )
            for number, reader in enumerate(readers)
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write weights, situations and vocabularies to one file (safetensors with JSON) and return its path."""
        metadata = {
            "config": asdict(self.config),
            "seed": self.seed,
            "is_fitted": self.is_fitted,
            "readers": [reader.to_json() for reader in self.readers],
            "reward_weights": self.reward_weights.tolist(),
            "endings": [list(values) for values in self.endings],
        }
        return save_checkpoint(Path(path), self.state_dict(), {"kind": _KIND} | metadata)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        view: PartView,
    ) -> Self:
        """Read a file that `save` wrote, for the same spaces and view.

        Raises CheckpointError when it is damaged.
        """
        stored = load_checkpoint(Path(path), kind=_KIND)
        with reading_description(path, "an object model of this view"):
            data = stored.metadata
            model = cls(
                observation_space,
                action_space,
                view,
                ObjectConfig(**data["config"]),
                seed=data["seed"],
            )
            readers = [PartReader.from_json(reader) for reader in data["readers"]]
            check_counts(data["config"], stored.tensors)
            with torch.device("meta"):  # first without memory
                model.arrange(readers)
                check_shapes(model, stored.tensors)
            model.arrange(readers)
            model.reward_weights = np.array(data["reward_weights"])
            model.endings = [tuple(values) for values in data["endings"]]
            model.load_state_dict(stored.tensors)
            model.is_fitted = bool(data.get("is_fitted", True))  # older files do not say
        return model

    def _begin(self, rows: Tensor) -> Tensor:
        try:
            return torch.from_numpy(self.view.begin(rows.numpy()))
        except ValueError as error:
            raise SpaceError(str(error)) from error

    def _remember(self, trajectories: Trajectories) -> tuple[NDArray[np.int32], Array]:
        self._begin(torch.from_numpy(trajectories.observations))  # checks the layout of every row
        actions = trajectories.actions - self.first_action
        return self.view.remember(trajectories.observations, actions, trajectories.lengths)

    def _fit_outcomes(self, before: Array, after: Array, trajectories: Trajectories) -> None:
        """Rewards as a linear function of the outcome's changes.

        Endings as values that always end an episode.
        """
        parts = list(self.view.outcomes)
        changes = (after - before)[:, parts].astype(np.float64)
        weights = np.linalg.lstsq(changes, trajectories.rewards, rcond=None)[0]
        weights[np.abs(weights) < 1e-9 * np.abs(weights).max(initial=0.0)] = 0.0
        self.reward_weights = np.where(
            np.isclose(weights, weights.round(), 1e-6, 0.0), weights.round(), weights
        )
        self.endings = []
        for part in parts:
            ends, goes_on = (
                after[trajectories.terminations, part],
                after[~trajectories.terminations, part],
            )
            self.endings.append(tuple(int(value) for value in np.setdiff1d(ends, goes_on)))
