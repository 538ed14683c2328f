"""Gymnasium environments for world models; importing this package registers the `wm/...` ids."""

from wm_envs.registration import register_all

__version__ = "0.1.0"

register_all()
