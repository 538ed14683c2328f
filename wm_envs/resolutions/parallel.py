"""Every country a seat: the General Assembly as a PettingZoo parallel environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from wm_envs.data.options import check_flag, check_reward_weights, check_seed
from wm_envs.environment import check_render_mode
from wm_envs.errors import InvalidActionError, MissingExtraError, OptionError, StateError
from wm_envs.kernel import empty_rows, seed_rows
from wm_envs.resolutions import dynamics, render
from wm_envs.resolutions.codes import (
    BALLOT_ACTIONS,
    OBSERVATION,
    TALLIES,
    ResolutionAction,
    ResolutionColumn,
    Stage,
)
from wm_envs.resolutions.env import DEFAULT_REWARD_WEIGHTS
from wm_envs.resolutions.generator import fitted_source, generator_source, with_seat
from wm_envs.rules import draw_seed

try:
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise MissingExtraError(
        "PettingZoo is not installed: pip install 'wm-suite[pettingzoo]'"
    ) from error


class UNResolutionParallelEnv(ParallelEnv[str, NDArray[np.float32], int]):
    """One resolution with all countries as agents; the tally is what they do.

    Stages, actions, observations and rewards are those of `wm/UNResolution-v0`; an agent's
    observation differs from the others' in `is_sponsor` alone. An invalid action counts as
    NO_ACTION, in a vote as an absence.

    Args:
        source: A fitted model's JSON in place of the generator.
        consensus: False puts every text to the vote.
        reward_weights: Weight of each reward component.
        render_mode: "rgb_array", "ansi" or None.
    """

    metadata: dict[str, Any] = {
        "name": "un_resolution_v0",
        "render_modes": ["rgb_array", "ansi"],
        "is_parallelizable": True,
    }

    def __init__(
        self,
        *,
        source: str | None = None,
        consensus: bool = True,
        reward_weights: dict[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._source = generator_source() if source is None else fitted_source(source)
        # The first country's seat is a formality: no row of the kernel acts.
        settings = {} if check_flag("consensus", consensus) else {"has_consensus": 0.0}
        self._weights = check_reward_weights(reward_weights, DEFAULT_REWARD_WEIGHTS)
        self._parameters = with_seat(
            self._source, self._source.countries[0], transitions=4, time_limit=4, **settings
        )
        self.render_mode = check_render_mode(render_mode, self.metadata)
        self.possible_agents = list(self._source.countries)
        self.agents: list[str] = []
        self._spaces = dict.fromkeys(self.possible_agents, OBSERVATION.space)
        self._actions = {
            agent: spaces.Discrete(dynamics.NUM_ACTIONS) for agent in self.possible_agents
        }
        self._states = empty_rows(1, dynamics.STATE)
        self._is_sponsor = np.zeros(len(self.possible_agents), np.bool_)
        self._clone_dtype = np.dtype(
            [
                ("table", dynamics.STATE),
                ("is_sponsor", np.bool_, self._is_sponsor.shape),
                ("is_over", np.bool_),
            ]
        )
        seed_rows(self._states, [draw_seed()])

    def observation_space(self, agent: str) -> spaces.Box:
        """The columns of `codes.OBSERVATION`."""
        return self._spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete[Any]:
        """COSPONSOR, YES, NO, ABSTAIN, NO_ACTION."""
        return self._actions[agent]

    def reset(
        self,
        seed: int | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """A new draft; its first sponsors are drawn among all countries."""
        if seed is not None:
            seed_rows(self._states, [check_seed(seed)])
        dynamics.reset_rows(self._states, self._parameters, np.ones(1, np.bool_))
        state = self._states[0]
        # From the row's own stream, without drawing from it: the table's random numbers stay those
        # of the single environment.
        generator = np.random.default_rng([int(state["key"]), int(state["counter"])])
        self.agents = self.possible_agents[:]
        self._is_sponsor = np.zeros(len(self.agents), np.bool_)
        self._is_sponsor[generator.permutation(len(self.agents))[: int(state["num_sponsors"])]] = (
            True
        )
        return self._observations(), self._infos(np.zeros(len(self.agents), np.bool_))

    def step(self, actions: Mapping[str, int]) -> tuple[Any, Any, Any, Any, Any]:
        """All countries act at once.

        Raises ResetNeeded and InvalidActionError, both with nothing changed.
        """
        if not self.agents:
            raise ResetNeeded(
                "the episode is over or was never started: call reset() before step()"
            )
        if not isinstance(actions, Mapping):
            raise InvalidActionError(f"expected a mapping from agents to actions, got {actions!r}")
        if unknown := set(actions) - set(self.agents):
            raise InvalidActionError(
                f"{sorted(map(str, unknown))} have no seat: the agents are {self.agents[:12]}..."
            )
        requested = np.array([self._checked(agent, actions) for agent in self.agents], np.int64)
        state = self._states[0]
        mask = self._mask()
        is_invalid = ~mask[requested].astype(np.bool_)
        taken = np.where(is_invalid, ResolutionAction.NO_ACTION, requested)
        # Before the stage moves on, as in the single environment.
        preferences = self._preferences(taken)
        is_over = bool(state["stage"] == Stage.TERMINAL)
        if not is_over:
            self._advance(taken)
        state["time"] += 1
        # The outcome is due with the last step alone.
        outcome = np.where(self._is_sponsor, 1.0 if state["is_adopted"] else -1.0, 0.0) * is_over
        rewards = self._weights["outcome"] * outcome + self._weights["preference"] * preferences
        acting = self.agents
        results = (
            self._observations(),
            dict(zip(acting, rewards.tolist(), strict=True)),
            dict.fromkeys(acting, is_over),
            dict.fromkeys(acting, False),
            self._infos(is_invalid),
        )
        if is_over:
            self.agents = []
        return results

    def clone_state(self) -> NDArray[Any]:
        """A copy of the state, shape (): the random stream and all sponsors are part of it."""
        clone = np.zeros((), self._clone_dtype)
        clone["table"] = self._states[0]
        clone["is_sponsor"] = self._is_sponsor
        clone["is_over"] = not self.agents
        return clone

    def restore_state(self, state: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Return to a cloned state and give the observations.

        Raises StateError with nothing changed.
        """
        if (
            not isinstance(state, np.ndarray)
            or state.shape != ()
            or state.dtype != self._clone_dtype
        ):
            raise StateError(
                "this is no state of this environment: give what its clone_state() returned"
            )
        # Copied, since the caller may restore the same state again.
        self._states[0], self._is_sponsor = state["table"], state["is_sponsor"].copy()
        self.agents = [] if state["is_over"] else self.possible_agents[:]
        return self._observations()

    def render(self) -> Any:
        """The picture or the line of text."""
        if self.render_mode is None:
            return None
        show = render.draw if self.render_mode == "rgb_array" else render.describe
        return show(self._states[0], self._parameters[0])

    def close(self) -> None:
        """Nothing to close."""

    def _checked(self, agent: str, actions: Mapping[str, int]) -> int:
        action = actions.get(agent)
        if isinstance(action, np.ndarray) and action.shape == ():
            # What the predict() of Stable-Baselines3 gives.
            action = action[()]
        if (
            isinstance(action, bool)
            or not isinstance(action, int | np.integer)
            or not 0 <= action < dynamics.NUM_ACTIONS
        ):
            raise InvalidActionError(f"expected an integer in [0, 5) from {agent}, got {action!r}")
        return int(action)

    def _advance(self, taken: NDArray[np.int64]) -> None:
        state = self._states[0]
        stage = int(state["stage"])
        tally: dict[str, int] = {}
        for name, action in zip(TALLIES, BALLOT_ACTIONS, strict=True):
            tally[name] = int((taken == action).sum())
        if stage == Stage.DRAFT:
            self._is_sponsor |= taken == ResolutionAction.COSPONSOR
            state["num_sponsors"] = self._is_sponsor.sum()
            # Without a vote a text passes by consensus; a vote overwrites this.
            state["is_adopted"] = not state["has_plenary_vote"]
        else:
            name = "committee" if stage == Stage.COMMITTEE_VOTE else "plenary"
            for vote, count in tally.items():
                state[f"{name}_{vote}"] = count
            state["is_adopted"] = tally["yes"] > tally["no"]
            if stage == Stage.COMMITTEE_VOTE and not state["is_adopted"]:
                state["has_plenary_vote"] = False
            # The kernel's own, so that both environments drift alike.
            if stage == Stage.COMMITTEE_VOTE:
                dynamics.drift(state, self._parameters[0])
        state["stage"] = _next_stage(state, stage)

    def _mask(self) -> NDArray[np.int8]:
        stage = int(self._states[0]["stage"])
        allowed: tuple[ResolutionAction, ...] = BALLOT_ACTIONS
        if stage == Stage.DRAFT:
            allowed = (ResolutionAction.COSPONSOR, ResolutionAction.NO_ACTION)
        elif stage == Stage.TERMINAL:
            allowed = (ResolutionAction.NO_ACTION,)
        mask = np.zeros(dynamics.NUM_ACTIONS, np.int8)
        mask[list(allowed)] = 1
        return mask

    def _preferences(self, taken: NDArray[np.int64]) -> NDArray[np.float64]:
        """Each country's own utility of its vote."""
        state, rows = self._states[0], self._parameters[: len(self.possible_agents)]
        z = state["offset"] + rows["assent"]
        h = state["width"] + rows["abstention"]
        for axis in ("1", "2"):
            z = z + state[f"direction_{axis}"] * rows[f"position_{axis}"]
            h = h + state[f"slope_{axis}"] * rows[f"position_{axis}"]
        return np.select([taken == action for action in BALLOT_ACTIONS], [z, -z, h], 0.0)

    def _observations(self) -> dict[str, NDArray[np.float32]]:
        rows = np.zeros((1, len(OBSERVATION)), np.float32)
        dynamics.observe_rows(self._states, self._parameters, rows)
        every = np.repeat(rows, len(self.agents), 0)
        every[:, ResolutionColumn.IS_SPONSOR] = self._is_sponsor
        return dict(zip(self.agents, every, strict=True))

    def _infos(self, is_invalid: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
        state, mask = self._states[0], self._mask()
        shared = {
            "draft": int(state["draft"]),
            "adopted": bool(state["is_adopted"]) and state["stage"] == Stage.TERMINAL,
        }
        return {
            agent: {**shared, "action_mask": mask.copy(), "invalid_action": bool(invalid)}
            for agent, invalid in zip(self.agents, is_invalid, strict=True)
        }


def _next_stage(state: Any, stage: int) -> int:
    if stage < Stage.COMMITTEE_VOTE and state["has_committee_vote"]:
        return Stage.COMMITTEE_VOTE
    if stage < Stage.PLENARY_VOTE and state["has_plenary_vote"]:
        return Stage.PLENARY_VOTE
    return Stage.TERMINAL


def make(**options: Any) -> UNResolutionParallelEnv:
    """The environment with these options; raises OptionError for an option that does not exist."""
    unknown = set(options) - {"source", "consensus", "reward_weights", "render_mode"}
    if unknown:
        raise OptionError(
            f"options are source, consensus, reward_weights and render_mode, got {sorted(unknown)}"
        )
    return UNResolutionParallelEnv(**options)
