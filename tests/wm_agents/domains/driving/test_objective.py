"""What a path is worth: the parts of a cost with numbers that can be computed by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wm_agents.domains.driving.objective import (
    EDGE_WEIGHT,
    TERMS,
    LapObjective,
    hinge,
    terminal_speed_cost,
    time_at,
    time_gained,
)
from wm_agents.domains.driving.rollouts import PathColumn
from wm_agents.protocols import Rollout
from wm_envs.driving import dynamics
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.track import track_of

PARAMETERS = DrivingEnv.rules(track="oval", normalize=False).parameters
OBJECTIVE = LapObjective(PARAMETERS)
RULES = PARAMETERS[0]
LENGTH = float(RULES["length"])


@pytest.mark.parametrize(("value", "expected"), [(2.0, 0.5), (1.5, 0.0), (-3.0, 0.0)])
def test_a_hinge_opens_at_its_limit(value, expected):
    assert hinge(value, 1.5) == expected


def test_the_clock_is_linear_between_its_points():
    clock = np.array([0.0, 2.0, 3.0])
    assert [time_at(clock, place) for place in (0.0, 0.5, 1.0, 1.25)] == [0.0, 1.0, 2.0, 2.25]


def test_too_fast_in_the_end_costs_more_than_too_slow():
    assert terminal_speed_cost(52.0, 50.0) == pytest.approx(0.08 * 4)
    assert terminal_speed_cost(48.0, 50.0) == pytest.approx(4 / (20 * 50))
    assert terminal_speed_cost(3.0, 5.0) == pytest.approx(4 / (20 * 10))  # as if at 10 m/s


@settings(deadline=None)
@given(st.floats(0.0, 0.99), st.floats(0.0, 0.4), st.floats(0.0, 0.4))
def test_gained_times_add_up_over_the_line_too(start, first, second):
    parts = [LENGTH * place for place in (start, start + first, start + first + second)]
    clock = OBJECTIVE._clock
    whole = time_gained(RULES, clock, parts[0], parts[2])
    # The second part begins in the lap that the first one ends in.
    middle = parts[1] % LENGTH
    halves = time_gained(RULES, clock, parts[0], parts[1])
    halves += time_gained(RULES, clock, middle, middle + parts[2] - parts[1])
    assert whole == pytest.approx(halves, abs=1e-6)


def test_a_whole_lap_gains_the_lap_time():
    gained = time_gained(RULES, OBJECTIVE._clock, 10.0, 10.0 + LENGTH)
    assert gained == pytest.approx(OBJECTIVE._clock[-1])


def test_only_the_edge_term_knows_of_the_margin():
    path = np.zeros((1, 3, len(PathColumn)))
    path[..., PathColumn.SPEED] = 10.0
    path[..., PathColumn.GRIP] = 1.0
    track = track_of(PARAMETERS)
    # Half a metre less room than the margin asks for, at both steps.
    path[..., PathColumn.OFFSET] = track.at(track.left, 0.0) - dynamics.HALF_WIDTH - 0.6 + 0.5
    rollout = Rollout(torch.from_numpy(path), torch.zeros(1, 2), torch.zeros(1, 2))
    strict = OBJECTIVE.terms(rollout, torch.zeros(1, 2, 3))[0].numpy()
    lenient = LapObjective(PARAMETERS, edge_margin=0.0).terms(rollout, torch.zeros(1, 2, 3))[0]
    assert strict[TERMS.index("edge")] == pytest.approx(-2 * EDGE_WEIGHT * 0.25, rel=1e-3)
    assert lenient[TERMS.index("edge")] == 0.0
    others = [place for place, name in enumerate(TERMS) if name != "edge"]
    np.testing.assert_array_equal(strict[others], lenient.numpy()[others])
