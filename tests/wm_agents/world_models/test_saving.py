"""Every model by one contract: spaces of any kind, `for_env`, `save`, `load`, and resumption."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.training.saving import load, save
from wm_agents.world_models import (
    DeterministicConfig,
    DeterministicModel,
    EnsembleConfig,
    EnsembleModel,
    FitConfig,
    HistoryModel,
    LatentConfig,
    LatentModel,
    RecurrentConfig,
    RecurrentModel,
    TabularModel,
    TokenConfig,
    TokenModel,
)
from wm_envs.data.recording import record
from wm_envs.data.spaces import ActionCodec, ObservationCodec
from wm_envs.data.trajectories import Trajectories

BITS = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.MultiBinary(2)})
SPACES: dict[str, tuple[gym.Space[Any], gym.Space[Any]]] = {
    "vectors": (spaces.Box(-5, 5, (2,)), spaces.Box(-1, 1, (1,))),
    "indices": (spaces.Discrete(4, start=1), spaces.Discrete(3, start=2)),
    "nested": (BITS, spaces.MultiDiscrete([2, 2])),
    "pictures": (
        spaces.Box(0, 255, (2, 2), np.uint8),
        spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    ),
}
SMALL = {"reward_widths": (4,), "termination_widths": (4,)}
MODELS: dict[str, Any] = {
    "deterministic": lambda o, a: DeterministicModel(
        o, a, DeterministicConfig(dynamics_widths=(4,), **SMALL)
    ),
    "ensemble": lambda o, a: EnsembleModel(
        o, a, EnsembleConfig(num_members=2, dynamics_widths=(4,), spread_widths=(4,), **SMALL)
    ),
    "recurrent": lambda o, a: RecurrentModel(
        o, a, RecurrentConfig(num_hidden=4, num_context=1, widths=(4,), **SMALL)
    ),
    "latent": lambda o, a: LatentModel(
        o, a, LatentConfig(latent_size=4, encoder_widths=(4,), dynamics_widths=(4,), **SMALL)
    ),
    "history": lambda o, a: HistoryModel(
        DeterministicModel, o, a, 2, DeterministicConfig(dynamics_widths=(4,), **SMALL)
    ),
    "token": lambda o, a: TokenModel(o, a, TokenConfig(widths=(4,), **SMALL)),
    "tabular": TabularModel,
}
QUICK = FitConfig(num_updates=4, evaluate_every=2, horizon=2, batch_size=8, holdout=0.3)


def recorded(kind: str, num_episodes: int = 4, length: int = 6) -> Trajectories:
    """Random values of the spaces: whole numbers, so that tokens serve them too."""
    observation_space, action_space = SPACES[kind]
    observations = ObservationCodec(observation_space)
    actions = ActionCodec(action_space)
    random = np.random.default_rng(0)
    observation_space.seed(1)
    action_space.seed(2)
    parts = []
    for _ in range(num_episodes):
        rows = [observations.encode_one(observation_space.sample()) for _ in range(length + 1)]
        taken = [actions.encode_one(action_space.sample()) for _ in range(length)]
        parts.append(
            Trajectories.from_arrays(
                np.round(rows),
                np.array(taken),
                random.integers(0, 2, length),
                np.zeros(length),
                observation_space=observation_space,
                action_space=action_space,
            )
        )
    return Trajectories.concatenate(parts)


def fitted(name: str, kind: str) -> Any:
    model = MODELS[name](*SPACES[kind])
    model.fit(recorded(kind), *([] if name == "tabular" else [QUICK]))
    return model


def rollout_of(model: Any, kind: str) -> Any:
    window = recorded(kind).windows(3, starts=[0, 7])
    return model.rollout(window.observations[:, 0], window.actions)


SERVED = [
    (name, kind)
    for name in MODELS
    for kind in SPACES
    if name != "tabular" or isinstance(ActionCodec(SPACES[kind][1]).row_space, spaces.Discrete)
]


@pytest.mark.parametrize(("name", "kind"), SERVED)
def test_what_was_saved_comes_back_bitwise(name: str, kind: str, tmp_path: Any) -> None:
    model = fitted(name, kind)
    path = save(model, tmp_path / "model")
    assert path == tmp_path / "model.safetensors"
    expected = rollout_of(model, kind)
    for again in (
        load(tmp_path / "model"),
        load(path, device="cpu"),
        type(model).load(tmp_path / "model"),
    ):
        assert type(again) is type(model)
        assert again.is_fitted
        assert again.raw_observation_space == SPACES[kind][0]
        assert again.raw_action_space == SPACES[kind][1]
        found = rollout_of(again, kind)
        assert torch.equal(found.observations, expected.observations)
        assert torch.equal(found.rewards, expected.rewards)
        assert torch.equal(found.terminations, expected.terminations)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_made_for_an_environment_and_checked_against_one(
    name: str, tmp_path: Any
) -> None:
    model_class = type(MODELS[name](*SPACES["indices"]))
    model = model_class.for_env("CartPole-v1")
    assert model.observation_space == gym.make("CartPole-v1").observation_space
    assert model_class.for_env(gym.make("CartPole-v1")).action_space == spaces.Discrete(2)
    with pytest.raises(ConfigError, match="options of an id"):
        model_class.for_env(gym.make("CartPole-v1"), sutton_barto_reward=True)
    path = model.save(tmp_path / "model")
    assert model_class.load(path, "CartPole-v1").num_features == 4
    with pytest.raises(SpaceError, match="the env has"):
        model_class.load(path, "Acrobot-v1")


@pytest.mark.parametrize("name", MODELS)
def test_trajectories_of_other_spaces_are_refused(name: str) -> None:
    model = MODELS[name](spaces.MultiBinary(4), spaces.Discrete(2))
    other = record("CartPole-v1", episodes=2, seed=0)
    with pytest.raises(SpaceError, match="recorded from"):
        model.fit(other)


def test_a_table_needs_actions_that_can_be_counted() -> None:
    with pytest.raises(SpaceError, match="Discrete actions"):
        TabularModel.for_env("Pendulum-v1")


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("tabular", "token")])
def test_an_interrupted_fit_of_every_class_resumes_bitwise(name: str, tmp_path: Any) -> None:
    def stop(update: int, figures: dict[str, float]) -> None:
        if update == 4:
            raise KeyboardInterrupt

    config = FitConfig(num_updates=6, evaluate_every=2, horizon=2, batch_size=8, input_noise=0.1)
    data = recorded("vectors")
    whole = MODELS[name](*SPACES["vectors"])
    expected = whole.fit(data, config)
    with pytest.raises(KeyboardInterrupt):
        MODELS[name](*SPACES["vectors"]).fit(
            data, config, checkpoints=tmp_path / "fit", on_evaluation=stop
        )
    resumed = MODELS[name](*SPACES["vectors"])
    report = resumed.fit(data, config, checkpoints=tmp_path / "fit")
    assert report.history == expected.history
    assert torch.equal(
        rollout_of(resumed, "vectors").observations, rollout_of(whole, "vectors").observations
    )


def test_a_checkpoint_file_of_an_earlier_version_is_refused(tmp_path: Any) -> None:
    (tmp_path / "fit.safetensors").touch()
    model = MODELS["deterministic"](*SPACES["vectors"])
    with pytest.raises(CheckpointError, match="is a file: checkpoints are kept in a folder"):
        model.fit(recorded("vectors"), QUICK, checkpoints=tmp_path / "fit.safetensors")
    assert not model.is_measured
