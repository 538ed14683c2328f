"""The agent that plans at every step, with Stable-Baselines3's `predict`."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.observation_rows import encoded_rows, episode_starts, raw_spaces
from wm_agents.planning.planner import ModelPlanner
from wm_agents.protocols import ModelState, Planner, WorldModel
from wm_agents.training.config_checks import checked_seed, require_between
from wm_envs.data.display import html_card
from wm_envs.data.spaces import ActionCodec


class PlanningAgent:
    """Plans from each observation and executes the first action.

    What a planner carries over belongs to an episode: it is forgotten for the rows of
    `episode_start`, and for those whose `state` is not what the last `predict` returned.

    Args:
        model: What the planner imagines with; its memory, where it has one, is kept in step with
            the real episode.
        planner: Decides; one that has no model yet, such as `ICEM(horizon=20)`, is bound to this
            one.
        env: For `OracleModel`: where `clone_state` is asked before each plan (a Gymnasium
            environment, a Gymnasium or a Stable-Baselines3 vector environment).
        exploration: Noise of `deterministic=False`: for Box actions its standard deviation as a
            share of half the range, for Discrete ones the probability of a random action.
        seed: Of the planner's samples and the exploration.

    Attributes:
        num_model_steps: Model steps that all plans so far have taken.

    Raises:
        ConfigError: An oracle without an environment, or exploration outside [0, 1].
        SpaceError: Actions that the planner does not serve.
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
        self._starts_from_states = hasattr(model, "hidden_of")
        if self._starts_from_states and env is None:
            raise ConfigError(
                f"{type(model).__name__} plans from environment states: pass env=, the environment "
                "that is acted in"
            )
        # A planner may be given without a model and gets the agent's.
        if isinstance(planner, ModelPlanner) and not planner.is_bound:
            planner = planner.bind(model)
        self.num_model_steps = 0
        self._model = model
        self._planner = planner
        self._env = env
        self._exploration = exploration
        self._generator = torch.Generator().manual_seed(checked_seed(seed))
        self._observation_space, action_space = raw_spaces(model)
        self._actions = ActionCodec(action_space)
        # Steps since each row's episode began: the state that is handed out.
        self._counts = np.zeros(0, np.int64)
        self._last: tuple[ModelState, Tensor] | None = None

    def __repr__(self) -> str:
        return f"PlanningAgent({type(self._planner).__name__} in {self._model!r})"

    def _repr_html_(self) -> str:
        facts = {
            "planner": type(self._planner).__name__,
            "model": repr(self._model),
            "model steps so far": f"{self.num_model_steps:,}",
        }
        return html_card("PlanningAgent", facts)

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
        observations, is_single = encoded_rows(observation, self._observation_space)
        fresh = self._fresh(len(observations), state, episode_start)
        model_state = self._model_state(torch.as_tensor(observations), fresh)
        # All rows fresh is a reset without a mask, which also allows another number of rows.
        self._planner.reset(None if fresh.all() else fresh)
        plan = self._planner.plan(model_state, self._generator)
        self.num_model_steps += plan.num_model_steps
        rows = plan.actions[:, 0]
        if not deterministic and self._exploration > 0.0:
            rows = self._explore(rows)
        actions = self._actions.decode(rows.cpu().numpy())
        # What is executed may be rounded to the space's type, and is what a memory has to be told.
        executed = torch.as_tensor(self._actions.encode(actions)).to(rows)
        # What this step was, for a model with memory: it imagines it when the next observation is
        # there.
        self._last = (model_state, executed)
        # The count is the state: a row that hands back another number has been elsewhere meanwhile.
        self._counts = np.where(fresh, 0, self._counts) + 1
        if is_single:
            actions = self._actions.decode_one(rows[0].cpu().numpy())
        return actions, self._counts.copy()

    def resume(self, observations: Any, actions: Any) -> NDArray[np.int64]:
        """Take over an episode that is under way, with all that happened in it.

        Args:
            observations: A batch of T, one before each action; what the next `predict` gets is not
                among them.
            actions: A batch of T.

        Returns:
            The state to pass to the next `predict`.
        """
        encoded, _ = encoded_rows(observations, self._observation_space)
        rows = torch.as_tensor(encoded)
        device = self._model.start(rows[:1]).observations.device
        taken = torch.as_tensor(self._actions.encode(actions), device=device)
        # Plans of another episode are of no use here.
        self._planner.reset()
        self._counts = np.zeros(1, np.int64)
        self._last = None
        # Each action is told with the observation that it answered, as `predict` does.
        for row, action in zip(rows, taken, strict=True):
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
            # Another count than ours: another episode, or a copy of the agent acted in between.
            return np.ones(num_rows, np.bool_)
        is_other = np.asarray(state) != self._counts
        if episode_start is None:
            return is_other
        return is_other | episode_starts(episode_start, num_rows)

    @torch.no_grad()
    def _model_state(self, observations: Tensor, fresh: NDArray[np.bool_]) -> ModelState:
        """Where imagination begins.

        A model with memory is stepped through the action that was executed.
        """
        # The oracle needs no memory: the state holds everything.
        if self._starts_from_states:
            states = self._true_states(len(observations))
            return self._model.start(observations, self._model.hidden_of(states))  # type: ignore[attr-defined]
        initial = self._model.start(observations)
        has_memory = bool(initial.hidden) and getattr(self._model, "has_memory", True)
        if self._last is None or fresh.all() or not has_memory:
            return initial
        # The memory after the last executed action; the observation that followed replaces the
        # imagined one.
        remembered, _ = self._model.step(*self._last)
        resumed = self._model.start(observations, remembered.hidden)
        is_fresh = torch.as_tensor(fresh, device=initial.observations.device)
        hidden = tuple(
            # Rows that began anew take the empty memory.
            torch.where(is_fresh.view(-1, *[1] * (new.dim() - 1)), new, old)
            for new, old in zip(initial.hidden, resumed.hidden, strict=True)
        )
        return ModelState(initial.observations, hidden)

    def _true_states(self, num_rows: int) -> NDArray[Any]:
        """State rows [B] of the environment."""
        if hasattr(self._env, "env_method"):  # a Stable-Baselines3 vector environment
            states = np.stack(self._env.env_method("clone_state"))
        else:
            states = np.atleast_1d(self._env.unwrapped.clone_state())
        if len(states) != num_rows:
            raise ConfigError(
                f"predict got {num_rows} observations, but env holds {len(states)} states: "
                "pass that env"
            )
        return states

    def _explore(self, rows: Tensor) -> Tensor:
        """Planned actions [B] or [B, A] with noise, within their space."""
        space = self._actions.row_space
        if isinstance(space, spaces.Discrete):
            drawn = torch.randint(int(space.n), rows.shape, generator=self._generator)
            drawn += int(space.start)
            is_random = torch.rand(rows.shape, generator=self._generator) < self._exploration
            return torch.where(is_random.to(rows.device), drawn.to(rows.device), rows)
        low = torch.as_tensor(space.low).to(rows)
        high = torch.as_tensor(space.high).to(rows)
        noise = torch.randn(rows.shape, generator=self._generator).to(rows.device)
        # Half of the range times a standard normal, cut off at the bounds.
        return (rows + self._exploration * (high - low) / 2 * noise).clamp(low, high)
