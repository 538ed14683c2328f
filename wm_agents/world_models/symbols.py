"""Symbols in, tokens out: the tables, codecs and networks of `ObjectModel`."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]

_AWAY = 1 << 20  # added to values that are predicted as they are, so that they never equal a difference


@dataclass(frozen=True)
class SymbolTable:
    """The symbols that were seen often enough to be told apart; all others read as one.

    Attributes:
        known: Symbols, ascending.
    """

    known: Array

    @classmethod
    def of(cls, symbols: Array, num_symbols: int, fewest: int) -> "SymbolTable":
        """From recorded symbols [S, K]."""
        return cls(np.flatnonzero(np.bincount(symbols.ravel(), minlength=num_symbols) >= fewest))

    @property
    def num_known(self) -> int:
        """How many."""
        return len(self.known)

    @cached_property
    def _numbers(self) -> NDArray[np.int32]:
        size = int(self.known[-1]) + 1 if len(self.known) else 0
        numbers = np.full(size + 1, self.num_known, np.int32)
        numbers[self.known] = np.arange(self.num_known)
        return numbers

    def encode(self, symbols: Array) -> NDArray[np.int32]:
        """Symbols as numbers 0 .. num_known; the last is the unknown one."""
        encoded: NDArray[np.int32] = np.take(self._numbers, symbols, mode="clip")
        return encoded


@dataclass(frozen=True)
class ValueCodec:
    """One value's steps as tokens: recorded differences, and recorded values where it jumps, comes or goes.

    Attributes:
        words: What each token stands for: a difference, or a value plus a constant that sets it apart.
        absent: The value that says that there is none, or None.
        longest_step: Differences up to this are tokens of their own.
    """

    words: Array
    absent: int | None
    longest_step: int

    @classmethod
    def of(cls, before: Array, after: Array, absent: int | None, longest_step: int) -> "ValueCodec":
        """From recorded steps [S]."""
        empty = cls(np.zeros(0, np.int64), absent, longest_step)
        return cls(np.unique(empty._word(before, after)), absent, longest_step)

    @property
    def num_tokens(self) -> int:
        """How many."""
        return len(self.words)

    def encode(self, before: Array, after: Array) -> NDArray[np.int64]:
        """The token [S] of each step; one never recorded counts as the nearest word."""
        words = self._word(before, after)
        upper = np.searchsorted(self.words, words).clip(max=len(self.words) - 1)
        lower = (upper - 1).clip(min=0)
        is_lower = np.abs(self.words[lower] - words) < np.abs(self.words[upper] - words)
        return np.where(is_lower, lower, upper)

    def decode(self, before: Array, tokens: Array) -> NDArray[np.int64]:
        """The values [B] that tokens lead to."""
        words = self.words[tokens]
        decoded: NDArray[np.int64] = np.where(words > _AWAY // 2, words - _AWAY, before + words)
        return decoded

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"words": self.words.tolist(), "absent": self.absent, "longest_step": self.longest_step}

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "ValueCodec":
        """The codec of `to_json`."""
        return cls(np.array(description["words"]), description["absent"], description["longest_step"])

    def _word(self, before: Array, after: Array) -> Array:
        is_step = np.abs(after - before) <= self.longest_step
        if self.absent is not None:
            is_step &= (before == self.absent) == (after == self.absent)
        return np.where(is_step, after - before, after + _AWAY)


class SymbolNetwork(nn.Module):
    """The sum of a row's embeddings, hidden layers, and a chain of classifiers.

    Each classifier after the first sees the token that the one before it chose.

    Args:
        num_symbols: Rows of the embedding.
        width: Hidden units.
        num_layers: Hidden layers behind the embedding.
        num_tokens: Categories of each value.
        dropout: Share of hidden units that are silent in training.
        generator: Draws the weights.
    """

    def __init__(
        self,
        num_symbols: int,
        width: int,
        num_layers: int,
        num_tokens: list[int],
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = nn.Parameter(torch.randn(num_symbols, width, generator=generator) * 0.15)
        self.bias = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(_linear(width, width, generator) for _ in range(num_layers))
        self.links = nn.ParameterList(
            nn.Parameter(torch.randn(before, width, generator=generator) * 0.3) for before, _ in pairwise(num_tokens)
        )
        self.mixers = nn.ModuleList(_linear(width, width, generator) for _ in num_tokens[1:])
        self.heads = nn.ModuleList(_linear(width, size, generator) for size in num_tokens)

    def trunk(self, symbols: Tensor) -> Tensor:
        """Symbols [B, K] -> hidden [B, width]."""
        hidden = F.silu(F.embedding_bag(symbols, self.embedding, mode="sum") + self.bias)
        for layer in self.layers:
            hidden = F.silu(layer(self._thinned(hidden)))
        return self._thinned(hidden)

    def forward(self, symbols: Tensor, tokens: Tensor) -> list[Tensor]:
        """Logits [B, C] of each value given the recorded tokens [B, values] of those before it."""
        hidden = self.trunk(symbols)
        logits = [self.heads[0](hidden)]
        for number in range(1, len(self.heads)):
            hidden = self._linked(hidden, number, tokens[:, number - 1])
            logits.append(self.heads[number](hidden))
        return logits

    def draw(self, symbols: Tensor, generator: torch.Generator | None) -> list[Tensor]:
        """Tokens [B] of each value: drawn one after the other, or the likeliest where there is no generator."""
        hidden = self.trunk(symbols)
        chosen = [_chosen(self.heads[0](hidden), generator)]
        for number in range(1, len(self.heads)):
            hidden = self._linked(hidden, number, chosen[-1])
            chosen.append(_chosen(self.heads[number](hidden), generator))
        return chosen

    def _linked(self, hidden: Tensor, number: int, tokens: Tensor) -> Tensor:
        link = self.links[number - 1]
        return F.silu(self.mixers[number - 1](hidden + F.embedding(tokens, link)))

    def _thinned(self, hidden: Tensor) -> Tensor:
        return F.dropout(hidden, self.dropout, self.training) if self.dropout else hidden


def _chosen(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """The likeliest category, or a drawn one: adding Gumbel noise and taking the largest draws from the softmax."""
    if generator is None:
        return logits.argmax(1)
    return (torch.softmax(logits, 1) / torch.empty_like(logits).exponential_(generator=generator)).argmax(1)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.kaiming_uniform_(layer.weight, 5**0.5, generator=generator)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
