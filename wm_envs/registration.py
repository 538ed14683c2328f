"""The table of ids: what `gym.make` and `gym.make_vec` can build after `import wm_envs`."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym


@dataclass(frozen=True)
class Registration:
    """One id.

    `max_episode_steps` stays None where the length of an episode follows from the options: there the kernel truncates
    by itself, and Gymnasium's TimeLimit would cut the higher levels short.
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
        )


TABLE = (
    Registration(
        "wm/PatternEcho-v0", "wm_envs.symbolic.env:make_pattern_echo", "wm_envs.symbolic.env:PatternEchoVectorEnv"
    ),
)


def register_all() -> None:
    """Register every row of the table once."""
    for row in TABLE:
        if row.id not in gym.registry:
            row.register()
