"""Running units.

Those of all rows together, flags as they are, constants only shifted, stacked runs apart.
"""

import numpy as np
import pytest
import torch

from wm_agents.policy_gradient.running_standardizer import RunningStandardizer


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
def test_parts_measure_what_the_whole_measures(unit: float) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (90, 4)) * unit).float()
    units = RunningStandardizer(4)
    for part in rows.split([1, 50, 39]):
        units.update(part)
    normalized = units.normalize(rows)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalized.std(0, correction=0), torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(units.restore(normalized), rows, rtol=1e-5, atol=1e-6 * unit)
    torch.testing.assert_close(
        units.raw_errors(normalized[1:] - normalized[:-1]),
        rows[1:] - rows[:-1],
        rtol=1e-5,
        atol=1e-6 * unit,
    )


def test_flags_stay_and_constants_are_only_shifted() -> None:
    rows = torch.tensor([[0.0, 1e6, 5.0], [1.0, 1e6, 7.0], [0.0, 1e6, 6.0]])
    units = RunningStandardizer(3)
    assert torch.equal(units.normalize(rows), rows)
    units.update(rows)
    assert units.normalize(rows)[:, 0].tolist() == [0.0, 1.0, 0.0]
    assert units.normalize(rows)[:, 1].tolist() == [0.0, 0.0, 0.0]
    # What was true of the first rows is not the truth about later ones.
    units.update(torch.tensor([[2.0, 1e6 + 4, 6.0]]))
    assert not units.is_flag[0]
    assert units.scale[0] == pytest.approx(np.std([0, 1, 0, 2]))
    assert units.scale[1] == pytest.approx(np.std([0, 0, 0, 4]))


def test_rows_that_did_not_happen_do_not_count() -> None:
    rows = torch.tensor([[[0.0], [9.0], [torch.nan]], [[4.0], [6.0], [8.0]]])
    units = RunningStandardizer(2, 1)
    units.update(rows, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))
    assert units.shift.flatten().tolist() == [4.5, 6.0]
    assert units.select([1]).normalize(torch.tensor([[[6.0]]])).item() == 0


@pytest.mark.parametrize("num_rows", [1, 7, 64, 333])
def test_no_mask_is_bitwise_a_mask_of_ones(num_rows: int) -> None:
    draws = torch.Generator().manual_seed(num_rows)
    plain = masked = RunningStandardizer(3, 5)
    for unit in (1.0, 1e5, 1e-5):
        rows = torch.randn(3, num_rows, 5, generator=draws) * unit
        plain = plain.updated(rows)
        masked = masked.updated(rows, torch.ones(3, num_rows))
    for name, value in plain.named_buffers():
        assert torch.equal(value, getattr(masked, name)), name
