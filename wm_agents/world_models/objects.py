"""A world model of objects: each value that changes is memorized or classified, one by one.

A view, given with the environment, says which values change (the parts of the world), what is
expected of each if nothing happens, and in which situation it is: a number that should have one
outcome relative to what is expected. Situations that had one outcome whenever they were recorded
are memorized. Everything else is classified by a small network per part, which reads symbols
(integers that name a place in a table of embeddings). Later parts see what was decided for earlier
ones, so that a drawn future can happen as a whole; whatever is selected is decoded exactly.
"""

import os
from dataclasses import asdict, replace
from typing import Any, ClassVar, Protocol, Self

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.networks import uninitialised
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.fitted import FittedModule
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import check_counts, check_shapes, spaces_from
from wm_agents.training.trainer import FitReport, as_manager
from wm_agents.world_models.encoding import check_fit_spaces, check_observations, spaces_of
from wm_agents.world_models.object_fitting import (
    ObjectConfig,
    PartReader,
    PartRows,
    PartSteps,
    fit_networks,
    learn_tables,
)
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.display import span
from wm_envs.data.moved import renamed
from wm_envs.data.spaces import space_to_json
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]

__getattr__ = renamed(__name__, {"PartView": "wm_agents.world_models.objects.ObjectView"})


class ObjectView(Protocol):
    """How a domain reads as D parts, values that change, beside a state estimator.

    An estimated state has M integers: what can be remembered of an episode.

    Attributes:
        parts: Names, in the order in which they are decided.
        outcomes: The parts whose changes make the reward and whose values end episodes.
        absent: For each part the value that says that it is not there, or None.
        observation_size: O.
        state_size: M.
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
    def state_size(self) -> int: ...  # noqa: D102

    def initialize(self, observations: Array) -> NDArray[np.int32]:
        """States [B, M] of observations [B, O] alone.

        Raises ValueError for observations of another layout.
        """
        ...

    def replay(
        self, observations: Array, actions: Array, lengths: Array
    ) -> tuple[NDArray[np.int32], Array]:
        """States [S, M] before each step of concatenated episodes, and parts [S, D] after it."""
        ...

    def update(self, states: Array, actions: Array, next_values: Array) -> NDArray[np.int32]:
        """States after a step; rows with a negative action stay as they are."""
        ...

    def values(self, observations: Array) -> NDArray[np.int64]:
        """The parts [B, D] that observations show."""
        ...

    def observations(self, states: Array) -> NDArray[np.float32]:
        """The observations [B, O] that states hold."""
        ...

    def encode(
        self, part: int, states: Array, actions: Array, next_values: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Expected values [B] and situations [B] of a part, 0 where it has none.

        Of `next_values` [B, D] the parts before this one have been decided.
        """
        ...

    def symbols(
        self, part: int, states: Array, actions: Array, next_values: Array
    ) -> tuple[NDArray[np.int32], int]:
        """What a part's network reads [B, K], and how many different symbols there can be."""
        ...


