import numpy as np
import pytest
import torch

from benchmarks import driving_models
from wm_agents.domains.driving.observations import (
    LAYOUTS,
    CircuitMap,
    extend_trajectories,
    make_layout,
)
from wm_agents.domains.driving.recording import record_circuit
from wm_envs.driving.dynamics import STATE


@pytest.fixture(scope="module")
def recorded():
    return extend_trajectories(record_circuit("oval", 6, 60, 0), 0)


def test_shares_of_persistence_by_hand(recorded):
    segment = driving_models.windows(recorded, 5)
    perfect = driving_models.shares(segment.observations[:, -1], segment)
    still = driving_models.shares(segment.observations[:, 0], segment)
    assert all(figure == 0 for figures in perfect.values() for figure in figures.values())
    assert all(
        figure == pytest.approx(1) for figures in still.values() for figure in figures.values()
    )


def test_intervals_hold_the_figure(recorded):
    segment = driving_models.windows(recorded, 5)
    first, last = segment.observations[:, 0], segment.observations[:, -1]
    intervals = driving_models.rmse_intervals(
        last + 0.1 * (first - last), segment, driving_models.episodes_of([recorded], 5)
    )
    assert all(low == high == pytest.approx(0.1, abs=1e-3) for low, high in intervals.values())


@pytest.mark.parametrize("kind", LAYOUTS)
def test_each_layout_makes_a_general_model(kind, recorded):
    model = driving_models.general_model(make_layout(kind, CircuitMap.of(["oval"])), seed=1)
    driving_models.fit_general(model, recorded, 1, seed=0)
    start = torch.as_tensor(recorded.observations[:3])
    assert model.rollout(start, torch.zeros(3, 4, 3)).observations.shape == (3, 5, 40)


def test_the_true_rules_go_on_from_an_observation(recorded):
    assert set(driving_models.STATE_FIELDS) <= set(STATE.names)
    segment = driving_models.windows(recorded, 5)
    starts = segment.observations[:, 0, :37].double().numpy()
    ends = driving_models.true_end(starts, segment.actions.double().numpy(), "oval")
    offsets = segment.observations[:, -1, driving_models.FEATURES["offset"]]
    np.testing.assert_allclose(ends[:, driving_models.FEATURES["offset"]], offsets, atol=2e-3)
