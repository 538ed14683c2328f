"""Attention over the short sequences of an episode, and how it knows distances.

Letters: B sequences, T queries, K keys, D numbers of a head.
"""

import math
from typing import Any

import torch
from torch import Tensor


class ShortSoftmax(torch.autograd.Function):
    """Softmax over a short last axis.

    PyTorch's own takes ten times as long on a CPU for rows of 14 numbers.
    """

    @staticmethod
    def forward(context: Any, scores: Tensor) -> Tensor:
        """Weights [..., K] from scores [..., K]."""
        weights = (scores - scores.amax(-1, keepdim=True)).exp_()
        weights /= weights.sum(-1, keepdim=True)
        context.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """Weights * (gradient - sum(gradient * weights))."""
        (weights,) = context.saved_tensors
        product = gradient * weights
        return product.addcmul_(weights, product.sum(-1, keepdim=True), value=-1)


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1) for short sequences.

    Args:
        query: [B, heads, T, D].
        key: [B, heads, K, D].
        value: [B, heads, K, D].
        bias: Added to the scores, broadcastable to [B, heads, T, K]; minus infinity where a query
            may not attend.
    """
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    return torch.matmul(ShortSoftmax.apply(scores + bias), value)


def rotate(heads: Tensor, turn: Tensor) -> Tensor:
    """Turn pairs of coordinates of [B, T, heads, D] by the angles of their step."""
    pairs = torch.view_as_complex(heads.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)


def head_slopes(num_heads: int) -> Tensor:
    """How fast each head's attention fades with distance.

    From 2 per step by halves to a last head that never fades.
    """
    return torch.tensor([2.0 ** (1 - head) for head in range(num_heads - 1)] + [0.0])


def additive_mask(may_attend: Tensor) -> Tensor:
    """0 where True, minus infinity where False."""
    return torch.zeros(may_attend.shape, device=may_attend.device).masked_fill_(
        ~may_attend, -math.inf
    )
