"""Imagined environments: a world model as a Gymnasium vector environment."""

from wm_agents.imagination.vector_env import DreamVectorEnv

__all__ = ["DreamVectorEnv"]
