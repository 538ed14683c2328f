"""What all neural world models share.

Spaces, layout, scales, fitting, and storage without pickle.
"""

import copy
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from wm_agents.errors import CheckpointError
from wm_agents.networks import Affine
from wm_agents.protocols import ModelState
from wm_agents.training.checkpoints import Checkpoint, save_checkpoint
from wm_agents.training.config_checks import checked_seed
from wm_agents.training.fitted import FittedModule
from wm_agents.training.saving import Savable, saved_path
from wm_agents.training.stored_shapes import (
    check_counts,
    check_shapes,
    check_spaces,
    config_from_json,
    spaces_from,
)
from wm_agents.training.trainer import Checkpoints, FitReport
from wm_agents.world_models.adapters import (
    DerivedFeature,
    FeatureLayout,
    detect_layout,
    revise_layout,
)
from wm_agents.world_models.encoding import ActionEncoder, EncodedSpaces, check_observations
from wm_agents.world_models.fitting import FitConfig, OnEvaluation, fit
from wm_agents.world_models.normalization import Standardizer, reading, writing
from wm_agents.world_models.sampling import BatchSampler, TrainingBatch
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.spaces import ObservationCodec, space_from_json, space_to_json
from wm_envs.data.trajectories import Trajectories

_ROOM = 2.0  # imagination may leave the recorded range by this many times its width
_FAR = 1e6  # a declared bound beyond so many times the recorded width is none


@dataclass(frozen=True)
class Rescaling:
    """Changes of units between two measurements.

    Which `NeuralModel.change_units` applies to first and last layers.

    Attributes:
        acts: From encoded actions in new units to old ones.
        inputs: From new `inputs` to old ones.
        head_inputs: From new `head_inputs` to old ones.
        targets: From old outputs to new ones.
        log_variances: The same for the logarithms of their variances.
        reward: The same for the standardized reward.
        reward_log_variance: The same for the logarithm of its variance.
        termination: The same for the logit of a termination.
    """

    acts: Affine
    inputs: Affine
    head_inputs: Affine
    targets: Affine
    log_variances: Affine
    reward: Affine
    reward_log_variance: Affine
    termination: Affine

    @property
    def joint(self) -> Affine:
        """Of (inputs, encoded actions)."""
        return Affine.join(self.inputs, self.acts)

    @property
    def transition(self) -> Affine:
        """Of (outcome inputs before, encoded actions, outcome inputs after)."""
        return Affine.join(self.head_inputs, self.acts, self.head_inputs)


