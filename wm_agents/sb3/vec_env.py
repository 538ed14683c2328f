"""Any Gymnasium VectorEnv as a Stable-Baselines3 VecEnv.

Native batches, imagined environments, third parties' environments.
"""

from collections.abc import Callable, Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv

from wm_agents.errors import ConfigError
from wm_envs.data.infos import REWARD_COMPONENTS, StepInfo, component_key

Infos = list[dict[str, Any]]
_FINAL_KEYS = frozenset({"final_obs", "final_info", "_final_obs", "_final_info"})


class SB3VecEnv(VecEnv):
    """Lets SB3's algorithms train on a Gymnasium vector environment as it is.

    SB3 wants an ended row restarted within the same step, with what it saw last in
    `infos[i]["terminal_observation"]` and a time limit in `infos[i]["TimeLimit.truncated"]`.
    SAME_STEP environments do just that; DISABLED ones are restarted through
    `options["reset_mask"]`, and so are imagined environments of any mode. Other NEXT_STEP
    environments restart a row only in the next step, for all SB3 would know with a transition that
    never took place, and are refused.

    Args:
        vector_env: The environment. Its rows' infos become dictionaries, without entries that its
            masks rule out.

    Raises:
        ConfigError: On a NEXT_STEP environment, or one that does not say how it restarts rows.
    """

    def __init__(self, vector_env: VectorEnv[Any, Any, Any]) -> None:
        self.vector_env = vector_env
        self._is_same_step = _checked_mode(vector_env) == AutoresetMode.SAME_STEP
        self._actions: Any = None
        super().__init__(
            vector_env.num_envs, vector_env.single_observation_space, vector_env.single_action_space
        )
        self.metadata = vector_env.metadata

    def reset(self) -> Any:
        """Reset every row, from the seeds and options that were set since the last reset."""
        seeds = None if all(seed is None for seed in self._seeds) else _as_start(self._seeds)
        observations, infos = self.vector_env.reset(seed=seeds, options=self._shared_options())
        self.reset_infos = split_infos(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return _copied(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], Infos]:
        """Step every row and restart the ended ones."""
        observations, rewards, terminations, truncations, infos = self.vector_env.step(
            self._actions
        )
        is_done = np.asarray(terminations) | np.asarray(truncations)
        is_time_limit = np.asarray(truncations) & ~np.asarray(terminations)
        rows = split_infos(infos, self.num_envs, _FINAL_KEYS)
        observations = _copied(observations)
        if is_done.any():
            observations = (
                self._finish_same_step(rows, infos, is_done, observations)
                if self._is_same_step
                else (self._finish_disabled(rows, is_done, observations))
            )
        for row, is_limit in zip(rows, is_time_limit.tolist(), strict=True):
            row["TimeLimit.truncated"] = is_limit
        return observations, np.asarray(rewards, np.float32), is_done, rows

    def _finish_same_step(
        self, rows: Infos, infos: dict[str, Any], is_done: NDArray[np.bool_], observations: Any
    ) -> Any:
        final_rows = split_infos(infos.get("final_info", {}), self.num_envs)
        for i in np.flatnonzero(is_done):
            self.reset_infos[i] = rows[i]
            rows[i] = final_rows[i]
            # final_obs is an array of objects in most environments and a plain batch in some; rows
            # are rows in both.
            rows[i]["terminal_observation"] = _row_of(infos["final_obs"], int(i))
        return observations

    def _finish_disabled(self, rows: Infos, is_done: NDArray[np.bool_], observations: Any) -> Any:
        for i in np.flatnonzero(is_done):
            rows[i]["terminal_observation"] = _row_of(observations, int(i))
        observations, infos = self.vector_env.reset(options={"reset_mask": is_done.copy()})
        reset_rows = split_infos(infos, self.num_envs)
        for i in np.flatnonzero(is_done):
            self.reset_infos[i] = reset_rows[i]
        return _copied(observations)

    def close(self) -> None:
        """Close the environment."""
        self.vector_env.close()

    def get_images(self) -> list[NDArray[np.uint8] | None]:
        """One frame per row; needs an environment made with `render_mode="rgb_array"`."""
        frames = self.vector_env.render()
        return [None] * self.num_envs if frames is None else [np.asarray(frame) for frame in frames]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of each row's environment, or of the batch where it has none."""
        if (envs := self._row_envs()) is not None:
            return [envs[i].get_wrapper_attr(attr_name) for i in self._get_indices(indices)]
        value = self._batch_attr(attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of some rows' environments; of a batch only as a whole."""
        if (envs := self._row_envs()) is not None:
            for i in self._get_indices(indices):
                envs[i].set_wrapper_attr(attr_name, value)
            return
        self._refuse_part(indices, f"set {attr_name!r}")
        setattr(self.vector_env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of some rows' environments.

        Of a batch it is called once, for all rows, and its answer given to each.
        Each row has its own of the `action_masks` [B, A], for which sb3-contrib asks.
        """
        if (envs := self._row_envs()) is not None:
            methods = [envs[i].get_wrapper_attr(method_name) for i in self._get_indices(indices)]
            return [method(*method_args, **method_kwargs) for method in methods]
        method: Callable[..., Any] = self._batch_attr(method_name)
        if method_name == "action_masks":
            masks = method(*method_args, **method_kwargs)
            return [masks[i] for i in self._get_indices(indices)]
        self._refuse_part(indices, f"call {method_name!r}")
        return [method(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """Whether each row's environment carries this wrapper; rows of a batch carry none."""
        envs = self._row_envs()
        return [
            envs is not None and is_wrapped(envs[i], wrapper_class)
            for i in self._get_indices(indices)
        ]

    def _batch_attr(self, name: str) -> Any:
        """An attribute of the batch; wrappers of batches do not pass on those of what they wrap."""
        return getattr(
            self.vector_env if hasattr(self.vector_env, name) else self.vector_env.unwrapped, name
        )

    def _row_envs(self) -> list[gym.Env[Any, Any]] | None:
        """The single environments, where the batch is made of them in this process."""
        return getattr(self.vector_env.unwrapped, "envs", None)

    def _refuse_part(self, indices: Any, what: str) -> None:
        if list(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ConfigError(
                f"cannot {what} for rows {indices} only: the rows of this batch are one; leave "
                "indices out"
            )

    def _shared_options(self) -> dict[str, Any] | None:
        if any(options != self._options[0] for options in self._options):
            raise ConfigError(
                f"options differ between rows: {self._options}; a Gymnasium vector environment "
                "takes one set"
            )
        return self._options[0] or None


def split_infos(infos: dict[str, Any], num_envs: int, skipped: Iterable[str] = ()) -> Infos:
    """Vector infos (arrays with `_key` masks) as one dictionary per row, as SB3 has them.

    Args:
        infos: What a vector environment's `reset` or `step` gave; nested dictionaries are split
            too, and reward components become the dictionary that they are in a single environment's
            info.
        num_envs: Number of rows.
        skipped: Keys to leave out.
    """
    rows: Infos = [StepInfo() for _ in range(num_envs)]
    prefix = component_key("")
    for key, values in infos.items():
        if key in skipped or (key.startswith("_") and key[1:] in infos):
            continue
        mask = infos.get(f"_{key}")
        parts = split_infos(values, num_envs) if isinstance(values, dict) else values
        for i in range(num_envs) if mask is None else np.flatnonzero(mask).tolist():
            if key.startswith(prefix):
                rows[i].setdefault(REWARD_COMPONENTS, {})[key.removeprefix(prefix)] = parts[i]
            else:
                rows[i][key] = parts[i]
    return rows


def _checked_mode(vector_env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    mode = vector_env.metadata.get("autoreset_mode")
    if mode == AutoresetMode.NEXT_STEP and getattr(
        vector_env.unwrapped, "honors_reset_mask", False
    ):
        # Its ended rows are reset in time, so that none is left to restart in the next step.
        return AutoresetMode.DISABLED
    if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        raise ConfigError(
            f"autoreset_mode is {mode}, and Stable-Baselines3 needs ended rows restarted within "
            f"the step: {_remedy(vector_env)}"
        )
    return AutoresetMode(mode)


def _remedy(vector_env: VectorEnv[Any, Any, Any]) -> str:
    """The call that makes such an environment as SB3 needs it."""
    env_id = None if vector_env.spec is None else vector_env.spec.id
    if isinstance(vector_env.unwrapped, SyncVectorEnv | AsyncVectorEnv):
        if env_id is None:
            name = type(vector_env.unwrapped).__name__
            return f"make it with {name}(env_fns, autoreset_mode=AutoresetMode.SAME_STEP)"
        return (
            f"make it with gym.make_vec({env_id!r}, {vector_env.num_envs}, "
            "vectorization_mode='sync', "
            "vector_kwargs={'autoreset_mode': AutoresetMode.SAME_STEP})"
        )
    if env_id is None:
        name = type(vector_env.unwrapped).__name__
        return f"make {name} with autoreset_mode=AutoresetMode.SAME_STEP if it has it"
    return (
        f"make it with gym.make_vec({env_id!r}, {vector_env.num_envs}, "
        "autoreset_mode=AutoresetMode.SAME_STEP) where the environment has this option, else with "
        "vectorization_mode='sync', "
        "vector_kwargs={'autoreset_mode': AutoresetMode.SAME_STEP}"
    )


def _as_start(seeds: list[int | None]) -> Any:
    """The first seed where they count upwards, since some vector environments take nothing else.

    Else all of them.
    """
    first = seeds[0]
    return first if first is not None and seeds == list(range(first, first + len(seeds))) else seeds


def _copied(observations: Any) -> Any:
    """SB3 keeps observations from step to step, and an environment may reuse its buffer."""
    if isinstance(observations, dict):
        return {key: np.array(value) for key, value in observations.items()}
    return np.array(observations)


def _row_of(observations: Any, row: int) -> Any:
    return (
        {key: value[row] for key, value in observations.items()}
        if isinstance(observations, dict)
        else observations[row]
    )
