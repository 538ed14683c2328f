"""Behavioral cloning: the imitation baseline beside whatever infers a reward."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from torch import Tensor

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.irl.demonstrations import Demonstrations, check_spaces_fit, content_hash
from wm_agents.networks import Perceptron
from wm_agents.observation_rows import encoded_rows
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.finite import gradient_step
from wm_agents.training.fitted import Fitted, check_fitted
from wm_agents.training.onnx_export import export_policy
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import (
    check_counts,
    check_shapes,
    config_from_json,
    spaces_from,
    tensors_below,
)
from wm_agents.training.trainer import FitReport, Trainer
from wm_agents.world_models.normalization import units
from wm_envs.data.spaces import (
    ActionCodec,
    ObservationCodec,
    space_to_json,
)

KIND = "behavioral cloning"

_MIN_LOG_STD = -1.5  # of a cloned policy of SB3


@dataclass(frozen=True)
class CloningConfig:
    """Settings of `BehavioralCloning`.

    Attributes:
        widths: Hidden layers.
        num_updates: Steps of AdamW.
        batch_size: Steps in a batch.
        learning_rate: Of the first update; it falls to zero along a cosine.
        weight_decay: Of AdamW.
    """

    widths: tuple[int, ...] = (64, 64)
    num_updates: int = 2000
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        require_integers(None, num_updates=self.num_updates, batch_size=self.batch_size)
        if self.num_updates < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ConfigError(f"num_updates, batch_size and learning_rate are positive, got {self}")


class BehavioralCloning(Fitted, Savable):
    """A perceptron that does in each observation what the demonstrator did.

    It minimizes the cross-entropy of actions that can be counted, and the squared error of others.

    Args:
        observation_space: Any that `ObservationCodec` serves.
        action_space: Any that `ActionCodec` serves.
        config: Settings.
        seed: Of weights and batches.

    Raises:
        SpaceError: Other spaces.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("predict",)
    kind = KIND
    is_cpu_only = True  # the network is too small for anything else

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: CloningConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.config = CloningConfig() if config is None else config
        self.seed = checked_seed(seed)
        self._observations = ObservationCodec(observation_space)
        self._actions = ActionCodec(action_space)
        self._build()

    def _build(self) -> None:
        rows = self._actions.row_space
        num_inputs = self._observations.size
        num_outputs = spaces.flatdim(rows)
        sizes = (num_inputs, *self.config.widths, num_outputs)
        self._generator = torch.Generator().manual_seed(self.seed)
        # Small last weights: every action is about as probable before the first update.
        self.network = Perceptron(sizes, "tanh", self._generator, 0.1)
        self._mean = torch.zeros(num_inputs)
        self._std = torch.ones(num_inputs)
        self._action_mean = torch.zeros(num_outputs)
        self._action_std = torch.ones(num_outputs)

    def fit(
        self,
        demonstrations: Any,
        config: CloningConfig | None = None,
        *,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        progress: bool | None = False,
    ) -> FitReport:
        """Learn from demonstrations.

        Args:
            demonstrations: `Trajectories`, or whatever `Demonstrations.of` takes.
            config: Settings from now on; None keeps those that are. Other widths begin a new
                network.
            checkpoints: Where to save and to resume from, as `Trainer` takes it.
            progress: A bar on a terminal, elsewhere lines; None: there only of long work.

        Returns:
            The report, with the final loss per step as metrics["loss"]; of Box actions in units of
            their spread.

        Raises:
            DemonstrationError: Observations or actions that do not fit the spaces.
            NonFiniteError: A loss or gradient is not finite: nothing was updated with it.
            CheckpointError: The checkpoints are of another run.
        """
        data = Demonstrations.of(demonstrations)
        check_spaces_fit(data, self.observation_space, self.action_space)
        if config is not None:
            is_other_network = config.widths != self.config.widths
            self.config = config
            # Other widths are another network; the same ones go on from what was learned.
            if is_other_network:
                self._build()
        run = _CloningRun(self, data)
        report = Trainer(
            run,
            self.config.num_updates,
            description="behavioral cloning",
            checkpoints=checkpoints,
            progress=progress,
        ).train()
        self.is_fitted = True
        # Over all rows, since a batch's loss is noisy.
        with torch.no_grad():
            loss = float(self.loss(run.inputs, run.targets))
        return replace(report, metrics={"loss": loss})

    @torch.no_grad()
    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,  # noqa: ARG002
        deterministic: bool = True,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """The demonstrator's most probable action, for one observation or a batch.

        Raises:
            SpaceError: What is no observation of the space.
        """
        rows, is_single = self._rows(observation)
        outputs = self._outputs(torch.from_numpy(rows))
        row_space = self._actions.row_space
        if isinstance(row_space, spaces.Discrete):
            coded = outputs.argmax(1).numpy() + int(row_space.start)  # [B]
        # The space's actions need not begin at 0.
        else:
            coded = (outputs * self._action_std + self._action_mean).numpy()  # [B, A]
        if is_single:
            return self._actions.decode_one(coded[0]), state
        return self._actions.decode(coded), state

    def export_onnx(self, path: str | os.PathLike[str]) -> Path:
        """Write `predict` as an ONNX file and return its path; see `onnx_export.export_policy`.

        Raises:
            NotFittedError: There is nothing to export yet.
            MissingExtraError: onnx and onnxscript are not installed.
        """
        check_fitted(self)
        is_discrete = isinstance(self._actions.row_space, spaces.Discrete)
        return export_policy(
            self.network,
            (self._mean, self._std),
            self.observation_space,
            self.action_space,
            None if is_discrete else (self._action_mean, self._action_std),
            path,
        )

    def _rows(self, observation: Any) -> tuple[NDArray[np.float32], bool]:
        """Network inputs [B, O], and whether there was one observation and no batch."""
        # Simple spaces say by the shape whether there is a batch; others have to be asked.
        if isinstance(self.observation_space, spaces.Box | spaces.Discrete):
            return encoded_rows(observation, self.observation_space)
        if self.observation_space.contains(observation):
            return self._observations.encode_one(observation)[None], True
        return self._observations.encode(observation), False

    def _outputs(self, observations: Tensor) -> Tensor:
        outputs: Tensor = self.network((observations - self._mean) / self._std)
        return outputs

    def loss(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The loss of rows: observations [B, O], actions [B] or [B, A]."""
        outputs = self._outputs(observations)
        if isinstance(self._actions.row_space, spaces.Discrete):
            return F.cross_entropy(outputs, actions - int(self._actions.row_space.start))
        return F.mse_loss(outputs, (actions - self._action_mean) / self._action_std)

    def standardize(self, observations: Tensor, actions: Tensor) -> None:
        """Take the units of rows: observations [S, O], Box actions [S, A]."""
        self._mean, self._std = units(observations)
        if not self._actions.is_discrete:
            # What was demonstrated tells more than the bounds, which may be wide, narrow or none.
            self._action_mean, self._action_std = units(actions)

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        check_fitted(self)
        description = {
            "config": asdict(self.config),
            "seed": self.seed,
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
        }
        return self._tensors(), description

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        metadata = stored.metadata
        check_counts({"widths": metadata["config"]["widths"]}, stored.tensors)
        config = config_from_json(CloningConfig, metadata["config"])
        known = spaces_from(metadata)
        weights = tensors_below("network", stored.tensors)
        with torch.device("meta"):  # first without memory
            check_shapes(cls(*known, config).network, weights)
        cloning = cls(*known, config, metadata["seed"])
        cloning.network.load_state_dict(weights)
        for name in ("_mean", "_std", "_action_mean", "_action_std"):
            tensor = stored.tensors[f"units.{name}"]
            if tensor.shape != getattr(cloning, name).shape:
                raise ValueError(f"units.{name} has shape {tuple(tensor.shape)}")
            setattr(cloning, name, tensor)
        cloning.is_fitted = True
        return cloning

    def _check_env(self, env: Any) -> None:
        require_spaces(env, self.observation_space, self.action_space)

    def _tensors(self) -> dict[str, Tensor]:
        scales = {
            "units._mean": self._mean,
            "units._std": self._std,
            "units._action_mean": self._action_mean,
            "units._action_std": self._action_std,
        }
        return scales | {
            f"network.{name}": tensor for name, tensor in self.network.state_dict().items()
        }


class _CloningRun:
    """One fit of a cloned policy."""

    def __init__(self, cloning: BehavioralCloning, data: Demonstrations) -> None:
        config = cloning.config
        self.cloning = cloning
        self.inputs = torch.from_numpy(data.start_observations)  # [S, O]
        targets = torch.from_numpy(data.actions)
        self.targets = targets if targets.ndim == 1 else targets.flatten(1)  # [S] or [S, A]
        cloning.standardize(self.inputs, self.targets)
        self.optimizer = torch.optim.AdamW(
            cloning.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, config.num_updates
        )

    def step(self, update: int) -> Mapping[str, float]:
        """One update on a batch drawn with replacement."""
        cloning = self.cloning
        size = (cloning.config.batch_size,)
        rows = torch.randint(len(self.inputs), size, generator=cloning._generator)
        loss = cloning.loss(self.inputs[rows], self.targets[rows])
        place = f"at update {update} of behavioral cloning"
        value = gradient_step(loss, self.optimizer, cloning.network.named_parameters(), place)
        self.schedule.step()
        return {"loss": value}

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, schedule and generator."""
        return {
            "network": self.cloning.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.cloning._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run."""
        self.cloning.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.cloning._generator.set_state(state["generator"])

    def fingerprint(self) -> dict[str, Any]:
        """Settings, seed, spaces and a hash of the demonstrations."""
        cloning = self.cloning
        return {
            "kind": KIND,
            "config": asdict(cloning.config),
            "seed": cloning.seed,
            "spaces": [str(cloning.observation_space), str(cloning.action_space)],
            "demonstrations": content_hash(self.inputs.numpy(), self.targets.numpy()),
        }


def clone_into(
    learner: PPO, demonstrations: Demonstrations, seed: int, num_updates: int = 3000
) -> None:
    """Teach a PPO policy the demonstrated actions by maximum likelihood."""
    run = _CloneRun(learner, demonstrations, seed, num_updates)
    Trainer(run, num_updates, description="behavioral cloning").train()
    if hasattr(learner.policy, "log_std"):
        # Imitation drives the spread to nothing, and with it all exploration.
        learner.policy.log_std.data.clamp_(min=_MIN_LOG_STD)


class _CloneRun:
    """Maximum likelihood of demonstrated actions under a policy of SB3."""

    def __init__(
        self, learner: PPO, demonstrations: Demonstrations, seed: int, num_updates: int
    ) -> None:
        self.policy = learner.policy
        shape = learner.observation_space.shape or ()
        observations = torch.from_numpy(demonstrations.start_observations)
        self.observations = observations.reshape(-1, *shape)
        self.actions = torch.from_numpy(demonstrations.actions)
        self.batch_size = min(256, len(observations))
        self.generator = torch.Generator().manual_seed(seed)
        # A rate of its own: PPO's is far too low for a few thousand updates.
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=3e-3)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, num_updates)

    def step(self, update: int) -> Mapping[str, float]:
        """One update on a batch drawn with replacement."""
        size = (self.batch_size,)
        rows = torch.randint(len(self.observations), size, generator=self.generator)
        distribution = self.policy.get_distribution(self.observations[rows])
        loss = -distribution.log_prob(self.actions[rows]).mean()
        place = f"at update {update} of behavioral cloning"
        value = gradient_step(loss, self.optimizer, self.policy.named_parameters(), place)
        self.schedule.step()
        return {"loss": value}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it is repeated from the seed."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing was kept."""

    def fingerprint(self) -> dict[str, Any]:
        """Nothing is kept."""
        return {}


def require_spaces(
    env: Any, observation_space: gym.Space[Any], action_space: gym.Space[Any]
) -> None:
    """Raise SpaceError unless an environment, single or a vector of SB3's, has these spaces."""
    if env.observation_space != observation_space or env.action_space != action_space:
        raise SpaceError(
            f"the file is of spaces {observation_space} and {action_space}, the environment has "
            f"{env.observation_space} and {env.action_space}: give the one that it was learned in"
        )
