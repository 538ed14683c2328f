"""Recording: play any Gymnasium environment at vector speed, here or on a cluster; keep whole episodes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from wm_envs.data.errors import MissingExtraError, OptionError, SpaceError
from wm_envs.data.options import check_integer, check_seed
from wm_envs.data.paths import absolute_options
from wm_envs.data.progress import ProgressBar, progress
from wm_envs.data.spaces import ActionCodec, ObservationCodec
from wm_envs.data.specs import is_compiled, spec_of
from wm_envs.data.trajectories import ARRAY_NAMES, Trajectories

Array = NDArray[Any]
Policy = Literal["random", "expert"] | Callable[[Any], Any]
_STEP_NAMES = ("actions", "rewards", "terminations", "truncations")


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
) -> Trajectories:
    """Play whole episodes and return them.

    Environment i plays a number of episodes that is settled beforehand. Stopping at the first
    `episodes` that finish would favour short ones. Equal arguments give equal bytes.

    On Ray, task k is the local recording of `episodes_per_task` episodes whose seed is `seed` plus
    the number of environments in the tasks before it; they are concatenated. So the bytes depend
    neither on the number of workers nor on workers that die, whose tasks are done again. On other
    machines `wm_envs` must be installed.

    Args:
        env_id: Any registered id; `wm/` ids run on their compiled vector environments.
        episodes: How many, K.
        policy: "random" draws from the action space, "expert" asks the environment's own
            `expert_actions()`, and a function maps a batch of N observations to a batch of N
            actions, both in the form of a vector environment.
        seed: Environment i is seeded with `seed + i`, the action space with `seed`.
        num_envs: Environments that are stepped together; at most 64 compiled ones or 8 others by
            default.
        env_kwargs: Options of the environment.
        progress: A bar on a terminal, elsewhere lines; None: there only of long work.
        backend: "local" plays in this process, "ray" on a Ray cluster.
        address: Of the cluster, such as "auto" or "ray://host:10001"; None takes RAY_ADDRESS, else
            starts Ray here.
        num_workers: Tasks at a time on Ray; None leaves it to the number of processors.
        episodes_per_task: On Ray.

    Raises:
        MissingExtraError: Ray is asked for and not installed.
        OptionError: An environment in place of an id, no episodes, spaces that cannot be served, or
            an expert that does not exist.
        TrajectoryError: The environment gave a number that is not finite.
    """
    if not isinstance(env_id, str):
        raise OptionError(
            f"record takes an id, got {env_id!r}: register the environment with gym.register first"
        )
    episodes = check_integer("episodes", episodes, 1)
    seed = check_seed(seed)
    episodes_per_task = check_integer("episodes_per_task", episodes_per_task, 1)
    if num_envs is None:
        num_envs = 64 if is_compiled(env_id) else 8
    num_envs = check_integer("num_envs", num_envs, 1)
    if num_workers is not None:
        num_workers = check_integer("num_workers", num_workers, 1)
    if backend == "local":
        return _record_here(env_id, episodes, policy, seed, num_envs, env_kwargs or {}, progress)
    if backend != "ray":
        raise OptionError(f"backend is 'local' or 'ray', got {backend!r}")
    return _record_on_ray(
        env_id,
        _tasks(episodes, episodes_per_task, seed, num_envs),
        partial(
            _recorded_arrays,
            env_id,
            policy=policy,
            env_kwargs=absolute_options(env_kwargs or {}),
            progress=False,
        ),
        env_kwargs or {},
        progress,
        {"address": address, "num_workers": num_workers},
    )


def record_split(
    env_id: str, steps: int, *, seed: int, progress: bool | None = None
) -> tuple[Trajectories, Trajectories]:
    """Random play to learn from, and a quarter as many held-out episodes.

    Args:
        env_id: Any registered id.
        steps: To learn from, in whole episodes: as many as their mean length over eight of them
            says, and at least two, so that there may be a few more or less.
        seed: Of the environments, the actions, and which episodes are held out.
        progress: A bar on a terminal, elsewhere lines; None: there only of long work.

    Returns:
        The episodes to learn from, and the others.

    Raises:
        OptionError: Fewer than 1 step, or as `record`.
        TrajectoryError: As `record`.
    """
    steps = check_integer("steps", steps, 1)
    # Eight episodes tell how long one lasts, which is not known before anybody has played.
    probe = record(env_id, episodes=8, seed=seed, progress=False)
    num_train = max(2, round(steps / probe.lengths.mean()))
    num_episodes = num_train + max(2, num_train // 4)
    recorded = record(env_id, episodes=num_episodes, seed=seed, progress=progress)
    order = np.random.default_rng(check_seed(seed)).permutation(num_episodes)
    return recorded.select(order[:num_train]), recorded.select(order[num_train:])


def _record_on_ray(
    env_id: str,
    tasks: list[dict[str, int]],
    play: Callable[..., dict[str, Array]],
    env_kwargs: dict[str, Any],
    is_shown: bool | None,
    cluster: dict[str, Any],
) -> Trajectories:
    total = sum(task["episodes"] for task in tasks)
    with progress(total, "record", is_shown) as bar:
        parts = run_tasks(
            play,
            tasks,
            specs=[spec_of(env_id)],
            advance=lambda number: bar.advance(tasks[number]["episodes"]),
            **cluster,
        )
    env = gym.make(env_id, **env_kwargs)
    fields: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in ARRAY_NAMES
    }
    env.close()
    fields["observation_space"] = env.observation_space
    fields["action_space"] = env.action_space
    return Trajectories(**fields)


def _recorded_arrays(env_id: str, **arguments: Any) -> dict[str, Array]:
    """What a worker sends back: plain arrays, which Ray keeps in shared memory."""
    trajectories = record(env_id, **arguments)
    return {name: getattr(trajectories, name) for name in ARRAY_NAMES}


def _tasks(episodes: int, episodes_per_task: int, seed: int, num_envs: int) -> list[dict[str, int]]:
    """Arguments of the local recordings that make up one on Ray.

    No two environments share a seed.
    """
    num_envs = min(num_envs, episodes_per_task)
    return [
        {
            "episodes": min(episodes_per_task, episodes - first),
            "seed": seed + number * num_envs,
            "num_envs": num_envs,
        }
        for number, first in enumerate(range(0, episodes, episodes_per_task))
    ]


def _record_here(
    env_id: str,
    episodes: int,
    policy: Policy,
    seed: int,
    num_envs: int,
    env_kwargs: dict[str, Any],
    is_shown: bool | None,
) -> Trajectories:
    num_envs = min(num_envs, episodes)
    vector_env = _make(env_id, num_envs, env_kwargs)
    try:
        # Quotas, not the first episodes to finish: short episodes would be drawn too often.
        quotas = np.full(num_envs, episodes // num_envs) + (
            np.arange(num_envs) < episodes % num_envs
        )
        with progress(episodes, "record", is_shown) as bar:
            return _play(vector_env, _chooser(vector_env, policy, seed), quotas, seed, bar)
    finally:
        vector_env.close()


def _make(env_id: str, num_envs: int, options: dict[str, Any]) -> VectorEnv[Any, Any, Any]:
    """A vector environment in NEXT_STEP mode.

    Ours as it comes, any other as its single environments in turn.
    """
    if is_compiled(env_id):
        return gym.make_vec(env_id, num_envs, autoreset_mode=AutoresetMode.NEXT_STEP, **options)
    vector_options = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    return gym.make_vec(
        env_id, num_envs, vectorization_mode="sync", vector_kwargs=vector_options, **options
    )


def _chooser(
    vector_env: VectorEnv[Any, Any, Any], policy: Policy, seed: int
) -> Callable[[Any], Any]:
    if callable(policy):
        return policy
    if policy == "random":
        vector_env.action_space.seed(seed)
        return lambda _: vector_env.action_space.sample()
    if policy == "expert" and hasattr(vector_env, "expert_actions"):
        return lambda _: vector_env.expert_actions()
    if policy == "expert":
        raise OptionError(
            "this environment has no expert: take random actions, or in Python a function of the "
            "observations as the policy"
        )
    raise OptionError(
        f"policy is 'random', 'expert' or a function of the observations, got {policy!r}"
    )


def _play(
    vector_env: VectorEnv[Any, Any, Any],
    choose: Callable[[Any], Any],
    quotas: NDArray[np.int64],
    seed: int,
    bar: ProgressBar,
) -> Trajectories:
    """Step until every environment has played its quota."""
    observation_space, action_space = (
        vector_env.single_observation_space,
        vector_env.single_action_space,
    )
    try:
        observation_codec, action_codec = (
            ObservationCodec(observation_space),
            ActionCodec(action_space),
        )
    except SpaceError as error:
        raise OptionError(f"this environment cannot be recorded: {error}") from error
    observations, _ = vector_env.reset(seed=seed)
    rows: list[Array] = [observation_codec.encode(observations)]  # [T + 1] of [N, O]
    columns: dict[str, list[Array]] = {name: [] for name in _STEP_NAMES}  # [T] of [N, ...]
    finished, total = np.zeros_like(quotas), int(quotas.sum())
    while (finished < quotas).any():
        actions = choose(observations)
        observations, *outcome, _ = vector_env.step(actions)
        rows.append(observation_codec.encode(observations))
        columns["actions"].append(action_codec.encode(actions))
        for name, values in zip(_STEP_NAMES[1:], outcome, strict=True):
            # A vector environment may write its next step into the same arrays.
            columns[name].append(np.array(values))
        finished += outcome[1] | outcome[2]
        bar.advance(int(np.minimum(finished, quotas).sum()) - bar.num_done)
    assert bar.num_done == total
    arrays = _concatenate_episodes(
        np.stack(rows), {name: np.stack(values) for name, values in columns.items()}, quotas
    )
    return Trajectories(**arrays, observation_space=observation_space, action_space=action_space)


def _concatenate_episodes(
    rows: Array, columns: dict[str, Array], quotas: NDArray[np.int64]
) -> dict[str, Array]:
    """The first episodes of each environment, up to its quota, from rows [T + 1, N, O] and columns [T, N, ...]."""
    ended = (columns["terminations"] | columns["truncations"]).T  # [N, T]
    was_ended = np.zeros_like(ended)
    was_ended[:, 1:] = ended[
        :, :-1
    ]  # the autoreset takes a step of its own, which belongs to no episode
    num_before: NDArray[np.int64] = np.cumsum(ended, 1) - ended
    is_step = ~was_ended & (num_before < quotas[:, None])
    is_row = np.zeros((len(quotas), ended.shape[1] + 1), np.bool_)
    is_row[:, :-1] = is_step
    is_row[:, 1:] |= is_step  # what the last step of an episode led to
    arrays = {name: np.swapaxes(values, 0, 1)[is_step] for name, values in columns.items()}
    lasts = np.flatnonzero(arrays["terminations"] | arrays["truncations"])
    return {
        "observations": np.swapaxes(rows, 0, 1)[is_row],
        **arrays,
        "lengths": np.diff(lasts, prepend=-1),
    }


# Recording on Ray gives the same episodes from one machine or many, and a worker that dies costs time
# only: the episodes are cut into tasks of a settled size, each with its own seeds, so that neither
# the number of workers nor the order in which they finish changes a byte of the result.

# Ray counts the deaths of workers per task; a task that dies this often is at fault itself.
MAX_RETRIES = 5
# The results of a worker wait in shared memory until they are fetched: so few of them that a small
# store holds them.
TASKS_PER_CPU = 2
# Ray asks for at least 75 MiB; recordings leave the store as soon as they are fetched.
LOCAL_STORE_BYTES = 256 * 2**20


def run_tasks(
    function: Callable[..., Any],
    tasks: list[dict[str, Any]],
    *,
    address: str | None,
    num_workers: int | None,
    specs: list[Any],
    advance: Callable[[int], None],
) -> list[dict[str, NDArray[Any]]]:
    """Call a function once for each task on a Ray cluster, and give the results in the order of the tasks.

    Args:
        function: Called with the entries of a task as keywords, gives named arrays; equal tasks
            give equal arrays.
        tasks: One dictionary for each call.
        address: Of a running cluster, such as "auto" or "ray://host:10001"; None takes the address
            in RAY_ADDRESS, and without one starts Ray on this machine and stops it afterwards.
        num_workers: Calls at a time; None leaves it to the number of processors.
        specs: Gymnasium's specs that the workers must know, registered there before the call.
        advance: Called with the number of each finished task.

    Raises:
        MissingExtraError: Ray is not installed.
        OptionError: Ray cannot be reached, or a task's worker died more than `MAX_RETRIES` times.
    """
    ray = _ray()
    with _connected(ray, address, num_workers):
        width = num_workers or TASKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_call)
        try:
            return _gather(ray, remote, ray.put((function, specs)), tasks, width, advance)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except ray.exceptions.RayError as error:
            raise OptionError(
                f"a task was lost {MAX_RETRIES + 1} times ({type(error).__name__}): run it with backend='local', which "
                "shows what kills it, or with fewer episodes_per_task where memory runs out"
            ) from error


def _gather(
    ray: Any,
    remote: Any,
    shared: Any,
    tasks: list[dict[str, Any]],
    width: int,
    advance: Callable[[int], None],
) -> list[dict[str, NDArray[Any]]]:
    """Keep `width` tasks under way; each result is taken out of the store as it arrives."""
    results: list[Any] = [None] * len(tasks)
    # From the end, so that `pop` takes the tasks in their order.
    waiting = list(enumerate(tasks))[::-1]
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < width:
                number, task = waiting.pop()
                running[remote.remote(shared, task)] = number
            for reference in ray.wait(list(running), num_returns=1)[0]:
                number = running.pop(reference)
                # Arrays from the store are views that keep it full, and cannot be written to.
                results[number] = {name: array.copy() for name, array in ray.get(reference).items()}
                advance(number)
        return results
    finally:
        for reference in running:  # only after an error
            ray.cancel(reference)


def _call(shared: tuple[Callable[..., Any], list[Any]], task: dict[str, Any]) -> Any:
    """What a worker does: learn the ids that the caller knows, then the task."""
    function, specs = shared
    for spec in specs:
        # A worker may know an id by a registration of its own, which stays.
        gym.registry.setdefault(spec.id, spec)
    return function(**task)


@contextmanager
def _connected(ray: Any, address: str | None, num_workers: int | None) -> Iterator[None]:
    """Ray as it already runs, or a cluster, or for the time being one on this machine."""
    if ray.is_initialized():
        yield
        return
    try:
        if address or os.environ.get("RAY_ADDRESS"):
            ray.init(address=address, log_to_driver=False)
        else:
            local = {
                "num_cpus": num_workers,
                "object_store_memory": LOCAL_STORE_BYTES,
                "include_dashboard": False,
            }
            ray.init(address="local", log_to_driver=False, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"no Ray cluster at {address or os.environ.get('RAY_ADDRESS')!r}: {error}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("Ray is not installed: pip install 'wm-suite[ray]'") from error
    return ray