class _SymbolNetwork(nn.Module):
    """The sum of a row's embeddings, hidden layers, and a classifier.

    Args:
        num_symbols: Rows of the embedding.
        width: Hidden units.
        num_layers: Hidden layers behind the embedding.
        num_tokens: Categories.
        dropout: Fraction of hidden units that are silent in training.
        generator: Draws the weights.
    """

    def __init__(
        self,
        num_symbols: int,
        width: int,
        num_layers: int,
        num_tokens: int,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        # Small embeddings: their sum over many symbols starts near the middle of the activation.
        self.embedding = nn.Parameter(torch.randn(num_symbols, width, generator=generator) * 0.15)
        self.bias = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(_linear(width, width, generator) for _ in range(num_layers))
        self.head = _linear(width, num_tokens, generator)

    def forward(self, symbols: Tensor) -> Tensor:
        """Symbols [B, K] -> logits [B, num_tokens]."""
        # A sum and not a concatenation, so that a part may read any number of symbols.
        hidden = F.silu(F.embedding_bag(symbols, self.embedding, mode="sum") + self.bias)
        for layer in self.layers:
            hidden = F.silu(layer(self._dropped_out(hidden)))
        logits: Tensor = self.head(self._dropped_out(hidden))
        return logits

    def draw(self, symbols: Tensor, generator: torch.Generator | None) -> Tensor:
        """Tokens [B]: drawn, or the likeliest where there is no generator."""
        return _selected(self.forward(symbols), generator)

    def _dropped_out(self, hidden: Tensor) -> Tensor:
        # Without dropout nothing is drawn from the global generator.
        return F.dropout(hidden, self.dropout, self.training) if self.dropout else hidden


class ObjectModel(Unrolled, FittedModule, Savable):
    """A world model of parts, situations and symbols.

    Without a generator each value is the likeliest one; with one it is drawn. `hidden` is (state
    [B, M], action [B]): the estimated state before the newest observation and the action that led
    to it, -1 at the beginning.

    Args:
        observation_space: One-dimensional Box of the view's size.
        action_space: Discrete.
        view: How the domain reads as objects.
        config: None takes `ObjectConfig()`.
        seed: Draws weights and batches.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("start", "step")
    kind = "object world model"
    is_cpu_only = True  # views are NumPy

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
            raise SpaceError(
                f"the view reads observations of size {view.observation_size}, "
                f"got {observation_space}"
            )
        self.observation_space = observation_space
        self.action_space = action_space
        self.first_action = int(action_space.start)
        self.num_actions = int(action_space.n)
        # Actions of the space may begin at another number than the view's 0.
        self.view = view
        self.config = config or ObjectConfig()
        self.seed = checked_seed(seed)
        self.readers: list[PartReader] = []
        self.networks = nn.ModuleList()
        self.reward_weights = np.zeros(0)
        self.endings: list[tuple[int, ...]] = []

    @classmethod
    def for_env(
        cls,
        env: Any,
        config: ObjectConfig | None = None,
        *,
        view: ObjectView,
        seed: int = 0,
        **env_kwargs: Any,
    ) -> Self:
        """A model for the spaces of an id or environment; `env_kwargs` are an id's options.

        Raises ConfigError for options beside an environment that is already made.
        """
        return cls(*spaces_of(env, **env_kwargs), view, config, seed=seed)

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    # --- imagination

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Observations [B, O], alone or with what preceded them.

        Raises SpaceError for another layout.
        """
        rows = check_observations(observations, self.view.observation_size, torch.device("cpu"))
        if not hidden:
            # -1 is no action yet: the state includes all that is known.
            hidden = (self._initialize(rows), torch.full((len(rows),), -1))
        return ModelState(rows, hidden)

    def starts(self, trajectories: Trajectories) -> ModelState:
        """The state before every recorded step [S], with all that preceded it in its episode."""
        states, _ = self._replay(trajectories)
        observations = trajectories.observations[trajectories.observation_of_step]
        no_actions = torch.full((len(observations),), -1)  # the states include every action so far
        hidden = (torch.from_numpy(states), no_actions)
        return ModelState(torch.from_numpy(observations), hidden)

    @torch.no_grad()
    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B]; raises SpaceError for one outside the action space."""
        rows = actions.numpy().astype(np.int64) - self.first_action
        # Views look up what an action does, in compiled code without bounds checks.
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_actions:
            raise SpaceError(
                f"expected actions of {self.action_space}, got "
                f"{span(int(actions.min()), int(actions.max()))}"
            )
        # What the parts are now, from which outcomes count their changes.
        values = self.view.values(state.observations.numpy())
        # The action of the step before is applied only now, when its consequence has been seen.
        states = self.view.update(state.hidden[0].numpy(), state.hidden[1].numpy(), values)
        next_values = self.decide(states, rows, values, generator)
        next_states = self.view.update(states, rows, next_values)
        observations = torch.from_numpy(self.view.observations(next_states))
        rewards, terminations = self.outcomes(values, next_values)
        hidden = (torch.from_numpy(states), torch.from_numpy(rows))
        prediction = Prediction(
            observations, torch.from_numpy(rewards), torch.from_numpy(terminations)
        )
        return ModelState(observations, hidden), prediction

    def decide(
        self, states: Array, actions: Array, values: Array, generator: torch.Generator | None
    ) -> Array:
        """The next values [B, D], part by part."""
        next_values = values.copy()
        for part, reader in enumerate(self.readers):
            # Parts in order: a later one may depend on what the earlier ones become.
            expected, situations = self.view.encode(part, states, actions, next_values)
            tokens, is_memorized = reader.situations.lookup(situations)
            # The network decides only what no table knows.
            rows = np.flatnonzero(~is_memorized)
            if len(rows):
                symbols, _ = self.view.symbols(part, states[rows], actions[rows], next_values[rows])
                encoded = torch.from_numpy(reader.table.encode(symbols))
                tokens[rows] = self.network(part).draw(encoded, generator).numpy()
            next_values[:, part] = reader.codec.decode(expected, tokens)
        return next_values

    def network(self, part: int) -> _SymbolNetwork:
        """The network of a part."""
        network = self.networks[part]
        assert isinstance(network, _SymbolNetwork)
        return network

    def outcomes(
        self, values: Array, next_values: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rewards [B] and terminations [B] of a change of values."""
        parts = list(self.view.outcomes)
        changes = (next_values - values)[:, parts]
        rewards = (changes @ self.reward_weights).astype(np.float32)
        terminations = np.zeros(len(next_values), np.float32)
        # An ending is a value that was recorded at ends alone.
        for part, endings in zip(parts, self.endings, strict=True):
            terminations[np.isin(next_values[:, part], endings)] = 1.0
        return rewards, terminations

    # --- learning

    def fit(
        self,
        trajectories: Trajectories,
        config: ObjectConfig | None = None,
        *,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        checkpoint_every: int = 200,
        progress: bool | None = False,
    ) -> FitReport:
        """Learn from recorded episodes, afresh each time.

        Args:
            trajectories: What to learn from.
            config: Takes the place of the model's own; None keeps it.
            checkpoints: Where to save. The same call resumes from the newest checkpoint there,
                bitwise as if it had never stopped.
            checkpoint_every: In updates.
            progress: A bar on a terminal, elsewhere lines; None: there only of long work.

        Returns:
            What happened. Its metrics are, for each part, the fraction of the steps that are
            memorized, `<part>_known`, and the network's averaged loss at the end, `<part>_loss`.

        Raises:
            SpaceError: The trajectories do not fit the spaces or the view.
            ConfigError: `checkpoint_every` below 1.
            CheckpointError: The checkpoints are of another fit, or none of them is whole.
            NonFiniteError: A loss or gradient is not finite: nothing was updated or saved with it.
        """
        require_integers(1, checkpoint_every=checkpoint_every)
        check_fit_spaces(trajectories, self.observation_space, self.action_space)
        states, next_values = self._replay(trajectories)
        self.config = config or self.config
        # Actions and values as the view counts them, from 0.
        values = self.view.values(trajectories.observations[trajectories.observation_of_step])
        actions = trajectories.actions - self.first_action
        # First, because a reward that the parts do not explain is an error of the view.
        self._fit_outcomes(values, next_values, trajectories)
        self.is_fitted = False
        readers: list[PartReader] = []
        rows: list[PartRows] = []
        known: dict[str, float] = {}
        for part, name in enumerate(self.view.parts):
            expected, situations = self.view.encode(part, states, actions, next_values)
            symbols, num_symbols = self.view.symbols(part, states, actions, next_values)
            steps = PartSteps(
                before=values[:, part],
                expected=expected,
                after=next_values[:, part],
                situations=situations,
                symbols=symbols,
                num_symbols=num_symbols,
                absent=self.view.absent[part],
            )
            reader, rows_of_part, known[f"{name}_known"] = learn_tables(steps, self.config)
            readers.append(reader)
            rows.append(rows_of_part)
        # Only now: the tables decide how large the networks are.
        self.arrange(readers)
        report = fit_networks(
            self.networks,
            rows,
            self.view.parts,
            self.config,
            self.seed,
            progress=progress,
            checkpoints=as_manager(checkpoints),
            checkpoint_every=checkpoint_every,
        )
        self.requires_grad_(False)
        self.eval()
        self.is_fitted = True
        return replace(report, metrics=known | report.metrics)

    def arrange(self, readers: list[PartReader]) -> None:
        """Make the networks afresh for what was learned without gradients."""
        config = self.config
        self.readers = readers
        self.networks = nn.ModuleList(
            _SymbolNetwork(
                num_symbols=reader.table.num_known + 1,
                width=config.width,
                num_layers=config.num_layers,
                num_tokens=reader.codec.num_tokens,
                dropout=config.dropout,
                generator=torch.Generator().manual_seed(self.seed + 1000 * number),
            )
            for number, reader in enumerate(readers)
        )

    # --- files

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        description = {
            "config": asdict(self.config),
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
            "seed": self.seed,
            "is_fitted": self.is_fitted,
            "readers": [reader.to_json() for reader in self.readers],
            "reward_weights": self.reward_weights.tolist(),
            "endings": [list(values) for values in self.endings],
        }
        return self.state_dict(), description

    @classmethod
    def _check_request(cls, path: str | os.PathLike[str], device: str, given: Any) -> None:
        if given is None:
            raise ConfigError(f"{path} holds no view of the domain: pass it as given=")
        super()._check_request(path, device, given)

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        data = stored.metadata
        if "observation_space" in data:
            observation_space, action_space = spaces_from(data)
        elif env is not None:
            observation_space, action_space = spaces_of(env)
        else:
            # Without spaces nothing says which actions the file's numbers mean.
            raise CheckpointError("written by an earlier version, without its spaces: pass env")
        config = ObjectConfig.from_json(data["config"])
        model = cls(observation_space, action_space, given, config, seed=data["seed"])
        readers = [PartReader.from_json(reader) for reader in data["readers"]]
        check_counts(data["config"], stored.tensors)
        with torch.device("meta"):  # first without memory
            model.arrange(readers)
            check_shapes(model, stored.tensors)
        model.arrange(readers)
        model.reward_weights = np.array(data["reward_weights"])
        model.endings = [tuple(values) for values in data["endings"]]
        model.load_state_dict(stored.tensors)
        model.requires_grad_(False)
        model.eval()  # else dropout would disturb every prediction
        model.is_fitted = bool(data.get("is_fitted", True))  # older files do not say
        return model

    def _check_env(self, env: Any) -> None:
        """Raise SpaceError unless an environment has actions and observations like the model's."""
        observation_space, action_space = spaces_of(env)
        is_same_shape = observation_space.shape == self.observation_space.shape
        if not is_same_shape or action_space != self.action_space:
            raise SpaceError(
                f"the model is of {self.observation_space} and {self.action_space}, the "
                f"environment has {observation_space} and {action_space}: load it for another one"
            )

    # --- reading recordings

    def _initialize(self, rows: Tensor) -> Tensor:
        try:
            return torch.from_numpy(self.view.initialize(rows.numpy()))
        except ValueError as error:
            raise SpaceError(str(error)) from error

    def _replay(self, trajectories: Trajectories) -> tuple[NDArray[np.int32], Array]:
        # Initializing checks the layout of every row.
        self._initialize(torch.from_numpy(trajectories.observations))
        actions = trajectories.actions - self.first_action
        return self.view.replay(trajectories.observations, actions, trajectories.lengths)

    def _fit_outcomes(self, before: Array, after: Array, trajectories: Trajectories) -> None:
        """Rewards as a linear function of the outcome's changes.

        Endings as values that always end an episode.
        """
        parts = list(self.view.outcomes)
        changes = (after - before)[:, parts].astype(np.float64)
        weights = np.linalg.lstsq(changes, trajectories.rewards, rcond=None)[0]
        # Least squares leaves rounding errors, which a reward that is exact should not have.
        weights[np.abs(weights) < 1e-9 * np.abs(weights).max(initial=0.0)] = 0.0
        # Points are whole; what is nearly whole by rounding is made so.
        is_whole = np.isclose(weights, weights.round(), 1e-6, 0.0)
        self.reward_weights = np.where(is_whole, weights.round(), weights)
        self.endings = []
        for part in parts:
            at_ends = after[trajectories.terminations, part]
            elsewhere = after[~trajectories.terminations, part]
            # A value that was also seen elsewhere does not end an episode by itself.
            endings = np.setdiff1d(at_ends, elsewhere)
            self.endings.append(tuple(int(value) for value in endings))


def _selected(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """The likeliest category, or a drawn one.

    Dividing by exponential noise and taking the largest draws from the softmax.
    """
    if generator is None:
        return logits.argmax(1)
    # Dividing probabilities by exponential noise and taking the largest draws from them (the
    # exponential race), in one pass and without a cumulative sum.
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (torch.softmax(logits, 1) / noise).argmax(1)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = uninitialised(nn.Linear, inputs, outputs)
    nn.init.kaiming_uniform_(layer.weight, 5**0.5, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
