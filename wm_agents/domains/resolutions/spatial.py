"""The spatial voting model: countries are points, a text has a direction, and the vote follows from where they lie.

Ordinal choice among yes, abstain and no by adjacent-category logits (Agresti 2010, section 4.1):
with country c at x_c in K dimensions and roll call r with direction b_r and offset a_r,

    z = a_r + b_r . x_c + m_c,   h = w_r + v_r . x_c + k_c,   P(yes, abstain, no) = softmax(z, h,
    -z).

m_c and k_c are how readily a country agrees and abstains on anything; v_r says from which side a
text draws its abstentions. Utilities are thus linear in the position, which is what inverse
reinforcement learning recovers.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.resolutions.data import ABSENT
from wm_agents.errors import ConfigError, NotFittedError, TrajectoryError
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import descend

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SpatialConfig:
    """Shape and priors of a `SpatialModel`.

    Attributes:
        num_dimensions: Length of a position, 1 to 3.
        direction_std: Prior standard deviation of each coordinate of a direction; positions have 1.
        offset_std: Prior standard deviation of a roll call's offset.
        width_std: Prior standard deviation of a roll call's readiness to abstain, around a mean
            that is learned.
        slope_std: Prior standard deviation of each coordinate of the abstention's direction.
        country_std: Prior standard deviation of a country's readiness to abstain.
        assent_std: Prior standard deviation of a country's readiness to agree.
        num_steps: Steps of Adam on all votes at once.
        learning_rate: Of the first step; it falls to a twentieth along a cosine.
        seed: Of the initial positions.
    """

    num_dimensions: int = 2
    direction_std: float = 2.5
    offset_std: float = 3.0
    width_std: float = 1.5
    slope_std: float = 1.0
    country_std: float = 0.7
    assent_std: float = 1.0
    num_steps: int = 200
    learning_rate: float = 0.12
    seed: int = 0

    def __post_init__(self) -> None:
        require_integers(None, num_dimensions=self.num_dimensions, num_steps=self.num_steps)
        if not 1 <= self.num_dimensions <= 3 or self.num_steps < 1:
            raise ConfigError(f"num_dimensions is 1 to 3 and num_steps at least 1, got {self}")


class SpatialModel:
    """Positions, directions and offsets fitted to votes.

    Attributes after `fit`:
        positions: [C, K].
        abstention: [C] readiness to abstain, k.
        assent: [C] readiness to agree, m.
        directions: [R, K].
        offsets: [R].
        widths: [R].
        slopes: [R, K].
        fit_seconds: Wall-clock time.
    """

    positions: Floats
    abstention: Floats
    assent: Floats
    directions: Floats
    offsets: Floats
    widths: Floats
    slopes: Floats
    fit_seconds: float

    def __init__(self, config: SpatialConfig | None = None) -> None:
        self.config = SpatialConfig() if config is None else config

    def __getattr__(self, name: str) -> Any:
        """Only what `fit` sets is missing."""
        if name in SpatialModel.__annotations__:
            raise NotFittedError(f"this SpatialModel has no {name} yet: call its fit(votes) first")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def fit(self, votes: NDArray[np.int8]) -> "SpatialModel":
        """Find the most probable parameters.

        Args:
            votes: [R, C]: 0 yes, 1 abstain, 2 no, -1 absent or held out.

        Raises:
            TrajectoryError: Nobody voted.
        """
        if votes.ndim != 2 or not (votes != ABSENT).any():
            raise TrajectoryError(
                f"expected votes [R, C] with at least one vote, got shape {votes.shape}"
            )
        started = time.perf_counter()
        parameters = self._initial(votes)
        mask = torch.from_numpy(votes != ABSENT)
        targets = torch.from_numpy(np.maximum(votes, 0).astype(np.int64))
        optimizer = torch.optim.Adam(parameters.values(), lr=self.config.learning_rate)
        steps = self.config.num_steps
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, steps, self.config.learning_rate / 20
        )
        for step in range(steps):
            loss = self._loss(parameters, targets, mask)
            descend(loss, optimizer, parameters.items(), f"at step {step} of the spatial model")
            schedule.step()
        self._keep(parameters)
        self.fit_seconds = time.perf_counter() - started
        return self

    def probabilities(self) -> Floats:
        """[R, C, 3] for every country, those that were absent or held out too."""
        z = self.offsets[:, None] + self.directions @ self.positions.T + self.assent
        return choice_probabilities(
            z, self.widths[:, None] + self.slopes @ self.positions.T + self.abstention
        )

    def _initial(self, votes: NDArray[np.int8]) -> dict[str, Tensor]:
        """Positions from the singular value decomposition of the filled matrix, the rest neutral."""
        scores = np.where(votes == 0, 1.0, np.where(votes == 2, -1.0, 0.0))
        present = votes != ABSENT
        means = scores.sum(1, keepdims=True) / np.maximum(present.sum(1, keepdims=True), 1)
        centred = np.where(present, scores - means, 0.0)
        left, values, vectors = np.linalg.svd(centred, full_matrices=False)
        size = self.config.num_dimensions
        noise = np.random.default_rng(self.config.seed).normal(0, 0.01, (votes.shape[1], size))
        positions, directions = noise, np.zeros((votes.shape[0], size))
        count = min(size, len(values))
        scale = np.maximum(vectors[:count].std(1), 1e-6)
        positions[:, :count] += vectors[:count].T / scale
        directions[:, :count] = left[:, :count] * values[:count] * scale * 2
        arrays = {
            "positions": positions,
            "abstention": np.zeros(votes.shape[1]),
            "directions": directions,
            "offsets": 2 * means[:, 0],
            "assent": np.zeros(votes.shape[1]),
            "widths": np.zeros(votes.shape[0]),
            "slopes": np.zeros((votes.shape[0], size)),
            "mean_width": np.zeros(()),
        }
        return {
            name: torch.tensor(array, dtype=torch.float32).requires_grad_()
            for name, array in arrays.items()
        }

    def _loss(self, parameters: dict[str, Tensor], targets: Tensor, mask: Tensor) -> Tensor:
        """Negative log posterior."""
        p, config = parameters, self.config
        z = p["offsets"][:, None] + p["directions"] @ p["positions"].T + p["assent"]
        h = (
            (p["mean_width"] + p["widths"])[:, None]
            + p["slopes"] @ p["positions"].T
            + p["abstention"]
        )
        logits = torch.stack((z, h, -z), 2)
        likelihood = torch.log_softmax(logits, 2).gather(2, targets[..., None])[..., 0]
        prior = (
            p["positions"].square().sum()
            + p["directions"].square().sum() / config.direction_std**2
            + p["offsets"].square().sum() / config.offset_std**2
            + p["widths"].square().sum() / config.width_std**2
            + p["slopes"].square().sum() / config.slope_std**2
            + p["abstention"].square().sum() / config.country_std**2
            + p["assent"].square().sum() / config.assent_std**2
        )
        return -(likelihood * mask).sum() + 0.5 * prior

    def _keep(self, parameters: dict[str, Tensor]) -> None:
        arrays = {name: tensor.detach().numpy().copy() for name, tensor in parameters.items()}
        # The sign of an axis is free: the most extreme country stands on the positive side of each.
        positions = arrays["positions"]
        extreme = np.abs(positions).argmax(0)
        signs = np.where(positions[extreme, np.arange(positions.shape[1])] < 0, -1.0, 1.0).astype(
            np.float32
        )
        self.positions = positions * signs
        self.directions = arrays["directions"] * signs
        self.slopes = arrays["slopes"] * signs
        self.abstention = arrays["abstention"]
        self.assent = arrays["assent"]
        self.offsets = arrays["offsets"]
        self.widths = arrays["widths"] + arrays["mean_width"]


def choice_probabilities(z: Floats, h: Floats) -> Floats:
    """softmax(z, h, -z) along a new last axis."""
    logits = np.stack(np.broadcast_arrays(z, h, -z), -1)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities: Floats = (exponentials / exponentials.sum(-1, keepdims=True)).astype(np.float32)
    return probabilities


def held_out_accuracy(
    votes: NDArray[np.int8],
    config: SpatialConfig | None = None,
    *,
    share: float = 0.2,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy and log loss on a random share of the votes that the fit did not see, beside always-yes."""
    present = np.argwhere(votes != ABSENT)
    chosen = present[np.random.default_rng(seed).random(len(present)) < share]
    rows, columns = chosen.T
    seen = votes.copy()
    seen[rows, columns] = ABSENT
    model = SpatialModel(config).fit(seen)
    probabilities, truth = model.probabilities()[rows, columns], votes[rows, columns]
    return {
        "accuracy": float((probabilities.argmax(1) == truth).mean()),
        "log_loss": float(
            -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)).mean()
        ),
        "always_yes": float((truth == 0).mean()),
        "fit_seconds": model.fit_seconds,
        "num_votes": len(truth),
    }
