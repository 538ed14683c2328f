"""The spatial voting model: countries are points, texts have directions, votes follow from both.

Ordinal choice among yes, abstain and no by adjacent-category logits (Agresti 2010, section 4.1):
with country c at x_c in K dimensions and roll call r with direction b_r and offset a_r,

    z = a_r + b_r . x_c + m_c,   h = w_r + v_r . x_c + k_c,
    P(yes, abstain, no) = softmax(z, h, -z).

m_c and k_c are how readily a country agrees and abstains on anything; v_r says from which side a
text draws its abstentions. Utilities are thus linear in the position, which is what inverse
reinforcement learning recovers.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.resolutions.data import Floats, VoteData
from wm_agents.errors import CheckpointError, ConfigError, NotFittedError, TrajectoryError
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import gradient_step
from wm_agents.training.saving import Savable
from wm_agents.training.trainer import FitReport, Trainer
from wm_envs.data.files import replacing
from wm_envs.resolutions.codes import Vote
from wm_envs.resolutions.generator import topic_of


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
        require_integers(0, seed=self.seed)
        if not 1 <= self.num_dimensions <= 3 or self.num_steps < 1:
            raise ConfigError(f"num_dimensions is 1 to 3 and num_steps at least 1, got {self}")


class SpatialModel(Savable):
    """Positions, directions and offsets fitted to votes.

    Attributes after `fit`:
        positions: [C, K].
        abstention: [C] readiness to abstain, k.
        assent: [C] readiness to agree, m.
        directions: [R, K].
        offsets: [R].
        widths: [R].
        slopes: [R, K].

    Args:
        config: Shape and priors.
    """

    kind = "spatial voting model"
    is_cpu_only = True
    positions: Floats
    abstention: Floats
    assent: Floats
    directions: Floats
    offsets: Floats
    widths: Floats
    slopes: Floats

    def __init__(self, config: SpatialConfig | None = None) -> None:
        self.config = SpatialConfig() if config is None else config

    def __getattr__(self, name: str) -> Any:
        """Only what `fit` sets is missing."""
        if name in SpatialModel.__annotations__:
            raise NotFittedError(f"this SpatialModel has no {name} yet: call its fit(votes) first")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def fit(
        self,
        votes: NDArray[np.int8],
        config: SpatialConfig | None = None,
        *,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> FitReport:
        """Find the most probable parameters.

        Args:
            votes: [R, C], by `Vote`: 0 yes, 1 abstain, 2 no, -1 absent or held out.
            config: Takes the place of the constructor's.
            checkpoints: Where to save and to resume from, bitwise.
            progress: Show a progress bar.

        Raises:
            TrajectoryError: Nobody voted.
            NonFiniteError: The posterior or its gradient is not finite.
            CheckpointError: The checkpoints are of another fit.
        """
        if votes.ndim != 2 or not (votes != Vote.ABSENT).any():
            raise TrajectoryError(
                f"expected votes [R, C] with at least one vote, got shape {votes.shape}"
            )
        self.config = self.config if config is None else config
        run = _SpatialRun(self.config, votes)
        report = Trainer(
            run,
            self.config.num_steps,
            description="positions",
            checkpoints=checkpoints,
            progress=progress,
        ).train()
        self._keep(run.parameters)
        return report

    def probabilities(self) -> Floats:
        """[R, C, 3] for every country, those that were absent or held out too."""
        z = self.offsets[:, None] + self.directions @ self.positions.T + self.assent
        h = self.widths[:, None] + self.slopes @ self.positions.T + self.abstention
        return choice_probabilities(z, h)

    def write_dynamics(
        self,
        path: str | os.PathLike[str],
        data: VoteData,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
    ) -> None:
        """Write the JSON that `wm/UNResolution-v0` reads with `dynamics="fitted"`.

        Args:
            path: The file.
            data: All roll calls.
            rows: Those that this model, in two dimensions, was fitted on.
            columns: The countries that it was fitted on.

        Raises:
            ConfigError: The model has not two dimensions.
        """
        if self.config.num_dimensions != 2:
            raise ConfigError(
                "the environment's countries stand in two dimensions: fit a model with "
                f"num_dimensions=2, not {self.config.num_dimensions}"
            )
        absence = 1 - data.is_present[rows][:, columns].mean(0)
        of_country = np.column_stack([self.positions, self.assent, self.abstention, absence])
        of_text = np.column_stack([self.offsets, self.directions, self.widths, self.slopes])
        countries = {
            data.countries[column]: _rounded(numbers)
            for column, numbers in zip(columns, of_country, strict=True)
        }
        drafts = [
            {
                "symbol": data.ids[row],
                "title": data.titles[row],
                "topic": _topic(data, row),
                "parameters": _rounded(numbers),
            }
            for row, numbers in zip(rows, of_text, strict=True)
        ]
        with replacing(path) as stream:
            stream.write(json.dumps({"countries": countries, "drafts": drafts}) + "\n")

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in _LEARNED}
        return tensors, {"config": asdict(self.config)}

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        model = cls(SpatialConfig(**stored.metadata["config"]))
        for name in _LEARNED:
            setattr(model, name, stored.tensors[name].numpy())
        _check_sizes(model)
        return model

    def _keep(self, parameters: dict[str, Tensor]) -> None:
        arrays = {name: tensor.detach().numpy().copy() for name, tensor in parameters.items()}
        # The sign of an axis is free: the most extreme country stands on the positive side of each.
        positions = arrays["positions"]
        extreme = positions[np.abs(positions).argmax(0), np.arange(positions.shape[1])]
        signs = np.where(extreme < 0, -1.0, 1.0).astype(np.float32)
        self.positions = positions * signs
        self.directions = arrays["directions"] * signs
        self.slopes = arrays["slopes"] * signs
        self.abstention = arrays["abstention"]
        self.assent = arrays["assent"]
        self.offsets = arrays["offsets"]
        self.widths = arrays["widths"] + arrays["mean_width"]


_LEARNED = ("positions", "abstention", "assent", "directions", "offsets", "widths", "slopes")


_MAX_TOPIC = 7  # of the environment's topics, those that are issues


def _topic(data: VoteData, row: int) -> int:
    """The environment's number of a text's issue."""
    pairs = zip(data.issue_names, data.issues[row], strict=True)
    return min(topic_of([name for name, has_it in pairs if has_it]), _MAX_TOPIC)


def _rounded(numbers: NDArray[Any]) -> list[float]:
    return [round(float(number), 4) for number in numbers]


def _check_sizes(model: SpatialModel) -> None:
    """Raise CheckpointError unless all arrays are of the same countries, texts and dimensions."""
    num_countries = len(model.assent)
    size = model.config.num_dimensions
    num_texts = len(model.offsets)
    expected = {
        "positions": (num_countries, size),
        "abstention": (num_countries,),
        "directions": (num_texts, size),
        "slopes": (num_texts, size),
        "widths": (num_texts,),
    }
    for name, shape in expected.items():
        if getattr(model, name).shape != shape:
            raise CheckpointError(f"{name} has shape {getattr(model, name).shape}, not {shape}")


class _SpatialRun:
    """Steps of Adam on the posterior of all votes at once (`trainer.TrainingRun`)."""

    def __init__(self, config: SpatialConfig, votes: NDArray[np.int8]) -> None:
        self.config = config
        self.votes = votes
        self.mask = torch.from_numpy(votes != Vote.ABSENT)  # [R, C]
        # Absences are looked up as yes, and masked afterwards.
        self.targets = torch.from_numpy(np.maximum(votes, 0).astype(np.int64))  # [R, C]
        self.parameters = self._initial(votes)
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=config.learning_rate)
        # The rate falls to a twentieth, so that the last steps settle instead of hopping about.
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, config.num_steps, config.learning_rate / 20
        )

    def step(self, update: int) -> dict[str, float]:
        """One step on all votes."""
        place = f"at step {update} of the spatial model"
        loss = gradient_step(self._loss(), self.optimizer, self.parameters.items(), place)
        self.schedule.step()
        return {"loss": loss}

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimizer and schedule."""
        return {
            "parameters": {name: tensor.detach() for name, tensor in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same fit."""
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def fingerprint(self) -> dict[str, Any]:
        """Settings and a hash of the votes."""
        digest = hashlib.sha256(np.ascontiguousarray(self.votes).tobytes()).hexdigest()
        return {
            "kind": SpatialModel.kind,
            "config": asdict(self.config),
            "shape": list(self.votes.shape),
            "votes": digest,
        }

    def _initial(self, votes: NDArray[np.int8]) -> dict[str, Tensor]:
        """Positions from a singular value decomposition of the filled matrix, the rest neutral."""
        scores = (votes == Vote.YES).astype(np.float64) - (votes == Vote.NO)
        present = votes != Vote.ABSENT
        means = scores.sum(1, keepdims=True) / np.maximum(present.sum(1, keepdims=True), 1)
        centered = np.where(present, scores - means, 0.0)
        left, values, vectors = np.linalg.svd(centered, full_matrices=False)
        size = self.config.num_dimensions
        noise = np.random.default_rng(self.config.seed).normal(0, 0.01, (votes.shape[1], size))
        # Noise, so that axes without any variance are not exactly equal for all.
        positions = noise
        directions = np.zeros((votes.shape[0], size))
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

    def _loss(self) -> Tensor:
        """Negative log posterior."""
        p = self.parameters
        config = self.config
        z = p["offsets"][:, None] + p["directions"] @ p["positions"].T + p["assent"]  # [R, C]
        widths = (p["mean_width"] + p["widths"])[:, None]  # [R, 1]
        h = widths + p["slopes"] @ p["positions"].T + p["abstention"]  # [R, C]
        # In the order of `CHOICES`: yes, abstain, no.
        logits = torch.stack((z, h, -z), 2)  # [R, C, 3]
        likelihood = torch.log_softmax(logits, 2).gather(2, self.targets[..., None])[..., 0]
        # Every parameter has a normal prior, of unit variance for the positions, which fixes their
        # scale.
        prior = (
            p["positions"].square().sum()
            + p["directions"].square().sum() / config.direction_std**2
            + p["offsets"].square().sum() / config.offset_std**2
            + p["widths"].square().sum() / config.width_std**2
            + p["slopes"].square().sum() / config.slope_std**2
            + p["abstention"].square().sum() / config.country_std**2
            + p["assent"].square().sum() / config.assent_std**2
        )
        return -(likelihood * self.mask).sum() + 0.5 * prior


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
    """Accuracy and log loss on a random share of the votes, held out, beside always-yes."""
    present = np.argwhere(votes != Vote.ABSENT)
    is_held_out = np.random.default_rng(seed).random(len(present)) < share
    rows, columns = present[is_held_out].T
    training = votes.copy()
    # Held-out votes are absent for the fit, which knows of no other way to leave a vote out.
    training[rows, columns] = Vote.ABSENT
    model = SpatialModel(config)
    report = model.fit(training)
    probabilities = model.probabilities()[rows, columns]
    truth = votes[rows, columns]
    chances = probabilities[np.arange(len(truth)), truth]
    return {
        "accuracy": float((probabilities.argmax(1) == truth).mean()),
        "log_loss": float(-np.log(np.maximum(chances, 1e-12)).mean()),
        "always_yes": float((truth == Vote.YES).mean()),
        "fit_seconds": report.seconds,
        "num_votes": len(truth),
    }
