"""Imagination in a learned stochastic latent instead of in observations.

An encoder gives the latent of an observation, a prior predicts the next latent from the present one
and the action, and a consistency loss draws the two together, as in Hafner et al. 2021 (Mastering
Atari with Discrete World Models, section 2.2, with Gaussian latents): KL(encoder || prior), the
prior learning faster than the encoder.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from wm_agents.networks import Affine, Perceptron, normal_like
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.encoding import check_observations
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
class LatentWeights(PredictionWeights):
    """Weights of the loss terms, dimensionless.

    Attributes:
        consistency: Divergence between the encoder's latents and those that were imagined, in nats
            per latent number.
    """

    consistency: float = 0.1


@dataclass(frozen=True)
class LatentConfig:
    """Shape and loss of a `LatentModel`.

    Attributes:
        latent_size: Length of the latent.
        encoder_widths: Hidden units of each encoder layer.
        dynamics_widths: Hidden units of each layer from (latent, action) to the next latent.
        decoder_widths: Hidden units of each layer from two successive latents to the difference of
            observations.
        reward_widths: Hidden units of the reward head, which sees both latents and the action.
        termination_widths: Hidden units of the termination head, which sees the same.
        activation: "elu", "relu", "silu" or "tanh".
        prior_share: Share of the consistency loss that moves the prior; the rest moves the encoder.
        smallest_log_std: Lower bound of the latents' log standard deviations; the upper one is 0.
        weights: Weights of the loss terms.
        max_positive_weight: A termination counts as often as it is rarer than the rest, but at most
            this many times.
    """

    latent_size: int = 32
    encoder_widths: tuple[int, ...] = (256,)
    dynamics_widths: tuple[int, ...] = (256, 256)
    decoder_widths: tuple[int, ...] = (256,)
    reward_widths: tuple[int, ...] = (128, 128)
    termination_widths: tuple[int, ...] = (64,)
    activation: str = "silu"
    prior_share: float = 0.8
    smallest_log_std: float = -3.0
    weights: LatentWeights = field(default_factory=LatentWeights)
    max_positive_weight: float = 10.0


class LatentModel(NeuralModel):
    """Encode once, then imagine latents; observations are decoded beside them and never fed back.

    `hidden[0]` is the latent [B, latent_size]. Without a generator latents are means, with one they
    are drawn.
    """

    kind = "latent world model"
    config_class = LatentConfig
    config: LatentConfig

    def start(
        self,
        observations: Tensor,
        hidden: tuple[Tensor, ...] = (),  # noqa: ARG002
    ) -> ModelState:
        """Observations [B, O] and their encoded latent.

        What was imagined before gives way to what is seen now.
        """
        rows = check_observations(observations, self.num_features, self.device)
        # The mean and no draw: where imagination starts is not the model's uncertainty.
        return ModelState(rows, (self._encode(rows)[0],))

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B] or [B, A]."""
        acts, latent = self.encode_actions(actions), state.hidden[0]
        mean, log_std = self._imagine(latent, acts)
        following = mean if generator is None else _draw(mean, log_std, generator)
        # Two latents: the decoder predicts the difference between observations, as the other models
        # do.
        after = self.decode(
            state.observations, self.decoder(torch.cat([latent, following], -1)), acts
        )
        transition = torch.cat([latent, acts, following], -1)
        rewards = self.reward_scale.restore(self.reward_head(transition)).squeeze(-1)
        terminations = self.termination_probability(self.termination_head(transition).squeeze(-1))
        return ModelState(after, (following,)), Prediction(after, rewards, terminations)

    def loss(self, segment: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Errors of imagination from the first observation alone.

        And its divergence from the encoder's latents.
        """
        acts = self.encode_actions(segment.actions)
        seen_mean, seen_log_std = self._encode(segment.observations)
        first_mean, first_log_std = self._encode(segment.inputs)
        # A draw in training, through which the gradient passes (reparameterization).
        latent, present = _draw(first_mean, first_log_std, generator), segment.inputs
        errors, divergences, transitions = [], [], []
        for step in range(segment.horizon):
            mean, log_std = self._imagine(latent, acts[:, step])
            following = _draw(mean, log_std, generator)
            output = self.decoder(torch.cat([latent, following], -1))
            error = output - self.targets(present, segment.observations[:, step + 1])
            errors.append(column_mean(error.square()))
            encoded = (seen_mean[:, step + 1], seen_log_std[:, step + 1])
            divergences.append(self._consistency(encoded, (mean, log_std)))
            transitions.append(torch.cat([latent, acts[:, step], following], -1))
            # The latent goes on by itself; the decoded observation is only what targets are
            # measured from.
            latent, present = following, self.decode(present, output, acts[:, step])
        heads = torch.stack(transitions, 1)
        rewards = self.reward_scale.normalize(segment.rewards[..., None]).squeeze(-1)
        logits = self.termination_head(heads).squeeze(-1)
        end_errors = weighted_cross_entropy(logits, segment.terminations, self.positive_weight)
        return {
            "state": masked_mean(torch.stack(errors, 1), segment.mask),
            "reward": masked_mean(
                huber(self.reward_head(heads).squeeze(-1), rewards), segment.mask
            ),
            "termination": masked_mean(end_errors, segment.mask),
            "consistency": masked_mean(torch.stack(divergences, 1), segment.mask),
        }

    def change_units(self, change: Rescaling) -> None:
        """Change first and last layers so that they mean the same in other units.

        Latents have none.
        """
        latents = Affine.identity(self.config.latent_size, self.device)
        self.encoder.change_inputs(change.inputs)
        self.dynamics.change_inputs(Affine.join(latents, change.acts))
        self.decoder.change_outputs(change.targets)
        for head, outputs in (
            (self.reward_head, change.reward),
            (self.termination_head, change.termination),
        ):
            head.change_inputs(Affine.join(latents, change.acts, latents))
            head.change_outputs(outputs)

    def _consistency(
        self, encoded: tuple[Tensor, Tensor], imagined: tuple[Tensor, Tensor]
    ) -> Tensor:
        """The balanced divergence [B] (Hafner et al. 2021, algorithm 2)."""
        share = self.config.prior_share
        # Mostly the imagined latent is drawn to the encoded one; the other way round the encoder
        # would learn to say little.
        return share * _divergence(_frozen(encoded), imagined) + (1 - share) * _divergence(
            encoded, _frozen(imagined)
        )

    def _encode(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.encoder(self.inputs(observations)).chunk(2, -1)
        return mean, self._log_std(raw)

    def _imagine(self, latent: Tensor, acts: Tensor) -> tuple[Tensor, Tensor]:
        change, raw = self.dynamics(torch.cat([latent, acts], -1)).chunk(2, -1)
        # A residual: an untrained model stands still.
        return latent + change, self._log_std(raw)

    def _log_std(self, raw: Tensor) -> Tensor:
        return self.config.smallest_log_std * torch.sigmoid(raw + 2.0)  # starts with little noise

    def _build(self, generator: torch.Generator) -> None:
        config, layout, size = self.config, self.layout, self.config.latent_size
        num_acts, activation = self.encode_actions.size, self.config.activation
        self.encoder = Perceptron(
            (layout.num_inputs, *config.encoder_widths, 2 * size), activation, generator
        )
        self.dynamics = Perceptron(
            (size + num_acts, *config.dynamics_widths, 2 * size), activation, generator, 0.1
        )
        sizes = (2 * size, *config.decoder_widths, layout.num_targets)
        self.decoder = Perceptron(sizes, activation, generator, 0.1)
        transition = 2 * size + num_acts
        self.reward_head = Perceptron((transition, *config.reward_widths, 1), activation, generator)
        self.termination_head = Perceptron(
            (transition, *config.termination_widths, 1), activation, generator
        )


def _draw(mean: Tensor, log_std: Tensor, generator: torch.Generator) -> Tensor:
    return mean + torch.exp(log_std) * normal_like(mean, generator)


def _frozen(gaussian: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return gaussian[0].detach(), gaussian[1].detach()


def _divergence(gaussian: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """KL divergence [...] of diagonal Gaussians (mean, log std) from others.

    Averaged over the latent's numbers.
    """
    (mean, log_std), (other_mean, other_log_std) = gaussian, other
    variance, other_variance = torch.exp(2 * log_std), torch.exp(2 * other_log_std)
    terms = (variance + (mean - other_mean).square()) / other_variance - 1
    # A mean and not a sum, so that the weight means the same for every size of the latent.
    return (0.5 * terms + other_log_std - log_std).mean(-1)
