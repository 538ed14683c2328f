"""Recorded experience: play any Gymnasium environment at vector speed, keep plain arrays, exchange them with Minari."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypedDict

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from wm_envs.cluster import run_tasks
from wm_envs.environment import KernelVectorEnv
from wm_envs.errors import MissingExtraError, OptionError, TrajectoryError
from wm_envs.options import check_integer, check_seed
from wm_envs.paths import absolute_options
from wm_envs.registration import spec_of
from wm_envs.streams import is_progress_shown

Array = NDArray[Any]
Policy = Literal["random", "expert"] | Callable[[Array], Any]


class Recording(TypedDict):
    """K episodes with S steps in all, laid end to end; `wm_agents.Trajectories.from_arrays(**recording)` takes it.

    Attributes:
        observations: [S + K, O] float32: each episode's observations with the one that its last step led to. A Discrete
            observation is a one-hot, a Box is flattened.
        actions: [S] int64 for Discrete, [S, A] float32 for Box.
        rewards: [S] float64.
        terminations: [S] bool.
        truncations: [S] bool.
        lengths: [K] int64.
    """

    observations: NDArray[np.float32]
    actions: Array
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    lengths: NDArray[np.int64]


def record(
    env_id: str,
    *,
    episodes: int,
    policy: Policy = "random",
    seed: int,
    num_envs: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    progress: bool | None = None,
    backend: Literal["local", "ray"] = "local",
    address: str | None = None,
    num_workers: int | None = None,
    episodes_per_task: int = 1024,
) -> Recording:
    """Play whole episodes and return them as plain arrays.

    Environment i plays a number of episodes that is settled beforehand. Stopping at the first `episodes` that finish
    would favour short ones. Equal arguments give equal bytes.

    On Ray, task k is the local recording of `episodes_per_task` episodes whose seed is `seed` plus the number of
    environments in the tasks before it; they are laid end to end. So the bytes depend neither on the number of workers
    nor on workers that die, whose tasks are done again. On other machines `wm_envs` must be installed.

    Args:
        env_id: Any registered id; `wm/` ids run on their compiled vector environments.
        episodes: How many, K.
        policy: "random" draws from the action space, "expert" asks the environment's own `expert_actions()`, and a
            function maps observations [N, ...] to actions [N, ...].
        seed: Environment i is seeded with `seed + i`, the action space with `seed`.
        num_envs: Environments that are stepped together; at most 64 native ones or 8 others by default.
        env_kwargs: Options of the environment.
        progress: Show a progress bar; None shows it on a terminal only.
        backend: "local" plays in this process, "ray" on a Ray cluster.
        address: Of the cluster, such as "auto" or "ray://host:10001"; None takes RAY_ADDRESS, else starts Ray here.
        num_workers: Tasks at a time on Ray; None leaves it to the number of processors.
        episodes_per_task: On Ray.

    Raises:
        MissingExtraError: Ray is asked for and not installed.
        OptionError: An environment in place of an id, no episodes, spaces that are neither Box nor Discrete, or an
            expert that does not exist.
    """
    if not isinstance(env_id, str):
        raise OptionError(f"record takes an id, got {env_id!r}: register the environment with gym.register first")
    episodes, seed = check_integer("episodes", episodes, 1), check_seed(seed)
    episodes_per_task = check_integer("episodes_per_task", episodes_per_task, 1)
    num_envs = None if num_envs is None else check_integer("num_envs", num_envs, 1)
    num_workers = None if num_workers is None else check_integer("num_workers", num_workers, 1)
    if backend == "local":
        return _record_here(env_id, episodes, policy, seed, num_envs, env_kwargs or {}, progress)
    if backend != "ray":
        raise OptionError(f"backend is 'local' or 'ray', got {backend!r}")
    tasks = _tasks(episodes, episodes_per_task, seed, num_envs or _num_envs(env_id))
    play = partial(record, env_id, policy=policy, env_kwargs=absolute_options(env_kwargs or {}), progress=False)
    with _progress(episodes, progress) as advance:
        parts = run_tasks(
            play,
            tasks,
            address=address,
            num_workers=num_workers,
            specs=[spec_of(env_id)],
            advance=lambda number: advance(tasks[number]["episodes"]),
        )
    return _recording({name: np.concatenate([part[name] for part in parts]) for name in Recording.__annotations__})


def _tasks(episodes: int, episodes_per_task: int, seed: int, num_envs: int) -> list[dict[str, int]]:
    """Arguments of the local recordings that make up one on Ray; no two environments share a seed."""
    num_envs = min(num_envs, episodes_per_task)
    return [
        {"episodes": min(episodes_per_task, episodes - first), "seed": seed + number * num_envs, "num_envs": num_envs}
        for number, first in enumerate(range(0, episodes, episodes_per_task))
    ]


def _record_here(
    env_id: str,
    episodes: int,
    policy: Policy,
    seed: int,
    num_envs: int | None,
    env_kwargs: dict[str, Any],
    progress: bool | None,
) -> Recording:
    num_envs = min(num_envs or _num_envs(env_id), episodes)
    vector_env = _make(env_id, num_envs, env_kwargs, _is_native(env_id))
    try:
        _check_spaces(vector_env)
        quotas = np.full(num_envs, episodes // num_envs) + (np.arange(num_envs) < episodes % num_envs)
        with _progress(episodes, progress) as advance:
            columns = _play(vector_env, _chooser(vector_env, policy, seed), quotas, seed, advance)
        return _lay_out(columns, quotas)
    finally:
        vector_env.close()


def save_minari(
    recording: Recording, dataset_id: str, env_id: str, *, env_kwargs: dict[str, Any] | None = None, **details: Any
) -> Any:
    """Store a recording as a Minari dataset, under MINARI_DATASETS_PATH if that is set.

    Args:
        recording: What `record` returned.
        dataset_id: Such as "wm/sequence-next/random-v0".
        env_id: The id that was recorded.
        env_kwargs: The options that were recorded.
        details: Passed on to Minari, such as `algorithm_name`, `author` or `description`.

    Returns:
        The `minari.MinariDataset`.

    Raises:
        MissingExtraError: Minari is not installed.
        OptionError: A dataset of this name exists, or the recording is not of this environment.
    """
    minari = _minari()
    from minari.data_collector import EpisodeBuffer

    env = gym.make(env_id, **(env_kwargs or {}))
    try:
        if dataset_id in minari.list_local_datasets():
            raise OptionError(
                f"a dataset {dataset_id} exists: delete it with minari.delete_dataset or raise its version"
            )
        buffers = [
            EpisodeBuffer(
                id=number,
                observations=_decode(env.observation_space, part["observations"]),
                actions=part["actions"],
                rewards=part["rewards"].tolist(),
                terminations=part["terminations"].tolist(),
                truncations=_closed(part["terminations"], part["truncations"]).tolist(),
                infos={},
            )
            for number, part in enumerate(_episodes(recording))
        ]
        details = {"description": f"Episodes of {env_id}, recorded with wm_envs.datasets.record.", **details}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Minari asks for links and addresses, which stay optional
            return minari.create_dataset_from_buffers(dataset_id, buffers, env=env, **details)
    finally:
        env.close()


def load_minari(dataset_id: str) -> Recording:
    """Read a Minari dataset, ours or anybody's, as plain arrays.

    Args:
        dataset_id: Such as "wm/sequence-next/random-v0"; it must be on this machine.

    Raises:
        MissingExtraError: Minari is not installed.
        OptionError: There is no such dataset here, or its spaces are neither Box nor Discrete.
        TrajectoryError: The dataset is damaged, or its numbers are not finite.
    """
    try:
        return _read_minari(dataset_id)
    except (OptionError, MissingExtraError, TrajectoryError):
        raise
    except Exception as error:  # a damaged dataset fails in dozens of ways, all of which mean the same
        raise TrajectoryError(f"the dataset {dataset_id} is damaged: {error}; make or download it again") from error


def _read_minari(dataset_id: str) -> Recording:
    minari = _minari()
    try:
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise OptionError(
            f"no dataset {dataset_id} on this machine: minari.list_local_datasets() lists them"
        ) from error
    parts: dict[str, list[Array]] = {name: [] for name in Recording.__annotations__}
    for episode in dataset.iterate_episodes():
        parts["observations"].append(_encode(dataset.observation_space, episode.observations))
        parts["actions"].append(_flat_actions(dataset.action_space, episode.actions))
        parts["rewards"].append(np.asarray(episode.rewards, np.float64))
        parts["terminations"].append(np.asarray(episode.terminations, np.bool_))
        parts["truncations"].append(np.asarray(episode.truncations, np.bool_))
        parts["lengths"].append(np.array([len(episode.rewards)], np.int64))
        _check_episode(f"{dataset_id}, episode {episode.id}", {name: arrays[-1] for name, arrays in parts.items()})
    return _recording({name: np.concatenate(arrays) for name, arrays in parts.items()})


def _check_episode(where: str, episode: dict[str, Array]) -> None:
    """Raise TrajectoryError unless T steps have T + 1 observations, an end at most at the last, and finite numbers."""
    num_steps = int(episode["lengths"][0])
    for name in ("observations", "actions", "rewards", "terminations", "truncations"):
        expected = num_steps + (name == "observations")
        if len(episode[name]) != expected or not num_steps:
            raise TrajectoryError(f"{where}: {name} has {len(episode[name])} rows, expected {expected}")
        if not np.isfinite(episode[name].astype(np.float64)).all():
            raise TrajectoryError(f"{where}: {name} holds numbers that are not finite")
    if (episode["terminations"] | episode["truncations"])[:-1].any():
        raise TrajectoryError(f"{where}: it ends before its last step")


def _play(
    vector_env: VectorEnv[Any, Any, Any],
    choose: Callable[[Array], Any],
    quotas: NDArray[np.int64],
    seed: int,
    advance: Callable[[int], None],
) -> dict[str, Array]:
    """Step until every environment has played its quota; columns [T, N, ...], observations [T + 1, N, ...]."""
    seen, _ = vector_env.reset(seed=seed)
    columns: dict[str, list[Array]] = {
        "observations": [_encode(vector_env.single_observation_space, seen)],
        **{name: [] for name in ("actions", "rewards", "terminations", "truncations")},
    }
    finished, total = np.zeros_like(quotas), int(quotas.sum())
    while (finished < quotas).any():
        actions = choose(seen)
        seen, *outcome, _ = vector_env.step(actions)
        columns["observations"].append(_encode(vector_env.single_observation_space, seen))
        columns["actions"].append(_flat_actions(vector_env.single_action_space, actions))
        for name, values in zip(("rewards", "terminations", "truncations"), outcome, strict=True):
            columns[name].append(np.array(values))
        before = np.minimum(finished, quotas).sum()
        finished += outcome[1] | outcome[2]
        advance(int(np.minimum(finished, quotas).sum() - before))
    assert np.minimum(finished, quotas).sum() == total
    return {name: np.stack(values) for name, values in columns.items()}


def _lay_out(columns: dict[str, Array], quotas: NDArray[np.int64]) -> Recording:
    """Cut each environment's column into its first episodes and lay them end to end."""
    ended = (columns["terminations"] | columns["truncations"]).T  # [N, T]
    was_ended = np.zeros_like(ended)
    was_ended[:, 1:] = ended[:, :-1]  # the autoreset takes a step of its own, which belongs to no episode
    num_before: NDArray[np.int64] = np.cumsum(ended, 1) - ended
    is_step = ~was_ended & (num_before < quotas[:, None])
    is_seen = np.zeros((len(quotas), ended.shape[1] + 1), np.bool_)
    is_seen[:, :-1] = is_step
    is_seen[:, 1:] |= is_step  # what the last step of an episode led to
    kept = {
        name: np.swapaxes(values, 0, 1)[is_seen if name == "observations" else is_step]
        for name, values in columns.items()
    }
    lasts = np.flatnonzero(kept["terminations"] | kept["truncations"])
    return _recording({**kept, "lengths": np.diff(lasts, prepend=-1)})


