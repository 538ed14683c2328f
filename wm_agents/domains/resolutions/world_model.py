"""A world model of a resolution's 14 numbers, with a head of its own kind for each.

The next stage is a class. Each tally is a count vector (yes, no, abstain, absent) with
Dirichlet-multinomial likelihood, since countries agree more than independent voters would. The
number of sponsors that join is a count (negative binomial). What a rule copies (topic, time + 1,
own sponsorship, tallies that stand) is copied, learned by nothing, and left out of every score.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.observation_rows import observation_tensor
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.finite import gradient_step
from wm_agents.training.fitted import FittedModule
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import check_counts, check_shapes
from wm_agents.training.trainer import FitReport, Trainer
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories
from wm_envs.resolutions.codes import ResolutionAction, ResolutionColumn, Stage

NUM_STAGES = len(Stage)
NUM_ACTIONS = len(ResolutionAction)
NUM_FIELDS = len(ResolutionColumn)
NUM_TOPICS = 21
NUM_MEMBERS = 193.0
MAX_COUNT = 210.0  # no list of countries, past members included, is longer
STAGES = slice(ResolutionColumn.STAGE_DRAFT, ResolutionColumn.STAGE_TERMINAL + 1)
COMMITTEE = slice(ResolutionColumn.COMMITTEE_YES, ResolutionColumn.COMMITTEE_ABSTAIN + 1)
PLENARY = slice(ResolutionColumn.PLENARY_YES, ResolutionColumn.PLENARY_ABSTAIN + 1)
TALLY_NAMES = ("yes", "no", "abstain")  # the columns of either slice
# What each head gives.
HEAD_SIZES = {
    "stage": NUM_STAGES,
    "sponsors": 2,  # mean and dispersion
    "committee": len(TALLY_NAMES) + 1,  # and absent
    "plenary": len(TALLY_NAMES) + 1,
    "reward": 1,
    "termination": 1,
}
HEADS = tuple(HEAD_SIZES)
# Concentrations of a Dirichlet and dispersions stay above this, where their likelihood is defined.
_MIN_POSITIVE = 0.05
_MAX_GRADIENT_NORM = 10.0


Steps = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Observations [S, 14], actions [S], next observations [S, 14], rewards [S], terminations [S]."""


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
        object.__setattr__(self, "seed", checked_seed(self.seed))
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout lies in [0, 1), got {self.dropout}")
        if self.transitions not in (3, 4):
            raise ConfigError(f"transitions is 3 or 4, got {self.transitions!r}")


@dataclass(frozen=True)
class _Distributions:
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


