"""Seven seats at one table.

The PettingZoo parallel environment, and one seat among saved policies.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from wm_envs.data.options import check_seed
from wm_envs.debate import dynamics
from wm_envs.debate.dynamics import NUM
from wm_envs.debate.env import DebateEnv
from wm_envs.debate.scripted import ScriptedDebater
from wm_envs.debate.tendencies import OBSERVATION, TENDENCIES
from wm_envs.environment import check_render_mode
from wm_envs.errors import InvalidActionError, MissingExtraError, OptionError
from wm_envs.kernel import copy_rows, seed_rows

try:
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise MissingExtraError(
        "seven seats need PettingZoo: pip install 'wm-suite[pettingzoo]'"
    ) from error

Observations = dict[str, NDArray[np.float32]]
Policy = Callable[[NDArray[np.float32]], Any]


class DebateParallelEnv(ParallelEnv[str, Any, Any]):
    """All seven tendencies as agents, on the rules of `wm/Debate-v0`.

    Agents are named after their tendency. Spaces are those of the single seat; each sees the table
    from its own place. The reward of an agent is the change of its own allocation in percentage
    points, so that rewards sum to zero.

    Args:
        render_mode: "rgb_array", "ansi" or None.
        **options: Those of `wm/Debate-v0`; `seat` and `rivals` have no effect here and are refused.

    Raises:
        OptionError: An option that is unknown or out of range.
    """

    metadata: dict[str, Any] = {
        "name": "debate_v0",
        "render_modes": ["rgb_array", "ansi"],
        "is_parallelizable": True,
    }

    def __init__(self, *, render_mode: str | None = None, **options: Any) -> None:
        if refused := {"seat", "rivals", "reward_weights"} & set(options):
            raise OptionError(
                f"every seat is an agent here: leave out {', '.join(sorted(refused))}"
            )
        # No script plays: what the kernel would draw for a seat has no effect here.
        self._rules = DebateEnv.rules(seat=None, rivals="silent", **options)
        self.render_mode = check_render_mode(render_mode, self.metadata)
        self.possible_agents = [str(tendency) for tendency in TENDENCIES]
        self.agents: list[str] = []
        self._states = self._rules.new_states(1)
        self._observations = np.zeros((NUM, len(OBSERVATION)), np.float32)
        self._rewards = np.zeros(NUM)
        space = self._rules.observation_space
        # Spaces carry a random generator each, so every agent has its own.
        self._observation_spaces = {
            name: spaces.Box(space.low, space.high) for name in self.possible_agents
        }
        self._action_spaces = {
            name: spaces.Box(-1.0, 1.0, (NUM,), np.float32) for name in self.possible_agents
        }

    def observation_space(self, agent: str) -> spaces.Box:
        """A Box [31]; see the fields of `wm/Debate-v0`."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Box:
        """A Box [7]: conviction about each claim."""
        return self._action_spaces[agent]

    def reset(
        self,
        seed: int | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[Observations, dict[str, dict[str, Any]]]:
        """Start an episode; a seed starts the random stream anew, without one it goes on."""
        if seed is not None:
            seed_rows(self._states, [check_seed(seed)])
        self._rules.reset_rows(self._states, self._rules.parameters, np.ones(1, np.bool_))
        dynamics.observe_seats(self._states, self._rules.parameters, self._observations)
        self.agents = list(self.possible_agents)
        return self._by_agent(), self._infos()

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[
        Observations, dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """One round; raises ResetNeeded and InvalidActionError, both with nothing changed."""
        if not self.agents:
            raise ResetNeeded(
                "the episode is over or was never started: call reset() before step()"
            )
        if not isinstance(actions, Mapping):
            raise InvalidActionError(f"expected a mapping from agents to actions, got {actions!r}")
        # All seats act at once, and none may be left out: silence is a conviction of 0.
        if set(actions) != set(self.agents):
            raise InvalidActionError(
                f"expected an action for each of {self.agents}, got {sorted(actions)}"
            )
        # All are checked before the round is played: a bad action changes nothing.
        rows = np.stack(
            [self._rules.check_actions(actions[name], ()) for name in self.possible_agents]
        )
        dynamics.step_seats(
            self._states, self._rules.parameters, rows, self._observations, self._rewards
        )
        is_over = bool(self._states["ended"][0])
        names = self.agents
        answer = (
            # Before the list of agents is emptied, from which these mappings take their names.
            self._by_agent(),
            dict(zip(names, self._rewards.tolist(), strict=True)),
            dict.fromkeys(names, False),
            dict.fromkeys(names, is_over),
            self._infos(),
        )
        if is_over:
            self.agents = []
        return answer

    def clone_state(self) -> NDArray[Any]:
        """A copy of the state row, shape (): the random stream is part of it."""
        return copy_rows(self._states)[0, ...]

    def restore_state(self, state: NDArray[Any]) -> Observations:
        """Return to a cloned state and give what the seats see.

        Raises StateError with nothing changed.
        """
        self._rules.check_states(state, ())
        self._states[0] = state
        dynamics.observe_seats(self._states, self._rules.parameters, self._observations)
        self.agents = [] if self._states["ended"][0] else list(self.possible_agents)
        return self._by_agent()

    def render(self) -> Any:
        """The table as a picture or as text, by `render_mode`."""
        state, parameters = self._states[0], self._rules.parameters[0]
        if self.render_mode == "ansi":
            return DebateEnv.describe(state, parameters)
        return DebateEnv.draw(state, parameters) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Nothing stays open."""

    def state(self) -> NDArray[np.float32]:
        """What all seats see, [7 x 31]."""
        return self._observations.ravel().copy()

    def _by_agent(self) -> Observations:
        return {name: self._observations[i].copy() for i, name in enumerate(self.possible_agents)}

    def _infos(self) -> dict[str, dict[str, Any]]:
        allocations = np.array(self._states["allocations"][0])
        winner = int(self._states["winner"][0])
        return {
            name: {"allocations": allocations.copy(), "winner": winner}
            for name in self.possible_agents
        }


class AmongPolicies(gym.Env[Any, Any]):
    """One seat of the parallel environment, the others played by given policies.

    Args:
        seat: The agent's tendency.
        policies: Tendency to a function from its observation [31] to an action [7], for example
            `lambda observation: model.predict(observation)[0]`; seats without one are played by
            advocates.
        **options: As for `DebateParallelEnv`.

    Raises:
        OptionError: An unknown tendency, or a policy for the agent's own seat.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}

    def __init__(
        self, seat: str, policies: Mapping[str, Policy] | None = None, **options: Any
    ) -> None:
        self._table = DebateParallelEnv(**options)
        self.render_mode = self._table.render_mode
        names = self._table.possible_agents
        policy_of = dict(policies or {})
        if seat not in names or not set(policy_of) <= set(names) - {seat}:
            raise OptionError(
                f"seat and policies take different places of {names}, got {seat!r}, "
                f"{list(policy_of)}"
            )
        self.seat = seat
        self._policies = {
            name: policy_of.get(name, ScriptedDebater("advocate")) for name in names if name != seat
        }
        self.observation_space = self._table.observation_space(seat)
        self.action_space = self._table.action_space(seat)
        self._seen: Observations = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode."""
        seed = None if seed is None else check_seed(seed)
        super().reset(seed=seed)
        self._seen, infos = self._table.reset(seed, options)
        return self._seen[self.seat], infos[self.seat]

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One round, in which all policies act on what they saw before it."""
        actions = {
            name: policy(self._seen[name]) for name, policy in self._policies.items() if self._seen
        }
        observations, rewards, terminated, truncated, infos = self._table.step(
            {**actions, self.seat: action}
        )
        self._seen = observations
        seat = self.seat
        return observations[seat], rewards[seat], terminated[seat], truncated[seat], infos[seat]

    def render(self) -> Any:
        """As the parallel environment."""
        return self._table.render()
