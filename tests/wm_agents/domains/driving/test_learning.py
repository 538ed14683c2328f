"""What the car is recorded with and learned from."""

import numpy as np
import pytest

from wm_agents.domains.driving import learning
from wm_agents.domains.driving.learning import (
    DrivingLearningConfig,
    collect,
    learn_driving_model,
    training_circuits,
)
from wm_agents.domains.driving.network import DrivingModel
from wm_agents.domains.driving.observations import CircuitMap
from wm_agents.domains.driving.recording import NoisyExpert, split_circuits
from wm_agents.errors import ConfigError
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert


def test_circuits_are_held_out_by_their_names(tmp_path):
    for name in "abcdefg":
        (tmp_path / f"{name}.csv").touch()
    training, unseen = split_circuits(tmp_path)
    assert [path.stem for path in unseen] == ["c", "f"]
    assert [path.stem for path in training] == ["a", "b", "d", "e", "g"]
    others = training_circuits(training, tmp_path / "b.csv", 10)
    assert [path.stem for path in others] == ["a", "d", "e", "g"]
    with pytest.raises(ConfigError, match="0 of 4"):
        training_circuits(training, tmp_path / "b.csv", 0)


def test_a_folder_without_circuits_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=f"no circuits in {tmp_path}"):
        split_circuits(tmp_path)


def test_the_noise_of_the_expert_is_drawn_from_its_seed():
    parameters = DrivingEnv.rules(track="oval", normalize=False).parameters
    observations = np.zeros((3, 34), np.float32)
    observations[:, 0] = 20.0

    def actions(seed, **noise):
        policy = NoisyExpert(Expert(parameters), 3, seed, **noise)
        return np.stack([policy(observations) for _ in range(5)])

    np.testing.assert_array_equal(actions(1), actions(1))
    assert (actions(1) != actions(2)).any()
    bare = actions(1, noises=(0.0,), paces=(1.0, 1.0))
    np.testing.assert_array_equal(bare[0], Expert(parameters).actions_on(observations))
    pushed = actions(1, noises=(0.0,), paces=(1.0, 1.0), pulse_rate=1.0)
    assert (pushed != bare).any()


def test_a_model_is_learned_with_what_the_planner_drove(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "record_widely", lambda *_: recorded[0])
    monkeypatch.setattr(learning, "extend_trajectories", lambda trajectories, _: trajectories)
    monkeypatch.setattr(learning, "collect", lambda *_: recorded[0].select([0]))
    model = learn_driving_model(["oval"], DrivingLearningConfig(num_updates=4, num_members=1))
    path = model.save(tmp_path / "model")
    loaded = DrivingModel.load(path, given=CircuitMap.of(["figure_eight"]), device="cpu")
    # Not the circuit that it was loaded for.
    assert model.circuit_names == loaded.circuit_names == ("oval",)
    assert model.intervals.shape == (50, 2)


def test_the_planner_is_recorded_in_whole_episodes(fitted):
    config = DrivingLearningConfig(collect_steps=5, num_members=2)
    recorded = collect("oval", 1, fitted, config)
    assert recorded.observations.shape[1] == 40
    assert recorded.num_episodes == 1
    assert recorded.terminations[-1] | recorded.truncations[-1]


@pytest.mark.parametrize("mistake", ["episodes", "num_updates", "num_members", "collect_steps"])
def test_counts_below_one_are_refused(mistake):
    with pytest.raises(ConfigError, match=f"{mistake} is at least 1"):
        DrivingLearningConfig(**{mistake: 0})
