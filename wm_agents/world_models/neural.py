"""What all neural world models share: spaces, layout, scales, fitting, and storage without pickle."""

import os
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from wm_agents.errors import CheckpointError
from wm_agents.fitted import FittedModule
from wm_agents.networks import choose_device
from wm_agents.protocols import ModelState
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint, save_checkpoint
from wm_agents.training.stored_shapes import check_counts, check_shapes, reading_description
from wm_agents.trajectories import Trajectories
from wm_agents.world_models.adapters import Known, Layout, detect_layout
from wm_agents.world_models.encoding import (
    ActionEncoder,
    check_fit_spaces,
    check_observations,
    observation_size,
    space_from_json,
    space_to_json,
)
from wm_agents.world_models.fitting import FitConfig, FitReport, fit
from wm_agents.world_models.normalisation import Standardiser
from wm_agents.world_models.segments import Segment
from wm_agents.world_models.unrolling import Unrolled

_ROOM = 2.0  # imagination may leave the recorded range by this many times its width


class NeuralModel(Unrolled, FittedModule):
    """A world model with networks; a subclass builds them in `_build` and gives `step` and `loss`.

    Parameters require gradients only inside `fit`, so predictions carry no graph unless the actions or observations do
    (as in planning by gradient).

    Args:
        observation_space: Discrete or one-dimensional Box.
        action_space: Discrete or one-dimensional Box.
        config: The subclass's frozen dataclass; None takes its defaults.
        layout: What is known about observations; None detects it from the first data that the model is fitted to.
        seed: Draws the initial weights.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("start", "step")
    kind: ClassVar[str]
    num_members = 1  # how many independent batches a loss takes
    selection_terms: ClassVar[tuple[str, ...]] = ("state", "reward", "termination")  # what held-out losses sum up
    num_context = 0  # recorded steps that a loss shows the model before it has to imagine
    config_class: ClassVar[type[Any]]
    config: Any
    low: Tensor
    high: Tensor
    positive_weight: Tensor
    has_terminations: Tensor

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any = None,
        *,
        layout: Layout | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.observation_space = observation_space
        self.action_space = action_space
        self.config = self.config_class() if config is None else config
        self.seed = seed
        self.num_features = observation_size(observation_space)
        self.encode_actions = ActionEncoder(action_space)
        self.register_buffer("low", torch.full((self.num_features,), -torch.inf))
        self.register_buffer("high", torch.full((self.num_features,), torch.inf))
        self.register_buffer("positive_weight", torch.ones(()))
        self.register_buffer("has_terminations", torch.zeros((), dtype=torch.bool))
        self.reward_scale = Standardiser(1)
        self.has_given_layout = layout is not None
        self._arrange(layout or Layout(self.num_features))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.low.device

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The state from which imagination begins: observations [B, O]; models without memory ignore `hidden`."""
        return ModelState(check_observations(observations, self.num_features, self.device), hidden)

    def loss(self, segment: Segment, generator: torch.Generator) -> dict[str, Tensor]:
        """The named loss terms of a segment, whose weights are `config.weights`; a subclass gives them."""
        raise NotImplementedError

    def fit(
        self,
        trajectories: Trajectories,
        config: FitConfig | None = None,
        *,
        validation: Trajectories | None = None,
        checkpoint: str | os.PathLike[str] | CheckpointManager | None = None,
        progress: bool | None = None,
        on_evaluation: Callable[[int, dict[str, float]], None] | None = None,
    ) -> FitReport:
        """Learn from recorded episodes, afresh each time unless `config.is_warm_start`.

        Args:
            trajectories: What to learn from.
            config: How; None takes `FitConfig()`.
            validation: Held-out episodes; None sets `config.holdout` of the episodes aside.
            checkpoint: A file to which progress is saved, and from which an interrupted fit goes on exactly; or a
                `CheckpointManager`, which keeps several.
            progress: Show a progress bar; None shows it on a terminal only.
            on_evaluation: Called with the number of updates and the held-out figures.

        Raises:
            SpaceError: The trajectories do not fit the spaces.
            NonFiniteError: A loss or gradient is not finite; the weights are those of the last good evaluation.
        """
        check_fit_spaces(trajectories, self.observation_space, self.action_space)
        return fit(
            self,
            trajectories,
            config or FitConfig(),
            validation=validation,
            checkpoint=checkpoint,
            show_progress=progress,
            on_evaluation=on_evaluation,
        )

    def for_all_members(self, segment: Segment) -> Segment:
        """The segment as `loss` takes it when all members are to see the same; a subclass with members repeats it."""
        return segment

    def finish(self, held_out: Trajectories | None) -> None:
        """What follows the last update, such as calibration on the held-out episodes; None where there are none."""

    def initialise(self, trajectories: Trajectories) -> None:
        """Draw the weights afresh and take layout and scales from the data; `fit` calls it unless it is warm."""
        self._arrange(self.layout if self.has_given_layout else detect_layout(trajectories))
        self._measure(trajectories)

    def _measure(self, trajectories: Trajectories) -> None:
        seen = torch.as_tensor(trajectories.observations, device=self.device)
        before = seen[torch.as_tensor(trajectories.observation_of_step, device=self.device)]
        after = torch.as_tensor(trajectories.next_observations, device=self.device)
        self.input_scale.fit(self.layout.inputs(seen))
        self.target_scale.fit(self.layout.targets(before, after), is_centred=False)
        if self.layout.for_outcomes:
            self.outcome_scale.fit(self.layout.outcome_columns(seen))
        self.reward_scale.fit(torch.as_tensor(trajectories.rewards, device=self.device)[:, None].float())
        self._bound(seen)
        positives = int(trajectories.terminations.sum())
        self.has_terminations.fill_(positives > 0)
        ratio = (trajectories.num_steps - positives) / max(positives, 1)
        self.positive_weight.fill_(float(np.clip(ratio, 1.0, self.config.max_positive_weight)))

    def decode(self, before: Tensor, normalised_targets: Tensor, acts: Tensor) -> Tensor:
        """Next observations [..., O] from the network's output and the encoded actions, kept within bounds."""
        after = self.layout.decode(before, self.target_scale.restore(normalised_targets), acts)
        return torch.clamp(after, self.low, self.high)

    def inputs(self, observations: Tensor) -> Tensor:
        """What a network sees [..., I] of observations [..., O]: the layout's view of them, standardised."""
        return self.input_scale.normalise(self.layout.inputs(observations))

    def outcome_inputs(self, observations: Tensor) -> Tensor:
        """What the heads see: `inputs`, of circles the angles themselves, and the columns that are theirs alone."""
        parts = [self.inputs(observations)]
        if self.layout.circles:
            parts.append(self.layout.turns(observations))
        if self.layout.for_outcomes:
            parts.append(self.outcome_scale.normalise(self.layout.outcome_columns(observations)))
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    @property
    def num_outcome_inputs(self) -> int:
        """Length of `outcome_inputs`."""
        return self.layout.num_inputs + len(self.layout.circles) + len(self.layout.for_outcomes)

    def targets(self, before: Tensor, after: Tensor) -> Tensor:
        """What the network has to put out [..., P] for the step between two observations."""
        return self.target_scale.normalise(self.layout.targets(before, after))

    def termination_probability(self, logits: Tensor) -> Tensor:
        """Probabilities of logits that were trained with a positive weight, with its exaggeration taken back."""
        return torch.sigmoid(logits - torch.log(self.positive_weight)) * self.has_terminations

    def save(self, path: str | os.PathLike[str], surroundings: dict[str, Any] | None = None) -> Path:
        """Write weights, scales and configuration to one file (safetensors with JSON) and return its path.

        Args:
            path: The file.
            surroundings: JSON of whatever wraps this model.
        """
        metadata = {
            "kind": self.kind,
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
            "config": asdict(self.config),
            "layout": self.layout.to_json(),
            "has_given_layout": self.has_given_layout,
            "seed": self.seed,
            "structure": self.describe(),
            "is_fitted": self.is_fitted,
            "surroundings": surroundings or {},
        }
        return save_checkpoint(Path(path), self.state_dict(), metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, known: tuple[Known, ...] = (), device: str = "cpu") -> Self:
        """Read a file that `save` wrote, wherever the model was fitted.

        Args:
            path: The file.
            known: The layout's `known` columns, whose functions no file holds.
            device: Where the model goes: the CPU, as a new model does, or "auto" for an accelerator where there is one.

        Raises:
            CheckpointError: The file is damaged or of another kind of model.
            ConfigError: There is no such device.
        """
        return cls.load_with_surroundings(path, known=known, device=device)[0]

    @classmethod
    def load_with_surroundings(
        cls, path: str | os.PathLike[str], *, known: tuple[Known, ...] = (), device: str = "cpu"
    ) -> tuple[Self, dict[str, Any]]:
        """The model of a file and the `surroundings` that `save` was given; arguments and errors as for `load`."""
        chosen = choose_device(device)
        stored = load_checkpoint(Path(path), kind=cls.kind)
        metadata = stored.metadata
        with reading_description(path, f"a {cls.__name__}"):
            # First without memory: a file cannot ask for more of it than its own tensors take.
            check_counts(metadata["config"], stored.tensors)
            num_features = observation_size(space_from_json(metadata["observation_space"]))
            check_counts({"num_features": num_features}, stored.tensors)
            if metadata["layout"]["num_features"] != num_features:
                raise CheckpointError(f"the layout has other features than the {num_features} of the observation space")
            with torch.device("meta"):
                check_shapes(cls._described(metadata, known), stored.tensors)
            model = cls._described(metadata, known)
            model.load_state_dict(stored.tensors)
            # A file of a model that was never fitted does not make it one that was; older files do not say.
            model.is_fitted = bool(metadata.get("is_fitted", True))
            surroundings: dict[str, Any] = metadata["surroundings"]
        return model.to(chosen), surroundings

    @classmethod
    def _described(cls, metadata: dict[str, Any], known: tuple[Known, ...]) -> Self:
        """A model as a file describes it, without its weights."""
        model = cls(
            space_from_json(metadata["observation_space"]),
            space_from_json(metadata["action_space"]),
            config_from_json(cls.config_class, metadata["config"]),
            layout=Layout.from_json(metadata["layout"], known),
            seed=metadata["seed"],
        )
        model.has_given_layout = metadata["has_given_layout"]
        model.restore(metadata["structure"])
        return model

    def describe(self) -> dict[str, Any]:
        """What else a file holds as JSON; a subclass that learns more than weights gives it."""
        return {}

    def restore(self, description: dict[str, Any]) -> None:
        """Rebuild what `describe` gave, before the weights are loaded."""

    def _build(self, generator: torch.Generator) -> None:
        """Make the networks for `self.layout`; a subclass gives it."""
        raise NotImplementedError

    def _arrange(self, layout: Layout) -> None:
        """Build everything that depends on the layout."""
        self.layout = layout
        self.input_scale = Standardiser(layout.num_inputs).to(self.device)
        self.target_scale = Standardiser(layout.num_targets).to(self.device)
        if layout.for_outcomes:
            self.outcome_scale = Standardiser(len(layout.for_outcomes)).to(self.device)
        self._build(torch.Generator().manual_seed(self.seed))
        self.to(self.device)
        self.requires_grad_(False)

    def _bound(self, seen: Tensor) -> None:
        """Bounds of imagination: the space's where the data keep to them, else the recorded range and some room."""
        lowest, highest = seen.amin(0), seen.amax(0)
        width = (highest - lowest).clamp_min(1e-6)
        low, high = lowest - _ROOM * width, highest + _ROOM * width
        if isinstance(self.observation_space, spaces.Box):
            declared = torch.as_tensor(self.observation_space.low, device=self.device).float()
            low = torch.where((declared <= lowest) & (declared > -1e6), declared, low)
            declared = torch.as_tensor(self.observation_space.high, device=self.device).float()
            high = torch.where((declared >= highest) & (declared < 1e6), declared, high)
        self.low.copy_(low)
        self.high.copy_(high)


def config_from_json(config_class: type[Any], description: dict[str, Any]) -> Any:
    """A frozen configuration from its `asdict`; lists become tuples and nested dataclasses are rebuilt."""
    defaults = config_class()
    values = {}
    for field in fields(config_class):
        value, default = description[field.name], getattr(defaults, field.name)
        if is_dataclass(default):
            value = config_from_json(type(default), value)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return config_class(**values)
