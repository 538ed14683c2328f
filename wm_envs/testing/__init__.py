"""A checker for vector environments: ours, Gymnasium's and anybody's.

>>> from wm_envs.testing import check_vector_env
>>> report = check_vector_env("CartPole-v1", vectorization_mode="sync")
>>> report.modes
('NextStep', 'SameStep', 'Disabled')
"""

from wm_envs.testing.checker import Finding, Report, VectorEnvError, check_vector_env

__all__ = ["Finding", "Report", "VectorEnvError", "check_vector_env"]
