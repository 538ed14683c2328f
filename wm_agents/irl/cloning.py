"""Behaviour cloning: the baseline that must stand beside whatever infers a reward."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.box_values import as_box_values
from wm_agents.config_checks import require_integers
from wm_agents.errors import ConfigError, SpaceError
from wm_agents.irl.demonstrations import Demonstrations, check_spaces_fit
from wm_agents.networks import Perceptron
from wm_agents.training.finite import descend
from wm_agents.world_models.normalisation import units


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


class BehaviourCloning:
    """A perceptron that does in each observation what the demonstrator did: cross-entropy, or squared error for Box.

    Args:
        observation_space: Box, flattened, or Discrete as a one-hot.
        action_space: Discrete or Box.
        config: Settings.
        seed: Of weights and batches.

    Raises:
        SpaceError: Other action spaces.
    """

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
        num_outputs = int(action_space.n) if isinstance(action_space, spaces.Discrete) else spaces.flatdim(action_space)
        self._generator = torch.Generator().manual_seed(seed)
        self.network = Perceptron((num_inputs, *self.config.widths, num_outputs), "tanh", self._generator, 0.1)
        self._mean, self._std = torch.zeros(num_inputs), torch.ones(num_inputs)

    def fit(self, demonstrations: Any) -> float:
        """Learn from demonstrations; gives the final loss per step.

        Raises:
            DemonstrationError: Observations or actions that do not fit the spaces.
            NonFiniteError: A loss or gradient is not finite: nothing was updated with it.
        """
        data = Demonstrations.of(demonstrations).trajectories
        check_spaces_fit(data, self.observation_space, self.action_space)
        inputs = torch.from_numpy(data.observations[data.observation_of_step])
        targets = torch.from_numpy(data.actions)
        self._mean, self._std = units(inputs)
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.num_updates)
        for update in range(self.config.num_updates):
            rows = torch.randint(len(inputs), (self.config.batch_size,), generator=self._generator)
            loss = self._loss(inputs[rows], targets[rows])
            descend(loss, optimizer, self.network.named_parameters(), f"at update {update} of behaviour cloning")
            schedule.step()
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
        """The demonstrator's most probable action for one observation or a batch, as the environment gives them."""
        rows, is_single = self._rows(observation)
        outputs = self._outputs(torch.from_numpy(rows))
        if isinstance(self.action_space, spaces.Discrete):
            actions = outputs.argmax(1).numpy() + int(self.action_space.start)
        else:
            assert isinstance(self.action_space, spaces.Box)
            shaped = outputs.numpy().reshape(-1, *self.action_space.shape)
            actions = as_box_values(shaped, self.action_space)
        return (actions[0] if is_single else actions), state

    def _rows(self, observation: Any) -> tuple[NDArray[np.float32], bool]:
        """Observations [B, O] with Discrete ones as one-hots, and whether there was but one."""
        space, array = self.observation_space, np.asarray(observation)
        is_single = array.ndim == len(space.shape or ())
        if isinstance(space, spaces.Discrete):
            return np.eye(int(space.n), dtype=np.float32)[np.atleast_1d(array) - int(space.start)], is_single
        return array.astype(np.float32).reshape(1 if is_single else len(array), -1), is_single

    def _outputs(self, observations: Tensor) -> Tensor:
        outputs: Tensor = self.network((observations - self._mean) / self._std)
        return outputs

    def _loss(self, observations: Tensor, actions: Tensor) -> Tensor:
        outputs = self._outputs(observations)
        if isinstance(self.action_space, spaces.Discrete):
            return F.cross_entropy(outputs, actions - int(self.action_space.start))
        return F.mse_loss(outputs, actions)
