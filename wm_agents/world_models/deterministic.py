"""One perceptron that predicts the difference to the next observation.

And heads for reward and termination.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from wm_agents.networks import Affine, Perceptron
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.exporting import export_step
from wm_agents.world_models.losses import (
    PredictionWeights,
    column_mean,
    huber,
    masked_mean,
    weighted_cross_entropy,
)
from wm_agents.world_models.neural import NeuralModel, Rescaling
from wm_agents.world_models.sampling import TrainingBatch


@dataclass(frozen=True)
class DeterministicConfig:
    """Shape and loss of a `DeterministicModel`.

    Attributes:
        encoder_widths: Hidden units of each encoder layer, from observation to latent.
        latent_size: Length of the latent; 0 leaves the encoder out.
        dynamics_widths: Hidden units of each layer from (latent or observation, action) to the
            difference.
        reward_widths: Hidden units of the reward head, which sees the observation, the action and
            what they led to.
        termination_widths: Hidden units of the termination head, which sees the same.
        activation: "elu", "relu", "silu" or "tanh".
        weights: Weights of the loss terms, dimensionless.
        max_positive_weight: A termination counts as often as it is rarer than the rest, but at most
            this many times.
    """

    encoder_widths: tuple[int, ...] = ()
    latent_size: int = 0
    dynamics_widths: tuple[int, ...] = (256, 256)
    reward_widths: tuple[int, ...] = (128, 128)
    termination_widths: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    weights: PredictionWeights = field(default_factory=PredictionWeights)
    max_positive_weight: float = 10.0


DRIVING = DeterministicConfig(
    encoder_widths=(256, 256),
    latent_size=64,
    reward_widths=(128,),
    termination_widths=(64,),
    activation="elu",
)
"""The historical specification of the driving task.

Encoder 256-256, latent 64, dynamics 256-256, ELU.
"""


class DeterministicModel(NeuralModel):
    """The mean of what comes next, with squared error on standardized differences.

    `hidden` is empty: the observation is taken to be the whole state.
    """

    kind = "deterministic world model"
    config_class = DeterministicConfig
    config: DeterministicConfig

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B] or [B, A]; there is no randomness to draw."""
        acts = self.encode_actions(actions)
        inputs = self.inputs(state.observations)
        # The difference is added to the observation by the layout, which knows about angles.
        after = self.decode(state.observations, self._difference(inputs, acts), acts)
        transition = torch.cat(
            [self.head_inputs(state.observations), acts, self.head_inputs(after)], -1
        )
        rewards = self.reward_scale.restore(self.reward_head(transition)).squeeze(-1)
        terminations = self.termination_probability(self.termination_head(transition).squeeze(-1))
        return ModelState(after), Prediction(after, rewards, terminations)

    def loss(
        self,
        segment: TrainingBatch,
        generator: torch.Generator,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """Open-loop error over the segment, and the heads' errors on the recorded transitions."""
        acts = self.encode_actions(segment.actions)
        # The first input may be noisy; all later ones are the model's own.
        errors, present = [], segment.inputs
        for step in range(segment.horizon):
            output = self._difference(self.inputs(present), acts[:, step])
            error = output - self.targets(present, segment.observations[:, step + 1])
            errors.append(column_mean(error.square()))
            # With its gradient: errors of later steps reach the steps that caused them.
            present = self.decode(present, output, acts[:, step])
        # Heads learn from recorded transitions: from imagined ones they would learn the model's
        # errors.
        seen = self.head_inputs(segment.observations)
        transitions = torch.cat([seen[:, :-1], acts, seen[:, 1:]], -1)
        rewards = self.reward_scale.normalize(segment.rewards[..., None]).squeeze(-1)
        reward_errors = huber(self.reward_head(transitions).squeeze(-1), rewards)
        logits = self.termination_head(transitions).squeeze(-1)
        end_errors = weighted_cross_entropy(logits, segment.terminations, self.positive_weight)
        return {
            "state": masked_mean(torch.stack(errors, 1), segment.mask),
            "reward": masked_mean(reward_errors, segment.mask),
            "termination": masked_mean(end_errors, segment.mask),
        }

    def export_onnx(self, path: str | os.PathLike[str]) -> Path:
        """Write `predict` as an ONNX file and return its path; see `exporting.export_step`.

        Raises:
            NotFittedError: The model was never fitted.
            MissingExtraError: onnx and onnxscript are not installed.
            ConfigError: A derived feature has no counterpart in ONNX.
        """
        return export_step(self, path)

    def change_units(self, change: Rescaling) -> None:
        """Change first and last layers so that they mean the same in other units."""
        # Without an encoder the dynamics read the observations themselves.
        if self.encoder is None:
            self.dynamics.change_inputs(change.joint)
        else:
            self.encoder.change_inputs(change.inputs)
            # Latents mean the same before and after.
            latents = Affine.identity(self.config.latent_size, self.device)
            self.dynamics.change_inputs(Affine.join(latents, change.acts))
        self.dynamics.change_outputs(change.targets)
        for head, outputs in (
            (self.reward_head, change.reward),
            (self.termination_head, change.termination),
        ):
            head.change_inputs(change.transition)
            head.change_outputs(outputs)

    def _difference(self, inputs: Tensor, acts: Tensor) -> Tensor:
        latent = inputs if self.encoder is None else self.encoder(inputs)
        output: Tensor = self.dynamics(torch.cat([latent, acts], -1))
        return output

    def _build(self, generator: torch.Generator) -> None:
        config, num_inputs = self.config, self.layout.num_inputs
        self.encoder = None
        if config.latent_size:
            self.encoder = Perceptron(
                (num_inputs, *config.encoder_widths, config.latent_size),
                config.activation,
                generator,
            )
        joint = (config.latent_size or num_inputs) + self.encode_actions.size
        # A layout whose columns are all derived leaves nothing to predict.
        outputs = max(self.layout.num_targets, 0)
        self.dynamics = Perceptron(
            # A tenth: an untrained model predicts nearly no change, from which learning starts
            # best.
            (joint, *config.dynamics_widths, outputs),
            config.activation,
            generator,
            output_gain=0.1,
        )
        transition = 2 * self.num_head_inputs + self.encode_actions.size
        self.reward_head = Perceptron(
            (transition, *config.reward_widths, 1), config.activation, generator
        )
        self.termination_head = Perceptron(
            (transition, *config.termination_widths, 1), config.activation, generator
        )
