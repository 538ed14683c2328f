"""The agent that plans at every step, with Stable-Baselines3's `predict`, so that `evaluate_policy` runs on it."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.observation_rows import encoded_rows
from wm_agents.protocols import ModelState, Planner, WorldModel
from wm_agents.training.config_checks import require_between
from wm_envs.data.spaces import as_box_values


class PlanningAgent:
    """Plans from each observation and executes the first action.

    What a planner carries over belongs to an episode: it is forgotten for the rows of
    `episode_start`, and for those whose `state` is not what the last `predict` returned.

    Args:
        model: What the planner imagines with; its memory, where it has one, is kept in step with
            the real episode.
        planner: Decides.
        env: For `OracleModel`: where `clone_state` is asked before each plan (a Gymnasium
            environment, a Gymnasium or a Stable-Baselines3 vector environment).
        exploration: Noise of `deterministic=False`: for Box actions its standard deviation as a
            share of half the range, for Discrete ones the probability of a random action.
        seed: Of the planner's samples and the exploration.

    Attributes:
        num_model_steps: Model steps that all plans so far have taken.

    Raises:
        ConfigError: An oracle without an environment, or exploration outside [0, 1].
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        *,
        env: Any = None,
        exploration: float = 0.0,
        seed: int = 0,
    ) -> None:
        require_between(0, 1, exploration=exploration)
        # A model with `hidden_of` starts from states of the environment, as `OracleModel` does.
        if hasattr(model, "hidden_of") and env is None:
            raise ConfigError(
                f"{type(model).__name__} plans from environment states: pass env=, the environment that is acted in"
            )
        self.num_model_steps = 0
        self._model = model
        self._planner = planner
        self._env = env
        self._exploration = exploration
        self._generator = torch.Generator().manual_seed(seed)
        self._counts = np.zeros(
            0, np.int64
        )  # steps since each row's episode began: the state that is handed out
        self._last: tuple[ModelState, Tensor] | None = None
        self._can_remember = hasattr(
            model, "step"
        )  # until a step shows that the model carries nothing

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions for one observation or a batch [B], and the state to pass on.

        Args:
            observation: As the environment gives it, or B of them.
            state: What the last `predict` returned; None begins new episodes.
            episode_start: Which rows [B] begin a new episode.
            deterministic: Leave out the exploration noise.

        Raises:
            SpaceError: What is no observation of the model's space.
        """
        observations, is_single = encoded_rows(observation, self._model.observation_space)
        fresh = self._fresh(len(observations), state, episode_start)
        model_state = self._model_state(torch.as_tensor(observations), fresh)
        self._planner.reset(None if fresh.all() else fresh)
        plan = self._planner.plan(model_state, self._generator)
        self.num_model_steps += plan.num_model_steps
        actions = plan.actions[:, 0]
        if not deterministic and self._exploration > 0.0:
            actions = self._explore(actions)
        chosen = self._executed(actions)
        self._last = (model_state, torch.as_tensor(chosen).to(actions))
        self._counts = np.where(fresh, 0, self._counts) + 1
        return (chosen[0] if is_single else chosen), self._counts.copy()

    def resume(self, observations: NDArray[Any], actions: NDArray[Any]) -> NDArray[np.int64]:
        """Take over an episode that is under way, with all that happened in it.

        Args:
            observations: [T, ...], before each action; what the next `predict` gets is not among
                them.
            actions: [T, ...].

        Returns:
            The state to pass to the next `predict`.
        """
        rows, space = (
            torch.as_tensor(encoded_rows(observations, self._model.observation_space)[0]),
            self._model.action_space,
        )
        is_discrete = isinstance(space, gym.spaces.Discrete)
        acts = torch.as_tensor(
            np.asarray(actions), dtype=torch.int64 if is_discrete else torch.float32
        )
        device = self._model.start(rows[:1]).observations.device
        self._planner.reset()
        self._counts, self._last = np.zeros(1, np.int64), None
        for row, action in zip(rows, acts.to(device), strict=True):
            state = self._model_state(row[None], self._counts == 0)
            self._last = (state, action[None])
            self._counts = self._counts + 1
        return self._counts.copy()

    def _fresh(
        self, num_rows: int, state: Any, episode_start: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_]:
        """Rows [B] for which nothing may be carried over."""
        if state is None or num_rows != len(self._counts):
            self._counts = np.zeros(num_rows, np.int64)
            return np.ones(num_rows, np.bool_)
        is_other = np.asarray(state) != self._counts
        if episode_start is None:
            return is_other
        return is_other | np.broadcast_to(np.asarray(episode_start, np.bool_), (num_rows,))

    @torch.no_grad()
    def _model_state(self, observations: Tensor, fresh: NDArray[np.bool_]) -> ModelState:
        """Where imagination begins.

        A model with memory is stepped through the action that was executed.
        """
        if hasattr(self._model, "hidden_of"):
            return self._model.start(
                observations, self._model.hidden_of(self._true_states(len(observations)))
            )
        first = self._model.start(observations)
        if self._last is None or fresh.all() or not (first.hidden or self._can_remember):
            return first
        remembered, _ = self._model.step(*self._last)
        went_on = self._model.start(observations, remembered.hidden)
        if not went_on.hidden:
            self._can_remember = False  # one look is enough
            return first
        if (
            not first.hidden
        ):  # a model that remembers only from its first step on: zeros are no memory
            first = ModelState(
                first.observations, tuple(torch.zeros_like(values) for values in went_on.hidden)
            )
        is_fresh = torch.as_tensor(fresh, device=first.observations.device)
        hidden = tuple(
            torch.where(is_fresh.view(-1, *[1] * (new.dim() - 1)), new, old)
            for new, old in zip(first.hidden, went_on.hidden, strict=True)
        )
        return ModelState(first.observations, hidden)

    def _true_states(self, num_rows: int) -> NDArray[Any]:
        """State rows [B] of the environment."""
        if hasattr(self._env, "env_method"):  # a Stable-Baselines3 vector environment
            states = np.stack(self._env.env_method("clone_state"))
        else:
            states = np.atleast_1d(self._env.unwrapped.clone_state())
        if len(states) != num_rows:
            raise ConfigError(
                f"predict got {num_rows} observations, but env holds {len(states)} states: pass that env"
            )
        return states

    def _executed(self, actions: Tensor) -> NDArray[Any]:
        """Actions [B, ...] that the action space contains."""
        space, chosen = self._model.action_space, actions.cpu().numpy()
        return (
            as_box_values(chosen, space)
            if isinstance(space, gym.spaces.Box)
            else chosen.astype(space.dtype)
        )

    def _explore(self, actions: Tensor) -> Tensor:
        space = self._model.action_space
        if isinstance(space, gym.spaces.Discrete):
            drawn = torch.randint(int(space.n), actions.shape, generator=self._generator)
            is_random = torch.rand(actions.shape, generator=self._generator) < self._exploration
            return torch.where(is_random.to(actions.device), drawn.to(actions.device), actions)
        assert isinstance(space, gym.spaces.Box)
        low, high = (torch.as_tensor(bound).to(actions) for bound in (space.low, space.high))
        noise = torch.randn(actions.shape, generator=self._generator).to(actions.device)
        return (actions + self._exploration * (high - low) / 2 * noise).clamp(low, high)