def _recording(arrays: dict[str, Array]) -> Recording:
    return Recording(
        observations=arrays["observations"].astype(np.float32, copy=False),
        actions=arrays["actions"],
        rewards=arrays["rewards"].astype(np.float64, copy=False),
        terminations=arrays["terminations"].astype(np.bool_, copy=False),
        truncations=arrays["truncations"].astype(np.bool_, copy=False),
        lengths=arrays["lengths"].astype(np.int64, copy=False),
    )


def _episodes(recording: Recording) -> Iterator[dict[str, Array]]:
    step = 0
    for number, length in enumerate(recording["lengths"].tolist()):
        steps, seen = slice(step, step + length), slice(step + number, step + number + length + 1)
        names = ("actions", "rewards", "terminations", "truncations")
        yield {
            "observations": recording["observations"][seen],
            **{name: recording[name][steps] for name in names},  # type: ignore[literal-required]
        }
        step += length


def _closed(terminations: Array, truncations: Array) -> Array:
    """Truncations with the last step marked where an episode has no end, since Minari takes complete episodes only."""
    closed = truncations.copy()
    closed[-1] |= not terminations[-1]
    return closed


def _num_envs(env_id: str) -> int:
    """How many environments are stepped together unless told otherwise."""
    return 64 if _is_native(env_id) else 8


