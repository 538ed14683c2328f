"""A model that is told the grip, the filter that estimates it, and imagination at the estimate."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wm_agents.domains.driving.grip import (
    GRIPS,
    FilteringDrivers,
    GripFilter,
    GripRiskModel,
    sensed_errors,
)
from wm_agents.domains.driving.network import DrivingModel, DrivingModelConfig, Motion
from wm_agents.domains.driving.observations import CircuitMap, extend_trajectories
from wm_agents.domains.driving.recording import record_circuit
from wm_agents.domains.driving.risk import RiskModel
from wm_agents.domains.driving.rollouts import CompiledDynamics
from wm_agents.errors import ConfigError
from wm_agents.world_models import FitConfig
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.track import oval


@pytest.fixture(scope="module")
def told():
    """A small model of the oval at two grips, which its map names."""
    grips = (0.7, 1.1)
    data = Trajectories.concatenate(
        [
            extend_trajectories(record_circuit("oval", 6, 100, 0, grip=grip), number)
            for number, grip in enumerate(grips)
        ]
    )
    config = DrivingModelConfig(num_members=2, widths=(24, 24), knows_grip=True)
    model = DrivingModel.for_circuits(CircuitMap([oval(), oval()], grips), config)
    model.fit(data, FitConfig(num_updates=200, horizon=2), progress=False)
    return model


class LinearGrip:
    """A model whose sideways acceleration is ten times the grip."""

    config = SimpleNamespace(knows_grip=True)
    num_members = 1

    def forces(self, motion, actions, grip):
        forces = torch.zeros(*motion.shape[:-1], 7)
        forces[..., 1] = 10.0 * grip[:, 0]
        return forces


def test_a_filter_finds_the_grip_that_explains_what_is_sensed():
    grip_filter = GripFilter(LinearGrip(), torch.full((3,), 0.2), 2)
    np.testing.assert_allclose(grip_filter.estimates, np.mean(GRIPS))
    before = np.zeros((2, 37), np.float32)
    after = before.copy()
    after[:, 4] = 8.0  # the sideways acceleration of a grip of 0.8
    for _ in range(20):
        grip_filter.update(before, np.zeros((2, 3), np.float32), after, np.array([True, False]))
    assert abs(grip_filter.estimates[0] - 0.8) < 0.01
    assert GRIPS[grip_filter.nearest[0]] == 0.8
    # No step was one of the second car's.
    assert abs(grip_filter.estimates[1] - np.mean(GRIPS)) < 1e-6


def test_errors_are_those_of_the_grip_that_is_asked_about():
    before = np.zeros((2, 37), np.float32)
    errors = sensed_errors(LinearGrip(), before, np.zeros((2, 3), np.float32), before, (0.7, 1.0))
    np.testing.assert_allclose(errors[:, :, 1], [[7.0, 7.0], [10.0, 10.0]], rtol=1e-6)
    assert not errors[:, :, [0, 2]].any()


def test_compiled_rollouts_know_the_grip_as_the_model_does(told):
    drivers = FilteringDrivers(
        "oval", 2, 3, 0.7, GripFilter(told, torch.full((3,), 1.0), 2), noises=(0.0,)
    )
    disturbances = drivers.futures(1, 2)
    paths = GripRiskModel.of(told).paths(drivers, disturbances)
    assert np.isfinite(paths).all()
    slow, fast = (CompiledDynamics(told, grip) for grip in (0.7, 1.1))
    assert not np.array_equal(slow.members[0][1], fast.members[0][1])
    assert slow.members[0][0].shape == (16, 24)
    # The first bias holds what the last input adds.
    model_input = torch.zeros(2, 1, 12)
    model_input[..., Motion.VX] = 20.0
    with torch.no_grad():
        low, high = (
            told.forces(model_input, torch.zeros(1, 3), torch.tensor([[grip]]))
            for grip in (0.7, 1.1)
        )
    assert not torch.equal(low, high)


def test_drivers_learn_from_each_step_and_drive_as_without_a_filter(told):
    grip_filter = GripFilter(told, torch.ones(3), 2)
    drivers = FilteringDrivers("oval", 2, 3, 0.7, grip_filter)
    others = FilteringDrivers("oval", 2, 3, 0.7, None)
    for each in (drivers, others):
        each.step(np.zeros(2, np.bool_))
    np.testing.assert_array_equal(drivers.observations, others.observations)
    assert not np.allclose(grip_filter.estimates, np.mean(GRIPS), atol=1e-6)


def test_what_is_not_told_is_refused(told, fitted):
    with pytest.raises(ConfigError, match="knows_grip=True"):
        GripFilter(fitted, torch.ones(3), 1)
    with pytest.raises(ConfigError, match="grip=None"):
        RiskModel.of(told)
    unknowing = FilteringDrivers("oval", 1, 0, 0.7, None)
    futures = unknowing.futures(1, 1)
    risks = GripRiskModel.of(told)
    with pytest.raises(ConfigError, match="FilteringDrivers"):
        risks.paths(unknowing, futures)
    told.grips, grips = None, told.grips
    with pytest.raises(ConfigError, match="CircuitMap"):
        told.grip_of(torch.zeros(1, 40))
    told.grips = grips
