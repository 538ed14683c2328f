"""The table of ids: what `gym.make` and `gym.make_vec` can build after `import wm_envs`."""

import inspect
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from wm_envs.limits import LimitedByEnv


@dataclass(frozen=True)
class Registration:
    """One id, and the first line of its page, so that a list of ids imports none of them.

    That line is the first of the class's docstring, with what is special about a version.

    `max_episode_steps` stays None where the length of an episode follows from the options: the
    kernel truncates by itself, also where `gym.make` is given another limit, and `env.spec` tells
    after how many steps.
    """

    id: str
    summary: str
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
        "wm/PatternEcho-v0",
        "Name the shown symbol.",
        f"{REACTIVE}:make_pattern_echo",
        f"{REACTIVE}:PatternEchoVectorEnv",
    ),
    Registration(
        "wm/SequenceNext-v0",
        "Name the next element of a hidden repeating sequence.",
        f"{REACTIVE}:make_sequence_next",
        f"{REACTIVE}:SequenceNextVectorEnv",
    ),
    Registration(
        "wm/Conditional-v0",
        "Act by a hidden rule on shape and colour.",
        f"{REACTIVE}:make_conditional",
        f"{REACTIVE}:ConditionalVectorEnv",
    ),
    Registration(
        "wm/Navigation-v0",
        "Stand on the target when the last step ends.",
        f"{REACTIVE}:NavigationEnv",
        f"{REACTIVE}:NavigationVectorEnv",
    ),
    Registration(
        "wm/DelayedMatch-v0",
        "Answer with a symbol that is no longer shown.",
        f"{MEMORY}:DelayedMatchEnv",
        f"{MEMORY}:DelayedMatchVectorEnv",
    ),
    Registration(
        "wm/RuleRecall-v0",
        "Learn a rule from demonstrations within the episode, then apply it without feedback.",
        f"{MEMORY}:RuleRecallEnv",
        f"{MEMORY}:RuleRecallVectorEnv",
    ),
    Registration(
        "wm/TMaze-v0",
        "Recall a cue at the end of a corridor full of distractors.",
        f"{MEMORY}:TMazeEnv",
        f"{MEMORY}:TMazeVectorEnv",
    ),
    Registration(
        "wm/PermPuzzle-v0",
        "Bring tokens into a given order with three hidden permutations.",
        f"{PLANNING}:PermPuzzleEnv",
        f"{PLANNING}:PermPuzzleVectorEnv",
    ),
    Registration(
        "wm/LightsOut-v0",
        "Make a board of lights look like another, with buttons whose places are hidden.",
        f"{PLANNING}:LightsOutEnv",
        f"{PLANNING}:LightsOutVectorEnv",
    ),
    Registration(
        "wm/TokenAutomaton-v0",
        "Reach a token in an automaton whose transitions follow no pattern.",
        f"{PLANNING}:TokenAutomatonEnv",
        f"{PLANNING}:TokenAutomatonVectorEnv",
    ),
    Registration(
        "wm/UNResolution-v0",
        "Sponsor and vote on a resolution of the United Nations General Assembly.",
        f"{RESOLUTIONS}:UNResolutionEnv",
        f"{RESOLUTIONS}:UNResolutionVectorEnv",
    ),
    Registration(
        "wm/Pong-v0",
        "Return the ball past the enemy: Atari's Pong, exact to the frame, in compiled code.",
        f"{PONG}:PongEnv",
        f"{PONG}:PongVectorEnv",
    ),
    Registration(
        "wm/PongAtari-v0",
        "Atari's Pong in the Arcade Learning Environment, seen as the positions of its objects.",
        f"{ATARI}:PongAtariEnv",
        f"{ATARI}:PongAtariVectorEnv",
    ),
    Registration(
        "wm/Debate-v0",
        "Win influence in a debate of seven tendencies about a person.",
        "wm_envs.debate.env:DebateEnv",
        "wm_envs.debate.env:DebateVectorEnv",
    ),
    Registration(
        "wm/Driving-v0",
        "Drive a racing car around a circuit as fast as it will go (expert: first version).",
        f"{DRIVING}:DrivingEnv",
        f"{DRIVING}:DrivingVectorEnv",
    ),
    Registration(
        "wm/Driving-v1",
        "Drive a racing car around a circuit as fast as it will go (expert: mended).",
        f"{DRIVING}:DrivingEnv",
        f"{DRIVING}:MendedDrivingVectorEnv",
    ),
)


def register_all() -> None:
    """Register every row of the table once."""
    for row in TABLE:
        if row.id not in gym.registry:
            row.register()


def page(row: Registration) -> str:
    """The docstring of an id's environment, without its indentation; it begins with the id's summary."""
    entry_point = load_env_creator(row.entry_point)
    # The vector shell names its environment class; an entry point may be a mere function.
    documented = getattr(load_env_creator(row.vector_entry_point), "env_class", entry_point)
    text = inspect.getdoc(documented) or ""
    # Two versions of one environment share a class, and differ in their first line.
    return row.summary + text[len(text.split("\n")[0]) :]


def listing() -> str:
    """All ids, one line each."""
    width = max(len(row.id) for row in TABLE)
    return "\n".join(f"{row.id:{width}}  {row.summary}" for row in TABLE)