class ResolutionModel(Savable, Unrolled, FittedModule):
    """A perceptron on stage, topic, sponsors, tallies and action, with the heads above.

    Args:
        config: Shape and fitting.

    Raises:
        TrajectoryError: Weights of other loss terms than `HEADS`.
    """

    kind = "resolution world model"
    needs_fit: ClassVar[tuple[str, ...]] = ("start", "step")

    def __init__(self, config: ResolutionModelConfig | None = None) -> None:
        super().__init__()
        self.config = ResolutionModelConfig() if config is None else config
        if set(self.config.weights) != set(HEADS):
            raise TrajectoryError(
                f"weights name the loss terms {HEADS}, got {sorted(self.config.weights)}"
            )
        low = np.zeros(NUM_FIELDS, np.float32)
        high = np.full(NUM_FIELDS, MAX_COUNT, np.float32)
        self.observation_space: gym.Space[Any] = spaces.Box(low, high, dtype=np.float32)
        self.action_space: gym.Space[Any] = spaces.Discrete(NUM_ACTIONS)
        # Stage and topic one-hot, sponsors, own sponsorship, two tallies, action one-hot.
        size = NUM_STAGES + NUM_TOPICS + 2 + 2 * len(TALLY_NAMES) + NUM_ACTIONS
        layers: list[nn.Module] = []
        # The caller's random numbers stay as they were, whatever the network draws for its weights.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            for width in self.config.widths:
                layers += [nn.Linear(size, width), nn.SiLU(), nn.Dropout(self.config.dropout)]
                size = width
            self.trunk = nn.Sequential(*layers)
            self.heads = nn.ModuleDict({n: nn.Linear(size, HEAD_SIZES[n]) for n in HEADS})

    def distributions(self, observations: Tensor, actions: Tensor) -> _Distributions:
        """The heads for observations [B, 14] and actions [B]."""
        hidden = self.trunk(_inputs(observations, actions))
        out = {name: head(hidden) for name, head in self.heads.items()}
        # Softplus keeps counts positive without the explosions of an exponential.
        positive = {
            name: nn.functional.softplus(out[name]) + _MIN_POSITIVE
            for name in ("sponsors", "committee", "plenary")
        }
        # Units in which the network's outputs are of the order of one: about 20 countries join.
        sponsor_units = out["stage"].new_tensor([20.0, 1.0])
        return _Distributions(
            stage=out["stage"],
            sponsors=positive["sponsors"] * sponsor_units,
            committee=positive["committee"] * 5,
            plenary=positive["plenary"] * 5,
            reward=out["reward"][:, 0],
            termination=out["termination"][:, 0],
        )

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The observation is the whole state."""
        device = next(self.parameters()).device
        return ModelState(observation_tensor(observations, NUM_FIELDS, device), hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """The most probable stage and expected counts; with a generator the stage is drawn."""
        observations = state.observations
        heads = self.distributions(observations, actions)
        chances = torch.softmax(heads.stage, 1)  # [B, 4]
        # Without a generator the most probable stage: a mean of stages is no stage.
        stage = chances.argmax(1)
        if generator is not None:
            stage = torch.multinomial(chances, 1, generator=generator)[:, 0]
        next_obs = assemble(observations, actions, stage, heads, self.config.transitions)
        prediction = Prediction(next_obs, heads.reward, torch.sigmoid(heads.termination))
        return ModelState(next_obs), prediction

    def loss(
        self,
        observations: Tensor,
        actions: Tensor,
        next_obs: Tensor,
        rewards: Tensor,
        terminations: Tensor,
    ) -> Tensor:
        """Weighted negative log likelihood of B steps."""
        terms = self.loss_terms(observations, actions, next_obs, rewards, terminations)
        weighted = [self.config.weights[name] * term for name, term in terms.items()]
        return torch.stack(weighted).sum()

    def loss_terms(
        self,
        observations: Tensor,
        actions: Tensor,
        next_obs: Tensor,
        rewards: Tensor,
        terminations: Tensor,
    ) -> dict[str, Tensor]:
        """Each term by its name; counts are judged where they are decided."""
        heads = self.distributions(observations, actions)
        is_decided = decided(observations, next_obs)
        sponsors = ResolutionColumn.NUM_SPONSORS
        # Sponsors do not leave, but a damaged record must not make a count negative.
        joined = (next_obs[:, sponsors] - observations[:, sponsors]).clamp(min=0)
        # More spread than a Poisson distribution, since sponsors come in groups.
        sponsor_losses = _negative_binomial(heads.sponsors, joined)
        terms = {
            "stage": nn.functional.cross_entropy(heads.stage, next_obs[:, STAGES].argmax(1)),
            "sponsors": _mean(sponsor_losses, is_decided["sponsors"]),
            "reward": nn.functional.mse_loss(heads.reward, rewards),
            "termination": nn.functional.binary_cross_entropy_with_logits(
                heads.termination, terminations
            ),
        }
        for name, columns in (("committee", COMMITTEE), ("plenary", PLENARY)):
            counts = with_absent(next_obs[:, columns])
            losses = -_dirichlet_multinomial(getattr(heads, name), counts)
            terms[name] = _mean(losses, is_decided[name]) / 10  # about one, as the others are
        return terms

    def fit(
        self,
        trajectories: Trajectories,
        config: ResolutionModelConfig | None = None,
        *,
        validation: Trajectories | None = None,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> FitReport:
        """Fit with early stopping on held-out episodes.

        Args:
            trajectories: What to learn from.
            config: Takes the place of the constructor's; what shapes the network stays the same.
            validation: Held-out episodes; None holds out the last fifth, which are the latest
                where episodes are in order of date.
            checkpoints: Where to save and to resume from, bitwise.
            progress: Show a progress bar.

        Returns:
            The report; a row of its history is an epoch, `metrics["best_epoch"]` counts from 1.

        Raises:
            NonFiniteError: A loss that is not finite; the model has the last good weights.
            TrajectoryError: Observations that are not these 14 numbers, or too few episodes.
            ConfigError: A configuration of another network.
            CheckpointError: The checkpoints are of another fit.
        """
        if config is not None:
            _check_same_network(self.config, config)
            self.config = config
        if validation is None:
            trajectories, validation = _hold_out_last(trajectories)
        run = _ResolutionRun(self, steps_of(trajectories), steps_of(validation))
        report = Trainer(
            run,
            run.updates_per_epoch * self.config.num_epochs,
            description="resolutions",
            evaluate_every=run.updates_per_epoch,
            patience=self.config.patience,
            checkpoints=checkpoints,
            checkpoint_every=run.updates_per_epoch,
            progress=progress,
        ).train()
        self.eval()
        report.metrics["best_epoch"] = report.best_update // run.updates_per_epoch
        return report

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.state_dict(), {"config": asdict(self.config), "is_fitted": self.is_fitted}

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        settings = dict(stored.metadata["config"])
        # Epochs and patience are no parts of the network, however small it is.
        check_counts({"widths": settings["widths"]}, stored.tensors)
        settings["widths"] = tuple(settings["widths"])
        config = ResolutionModelConfig(**settings)
        with torch.device("meta"):  # shapes and no memory, until they are known to fit
            check_shapes(cls(config), stored.tensors)
        model = cls(config)
        model.load_state_dict(stored.tensors)
        model.is_fitted = bool(stored.metadata["is_fitted"])
        return model.eval()


class _ResolutionRun:
    """Epochs over all steps, judged on held-out ones (`trainer.EvaluatedRun`)."""

    def __init__(self, model: ResolutionModel, training: Steps, held_out: Steps) -> None:
        self.model = model
        self.training = training
        self.held_out = held_out
        config = model.config
        self.batch_size = config.batch_size
        self.updates_per_epoch = -(-len(training[0]) // config.batch_size)  # the last one is small
        self.optimizer = torch.optim.AdamW(
            model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        # Dropout draws from torch's global generator, which belongs to the caller.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.dropout_state = torch.get_rng_state()
        self.order = torch.empty(0, dtype=torch.int64)
        self.was_finite = False

    def step(self, update: int) -> dict[str, float]:
        """One batch; each epoch begins with a new order of the steps."""
        epoch, number = divmod(update, self.updates_per_epoch)
        if number == 0:
            self.order = torch.randperm(len(self.training[0]), generator=self.generator)
        batch = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        model = self.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.dropout_state)
            loss = model.loss(*(tensor[batch] for tensor in self.training))
            self.dropout_state = torch.get_rng_state()
        place = f"in epoch {epoch + 1}"
        parameters = model.named_parameters()
        return {"loss": gradient_step(loss, self.optimizer, parameters, place, _MAX_GRADIENT_NORM)}

    def evaluate(self, update: int) -> dict[str, float]:  # noqa: ARG002
        """The loss on the held-out steps."""
        model = self.model.eval()
        with torch.no_grad():
            loss = float(model.loss(*self.held_out))
        self.was_finite = self.was_finite or bool(np.isfinite(loss))
        return {"loss": loss}

    def weights(self) -> dict[str, Any]:
        """A copy."""
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Take over a copy; before any good evaluation it makes no fitted model."""
        self.model.load_state_dict(dict(weights))
        # Loading marks a model as fitted, which the weights from before the first epoch are not.
        self.model.is_fitted = self.was_finite

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, generators and the order of the present epoch."""
        return {
            "weights": self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": self.dropout_state,
            "order": self.order,
            "was_finite": self.was_finite,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same fit."""
        self.was_finite = bool(state["was_finite"])
        self.load_weights(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.dropout_state = state["dropout"]
        self.order = state["order"]

    def fingerprint(self) -> dict[str, Any]:
        """Settings and a hash of the steps."""
        digest = hashlib.sha256()
        for tensor in (*self.training, *self.held_out):
            digest.update(tensor.numpy().tobytes())
        return {
            "kind": ResolutionModel.kind,
            "config": asdict(self.model.config),
            "num_steps": [len(self.training[0]), len(self.held_out[0])],
            "data": digest.hexdigest(),
        }


def _check_same_network(present: ResolutionModelConfig, wanted: ResolutionModelConfig) -> None:
    if not isinstance(wanted, ResolutionModelConfig):
        raise ConfigError(
            f"config is a ResolutionModelConfig, got a {type(wanted).__name__}: give held-out "
            "episodes as validation="
        )
    for name in ("widths", "dropout", "transitions"):
        ours = getattr(present, name)
        theirs = getattr(wanted, name)
        if ours != theirs:
            raise ConfigError(
                f"the model was made with {name}={ours}, and cannot be fitted with {theirs}: make "
                "another one"
            )


def _hold_out_last(trajectories: Trajectories) -> tuple[Trajectories, Trajectories]:
    # The last episodes, not random ones: the future is what a model is asked about.
    count = trajectories.num_episodes
    num_held_out = max(1, count // 5)
    if count < 2:
        raise TrajectoryError("one episode leaves none to hold out: give more, or validation=")
    return (
        trajectories.select(np.arange(count - num_held_out)),
        trajectories.select(np.arange(count - num_held_out, count)),
    )


def decided(observations: Tensor, next_obs: Tensor) -> dict[str, Tensor]:
    """Which steps [B] decide something that no rule copies.

    A tally that appears, sponsors who may join, a stage that is not the last.
    """
    return {
        "sponsors": observations[:, ResolutionColumn.STAGE_DRAFT] > 0.5,
        "committee": _appears(observations[:, COMMITTEE], next_obs[:, COMMITTEE]),
        "plenary": _appears(observations[:, PLENARY], next_obs[:, PLENARY]),
        "stage": observations[:, ResolutionColumn.STAGE_TERMINAL] < 0.5,
    }


def with_absent(tally: Tensor) -> Tensor:
    """Yes, no, abstain [B, 3] and the members that are left [B, 4]."""
    return torch.cat([tally, (NUM_MEMBERS - tally.sum(1, keepdim=True)).clamp(min=0)], 1)


def expected_tally(concentrations: Tensor) -> Tensor:
    """Mean counts [B, 3] of yes, no and abstain."""
    return NUM_MEMBERS * concentrations[:, :3] / concentrations.sum(1, keepdim=True)


def assemble(
    observations: Tensor,
    actions: Tensor,
    stage: Tensor,
    heads: _Distributions,
    transitions: int = 4,
) -> Tensor:
    """The next observation [B, 14]: predicted where something is decided, copied elsewhere."""
    column = ResolutionColumn
    next_obs = observations.clone()
    next_obs[:, STAGES] = nn.functional.one_hot(stage, NUM_STAGES).float()
    is_draft = observations[:, column.STAGE_DRAFT] > 0.5
    is_sponsor = observations[:, column.IS_SPONSOR] > 0.5
    joins = (actions == ResolutionAction.COSPONSOR) & ~is_sponsor & is_draft
    num_joining = heads.sponsors[:, 0]
    next_obs[:, column.NUM_SPONSORS] += torch.where(
        is_draft, num_joining, torch.zeros_like(num_joining)
    )
    next_obs[:, column.IS_SPONSOR] = torch.maximum(
        observations[:, column.IS_SPONSOR], joins.float()
    )
    votes = (
        (Stage.COMMITTEE_VOTE, COMMITTEE, heads.committee),
        (Stage.PLENARY_VOTE, PLENARY, heads.plenary),
    )
    for place, columns, concentrations in votes:
        is_in_stage = observations[:, place] > 0.5
        # Four transitions cast a vote in its own stage; of three, casting it leads there.
        is_voting = is_in_stage
        if transitions == 3:
            is_voting = ~is_in_stage & (stage == place)
        tallies = expected_tally(concentrations)
        next_obs[:, columns] = torch.where(is_voting[:, None], tallies, next_obs[:, columns])
    # Time is counted, and needs no head.
    next_obs[:, column.T] = observations[:, column.T] + 1
    return next_obs


def steps_of(trajectories: Trajectories) -> Steps:
    """All steps as tensors.

    Raises:
        TrajectoryError: Observations that are not the 14 numbers.
    """
    if trajectories.observations.shape[1] != NUM_FIELDS or trajectories.actions.ndim != 1:
        raise TrajectoryError(
            f"expected the 14 numbers of a resolution, got {trajectories.observations.shape}"
        )
    return (
        torch.from_numpy(trajectories.start_observations),
        torch.from_numpy(trajectories.actions.astype(np.int64)),
        torch.from_numpy(trajectories.next_observations),
        torch.from_numpy(trajectories.rewards.astype(np.float32)),
        torch.from_numpy(trajectories.terminations.astype(np.float32)),
    )


def _appears(before: Tensor, after: Tensor) -> Tensor:
    """Where a tally [B, 3] was not there yet and is there now."""
    return (before.sum(1) == 0) & (after.sum(1) > 0)


def _inputs(observations: Tensor, actions: Tensor) -> Tensor:
    """What the network reads [B, 38]: counts as shares of the members, codes as one-hots."""
    column = ResolutionColumn
    topics = observations[:, column.TOPIC].long().clamp(0, NUM_TOPICS - 1)
    num_sponsors = observations[:, column.NUM_SPONSORS, None]
    is_sponsor = observations[:, column.IS_SPONSOR, None]
    tallies = observations[:, column.COMMITTEE_YES : column.PLENARY_ABSTAIN + 1]
    # One's own sponsorship counts as much as all members, not as one of them.
    counts = torch.cat([num_sponsors, is_sponsor * NUM_MEMBERS, tallies], 1)
    return torch.cat(
        [
            observations[:, STAGES],
            nn.functional.one_hot(topics, NUM_TOPICS).float(),
            counts / NUM_MEMBERS,
            nn.functional.one_hot(actions.long(), NUM_ACTIONS).float(),
        ],
        1,
    )


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _dirichlet_multinomial(concentrations: Tensor, counts: Tensor) -> Tensor:
    """Log likelihood [B] without the multinomial coefficient (Mosimann 1962)."""
    total = concentrations.sum(1)
    number = counts.sum(1)
    each = torch.lgamma(concentrations + counts) - torch.lgamma(concentrations)
    return torch.lgamma(total) - torch.lgamma(total + number) + each.sum(1)


def _negative_binomial(parameters: Tensor, counts: Tensor) -> Tensor:
    """Negative log likelihood [B] by mean and dispersion."""
    mean = parameters[:, 0]
    dispersion = parameters[:, 1]
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
