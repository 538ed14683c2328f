"""The command `wm`: what is typed in a terminal, as thin calls of `wm_envs` and `wm_agents`.

The top floor: it may import both, the learners only where a command needs them, and nobody imports
it.
"""
