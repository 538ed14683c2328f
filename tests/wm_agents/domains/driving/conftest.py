"""Recorded driving on two built-in circuits, and a small model of it."""

import pytest

from wm_agents.domains.driving.network import DrivingModel, DrivingModelConfig
from wm_agents.domains.driving.observations import CircuitMap, extend_trajectories
from wm_agents.domains.driving.recording import record_circuit
from wm_agents.world_models import FitConfig


@pytest.fixture(scope="session")
def tracks():
    return ["oval", "figure_eight"]


@pytest.fixture(scope="session")
def recorded(tracks):
    return [
        extend_trajectories(record_circuit(track, 12, 120, number), number)
        for number, track in enumerate(tracks)
    ]


@pytest.fixture(scope="session")
def fitted(recorded, tracks):
    config = DrivingModelConfig(num_members=2, widths=(32, 32))
    model = DrivingModel.for_circuits(CircuitMap.of(tracks), config)
    model.fit(recorded[0], FitConfig(num_updates=300, horizon=2), progress=False)
    return model