def _is_native(env_id: str) -> bool:
    entry_point = spec_of(env_id).vector_entry_point
    if entry_point is None:
        return False
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return isinstance(creator, type) and issubclass(creator, KernelVectorEnv)


def _make(env_id: str, num_envs: int, options: dict[str, Any], is_native: bool) -> VectorEnv[Any, Any, Any]:
    """A vector environment in NEXT_STEP mode: ours as it comes, any other as its single environments in turn."""
    if is_native:
        return gym.make_vec(env_id, num_envs, autoreset_mode=AutoresetMode.NEXT_STEP, **options)
    vector_options = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    return gym.make_vec(env_id, num_envs, vectorization_mode="sync", vector_kwargs=vector_options, **options)


def _check_spaces(vector_env: VectorEnv[Any, Any, Any]) -> None:
    named = {
        "FlattenObservation": vector_env.single_observation_space,
        "TransformAction": vector_env.single_action_space,
    }
    for wrapper, space in named.items():
        if not isinstance(space, spaces.Discrete | spaces.Box):
            raise OptionError(
                f"recordings hold Box and Discrete spaces, got {space}: register the environment under another id "
                f"inside gymnasium.wrappers.{wrapper}"
            )


def _chooser(vector_env: VectorEnv[Any, Any, Any], policy: Policy, seed: int) -> Callable[[Array], Any]:
    if callable(policy):
        return policy
    if policy == "random":
        vector_env.action_space.seed(seed)
        return lambda _: vector_env.action_space.sample()
    if policy == "expert" and hasattr(vector_env, "expert_actions"):
        return lambda _: vector_env.expert_actions()
    if policy == "expert":
        raise OptionError("this environment has no expert: pass a function of the observations as the policy")
    raise OptionError(f"policy is 'random', 'expert' or a function of the observations, got {policy!r}")


