"""Random numbers for candidates.

Drawn into preallocated buffers, correlated in time by one matrix product.
"""

import math

import numpy as np
import torch
from torch import Tensor


def fill_normal(buffer: Tensor, generator: torch.Generator) -> Tensor:
    """Overwrite a buffer with standard normal numbers.

    A CPU generator gives the same numbers on every device.
    """
    if generator.device == buffer.device:
        return buffer.normal_(generator=generator)
    return buffer.copy_(torch.randn(buffer.shape, generator=generator, device=generator.device))


def fill_uniform(buffer: Tensor, generator: torch.Generator) -> Tensor:
    """Overwrite a buffer with numbers uniform in [0, 1); see `fill_normal`."""
    if generator.device == buffer.device:
        return buffer.uniform_(generator=generator)
    return buffer.copy_(torch.rand(buffer.shape, generator=generator, device=generator.device))


class Buffer:
    """A tensor that is allocated once and again only when its shape changes."""

    def __init__(self, device: torch.device) -> None:
        self._tensor = torch.empty(0, device=device)

    def of_shape(self, *shape: int) -> Tensor:
        """The tensor with this shape; its contents are undefined."""
        if self._tensor.shape != shape:
            self._tensor = torch.empty(shape, device=self._tensor.device)
        return self._tensor


def coloured_mixing(horizon: int, exponent: float) -> Tensor:
    """The matrix M [H, H] that turns white noise z [H, A] into coloured noise M z with unit variance at every step.

    The power at frequency f falls as f^-exponent (0 white, 1 pink, 2 red); the constant part has
    the power of the lowest frequency. Source: Timmer & König 1995, as used by iCEM (Pinneri et al.
    2020, section 3.1).
    """
    cycles = np.arange(horizon // 2 + 1)
    has_sine = (cycles > 0) & (2 * cycles < horizon)
    amplitudes = (np.maximum(cycles, 1) / horizon) ** (-exponent / 2.0)
    amplitudes[~has_sine] *= math.sqrt(0.5)  # a wave that has no sine part carries half the power
    angles = 2.0 * math.pi * np.outer(np.arange(horizon), cycles) / horizon
    columns = [np.cos(angles) * amplitudes, (np.sin(angles) * amplitudes)[:, has_sine]]
    mixing = np.concatenate(columns, axis=1)
    return torch.as_tensor(
        mixing / np.linalg.norm(mixing, axis=1, keepdims=True), dtype=torch.float32
    )


def smooth_mixing(horizon: int, smoothing: float) -> Tensor:
    """The matrix [H, H] of n_t = smoothing * n_(t-1) + sqrt(1 - smoothing^2) z_t.

    Correlated noise of unit variance.
    """
    steps = np.arange(horizon)
    lags = steps[:, None] - steps[None, :]
    mixing = np.where(lags >= 0, float(smoothing) ** np.maximum(lags, 0), 0.0)
    mixing[:, 1:] *= math.sqrt(1.0 - smoothing**2)
    return torch.as_tensor(mixing, dtype=torch.float32)
