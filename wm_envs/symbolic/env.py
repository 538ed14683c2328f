"""What the ten symbolic environments share.

Pictures, the checks of their options, and the assembly of their rules.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wm_envs.data.options import UNLIMITED, check_integer, check_reward_weights
from wm_envs.environment import KernelEnv
from wm_envs.kernel import empty_rows
from wm_envs.rules import Field, Rules
from wm_envs.symbolic import dynamics, render

# The prediction reward is an agent's bonus: small beside the goal, so that curiosity does not
# replace it.
DEFAULT_REWARD_WEIGHTS = {"goal": 1.0, "prediction": 0.1}

Setting = TypeVar("Setting")


class SymbolicEnv(KernelEnv):
    """A symbolic task.

    One-hot observations, a Discrete action, an episode that ends on its time limit only.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human", "ansi"], "render_fps": 4}

    @staticmethod
    def draw(state: Any, parameters: Any) -> NDArray[np.uint8]:
        """The picture of a state row, uint8 [height, width, 3]."""
        return render.draw(state, parameters)

    @staticmethod
    def describe(state: Any, parameters: Any) -> str:
        """A state row as text, boards row by row."""
        return render.describe(state, parameters)


@dataclass(frozen=True)
class TimeLimit:
    """Steps after which an episode is truncated.

    What the task asks for, and what an option may choose.
    """

    default: int
    maximum: int = UNLIMITED

    def num_steps(self, time_limit: int | None) -> int:
        """The option's value, or the default for None; raises OptionError."""
        return (
            self.default
            if time_limit is None
            else check_integer("time_limit", time_limit, 1, self.maximum)
        )


def one_hot(name: str, size: int, meaning: str) -> tuple[Field, ...]:
    """Fields `name_0` to `name_<size - 1>`."""
    return tuple(Field(f"{name}_{i}", "1", 0.0, 1.0, meaning) for i in range(size))


def flag(name: str, meaning: str) -> tuple[Field, ...]:
    """One field that is 0 or 1."""
    return (Field(name, "1", 0.0, 1.0, meaning),)


def check_instance(instance: Any) -> int:
    """The number of a hidden structure; raises OptionError."""
    return check_integer("instance", instance, 0)


def at_level(level: Any, settings: tuple[Setting, ...]) -> Setting:
    """The settings of a level, the first being level 1; raises OptionError."""
    return settings[check_integer("level", level, 1, len(settings)) - 1]


def symbolic_rules(
    task: int,
    fields: tuple[Field, ...],
    num_actions: int,
    *,
    time_limit: int,
    reward_weights: Mapping[str, float] | None,
    table: Iterable[int] = (),
    **parameters: int,
) -> Rules:
    """The rules of a task.

    Its observation fields and actions, and the parameters by their names in the kernels.
    """
    # Before the row is filled: bad weights are refused without half-made parameters.
    weights = check_reward_weights(reward_weights, DEFAULT_REWARD_WEIGHTS)
    row = empty_rows(1, dynamics.PARAMETERS)
    row["goal_weight"], row["prediction_weight"] = weights["goal"], weights["prediction"]
    values = {"task": task, "time_limit": time_limit, "num_actions": num_actions, **parameters}
    for name, value in values.items():
        row[name] = value
    entries = np.ravel(np.asarray(table, dtype=np.int32))
    # What is left of the table stays 0: one layout of parameters serves all tasks and one compiled
    # kernel.
    row["table"][0, : len(entries)] = entries
    return Rules(
        observation_fields=fields,
        action_space=spaces.Discrete(num_actions),
        reward_components=dynamics.REWARD_COMPONENTS,
        state_dtype=dynamics.STATE,
        outcome_dtype=dynamics.OUTCOME,
        parameters=row,
        reset_rows=dynamics.reset_rows,
        step_rows=dynamics.step_rows,
        observe_rows=dynamics.observe_rows,
    )
