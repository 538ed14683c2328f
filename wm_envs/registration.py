"""The table of ids: what `gym.make` and `gym.make_vec` can build after `import wm_envs`."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from wm_envs.limits import LimitedByEnv


@dataclass(frozen=True)
class Registration:
    """One id.

    `max_episode_steps` stays None where the length of an episode follows from the options: the
    kernel truncates by itself, also where `gym.make` is given another limit, and `env.spec` tells
    after how many steps.
    """

    id: str
    entry_point: str
    vector_entry_point: str
    max_episode_steps: int | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)

    def register(self) -> None:
        """Tell Gymnasium; the modules are imported when the first environment is made."""
        gym.register(
            id=self.id,
            entry_point=self.entry_point,
            vector_entry_point=self.vector_entry_point,
            max_episode_steps=self.max_episode_steps,
            kwargs=self.kwargs,
            order_enforce=False,  # the shells raise ResetNeeded themselves
            # and check actions; the checker fails after restore_state without a reset
            disable_env_checker=True,
            additional_wrappers=LimitedByEnv(),
        )


REACTIVE = "wm_envs.symbolic.reactive"
MEMORY = "wm_envs.symbolic.memory"
PLANNING = "wm_envs.symbolic.planning"
RESOLUTIONS = "wm_envs.resolutions.env"
PONG, ATARI = "wm_envs.pong.env", "wm_envs.pong.atari"
DRIVING = "wm_envs.driving.env"


TABLE = (
    Registration(
        "wm/PatternEcho-v0", f"{REACTIVE}:make_pattern_echo", f"{REACTIVE}:PatternEchoVectorEnv"
    ),
    Registration(
        "wm/SequenceNext-v0", f"{REACTIVE}:make_sequence_next", f"{REACTIVE}:SequenceNextVectorEnv"
    ),
    Registration(
        "wm/Conditional-v0", f"{REACTIVE}:make_conditional", f"{REACTIVE}:ConditionalVectorEnv"
    ),
    Registration(
        "wm/Navigation-v0", f"{REACTIVE}:NavigationEnv", f"{REACTIVE}:NavigationVectorEnv"
    ),
    Registration(
        "wm/DelayedMatch-v0", f"{MEMORY}:DelayedMatchEnv", f"{MEMORY}:DelayedMatchVectorEnv"
    ),
    Registration("wm/RuleRecall-v0", f"{MEMORY}:RuleRecallEnv", f"{MEMORY}:RuleRecallVectorEnv"),
    Registration("wm/TMaze-v0", f"{MEMORY}:TMazeEnv", f"{MEMORY}:TMazeVectorEnv"),
    Registration(
        "wm/PermPuzzle-v0", f"{PLANNING}:PermPuzzleEnv", f"{PLANNING}:PermPuzzleVectorEnv"
    ),
    Registration("wm/LightsOut-v0", f"{PLANNING}:LightsOutEnv", f"{PLANNING}:LightsOutVectorEnv"),
    Registration(
        "wm/TokenAutomaton-v0",
        f"{PLANNING}:TokenAutomatonEnv",
        f"{PLANNING}:TokenAutomatonVectorEnv",
    ),
    Registration(
        "wm/UNResolution-v0",
        f"{RESOLUTIONS}:UNResolutionEnv",
        f"{RESOLUTIONS}:UNResolutionVectorEnv",
    ),
    Registration("wm/Pong-v0", f"{PONG}:PongEnv", f"{PONG}:PongVectorEnv"),
    Registration("wm/PongAtari-v0", f"{ATARI}:PongAtariEnv", f"{ATARI}:PongAtariVectorEnv"),
    Registration(
        "wm/Debate-v0", "wm_envs.debate.env:DebateEnv", "wm_envs.debate.env:DebateVectorEnv"
    ),
    Registration("wm/Driving-v0", f"{DRIVING}:DrivingEnv", f"{DRIVING}:DrivingVectorEnv"),
)


def register_all() -> None:
    """Register every row of the table once."""
    for row in TABLE:
        if row.id not in gym.registry:
            row.register()
