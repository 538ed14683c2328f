"""A small ensemble of perceptrons from features of a vote to probabilities of the choices."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.domains.resolutions.data import CHOICES, Floats
from wm_agents.errors import TrajectoryError
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.finite import gradient_step
from wm_agents.training.fitted import Fitted
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import check_counts, check_shapes
from wm_agents.training.trainer import FitReport, Trainer


@dataclass(frozen=True)
class ClassifierConfig:
    """Shape and fitting of a `VoteClassifier`.

    Attributes:
        widths: Hidden units of each layer.
        num_members: Perceptrons whose probabilities are averaged.
        num_epochs: Passes over the training votes.
        batch_size: Votes in a step.
        learning_rate: Of Adam's first step; it falls to zero along a cosine.
        weight_decay: Of AdamW.
        dropout: Share of hidden units left out in a step.
        input_noise: Standard deviation added to each standardized feature, so that no single one is
            relied upon.
        seed: Of initial weights, order and noise.
    """

    widths: tuple[int, ...] = (96, 48)
    num_members: int = 3
    num_epochs: int = 4
    batch_size: int = 1024
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1
    input_noise: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        require_integers(
            1, num_members=self.num_members, num_epochs=self.num_epochs, batch_size=self.batch_size
        )
        object.__setattr__(self, "seed", checked_seed(self.seed))


class VoteClassifier(Savable, Fitted):
    """Features [N, F] -> probabilities [N, K] of K classes.

    Features that are not a number stand for unknown.

    Args:
        config: Shape and fitting.
        num_classes: K.
    """

    kind = "vote classifier"
    is_cpu_only = True
    needs_fit: ClassVar[tuple[str, ...]] = ("predict", "_stored")
    mean: Floats
    std: Floats
    members: list[nn.Sequential]

    def __init__(
        self, config: ClassifierConfig | None = None, num_classes: int = len(CHOICES)
    ) -> None:
        self.config = ClassifierConfig() if config is None else config
        self.num_classes = num_classes

    def fit(
        self,
        features: Floats,
        classes: NDArray[np.int8],
        config: ClassifierConfig | None = None,
        *,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> FitReport:
        """Fit all members, one after the other.

        Args:
            features: [N, F].
            classes: [N], each below K.
            config: Takes the place of the constructor's.
            checkpoints: Where to save and to resume from, bitwise.
            progress: Show a progress bar.

        Raises:
            TrajectoryError: No rows, or numbers of rows that differ.
            NonFiniteError: A loss or gradient is not finite.
            CheckpointError: The checkpoints are of another fit.
        """
        if features.ndim != 2 or not len(features) or len(features) != len(classes):
            raise TrajectoryError(
                f"expected features [N, F] and classes [N] of at least one vote, got shapes "
                f"{features.shape} and {classes.shape}"
            )
        self.config = self.config if config is None else config
        self.mean, self.std = _moments(features)
        run = _ClassifierRun(self, self._inputs(features), classes)
        report = Trainer(
            run, run.num_updates, description="votes", checkpoints=checkpoints, progress=progress
        ).train()
        self.members = [member.eval() for member in run.members]
        self.is_fitted = True
        return report

    def predict(self, features: Floats) -> Floats:
        """Probabilities [N, K]."""
        total = np.zeros((len(features), self.num_classes), np.float32)
        with torch.no_grad():
            # In parts: the hidden layers of all votes of a decade would not fit into a cache.
            for start in range(0, len(features), 65536):
                rows = slice(start, start + 65536)
                inputs = torch.from_numpy(self._inputs(features[rows]))
                for member in self.members:
                    total[rows] += torch.softmax(member.eval()(inputs), 1).numpy()
        average: Floats = total / np.float32(len(self.members))
        return average

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.tensors(), self.described()

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        return cls.from_parts(stored.metadata, stored.tensors)

    def tensors(self) -> dict[str, Tensor]:
        """What is learned, by name."""
        tensors = {"mean": torch.from_numpy(self.mean), "std": torch.from_numpy(self.std)}
        for number, member in enumerate(self.members):
            weights = member.state_dict()
            tensors |= {f"member{number}.{name}": weights[name] for name in weights}
        return tensors

    def described(self) -> dict[str, Any]:
        """Configuration and classes, as JSON."""
        return {"config": asdict(self.config), "num_classes": self.num_classes}

    @classmethod
    def from_parts(cls, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """A fitted classifier from `described` and `tensors`.

        Raises:
            CheckpointError: They do not fit each other.
        """
        settings = dict(described["config"])
        check_counts(settings, tensors)
        settings["widths"] = tuple(settings["widths"])
        classifier = cls(ClassifierConfig(**settings), int(described["num_classes"]))
        classifier.mean = tensors["mean"].numpy()
        classifier.std = tensors["std"].numpy()
        num_inputs = len(classifier.mean) + 1
        with torch.device("meta"):  # shapes and no memory, until they are known to fit
            members = [classifier.network(num_inputs) for _ in range(classifier.config.num_members)]
        for number, member in enumerate(members):
            prefix = f"member{number}."
            weights = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
            check_shapes(member, weights)
            member.load_state_dict(weights, assign=True)
            member.eval().requires_grad_(False)
        classifier.members = members
        classifier.is_fitted = True
        return classifier

    def network(self, num_inputs: int) -> nn.Sequential:
        """One member, with weights drawn anew."""
        layers: list[nn.Module] = []
        for width in self.config.widths:
            layers += [nn.Linear(num_inputs, width), nn.SiLU(), nn.Dropout(self.config.dropout)]
            num_inputs = width
        return nn.Sequential(*layers, nn.Linear(num_inputs, self.num_classes))

    def _inputs(self, features: Floats) -> Floats:
        """Standardized, clipped, unknown as the mean with a flag of its own."""
        scaled = np.clip((features - self.mean) / self.std, -4, 4)
        has_unknown = np.isnan(scaled)
        filled = np.where(has_unknown, 0.0, scaled)
        return np.concatenate([filled, has_unknown.any(1, keepdims=True)], 1).astype(np.float32)


class _ClassifierRun:
    """The members' fits as one run of the training loop (`trainer.TrainingRun`)."""

    # Of the present member.
    generator: torch.Generator
    dropout_state: Tensor
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def __init__(
        self, classifier: VoteClassifier, inputs: Floats, classes: NDArray[np.int8]
    ) -> None:
        self.classifier = classifier
        self.config = classifier.config
        self.inputs = torch.from_numpy(inputs)  # [N, F + 1]
        self.targets = torch.from_numpy(classes.astype(np.int64))  # [N]
        self.members: list[nn.Sequential] = []
        passes = self.config.num_epochs * len(inputs)
        self.num_steps = max(1, passes // self.config.batch_size)
        self.num_updates = self.num_steps * self.config.num_members

    def step(self, update: int) -> dict[str, float]:
        """One batch of one member; after the last of it the next one begins."""
        number, step = divmod(update, self.num_steps)
        if step == 0:
            self._begin(number)
        config = self.config
        rows = torch.randint(len(self.inputs), (config.batch_size,), generator=self.generator)
        batch = self.inputs[rows]
        batch = batch + config.input_noise * torch.randn(batch.shape, generator=self.generator)
        network = self.members[-1]
        # Dropout draws from torch's global generator, which belongs to the caller.
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.dropout_state)
            loss = nn.functional.cross_entropy(network(batch), self.targets[rows])
            self.dropout_state = torch.get_rng_state()
        place = f"at step {step} of member {number}"
        value = gradient_step(loss, self.optimizer, network.named_parameters(), place)
        self.schedule.step()
        return {"loss": value}

    def state_dict(self) -> dict[str, Any]:
        """All members so far, and how the present one goes on."""
        return {
            "members": [member.state_dict() for member in self.members],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": self.dropout_state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same fit."""
        for number, weights in enumerate(state["members"]):
            self._begin(number)
            self.members[-1].load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.dropout_state = state["dropout"]

    def fingerprint(self) -> dict[str, Any]:
        """Settings and a hash of the votes."""
        digest = hashlib.sha256(self.inputs.numpy().tobytes() + self.targets.numpy().tobytes())
        return {
            "kind": VoteClassifier.kind,
            **self.classifier.described(),
            "data": digest.hexdigest(),
        }

    def _begin(self, number: int) -> None:
        """A new member with a seed of its own."""
        config = self.config
        seed = 1000 * config.seed + number
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.classifier.network(self.inputs.shape[1])
            self.dropout_state = torch.get_rng_state()
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, self.num_steps)
        self.members.append(network.train())


def _moments(features: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation [F] of what is known.

    0 and 1 for a feature that is never known.
    """
    is_known = np.isfinite(features)
    count = np.maximum(is_known.sum(0), 1)
    mean = np.where(is_known, features, 0).sum(0, dtype=np.float64) / count
    variance = np.where(is_known, (features - mean) ** 2, 0).sum(0, dtype=np.float64) / count
    std = np.where(is_known.any(0), np.maximum(np.sqrt(variance), 1e-3), 1.0)
    return mean.astype(np.float32), std.astype(np.float32)
