"""Imagined environments: a world model as a Gymnasium vector environment."""

from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_envs.data.moved import renamed

__all__ = ["ImaginedVectorEnv"]

# Until the next release.
__getattr__ = renamed(
    __name__, {"DreamVectorEnv": "wm_agents.imagination.vector_env.ImaginedVectorEnv"}
)
