"""Trajectories as Minari datasets, ours or anybody's."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np

from wm_envs.data.errors import MissingExtraError, OptionError, SpaceError, TrajectoryError
from wm_envs.data.spaces import ActionCodec, ObservationCodec
from wm_envs.data.trajectories import Trajectories


def save_minari(
    trajectories: Trajectories,
    dataset_id: str,
    env_id: str,
    *,
    env_kwargs: dict[str, Any] | None = None,
    **details: Any,
) -> Any:
    """Store trajectories as a Minari dataset, under MINARI_DATASETS_PATH if that is set.

    Args:
        trajectories: What `record` returned.
        dataset_id: Such as "wm/sequence-next/random-v0".
        env_id: The id that was recorded.
        env_kwargs: The options that were recorded.
        details: Passed on to Minari, such as `algorithm_name`, `author` or `description`.

    Returns:
        The `minari.MinariDataset`.

    Raises:
        MissingExtraError: Minari is not installed.
        OptionError: A dataset of this name exists, the trajectories are not of this environment, or
            the environment was registered with an object, which a dataset cannot name.
    """
    minari = _minari()
    from minari.data_collector import EpisodeBuffer

    env = gym.make(env_id, **(env_kwargs or {}))
    try:
        _check_spec(env, env_id)
        if dataset_id in minari.list_local_datasets():
            raise OptionError(
                f"a dataset {dataset_id} exists: delete it with minari.delete_dataset or raise its version"
            )
        observation_codec = ObservationCodec(env.observation_space)
        action_codec = ActionCodec(env.action_space)
        buffers = []
        for number, episode in enumerate(trajectories):
            # Minari takes complete episodes only: one that has no end is marked as truncated.
            truncations = episode.truncations.copy()
            truncations[-1] |= not episode.terminations[-1]
            try:
                observations = observation_codec.decode(episode.observations)
                actions = action_codec.decode(episode.actions)
            except (SpaceError, ValueError) as error:
                raise OptionError(
                    f"these trajectories were not recorded from {env_id}: {error}"
                ) from error
            buffers.append(
                EpisodeBuffer(
                    id=number,
                    observations=observations,
                    actions=actions,
                    rewards=episode.rewards.tolist(),
                    terminations=episode.terminations.tolist(),
                    truncations=truncations.tolist(),
                    infos={},
                )
            )
        details = {"description": f"Episodes of {env_id}, recorded with wm_envs.record.", **details}
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # Minari asks for links and addresses, which stay optional
            return minari.create_dataset_from_buffers(dataset_id, buffers, env=env, **details)
    finally:
        env.close()


def load_minari(dataset_id: str) -> Trajectories:
    """Read a Minari dataset.

    Args:
        dataset_id: Such as "wm/sequence-next/random-v0"; it must be on this machine.

    Raises:
        MissingExtraError: Minari is not installed.
        OptionError: There is no such dataset here, or its spaces cannot be served.
        TrajectoryError: The dataset is damaged, or its numbers are not finite.
    """
    try:
        return _read(dataset_id)
    except (OptionError, MissingExtraError, TrajectoryError):
        raise
    except Exception as error:
        # a damaged dataset fails in dozens of ways, all of which mean the same
        raise TrajectoryError(
            f"the dataset {dataset_id} is damaged: {error}; make or download it again"
        ) from error


def _check_spec(env: gym.Env[Any, Any], env_id: str) -> None:
    """A dataset names the environment that it was recorded in, as JSON."""
    try:
        if env.spec is not None:
            env.spec.to_json()
    except ValueError as error:
        raise OptionError(
            f"{env_id} was registered with an object, which no dataset can name: give gym.register "
            'its entry point as text, "module:Class"'
        ) from error


def _read(dataset_id: str) -> Trajectories:
    minari = _minari()
    try:
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise OptionError(
            f"no dataset {dataset_id} on this machine: minari.list_local_datasets() lists them"
        ) from error
    try:
        observation_codec = ObservationCodec(dataset.observation_space)
        action_codec = ActionCodec(dataset.action_space)
    except SpaceError as error:
        raise OptionError(f"the dataset {dataset_id} cannot be read: {error}") from error
    episodes = []
    for episode in dataset.iterate_episodes():
        try:
            part = Trajectories.from_arrays(
                observation_codec.encode(episode.observations),
                action_codec.encode(episode.actions),
                np.asarray(episode.rewards, np.float64),
                episode.terminations,
                episode.truncations,
                lengths=[len(episode.rewards)],
                observation_space=dataset.observation_space,
                action_space=dataset.action_space,
            )
        except (TrajectoryError, SpaceError) as error:
            raise TrajectoryError(f"{dataset_id}, episode {episode.id}: {error}") from error
        episodes.append(part)
    return Trajectories.concatenate(episodes)


def _minari() -> Any:
    try:
        import minari
    except ImportError as error:
        raise MissingExtraError("Minari is not installed: pip install 'wm-suite[data]'") from error
    return minari
