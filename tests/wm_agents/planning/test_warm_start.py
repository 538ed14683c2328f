import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError
from wm_agents.planning.warm_start import CarriedPlan

PLANS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
INITIAL = torch.full((2, 3), 9.0)


def test_plans_move_on_by_one_step():
    carried = CarriedPlan()
    assert torch.equal(carried.shifted(INITIAL), INITIAL)
    carried.keep(PLANS)
    assert carried.shifted(INITIAL).tolist() == [[2.0, 3.0, 9.0], [5.0, 6.0, 9.0]]


def test_masked_rows_begin_anew_until_kept():
    carried = CarriedPlan()
    carried.keep(PLANS)
    carried.reset(np.array([False, True]))
    assert carried.shifted(INITIAL).tolist() == [[2.0, 3.0, 9.0], [9.0, 9.0, 9.0]]
    carried.keep(PLANS)
    assert carried.shifted(INITIAL).tolist() == [[2.0, 3.0, 9.0], [5.0, 6.0, 9.0]]


def test_reset_without_a_mask_forgets_all():
    carried = CarriedPlan()
    carried.keep(PLANS)
    carried.reset()
    assert torch.equal(carried.shifted(INITIAL), INITIAL)


def test_another_number_of_rows_begins_anew():
    carried = CarriedPlan()
    carried.keep(PLANS)
    assert torch.equal(carried.shifted(INITIAL[:1]), INITIAL[:1])
    with pytest.raises(ConfigError, match="2 environments"):
        carried.reset(np.ones(3, np.bool_))


def test_horizon_may_be_another_axis():
    carried = CarriedPlan(horizon_axis=2)
    elites = torch.arange(12.0).view(2, 2, 3)
    carried.keep(elites)
    assert carried.shifted(torch.zeros(2, 2, 3))[0].tolist() == [[1.0, 2.0, 0.0], [4.0, 5.0, 0.0]]