def _encode(space: gym.Space[Any], observations: Any) -> Array:
    """Observations [N, ...] as rows [N, O]; a copy, since an environment may reuse its buffer."""
    rows = np.asarray(observations)
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[rows - space.start]
    if not isinstance(space, spaces.Box):
        raise OptionError(f"recordings hold Box and Discrete observations, got {space}")
    return rows.reshape(len(rows), -1).astype(np.float32)


def _decode(space: gym.Space[Any], rows: Array) -> Array:
    """Rows [N, O] as the space's own observations [N, ...]; raises OptionError when they do not fit."""
    if isinstance(space, spaces.Discrete) and rows.shape[1] == space.n:
        return rows.argmax(1) + space.start
    if isinstance(space, spaces.Box) and rows.shape[1] == int(np.prod(space.shape)):
        return rows.reshape(len(rows), *space.shape).astype(space.dtype)
    raise OptionError(f"observations of size {rows.shape[1]} were not recorded from {space}")


def _flat_actions(space: gym.Space[Any], actions: Any) -> Array:
    if isinstance(space, spaces.Discrete):
        return np.array(actions, np.int64)
    if not isinstance(space, spaces.Box):
        raise OptionError(f"recordings hold Box and Discrete actions, got {space}")
    return np.array(actions, np.float32).reshape(len(actions), -1)


def _minari() -> Any:
    try:
        import minari
    except ImportError as error:
        raise MissingExtraError("Minari is not installed: pip install 'wm-suite[data]'") from error
    return minari


@contextmanager
def _progress(total: int, is_shown: bool | None) -> Iterator[Callable[[int], None]]:
    """A bar on the standard error stream; silent where that is no terminal or rich is not installed."""
    if not is_progress_shown(is_shown):
        yield lambda _: None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield lambda _: None
        return
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("record", total=total)
        yield lambda num: bar.advance(task, num)
