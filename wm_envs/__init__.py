"""Gymnasium environments for world models; importing this package registers the `wm/...` ids."""

from wm_envs.data.moved import MovedModules as _MovedModules
from wm_envs.data.recording import record, record_split
from wm_envs.registration import register_all

__all__ = ["record", "record_split", "register_all"]
__version__ = "0.1.0"

# Until the next release. A learner's view of a game is the learners' own, so some of these lead out
# of this package.
_PONG_VIEW = {
    "ball": "tracking",
    "court": "calibration",
    "enemy": "tracking",
    "features": "features",
    "layout": "state",
    "measuring": "calibration",
    "memory": "state_estimator",
    "paddle": "tracking",
    "situations": "object_encoding",
    "symbols": "object_encoding",
    "view": "object_view",
}
_MovedModules(
    {
        "wm_envs.threads": "wm_envs.kernel",
        "wm_envs.resolutions.marc": "wm_envs.resolutions.digital_library",
        "wm_envs.canvas": "wm_envs.rendering.canvas",
        "wm_envs.compile_cache": "wm_envs.data.compiled",
        "wm_envs.cluster": "wm_envs.data.recording",
        "wm_envs.data.cluster": "wm_envs.data.recording",
        "wm_envs.debate.table": "wm_envs.debate.relevance",
        "wm_envs.pong.emulator": "wm_envs.pong.workers",
        "wm_envs.resolutions.episodes": "wm_envs.resolutions.votes",
        "wm_envs.infos": "wm_envs.data.infos",
        "wm_envs.options": "wm_envs.data.options",
        "wm_envs.paths": "wm_envs.data.paths",
        "wm_envs.pong.consoles": "wm_envs.pong.workers",
        "wm_envs.window": "wm_envs.rendering.window",
        "wm_envs.writing": "wm_envs.data.files",
        **{
            f"wm_envs.pong.{old}": f"wm_agents.domains.pong.{new}"
            for old, new in _PONG_VIEW.items()
        },
    }
).install()

register_all()
