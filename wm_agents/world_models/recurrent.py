"""A model with memory for worlds whose observation does not tell everything.

A gated recurrent unit.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from wm_agents.networks import Affine, Perceptron, change_cell_inputs, recurrent_cell
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.config_checks import require_between, require_integers
from wm_agents.world_models.encoding import check_observations
from wm_agents.world_models.losses import (
    PredictionWeights,
    column_mean,
    huber,
    masked_mean,
    weighted_cross_entropy,
)
from wm_agents.world_models.neural import NeuralModel, Rescaling
from wm_agents.world_models.sampling import BatchSampler, TrainingBatch


@dataclass(frozen=True)
class RecurrentConfig:
    """Shape and loss of a `RecurrentModel`.

    Attributes:
        num_hidden: Units of the memory.
        num_context: Recorded steps that a loss shows the model before it has to imagine, beyond
            what it remembers of the steps before them.
        forgetful_share: Share of the windows of a loss that begin with an empty memory, as
            imagination does from an observation alone; the rest begin with what the model remembers
            of the episode so far.
        widths: Hidden units of each layer from memory to the difference of observations.
        reward_widths: Hidden units of the reward head, which sees the memory and what the step led
            to.
        termination_widths: Hidden units of the termination head, which sees the same.
        activation: "elu", "relu", "silu" or "tanh".
        weights: Weights of the loss terms.
        max_positive_weight: A termination counts as often as it is rarer than the rest, but at most
            this many times.
    """

    num_hidden: int = 128
    num_context: int = 8
    forgetful_share: float = 0.2
    widths: tuple[int, ...] = (128,)
    reward_widths: tuple[int, ...] = (128,)
    termination_widths: tuple[int, ...] = (64,)
    activation: str = "silu"
    weights: PredictionWeights = field(default_factory=PredictionWeights)
    max_positive_weight: float = 10.0

    def __post_init__(self) -> None:
        require_integers(1, num_hidden=self.num_hidden)
        require_integers(0, num_context=self.num_context)
        require_between(0, 1, forgetful_share=self.forgetful_share)


class RecurrentModel(NeuralModel):
    """Predicts from everything that happened since the episode began.

    It is trained as it is used: a loss begins with what the model remembers of the episode so far.
    These memories are computed anew every so many updates, as the stored states of Kapturowski et
    al. 2019 (Recurrent Experience Replay in Distributed Reinforcement Learning, section 3), and
    `num_context` recorded steps bring them up to date.

    `hidden[0]` is the memory [B, num_hidden] of the steps before the present observation; () starts
    with none. To keep it along a real episode, carry `hidden` of the state that `step` returns to
    the `start` of the next observation.
    """

    kind = "recurrent world model"
    has_memory = True
    config_class = RecurrentConfig
    config: RecurrentConfig

    @property
    def num_context(self) -> int:  # type: ignore[override]
        """Recorded steps before imagination in a loss."""
        return self.config.num_context

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        # At the beginning of an episode there is nothing to remember.
        """Observations [B, O] with the memory of what preceded them.

        Or none at the beginning of an episode.
        """
        rows = check_observations(observations, self.num_features, self.device)
        return ModelState(rows, hidden or (rows.new_zeros(len(rows), self.config.num_hidden),))

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B] or [B, A]; there is no randomness to draw."""
        acts = self.encode_actions(actions)
        memory, output = self._advance(state.observations, acts, state.hidden[0])
        after = self.decode(state.observations, output, acts)
        # The heads read the memory after the step, in which observation and action are contained.
        transition = torch.cat([memory, self.inputs(after)], -1)
        rewards = self.reward_scale.restore(self.reward_head(transition)).squeeze(-1)
        terminations = self.termination_probability(self.termination_head(transition).squeeze(-1))
        return ModelState(after, (memory,)), Prediction(after, rewards, terminations)

    def loss(self, segment: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Errors over the segment.

        Of which the first `num_context` steps see the recorded observations.
        """
        acts = self.encode_actions(segment.actions)
        # One step at least is imagined.
        num_context = min(self.num_context, segment.horizon - 1)
        memory = segment.memory
        if memory is None:
            memory = acts.new_zeros(len(acts), self.config.num_hidden)
        elif torch.is_grad_enabled():
            # Some windows forget, so that the model also works where an episode is entered in its
            # middle.
            is_kept = torch.rand(len(acts), 1, generator=generator) >= self.config.forgetful_share
            memory = memory * is_kept.to(memory)
        present, errors, memories = segment.inputs, [], []
        for step in range(segment.horizon):
            # Context steps see what was recorded, later ones what the model said.
            present = segment.observations[:, step] if 0 < step <= num_context else present
            memory, output = self._advance(present, acts[:, step], memory)
            error = output - self.targets(present, segment.observations[:, step + 1])
            errors.append(column_mean(error.square()))
            memories.append(memory)
            present = self.decode(present, output, acts[:, step])
        transitions = torch.cat(
            [torch.stack(memories, 1), self.inputs(segment.observations[:, 1:])], -1
        )
        rewards = self.reward_scale.normalize(segment.rewards[..., None]).squeeze(-1)
        logits = self.termination_head(transitions).squeeze(-1)
        end_errors = weighted_cross_entropy(logits, segment.terminations, self.positive_weight)
        return {
            "state": masked_mean(torch.stack(errors, 1), segment.mask),
            "reward": masked_mean(
                huber(self.reward_head(transitions).squeeze(-1), rewards), segment.mask
            ),
            "termination": masked_mean(end_errors, segment.mask),
        }

    @torch.no_grad()
    def remember(self, source: BatchSampler) -> Tensor:
        """The memories [S, num_hidden] before each recorded step, of all episodes side by side."""
        memories = self.low.new_zeros(source.num_steps, self.config.num_hidden)
        # Longest first, so that the episodes that go on are the first rows.
        order = torch.argsort(source.lengths, descending=True, stable=True)
        starts, lengths = source.step_starts[order], source.lengths[order]
        memory = self.low.new_zeros(len(order), self.config.num_hidden)
        # The memory after the last step precedes no recorded step.
        for position in range(int(lengths[0]) - 1):
            num_going = int((lengths > position + 1).sum())
            steps = starts[:num_going] + position
            observations = source.observations[source.observation_of_step[steps]]
            acts = self.encode_actions(source.actions[steps])
            memory = self.cell(torch.cat([self.inputs(observations), acts], -1), memory[:num_going])
            memories[steps + 1] = memory
        return memories

    def change_units(self, change: Rescaling) -> None:
        """Change first and last layers so that they mean the same in other units.

        Memories have none.
        """
        # The memory has no unit of the data.
        memories = Affine.identity(self.config.num_hidden, self.device)
        change_cell_inputs(self.cell, change.joint)
        self.dynamics.change_inputs(Affine.join(change.joint, memories))
        self.dynamics.change_outputs(change.targets)
        for head, outputs in (
            (self.reward_head, change.reward),
            (self.termination_head, change.termination),
        ):
            head.change_inputs(Affine.join(memories, change.inputs))
            head.change_outputs(outputs)

    def _advance(self, observations: Tensor, acts: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        joint = torch.cat([self.inputs(observations), acts], -1)
        memory = self.cell(joint, memory)
        return memory, self.dynamics(torch.cat([joint, memory], -1))

    def _build(self, generator: torch.Generator) -> None:
        config, layout = self.config, self.layout
        joint = layout.num_inputs + self.encode_actions.size
        self.cell = recurrent_cell(joint, config.num_hidden, generator)
        sizes = (joint + config.num_hidden, *config.widths, layout.num_targets)
        self.dynamics = Perceptron(sizes, config.activation, generator, output_gain=0.1)
        transition = config.num_hidden + layout.num_inputs
        self.reward_head = Perceptron(
            (transition, *config.reward_widths, 1), config.activation, generator
        )
        self.termination_head = Perceptron(
            (transition, *config.termination_widths, 1), config.activation, generator
        )
