"""The optimiser of stacked runs: Adam on one flat tensor."""

import torch
from torch import Tensor
from torch.optim.adam import adam


class FlatAdam:
    """Adam (Kingma & Ba 2015, algorithm 1) on one flat tensor: PyTorch's fused step without its optimiser's upkeep.

    Args:
        parameters: Changed in place.
        learning_rate: Step size.
    """

    def __init__(self, parameters: Tensor, learning_rate: float) -> None:
        self._parameters, self._learning_rate = parameters, learning_rate
        self.moments = {
            "first": torch.zeros_like(parameters),
            "second": torch.zeros_like(parameters),
            "step": torch.zeros((), device=parameters.device),
        }

    def step(self, gradient: Tensor) -> None:
        """Descend along a gradient of the parameters' shape."""
        adam(
            [self._parameters],
            [gradient],
            [self.moments["first"]],
            [self.moments["second"]],
            [],
            [self.moments["step"]],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