class NeuralModel(EncodedSpaces, Unrolled, FittedModule, Savable):
    """A world model with networks; a subclass builds them in `_build` and gives `step` and `loss`.

    Parameters require gradients only inside `fit`, so predictions carry no graph unless the actions
    or observations do (as in planning by gradient).

    Args:
        observation_space: Of any kind that Gymnasium has numbers for.
        action_space: Of any kind that Gymnasium has numbers for.
        config: The subclass's frozen dataclass; None takes its defaults.
        layout: What is known about observations; None detects it from the first data that the model
            is fitted to.
        seed: Draws the initial weights.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("start", "step")
    num_members = 1  # how many independent batches a loss takes
    selection_terms: ClassVar[tuple[str, ...]] = (
        "state",
        "reward",
        "termination",
    )  # what held-out losses sum up
    num_context = 0  # recorded steps that a loss shows the model before it has to imagine
    has_memory = False  # whether losses begin with what `remember` gives
    config_class: ClassVar[type[Any]]
    config: Any
    layout: FeatureLayout
    input_scale: Standardizer
    target_scale: Standardizer
    outcome_scale: Standardizer
    reward_head: Any
    termination_head: Any
    low: Tensor
    high: Tensor
    positive_weight: Tensor
    has_terminations: Tensor
    _base_logit: Tensor

    def __init__(
        self,
        observation_space: gym.Space[Any],
        # Unbounded until data are seen; `is_measured` reads it off these.
        action_space: gym.Space[Any],
        config: Any = None,
        *,
        # Ends that were never recorded are never predicted.
        layout: FeatureLayout | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._set_spaces(observation_space, action_space)
        self.config = self.config_class() if config is None else config
        self.seed = checked_seed(seed)
        self.encode_actions = ActionEncoder(self.action_space)
        self.register_buffer("low", torch.full((self.num_features,), -torch.inf))
        self.register_buffer("high", torch.full((self.num_features,), torch.inf))
        self.register_buffer("positive_weight", torch.ones(()))
        self.register_buffer("has_terminations", torch.zeros((), dtype=torch.bool))
        self.reward_scale = Standardizer(1)
        self.given_layout = layout
        # Provisional, so that a file's tensors find their places; `initialize` arranges again for
        # the data.
        self._arrange(layout or FeatureLayout(self.num_features))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.low.device

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The state from which imagination begins: observations [B, O].

        Models without memory ignore `hidden`.
        """
        return ModelState(check_observations(observations, self.num_features, self.device), hidden)

    def loss(self, segment: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The named loss terms of a segment, whose weights are `config.weights`.

        A subclass gives them.
        """
        raise NotImplementedError

    def fit(
        self,
        trajectories: Trajectories,
        config: FitConfig | None = None,
        *,
        validation: Trajectories | None = None,
        checkpoints: Checkpoints = None,
        progress: bool | None = False,
        on_evaluation: OnEvaluation | None = None,
    ) -> FitReport:
        """Learn from recorded episodes, afresh each time unless `config.is_warm_start`.

        A warm start measures units anew as well: what was constant in earlier data may vary in
        these. Give it all episodes, the earlier ones among them, since weights forget what they
        are no longer shown.

        Args:
            trajectories: What to learn from.
            config: How; None takes `FitConfig()`.
            validation: Held-out episodes; None sets `config.holdout` of the episodes aside.
            checkpoints: Where to save at every evaluation and to resume from, bitwise: a manager,
                or the path of a folder.
            progress: A bar on a terminal, elsewhere lines; None: there only of long work.
            on_evaluation: Called with the number of updates and the held-out figures; False stops.

        Returns:
            What happened; its history has `loss` on held-out windows, `train_loss` on training
            windows and `batch_loss`, what was minimized.

        Raises:
            SpaceError: The trajectories do not fit the spaces.
            NonFiniteError: A loss or gradient is not finite; the weights are those of the last good
                evaluation.
            CheckpointError: The checkpoints are of another fit, or none of them is whole.
        """
        self._check_trajectories(trajectories)
        return fit(
            self,
            trajectories,
            config or FitConfig(),
            validation=validation,
            checkpoints=checkpoints,
            progress=progress,
            on_evaluation=on_evaluation,
        )

    def for_all_members(self, segment: TrainingBatch) -> TrainingBatch:
        """The segment as `loss` takes it when all members are to see the same.

        A subclass with members repeats it.
        """
        return segment

    def finish(self, held_out: Trajectories | None) -> None:
        """What follows the last update, such as calibration on the held-out episodes.

        None where there are none.
        """

    def remember(self, source: BatchSampler) -> Tensor | None:  # noqa: ARG002
        """What the model remembers before each recorded step [S, M]; None without memory."""
        return None

    def initialize(self, trajectories: Trajectories) -> None:
        """Draw the weights afresh and take layout and scales from the data.

        `fit` calls it unless it is warm.
        """
        self._arrange(self.given_layout or detect_layout(trajectories))
        if not self.layout.actions:  # there observations hold actions, in the unit that is in use
            # A fresh encoder, since an earlier fit may have measured other units.
            self.encode_actions = ActionEncoder(self.action_space).to(self.device)
            self.encode_actions.fit(trajectories.actions)
        self._measure(trajectories)

    def adapt(self, trajectories: Trajectories) -> None:
        # The order matters: units of actions before the layout's, and both before the weights are
        # changed.
        """Measure layout and scales again for a warm start; the weights change to keep predictions.

        A model that was never measured is initialised.
        """
        if not self.is_measured:
            self.initialize(trajectories)
            return
        before = self._measurements()
        self.layout = self.given_layout or revise_layout(self.layout, trajectories)
        fixed = Affine.identity(self.encode_actions.size, self.device)
        acts = fixed if self.layout.actions else self.encode_actions.fit(trajectories.actions)
        self._measure_again(trajectories, before)
        self.change_units(self._rescaling(before, acts))
        self._renew_heads(before)

    def change_units(self, change: Rescaling) -> None:
        """Change first and last layers so that they mean the same in other units.

        A subclass gives it.
        """
        raise NotImplementedError

    @property
    def is_measured(self) -> bool:
        """Whether scales were taken from data."""
        return bool(torch.isfinite(self.low).all())

    def _measurements(self) -> dict[str, Any]:
        """A copy of everything that was measured."""
        names = [
            "layout",
            "input_scale",
            "target_scale",
            "reward_scale",
            "positive_weight",
            "has_terminations",
        ]
        names += ["low", "high", *(["outcome_scale"] if self.layout.for_heads else [])]
        # Deep copies: measuring again overwrites the buffers in place.
        return {name: copy.deepcopy(getattr(self, name)) for name in names}

    def _measure_again(self, trajectories: Trajectories, before: dict[str, Any]) -> None:
        """Measure on top of what was measured before, of which nothing is forgotten."""
        places = self._target_sources(before["layout"])
        self.target_scale = Standardizer(self.layout.num_targets).to(self.device)
        for name in ("mean", "std", "span"):
            # Targets that are in both layouts keep their units, new ones start with none.
            old, new = getattr(before["target_scale"], name), getattr(self.target_scale, name)
            for place, source in enumerate(places):
                new[place] = float(name == "std") if source is None else old[source]
        self._measure(trajectories, is_again=True)
        # What was once possible stays possible.
        self.low.copy_(torch.minimum(self.low, before["low"]))
        self.high.copy_(torch.maximum(self.high, before["high"]))
        # New data without ends do not unlearn that there are ends.
        if before["has_terminations"] and not trajectories.terminations.any():
            self.has_terminations.fill_(True)
            self.positive_weight.copy_(before["positive_weight"])

    def _renew_heads(self, before: dict[str, Any]) -> None:
        """Begin afresh where a head has learned but one answer.

        From which it would hardly come back.
        """
        # A constant reward left its head untrained in effect: rescaling it would scale noise.
        fresh = copy.deepcopy(self)
        fresh._arrange(self.layout)
        one = Affine.identity(1, self.device).matrix
        if before["reward_scale"].span == 0 and self.reward_scale.span > 0:
            old = writing(before["reward_scale"], self.reward_scale)
            self.reward_head = fresh.reward_head
            # A tenth of fresh outputs around the old answer, so that learning starts from what was
            # known.
            self.reward_head.change_outputs(Affine(0.1 * one, old.shift))
        if self.has_terminations and not before["has_terminations"]:
            self.termination_head = fresh.termination_head
            self.termination_head.change_outputs(Affine(one, self._base_logit[None]))

    def _target_sources(self, layout: FeatureLayout) -> list[int | None]:
        """Which of the targets of another layout each target is."""
        columns = list(layout.target_columns)
        return [
            columns.index(name) if name in columns else None for name in self.layout.target_columns
        ]

    def _rescaling(self, before: dict[str, Any], acts: Affine) -> Rescaling:
        """From what was measured before to what is measured now."""
        inputs = reading(before["input_scale"], self.input_scale)
        parts = [inputs]
        if before["layout"].circles:
            circles = self.layout.circles
            kept = [
                circles.index(pair) if pair in circles else None
                for pair in before["layout"].circles
            ]
            parts.append(selection(kept, len(circles), self.device))
        if self.layout.for_heads:
            parts.append(reading(before["outcome_scale"], self.outcome_scale))
        targets = writing(
            before["target_scale"], self.target_scale, self._target_sources(before["layout"])
        )
        reward = writing(before["reward_scale"], self.reward_scale)
        # The weight shifts the logits of its head by its logarithm, see `termination_probability`.
        shift = torch.log(self.positive_weight.double()) - torch.log(
            before["positive_weight"].double()
        )
        return Rescaling(
            acts=acts,
            inputs=inputs,
            head_inputs=Affine.join(*parts),
            targets=targets,
            log_variances=_of_log_variances(targets),
            reward=reward,
            reward_log_variance=_of_log_variances(reward),
            termination=Affine(Affine.identity(1, self.device).matrix, shift[None]),
        )

    def _measure(self, trajectories: Trajectories, is_again: bool = False) -> None:
        measure = Standardizer.refit if is_again else Standardizer.fit
        seen = torch.as_tensor(trajectories.observations, device=self.device)
        before = seen[torch.as_tensor(trajectories.observation_of_step, device=self.device)]
        after = torch.as_tensor(trajectories.next_observations, device=self.device)
        measure(self.input_scale, self.layout.inputs(seen))
        # Inputs are observations before and after; targets are differences, which have no mean to
        # take off.
        sizes = self.layout.target_sizes(seen) if self.layout.num_targets else None
        measure(
            self.target_scale, self.layout.targets(before, after), is_centred=False, sizes=sizes
        )
        if self.layout.for_heads:
            measure(self.outcome_scale, self.layout.head_columns(seen))
        measure(
            self.reward_scale,
            torch.as_tensor(trajectories.rewards, device=self.device)[:, None].float(),
        )
        self._bound(seen)
        positives = int(trajectories.terminations.sum())
        self.has_terminations.fill_(positives > 0)
        # At most `max_positive_weight`, or a single recorded end would outweigh everything.
        ratio = (trajectories.num_steps - positives) / max(positives, 1)
        self.positive_weight.fill_(float(np.clip(ratio, 1.0, self.config.max_positive_weight)))
        # The logit of the share of ends, with the weight's shift in it.
        self._base_logit = torch.log(self.positive_weight.double() / max(ratio, 1e-6))

    def decode(self, before: Tensor, normalized_targets: Tensor, acts: Tensor) -> Tensor:
        """Next observations [..., O] from the network's output and the encoded actions.

        Kept within bounds.
        """
        after = self.layout.decode(before, self.target_scale.restore(normalized_targets), acts)
        # Imagination feeds on its own answers: without bounds small errors grow to infinity.
        return torch.clamp(after, self.low, self.high)

    def inputs(self, observations: Tensor) -> Tensor:
        """What a network sees [..., I] of observations [..., O].

        The layout's view of them, standardized.
        """
        return self.input_scale.normalize(self.layout.inputs(observations))

    def head_inputs(self, observations: Tensor) -> Tensor:
        """What the heads see.

        `inputs`, of circles the angles themselves, and the columns that are theirs alone.
        """
        parts = [self.inputs(observations)]
        if self.layout.circles:
            parts.append(self.layout.turns(observations))
        if self.layout.for_heads:
            parts.append(self.outcome_scale.normalize(self.layout.head_columns(observations)))
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    @property
    def num_head_inputs(self) -> int:
        """Length of `head_inputs`."""
        return self.layout.num_inputs + len(self.layout.circles) + len(self.layout.for_heads)

    def targets(self, before: Tensor, after: Tensor) -> Tensor:
        """What the network has to put out [..., P] for the step between two observations."""
        return self.target_scale.normalize(self.layout.targets(before, after))

    def termination_probability(self, logits: Tensor) -> Tensor:
        """Probabilities of logits that were trained with a positive weight.

        With its exaggeration taken back.
        """
        # Takes the shift back that the weight in the loss has put on the logits.
        return torch.sigmoid(logits - torch.log(self.positive_weight)) * self.has_terminations

    def save(
        self, path: str | os.PathLike[str], surroundings: dict[str, Any] | None = None
    ) -> Path:
        """Write weights, scales and configuration to one file (safetensors with JSON).

        Args:
            path: The file; ".safetensors" is added where there is no suffix.
            surroundings: JSON of whatever wraps this model.

        Returns:
            The file's path.
        """
        metadata = self.description() | {"surroundings": surroundings or {}}
        # What surrounds a model, such as a history, is stored in the same file.
        return save_checkpoint(saved_path(path), self.state_dict(), metadata)

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        return cls.of_checkpoint(stored, given)

    def description(self) -> dict[str, Any]:
        """What a file says of this model beside its tensors, as JSON."""
        return {
            "kind": self.kind,
            "observation_space": space_to_json(self.raw_observation_space),
            "action_space": space_to_json(self.raw_action_space),
            "config": asdict(self.config),
            "layout": self.layout.to_json(),
            "has_given_layout": self.given_layout is not None,
            "seed": self.seed,
            "structure": self.describe(),
            "is_fitted": self.is_fitted,
        }

    @classmethod
    def of_checkpoint(cls, stored: Checkpoint, given: tuple[DerivedFeature, ...] | None) -> Self:
        """The model that tensors and a `description` are of.

        Raises:
            CheckpointError: They do not agree with each other.
        """
        metadata = stored.metadata
        # First without memory: a file cannot ask for more of it than its own tensors take.
        check_counts(metadata["config"], stored.tensors)
        check_spaces(metadata, stored.tensors)
        num_features = ObservationCodec(space_from_json(metadata["observation_space"])).size
        if metadata["layout"]["num_features"] != num_features:
            raise CheckpointError(
                f"the layout has other features than the {num_features} of the observation space"
            )
        # Shapes alone, until the file's tensors are known to fit them.
        with torch.device("meta"):
            check_shapes(cls._described(metadata, given or ()), stored.tensors)
        model = cls._described(metadata, given or ())
        model.load_state_dict(stored.tensors)
        # A file of a model that was never fitted does not make it one that was; older files do not
        # say.
        model.is_fitted = bool(metadata.get("is_fitted", True))
        return model

    @classmethod
    def _described(cls, metadata: dict[str, Any], given: tuple[DerivedFeature, ...]) -> Self:
        """A model as a file describes it, without its weights."""
        model = cls(
            *spaces_from(metadata),
            config_from_json(cls.config_class, metadata["config"]),
            layout=FeatureLayout.from_json(metadata["layout"], given),
            seed=metadata["seed"],
        )
        model.given_layout = model.layout if metadata["has_given_layout"] else None
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

    def _arrange(self, layout: FeatureLayout) -> None:
        """Build everything that depends on the layout."""
        self.layout = layout
        self.input_scale = Standardizer(layout.num_inputs).to(self.device)
        self.target_scale = Standardizer(layout.num_targets).to(self.device)
        if layout.for_heads:
            self.outcome_scale = Standardizer(len(layout.for_heads)).to(self.device)
        # The same seed for the same layout: a model that is built again has the weights it began
        # with.
        self._build(torch.Generator().manual_seed(self.seed))
        self.to(self.device)
        # Weights want gradients during a fit alone.
        self.requires_grad_(False)

    def _bound(self, seen: Tensor) -> None:
        """Bounds of imagination.

        The space's where the data keep to them, else the recorded range and some room.
        """
        lowest, highest = seen.amin(0), seen.amax(0)
        width = highest - lowest
        low, high = lowest - _ROOM * width, highest + _ROOM * width
        if isinstance(self.observation_space, spaces.Box):
            # A constant has no width to compare with: any finite bound serves.
            reach = torch.where(
                width > 0, _FAR * width, torch.full_like(width, torch.finfo(width.dtype).max)
            )
            declared = torch.as_tensor(self.observation_space.low, device=self.device).float()
            # A declared bound counts where the data stay within it and it is not absurdly far away.
            low = torch.where((declared <= lowest) & (lowest - declared < reach), declared, low)
            declared = torch.as_tensor(self.observation_space.high, device=self.device).float()
            high = torch.where((declared >= highest) & (declared - highest < reach), declared, high)
        self.low.copy_(low)
        self.high.copy_(high)


def selection(sources: list[int | None], num_inputs: int, device: torch.device) -> Affine:
    """Each number is the input of its source, or 0 without one."""
    matrix = torch.zeros(len(sources), num_inputs, dtype=torch.float64, device=device)
    for place, source in enumerate(sources):
        if source is not None:
            matrix[place, source] = 1.0
    return Affine(
        matrix, torch.zeros_like(matrix[:, 0]) if num_inputs else matrix.new_zeros(len(sources))
    )


def _of_log_variances(outputs: Affine) -> Affine:
    """What a change of outputs does to the logarithms of their variances.

    What was constant begins at 0.
    """
    # A variance scales with the square of its unit.
    scale = outputs.matrix.sum(1)
    is_kept = scale > 0
    shift = torch.where(
        is_kept, 2 * torch.log(torch.where(is_kept, scale, torch.ones_like(scale))), 0.0
    )
    return Affine((outputs.matrix > 0).double(), shift)
