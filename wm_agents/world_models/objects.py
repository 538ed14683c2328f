"""Worlds of objects: each object's next values are classified by a network of its own, one object after the other.

A view, given with the environment, says which objects there are and what each may look at, as symbols (integers that
name a place in a table of embeddings). Later objects see what was decided for earlier ones, and the values of one
object are decided one after the other, so that a drawn future is one that can happen as a whole. Values move by few
integer steps: a network chooses among those that were recorded, and what it chooses is decoded exactly.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import CheckpointError, SpaceError
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import load_checkpoint, save_checkpoint
from wm_agents.trajectories import Trajectories
from wm_agents.world_models.encoding import check_fit_spaces, check_observations
from wm_agents.world_models.symbols import SymbolNetwork, SymbolTable, ValueCodec
from wm_agents.world_models.unrolling import Unrolled

Array = NDArray[Any]

_KIND = "object world model"


class ObjectView(Protocol):
    """How a domain reads as objects; D values change from step to step, a memory has M integers.

    Attributes:
        objects: Names, in the order in which they are decided, and which of the D values belong to each.
        outcome: The object whose changes make the reward and whose values end episodes.
        absent: For each of the D values the one that says that the object is not there, or None.
        observation_size: O.
    """

    @property
    def objects(self) -> Mapping[str, tuple[int, ...]]: ...  # noqa: D102
    @property
    def outcome(self) -> str: ...  # noqa: D102
    @property
    def absent(self) -> tuple[int | None, ...]: ...  # noqa: D102
    @property
    def observation_size(self) -> int: ...  # noqa: D102

    def begin(self, observations: Array) -> NDArray[np.int16]:
        """Memories [B, M] of observations [B, O] alone; raises ValueError for observations of another layout."""
        ...

    def remember(self, observations: Array, actions: Array, lengths: Array) -> tuple[NDArray[np.int16], Array]:
        """Memories [S, M] before each step of episodes laid end to end, and the values [S, D] after it."""
        ...

    def symbols(self, name: str, memories: Array, actions: Array, decided: Array) -> tuple[NDArray[np.int32], int]:
        """What an object's network reads [B, K], and how many different symbols there can be."""
        ...

    def advance(self, memories: Array, actions: Array, decided: Array) -> NDArray[np.int16]:
        """Memories after a step; rows with a negative action stay as they are."""
        ...

    def present(self, observations: Array) -> NDArray[np.int64]:
        """The D values [B, D] that observations show."""
        ...

    def observations(self, memories: Array) -> NDArray[np.float32]:
        """The observations [B, O] that memories hold."""
        ...


@dataclass(frozen=True)
class ObjectConfig:
    """Shape and training of an `ObjectModel`.

    Attributes:
        widths: Hidden units of each object's layers; one number for all, or one per object.
        num_layers: Hidden layers behind the embedding.
        dropout: Share of hidden units that are silent in training.
        updates: Optimiser steps; one number for all, or one per object.
        batch_size: Transitions per update.
        learning_rate: AdamW's at its highest; it falls to 1 % by a cosine.
        weight_decay: Decoupled.
        focus: Share of each batch drawn by how badly a transition was predicted when it was last seen. Sharpens
            deterministic worlds; 0 keeps the probabilities of noisy ones honest.
        fewest: Symbols seen less often than this in training are not told apart.
        longest_step: A value that moves by at most this much is predicted as a difference, else as it is.
    """

    widths: tuple[int, ...] = (256,)
    num_layers: int = 2
    dropout: float = 0.0
    updates: tuple[int, ...] = (3000,)
    batch_size: int = 512
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    focus: float = 0.0
    fewest: int = 2
    longest_step: int = 25


