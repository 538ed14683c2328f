"""A world model of a resolution's 14 numbers with a head of its own kind for each: classes, counts, copies.

The next stage is a class. Each tally is a count vector (yes, no, abstain, absent) with
Dirichlet-multinomial likelihood, since countries agree more than independent voters would. The
number of sponsors that join is a count (negative binomial). What a rule copies (topic, time + 1,
own sponsorship, tallies that stand) is copied, learned by nothing, and left out of every score.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import ConfigError, NonFiniteError, TrajectoryError
from wm_agents.observation_rows import observation_tensor
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import clip_gradient, non_finite_gradient
from wm_agents.training.fitted import FittedModule
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories

NUM_STAGES, NUM_TOPICS, NUM_ACTIONS, NUM_FIELDS = 4, 21, 5, 14
TERMINAL = 3
COMMITTEE, PLENARY = slice(7, 10), slice(10, 13)
NUM_MEMBERS = 193.0
HEADS = ("stage", "sponsors", "committee", "plenary", "reward", "termination")


@dataclass(frozen=True)
class ResolutionModelConfig:
    """Shape and fitting of a `ResolutionModel`.

    Attributes:
        widths: Hidden units of each layer.
        dropout: Share of hidden units left out in a step.
        num_epochs: Passes over the training steps at most.
        patience: Epochs without a better validation loss after which fitting stops.
        batch_size: Steps in an update.
        learning_rate: Of Adam.
        weight_decay: Of AdamW.
        weights: Weight of each loss term, dimensionless.
        seed: Of initial weights, order and dropout.
        transitions: 4, where a vote is cast in its own stage; 3, where casting it leads there.
    """

    widths: tuple[int, ...] = (64, 64)
    dropout: float = 0.1
    num_epochs: int = 60
    patience: int = 8
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HEADS, 1.0))
    seed: int = 0
    transitions: int = 4

    def __post_init__(self) -> None:
        require_integers(
            1, num_epochs=self.num_epochs, patience=self.patience, batch_size=self.batch_size
        )
        require_integers(0, seed=self.seed)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout lies in [0, 1), got {self.dropout}")
        if self.transitions not in (3, 4):
            raise ConfigError(f"transitions is 3 or 4, got {self.transitions!r}")


@dataclass(frozen=True)
class Distributions:
    """What the heads say of B steps.

    Attributes:
        stage: Logits [B, 4].
        sponsors: Mean and dispersion of the number that join [B, 2], positive.
        committee: Dirichlet concentrations [B, 4] of yes, no, abstain and absent.
        plenary: The same.
        reward: [B].
        termination: Logits [B].
    """

    stage: Tensor
    sponsors: Tensor
    committee: Tensor
    plenary: Tensor
    reward: Tensor
    termination: Tensor


class ResolutionModel(Unrolled, FittedModule):
    """A perceptron on stage, topic, sponsors, tallies and action, with the heads above."""

    needs_fit: ClassVar[tuple[str, ...]] = ("start", "step")

    def __init__(self, config: ResolutionModelConfig | None = None) -> None:
        super().__init__()
        self.config = ResolutionModelConfig() if config is None else config
        if set(self.config.weights) != set(HEADS):
            raise TrajectoryError(
                f"weights name the loss terms {HEADS}, got {sorted(self.config.weights)}"
            )
        low, high = np.zeros(NUM_FIELDS, np.float32), np.full(NUM_FIELDS, 210.0, np.float32)
        self.observation_space: gym.Space[Any] = spaces.Box(low, high, dtype=np.float32)
        self.action_space: gym.Space[Any] = spaces.Discrete(NUM_ACTIONS)
        size = NUM_STAGES + NUM_TOPICS + 8 + NUM_ACTIONS
        layers: list[nn.Module] = []
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            for width in self.config.widths:
                layers += [nn.Linear(size, width), nn.SiLU(), nn.Dropout(self.config.dropout)]
                size = width
            self.trunk = nn.Sequential(*layers)
            sizes = {
                "stage": 4,
                "sponsors": 2,
                "committee": 4,
                "plenary": 4,
                "reward": 1,
                "termination": 1,
            }
            self.heads = nn.ModuleDict({name: nn.Linear(size, sizes[name]) for name in HEADS})

    def distributions(self, observations: Tensor, actions: Tensor) -> Distributions:
        """The heads for observations [B, 14] and actions [B]."""
        hidden = self.trunk(_inputs(observations, actions))
        out = {name: head(hidden) for name, head in self.heads.items()}
        positive = {
            name: nn.functional.softplus(out[name]) + 0.05
            for name in ("sponsors", "committee", "plenary")
        }
        scale = torch.tensor([20.0, 1.0])
        return Distributions(
            out["stage"],
            positive["sponsors"] * scale,
            positive["committee"] * 5,
            positive["plenary"] * 5,
            out["reward"][:, 0],
            out["termination"][:, 0],
        )

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The observation is the whole state."""
        size = int(self.observation_space.shape[0])  # type: ignore[index]
        return ModelState(observation_tensor(observations, size, torch.device("cpu")), hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """The most probable stage and expected counts; with a generator the stage is drawn."""
        observations = state.observations
        heads = self.distributions(observations, actions)
        chances = torch.softmax(heads.stage, 1)
        stage = (
            chances.argmax(1)
            if generator is None
            else torch.multinomial(chances, 1, generator=generator)[:, 0]
        )
        following = assemble(observations, actions, stage, heads, self.config.transitions)
        prediction = Prediction(following, heads.reward, torch.sigmoid(heads.termination))
        return ModelState(following), prediction

    def loss(
        self,
        observations: Tensor,
        actions: Tensor,
        following: Tensor,
        rewards: Tensor,
        ends: Tensor,
    ) -> Tensor:
        """Weighted negative log likelihood of B steps."""
        terms = self.loss_terms(observations, actions, following, rewards, ends)
        assert terms.keys() == self.config.weights.keys()
        return torch.stack([self.config.weights[name] * term for name, term in terms.items()]).sum()

    def loss_terms(
        self,
        observations: Tensor,
        actions: Tensor,
        following: Tensor,
        rewards: Tensor,
        ends: Tensor,
    ) -> dict[str, Tensor]:
        """Each term by its name; counts are judged where they are decided."""
        heads = self.distributions(observations, actions)
        happens = decided(observations, following)
        stage = nn.functional.cross_entropy(heads.stage, following[:, :NUM_STAGES].argmax(1))
        joined = (following[:, 5] - observations[:, 5]).clamp(min=0)
        terms = {
            "stage": stage,
            "sponsors": _mean(_negative_binomial(heads.sponsors, joined), happens["sponsors"]),
            "reward": nn.functional.mse_loss(heads.reward, rewards),
            "termination": nn.functional.binary_cross_entropy_with_logits(heads.termination, ends),
        }
        for name, columns in (("committee", COMMITTEE), ("plenary", PLENARY)):
            counts = with_absent(following[:, columns])
            losses = -_dirichlet_multinomial(getattr(heads, name), counts)
            terms[name] = _mean(losses, happens[name]) / 10  # about one, as the others are
        return terms

    def fit(self, training: Trajectories, validation: Trajectories) -> dict[str, Any]:
        """Fit with early stopping on the validation episodes; gives the losses by epoch.

        Raises:
            NonFiniteError: A loss that is not finite.
            TrajectoryError: Observations that are not these 14 numbers.
        """
        config, train, held_out = self.config, steps_of(training), steps_of(validation)
        optimizer = torch.optim.AdamW(
            self.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        generator = torch.Generator().manual_seed(config.seed)
        history: list[float] = []
        best, best_weights = (
            np.inf,
            {name: tensor.clone() for name, tensor in self.state_dict().items()},
        )
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            for _ in range(config.num_epochs):
                self.train()
                for batch in torch.randperm(len(train[0]), generator=generator).split(
                    config.batch_size
                ):
                    loss = self.loss(*(tensor[batch] for tensor in train))
                    optimizer.zero_grad()
                    loss.backward()
                    norm = clip_gradient(self.parameters(), 10.0)
                    if not bool(loss.isfinite() and norm.isfinite()):
                        self.load_state_dict(best_weights)
                        self.is_fitted = bool(np.isfinite(best))
                        name = (
                            f"the gradient of {non_finite_gradient(self)}"
                            if loss.isfinite()
                            else "the loss"
                        )
                        raise NonFiniteError(
                            f"{name} is not finite in epoch {len(history) + 1}: lower learning_rate"
                        )
                    optimizer.step()
                self.eval()
                with torch.no_grad():
                    history.append(float(self.loss(*held_out)))
                if not np.isfinite(history[-1]):
                    self.load_state_dict(best_weights)
                    self.is_fitted = bool(np.isfinite(best))
                    raise NonFiniteError(
                        f"the validation loss of epoch {len(history)} is {history[-1]}"
                    )
                if history[-1] < best:
                    best = history[-1]
                    best_weights = {
                        name: tensor.clone() for name, tensor in self.state_dict().items()
                    }
                elif len(history) - 1 - int(np.argmin(history)) >= config.patience:
                    break
        self.load_state_dict(best_weights)
        self.eval()
        return {"validation_losses": history, "best_epoch": int(np.argmin(history)) + 1}


def decided(observations: Tensor, following: Tensor) -> dict[str, Tensor]:
    """Which steps [B] decide something that no rule copies.

    A tally that appears, sponsors who may join.
    """
    return {
        "sponsors": observations[:, 0] > 0.5,
        "committee": (observations[:, COMMITTEE].sum(1) == 0)
        & (following[:, COMMITTEE].sum(1) > 0),
        "plenary": (observations[:, PLENARY].sum(1) == 0) & (following[:, PLENARY].sum(1) > 0),
        "stage": observations[:, TERMINAL] < 0.5,
    }


def with_absent(tally: Tensor) -> Tensor:
    """Yes, no, abstain [B, 3] and the members that are left [B, 4]."""
    return torch.cat([tally, (NUM_MEMBERS - tally.sum(1, keepdim=True)).clamp(min=0)], 1)


def expected_tally(concentrations: Tensor) -> Tensor:
    """Mean counts [B, 3] of yes, no and abstain."""
    return NUM_MEMBERS * concentrations[:, :3] / concentrations.sum(1, keepdim=True)


def assemble(
    observations: Tensor, actions: Tensor, stage: Tensor, heads: Distributions, transitions: int = 4
) -> Tensor:
    """The next observation [B, 14]: predicted where something is decided, copied elsewhere."""
    following = observations.clone()
    following[:, :NUM_STAGES] = nn.functional.one_hot(stage, NUM_STAGES).float()
    is_draft = observations[:, 0] > 0.5
    joins = (actions == 0) & (observations[:, 6] < 0.5) & is_draft
    following[:, 5] += torch.where(
        is_draft, heads.sponsors[:, 0], torch.zeros_like(heads.sponsors[:, 0])
    )
    following[:, 6] = torch.maximum(observations[:, 6], joins.float())
    for place, columns, concentrations in (
        (1, COMMITTEE, heads.committee),
        (2, PLENARY, heads.plenary),
    ):
        is_in_stage = observations[:, place] > 0.5
        is_voting = is_in_stage if transitions == 4 else ~is_in_stage & (stage == place)
        following[:, columns] = torch.where(
            is_voting[:, None], expected_tally(concentrations), following[:, columns]
        )
    following[:, 13] = observations[:, 13] + 1
    return following


def steps_of(trajectories: Trajectories) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """All steps: observations, actions, next observations, rewards, terminations.

    Raises TrajectoryError.
    """
    if trajectories.observations.shape[1] != NUM_FIELDS or trajectories.actions.ndim != 1:
        raise TrajectoryError(
            f"expected the 14 numbers of a resolution, got {trajectories.observations.shape}"
        )
    starts = np.repeat(np.arange(len(trajectories.lengths)), trajectories.lengths) + np.arange(
        len(trajectories.actions)
    )
    seen = torch.from_numpy(trajectories.observations)
    return (
        seen[starts],
        torch.from_numpy(trajectories.actions.astype(np.int64)),
        seen[starts + 1],
        torch.from_numpy(trajectories.rewards.astype(np.float32)),
        torch.from_numpy(trajectories.terminations.astype(np.float32)),
    )


def step_errors(
    model: ResolutionModel, trajectories: Trajectories
) -> dict[str, NDArray[np.float64]]:
    """Errors by step [S], not a number where a rule copies.

    Wrong stage, absolute errors of sponsors and tallies.
    """
    observations, actions, following, _, _ = steps_of(trajectories)
    with torch.no_grad():
        predicted = model.predict(observations, actions).observations
        heads = model.distributions(observations, actions)
    happens = decided(observations, following)
    errors = {
        "stage_wrong": (heads.stage.argmax(1) != following[:, :NUM_STAGES].argmax(1)).double(),
        "sponsors": (predicted[:, 5] - following[:, 5]).abs().double(),
    }
    masks = {"stage_wrong": happens["stage"], "sponsors": happens["sponsors"]}
    for name, columns in (("committee", COMMITTEE), ("plenary", PLENARY)):
        tally = expected_tally(getattr(heads, name))
        for place, vote in enumerate(("yes", "no", "abstain")):
            key = f"{name}_{vote}"
            errors[key] = (tally[:, place] - following[:, columns][:, place]).abs().double()
            masks[key] = happens[name]
    return {
        name: np.where(masks[name].numpy(), error.numpy(), np.nan) for name, error in errors.items()
    }


def _inputs(observations: Tensor, actions: Tensor) -> Tensor:
    topic = nn.functional.one_hot(
        observations[:, 4].long().clamp(0, NUM_TOPICS - 1), NUM_TOPICS
    ).float()
    numbers = (
        torch.cat(
            [observations[:, 5:6], observations[:, 6:7] * NUM_MEMBERS, observations[:, 7:13]], 1
        )
        / NUM_MEMBERS
    )
    action = nn.functional.one_hot(actions.long(), NUM_ACTIONS).float()
    return torch.cat([observations[:, :NUM_STAGES], topic, numbers, action], 1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _dirichlet_multinomial(concentrations: Tensor, counts: Tensor) -> Tensor:
    """Log likelihood [B] without the multinomial coefficient (Mosimann 1962)."""
    total, number = concentrations.sum(1), counts.sum(1)
    each = torch.lgamma(concentrations + counts) - torch.lgamma(concentrations)
    return torch.lgamma(total) - torch.lgamma(total + number) + each.sum(1)


def _negative_binomial(parameters: Tensor, counts: Tensor) -> Tensor:
    """Negative log likelihood [B] by mean and dispersion."""
    mean, dispersion = parameters[:, 0], parameters[:, 1]
    coefficient = (
        torch.lgamma(counts + dispersion) - torch.lgamma(dispersion) - torch.lgamma(counts + 1)
    )
    shared = torch.log(dispersion + mean)
    likelihood = (
        coefficient
        + dispersion * (torch.log(dispersion) - shared)
        + counts * (torch.log(mean) - shared)
    )
    return -likelihood
