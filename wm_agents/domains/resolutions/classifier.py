"""A small ensemble of perceptrons that turns the features of a vote into probabilities of what the country does."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import descend
from wm_agents.training.fitted import Fitted

Floats = NDArray[np.float32]


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
        input_noise: Standard deviation added to each standardised feature, so that no single one is
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
        require_integers(0, seed=self.seed)


class VoteClassifier(Fitted):
    """Features [N, F] -> probabilities [N, K] of K classes.

    Features that are not a number stand for unknown.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("predict",)

    def __init__(self, config: ClassifierConfig | None = None, num_classes: int = 3) -> None:
        self.config = ClassifierConfig() if config is None else config
        self.num_classes = num_classes

    def fit(self, features: Floats, classes: NDArray[np.int8]) -> "VoteClassifier":
        """Fit to classes [N] below K.

        Raises:
            NonFiniteError: A loss or gradient is not finite.
        """
        self.mean, self.std = _moments(features)
        inputs = torch.from_numpy(self._inputs(features))
        targets = torch.from_numpy(classes.astype(np.int64))
        self.members = [
            self._fit_member(inputs, targets, member) for member in range(self.config.num_members)
        ]
        self.is_fitted = True
        return self

    def predict(self, features: Floats) -> Floats:
        """Probabilities [N, K]."""
        total = np.zeros((len(features), self.num_classes), np.float32)
        with torch.no_grad():
            for start in range(0, len(features), 65536):
                inputs = torch.from_numpy(self._inputs(features[start : start + 65536]))
                for member in self.members:
                    total[start : start + 65536] += torch.softmax(member.eval()(inputs), 1).numpy()
        average: Floats = total / np.float32(len(self.members))
        return average

    def _inputs(self, features: Floats) -> Floats:
        """Standardised, clipped, unknown as the mean with a flag of its own."""
        scaled = np.clip((features - self.mean) / self.std, -4, 4)
        has_unknown = np.isnan(scaled)
        known = np.where(has_unknown, 0.0, scaled)
        return np.concatenate([known, has_unknown.any(1, keepdims=True)], 1).astype(np.float32)

    def _network(self, num_inputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in self.config.widths:
            layers += [nn.Linear(num_inputs, width), nn.SiLU(), nn.Dropout(self.config.dropout)]
            num_inputs = width
        return nn.Sequential(*layers, nn.Linear(num_inputs, self.num_classes))

    def _fit_member(self, inputs: Tensor, targets: Tensor, member: int) -> nn.Sequential:
        config = self.config
        generator = torch.Generator().manual_seed(1000 * config.seed + member)
        with torch.random.fork_rng():
            torch.manual_seed(1000 * config.seed + member)
            network = self._network(inputs.shape[1])
            optimizer = torch.optim.AdamW(
                network.parameters(), config.learning_rate, weight_decay=config.weight_decay
            )
            num_steps = max(1, config.num_epochs * len(inputs) // config.batch_size)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
            for step in range(num_steps):
                chosen = torch.randint(len(inputs), (config.batch_size,), generator=generator)
                batch = inputs[chosen]
                batch = batch + config.input_noise * torch.randn(batch.shape, generator=generator)
                loss = nn.functional.cross_entropy(network(batch), targets[chosen])
                descend(
                    loss,
                    optimizer,
                    network.named_parameters(),
                    f"at step {step} of member {member}",
                )
                schedule.step()
        return network.eval()


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
