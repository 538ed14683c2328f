"""Behaviour cloning: the baseline that must stand beside whatever infers a reward."""

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.irl.demonstrations import Demonstrations, check_spaces_fit
from wm_agents.networks import Perceptron
from wm_agents.observation_rows import encoded_rows
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import descend
from wm_agents.training.fitted import Fitted
from wm_agents.world_models.normalization import units
from wm_envs.data.spaces import as_box_values


@dataclass(frozen=True)
class CloningConfig:
    """Settings of `BehaviourCloning`.

    Attributes:
        widths: Hidden layers.
        num_updates: Steps of Adam.
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


class BehaviourCloning(Fitted):
    """A perceptron that does in each observation what the demonstrator did: cross-entropy, or squared error for Box.

    Args:
        observation_space: Box, flattened, or Discrete as a one-hot.
        action_space: Discrete or Box.
        config: Settings.
        seed: Of weights and batches.

    Raises:
        SpaceError: Other action spaces.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("predict",)

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: CloningConfig | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(action_space, spaces.Discrete | spaces.Box):
            raise SpaceError(f"actions are Discrete or Box, got {action_space}")
        self.observation_space, self.action_space = observation_space, action_space
        self.config = CloningConfig() if config is None else config
        num_inputs = spaces.flatdim(observation_space)
        num_outputs = (
            int(action_space.n)
            if isinstance(action_space, spaces.Discrete)
            else spaces.flatdim(action_space)
        )
        self._generator = torch.Generator().manual_seed(seed)
        self.network = Perceptron(
            (num_inputs, *self.config.widths, num_outputs), "tanh", self._generator, 0.1
        )
        self._mean, self._std = torch.zeros(num_inputs), torch.ones(num_inputs)
        self._action_mean, self._action_std = torch.zeros(num_outputs), torch.ones(num_outputs)

    def fit(self, demonstrations: Any) -> float:
        """Learn from demonstrations; gives the final loss per step, of Box actions in units of their spread.

        Raises:
            DemonstrationError: Observations or actions that do not fit the spaces.
            NonFiniteError: A loss or gradient is not finite: nothing was updated with it.
        """
        data = Demonstrations.of(demonstrations).trajectories
        check_spaces_fit(data, self.observation_space, self.action_space)
        inputs = torch.from_numpy(data.observations[data.observation_of_step])
        targets = torch.from_numpy(data.actions)
        self._mean, self._std = units(inputs)
        if isinstance(self.action_space, spaces.Box):
            # What was demonstrated tells more than the bounds, which may be wide, narrow or none.
            targets = targets.flatten(1)
            self._action_mean, self._action_std = units(targets)
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.num_updates)
        for update in range(self.config.num_updates):
            rows = torch.randint(len(inputs), (self.config.batch_size,), generator=self._generator)
            loss = self._loss(inputs[rows], targets[rows])
            descend(
                loss,
                optimizer,
                self.network.named_parameters(),
                f"at update {update} of behaviour cloning",
            )
            schedule.step()
        self.is_fitted = True
        with torch.no_grad():
            return float(self._loss(inputs, targets))

    @torch.no_grad()
    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,  # noqa: ARG002
        deterministic: bool = True,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """The demonstrator's most probable action for one observation or a batch, as the environment gives them.

        Raises:
            SpaceError: What is no observation of the space.
        """
        rows, is_single = encoded_rows(observation, self.observation_space)
        outputs = self._outputs(torch.from_numpy(rows))
        if isinstance(self.action_space, spaces.Discrete):
            actions = outputs.argmax(1).numpy() + int(self.action_space.start)
        else:
            assert isinstance(self.action_space, spaces.Box)
            values = outputs * self._action_std + self._action_mean
            shaped = values.numpy().reshape(-1, *self.action_space.shape)
            actions = as_box_values(shaped, self.action_space)
        return (actions[0] if is_single else actions), state

    def _outputs(self, observations: Tensor) -> Tensor:
        outputs: Tensor = self.network((observations - self._mean) / self._std)
        return outputs

    def _loss(self, observations: Tensor, actions: Tensor) -> Tensor:
        outputs = self._outputs(observations)
        if isinstance(self.action_space, spaces.Discrete):
            return F.cross_entropy(outputs, actions - int(self.action_space.start))
        return F.mse_loss(outputs, (actions - self._action_mean) / self._action_std)
