import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError
from wm_agents.planning.sampling import (
    Buffer,
    WarmStart,
    colored_mixing,
    fill_normal,
    fill_uniform,
    smooth_mixing,
)

PLANS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
INITIAL = torch.full((2, 3), 9.0)


@pytest.mark.parametrize("horizon", [1, 2, 3, 8, 9, 30])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_colored_noise_has_unit_variance_at_every_step(horizon, exponent):
    mixing = colored_mixing(horizon, exponent)
    assert mixing.shape == (horizon, horizon)
    torch.testing.assert_close((mixing**2).sum(1), torch.ones(horizon))


@pytest.mark.parametrize("horizon", [4, 7])
def test_exponent_zero_is_white(horizon):
    mixing = colored_mixing(horizon, 0.0)
    torch.testing.assert_close(mixing @ mixing.T, torch.eye(horizon), atol=1e-6, rtol=0)


def test_power_falls_with_frequency():
    horizon, exponent = 32, 2.0
    white = torch.randn(20_000, horizon, generator=torch.Generator().manual_seed(0))
    noise = white @ colored_mixing(horizon, exponent).T
    power = np.abs(np.fft.rfft(noise.numpy(), axis=1)) ** 2
    mean = power.mean(0)[1:-1]  # without the constant and the highest, whose power is set apart
    slope = np.polyfit(np.log(np.arange(1, 16)), np.log(mean), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_smooth_noise_has_exponential_correlation():
    mixing = smooth_mixing(5, 0.7)
    lags = torch.arange(5)[:, None] - torch.arange(5)[None]
    torch.testing.assert_close(mixing @ mixing.T, 0.7 ** lags.abs().float())
    assert torch.equal(smooth_mixing(3, 0.0), torch.eye(3))


def test_buffer_is_reused():
    buffer = Buffer(torch.device("cpu"))
    first = buffer.of_shape(2, 3)
    assert buffer.of_shape(2, 3) is first
    assert buffer.of_shape(3, 3).shape == (3, 3)


def test_draws_follow_the_generator():
    draws = [fill_normal(torch.empty(50), torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*draws)
    uniform = fill_uniform(torch.empty(1000), torch.Generator().manual_seed(3))
    assert 0.0 <= uniform.min() < 0.05
    assert 0.95 < uniform.max() < 1.0


def test_plans_move_on_by_one_step():
    warm_start = WarmStart()
    assert torch.equal(warm_start.shifted(INITIAL), INITIAL)
    warm_start.keep(PLANS)
    assert warm_start.shifted(INITIAL).tolist() == [[2.0, 3.0, 9.0], [5.0, 6.0, 9.0]]


def test_masked_rows_begin_anew_until_kept():
    warm_start = WarmStart()
    warm_start.keep(PLANS)
    warm_start.reset(np.array([False, True]))
    assert warm_start.shifted(INITIAL).tolist() == [[2.0, 3.0, 9.0], [9.0, 9.0, 9.0]]
    warm_start.keep(PLANS)
    assert warm_start.shifted(INITIAL).tolist() == [[2.0, 3.0, 9.0], [5.0, 6.0, 9.0]]


def test_reset_without_a_mask_forgets_all():
    warm_start = WarmStart()
    warm_start.keep(PLANS)
    warm_start.reset()
    assert torch.equal(warm_start.shifted(INITIAL), INITIAL)


def test_another_number_of_rows_begins_anew():
    warm_start = WarmStart()
    warm_start.keep(PLANS)
    assert torch.equal(warm_start.shifted(INITIAL[:1]), INITIAL[:1])
    with pytest.raises(ConfigError, match="2 environments"):
        warm_start.reset(np.ones(3, np.bool_))


def test_horizon_may_be_another_axis():
    warm_start = WarmStart(horizon_axis=2)
    elites = torch.arange(12.0).view(2, 2, 3)
    warm_start.keep(elites)
    assert warm_start.shifted(torch.zeros(2, 2, 3))[0].tolist() == [
        [1.0, 2.0, 0.0],
        [4.0, 5.0, 0.0],
    ]