class ObjectModel(Unrolled, nn.Module):
    """A world model of objects and symbols.

    Without a generator each value is the likeliest one; with one it is drawn. `hidden` is (memory [B, M], action [B]):
    what preceded the newest observation and the action that led to it, -1 at the beginning.

    Args:
        observation_space: One-dimensional Box of the view's size.
        action_space: Discrete.
        view: How the domain reads as objects.
        config: None takes `ObjectConfig()`.
        seed: Draws weights and batches.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        view: ObjectView,
        config: ObjectConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(action_space, spaces.Discrete):
            raise SpaceError(f"object models serve Discrete actions, got {action_space}")
        if observation_space.shape != (view.observation_size,):
            raise SpaceError(f"the view reads observations of size {view.observation_size}, got {observation_space}")
        self.observation_space, self.action_space = observation_space, action_space
        self.view, self.config, self.seed = view, config or ObjectConfig(), seed
        self.networks = nn.ModuleDict()
        self.codecs: dict[str, list[ValueCodec]] = {}
        self.tables: dict[str, SymbolTable] = {}
        self.reward_weights = np.zeros(0)
        self.endings: list[tuple[int, ...]] = []

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Observations [B, O], alone or with what preceded them; raises SpaceError for another layout."""
        rows = check_observations(observations, self.view.observation_size, torch.device("cpu"))
        if not hidden:
            hidden = (self._begin(rows), torch.full((len(rows),), -1))
        return ModelState(rows, hidden)

    def starts(self, trajectories: Trajectories) -> ModelState:
        """The state before every recorded step [S], with all that preceded it in its episode."""
        memories, _ = self._remember(trajectories)
        seen = trajectories.observations[trajectories.observation_of_step]
        return ModelState(torch.from_numpy(seen), (torch.from_numpy(memories), torch.full((len(seen),), -1)))

    @torch.no_grad()
    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B]."""
        present = self.view.present(state.observations.numpy())
        memories = self.view.advance(state.hidden[0].numpy(), state.hidden[1].numpy(), present)
        acts = actions.numpy().astype(np.int64) - int(self.action_space.start)
        decided = self.decide(memories, acts, present, generator)
        observations = torch.from_numpy(self.view.observations(self.view.advance(memories, acts, decided)))
        rewards, terminations = self.outcomes(present, decided)
        hidden = (torch.from_numpy(memories), torch.from_numpy(acts))
        prediction = Prediction(observations, torch.from_numpy(rewards), torch.from_numpy(terminations))
        return ModelState(observations, hidden), prediction

    def decide(self, memories: Array, acts: Array, present: Array, generator: torch.Generator | None) -> Array:
        """The next values [B, D], object by object."""
        decided = present.copy()
        for name, columns in self.view.objects.items():
            symbols, _ = self.view.symbols(name, memories, acts, decided)
            tokens = self.networks[name].draw(torch.from_numpy(self.tables[name].encode(symbols)), generator)
            for column, codec, token in zip(columns, self.codecs[name], tokens, strict=True):
                decided[:, column] = codec.decode(present[:, column], token.numpy())
        return decided

    def outcomes(self, present: Array, decided: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rewards [B] and terminations [B] of a change of values."""
        columns = list(self.view.objects[self.view.outcome])
        rewards = ((decided - present)[:, columns] @ self.reward_weights).astype(np.float32)
        ended = np.zeros(len(decided), np.float32)
        for column, values in zip(columns, self.endings, strict=True):
            ended[np.isin(decided[:, column], values)] = 1.0
        return rewards, ended

    def fit(self, trajectories: Trajectories, *, progress: bool | None = None) -> dict[str, float]:
        """Learn from recorded episodes, afresh each time; returns the final training loss of each object.

        Raises:
            SpaceError: The trajectories do not fit the spaces or the view.
        """
        from wm_agents.world_models.object_fitting import fit_objects

        check_fit_spaces(trajectories, self.observation_space, self.action_space)
        memories, decided = self._remember(trajectories)
        before = self.view.present(trajectories.observations[trajectories.observation_of_step])
        self._fit_outcomes(before, decided, trajectories)
        actions = trajectories.actions - int(self.action_space.start)
        return fit_objects(self, memories, actions, before, decided, progress)

    def arrange(self, name: str, table: SymbolTable, codecs: list[ValueCodec], number: int) -> SymbolNetwork:
        """Make an object's network afresh."""
        config = self.config
        width = config.widths[number % len(config.widths)]
        network = SymbolNetwork(
            table.num_known + 1, width, config.num_layers, [codec.num_tokens for codec in codecs], config.dropout,
            torch.Generator().manual_seed(self.seed + 1000 * number),
        )  # fmt: skip
        self.tables[name], self.codecs[name], self.networks[name] = table, codecs, network
        return network

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write weights and vocabularies to one file (safetensors with JSON) and return its path."""
        metadata = {
            "config": asdict(self.config),
            "seed": self.seed,
            "tables": {name: table.known.tolist() for name, table in self.tables.items()},
            "codecs": {name: [codec.to_json() for codec in codecs] for name, codecs in self.codecs.items()},
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
        view: ObjectView,
    ) -> Self:
        """Read a file that `save` wrote, for the same spaces and view; raises CheckpointError when it is damaged."""
        stored = load_checkpoint(Path(path), kind=_KIND)
        try:
            data = stored.metadata
            config = {key: tuple(v) if isinstance(v, list) else v for key, v in data["config"].items()}
            model = cls(observation_space, action_space, view, ObjectConfig(**config), seed=data["seed"])
            for number, name in enumerate(view.objects):
                codecs = [ValueCodec.from_json(codec) for codec in data["codecs"][name]]
                model.arrange(name, SymbolTable(np.array(data["tables"][name])), codecs, number)
            model.reward_weights = np.array(data["reward_weights"])
            model.endings = [tuple(values) for values in data["endings"]]
            model.load_state_dict(stored.tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not describe an object model of this view: {error}") from error
        return model

    def _begin(self, rows: Tensor) -> Tensor:
        try:
            return torch.from_numpy(self.view.begin(rows.numpy()))
        except ValueError as error:
            raise SpaceError(str(error)) from error

    def _remember(self, trajectories: Trajectories) -> tuple[NDArray[np.int16], Array]:
        self._begin(torch.from_numpy(trajectories.observations))  # checks the layout of every row
        actions = trajectories.actions - int(self.action_space.start)
        return self.view.remember(trajectories.observations, actions, trajectories.lengths)

    def _fit_outcomes(self, before: Array, after: Array, trajectories: Trajectories) -> None:
        """Rewards as a linear function of the outcome's changes; endings as values that always end an episode."""
        columns = list(self.view.objects[self.view.outcome])
        changes = (after - before)[:, columns].astype(np.float64)
        weights = np.linalg.lstsq(changes, trajectories.rewards, rcond=None)[0]
        self.reward_weights = np.where(np.abs(weights - weights.round()) < 1e-6, weights.round(), weights)
        self.endings = []
        for column in columns:
            ends, goes_on = after[trajectories.terminations, column], after[~trajectories.terminations, column]
            self.endings.append(tuple(int(value) for value in np.setdiff1d(ends, goes_on)))


def cross_entropies(network: SymbolNetwork, symbols: Tensor, tokens: Tensor) -> Tensor:
    """The sum [B] over an object's values of how surprising the recorded ones are."""
    losses = [
        F.cross_entropy(logits, tokens[:, number], reduction="none")
        for number, logits in enumerate(network(symbols, tokens))
    ]
    return torch.stack(losses).sum(0)
