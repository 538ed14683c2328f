"""Symbols and situations in, tokens out: the tables, codecs and networks of `ObjectModel`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.networks import uninitialised

Array = NDArray[Any]

# Added to values that are predicted as they are, so that they never equal a difference.
_ABSOLUTE = 1 << 20


@dataclass(frozen=True)
class SymbolTable:
    """The symbols that were recorded often enough to be told apart; all others read as one.

    Attributes:
        known: Symbols, ascending.
    """

    known: Array

    @classmethod
    def of(cls, symbols: Array, num_symbols: int, min_count: int) -> "SymbolTable":
        """From recorded symbols [S, K]."""
        counts = np.bincount(symbols.ravel(), minlength=num_symbols)
        return cls(np.flatnonzero(counts >= min_count))

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
    """Outcomes as tokens: recorded differences to the expected value, and recorded values.

    The latter where a part jumps, comes or goes.

    Attributes:
        words: What each token stands for: a difference, or a value plus a constant that sets it
            apart.
        absent: The value that says that there is none, or None.
        max_delta: Differences up to this are tokens of their own.
    """

    words: Array
    absent: int | None
    max_delta: int

    @classmethod
    def of(
        cls, before: Array, expected: Array, after: Array, absent: int | None, max_delta: int
    ) -> "ValueCodec":
        """From recorded steps [S]."""
        empty = cls(np.zeros(0, np.int64), absent, max_delta)
        return cls(np.unique(empty._word(before, expected, after)), absent, max_delta)

    @property
    def num_tokens(self) -> int:
        """How many."""
        return len(self.words)

    def encode(self, before: Array, expected: Array, after: Array) -> NDArray[np.int64]:
        """The token [S] of each step; one never recorded counts as the nearest word."""
        words = self._word(before, expected, after)
        upper = np.searchsorted(self.words, words).clip(max=len(self.words) - 1)
        lower = (upper - 1).clip(min=0)
        is_lower = np.abs(self.words[lower] - words) < np.abs(self.words[upper] - words)
        return np.where(is_lower, lower, upper)

    def decode(self, expected: Array, tokens: Array) -> NDArray[np.int64]:
        """The values [B] that tokens lead to."""
        words = self.words[tokens]
        decoded: NDArray[np.int64] = np.where(
            words > _ABSOLUTE // 2, words - _ABSOLUTE, expected + words
        )
        return decoded

    def _word(self, before: Array, expected: Array, after: Array) -> Array:
        is_step = np.abs(after - expected) <= self.max_delta
        if self.absent is not None:
            is_step &= (before != self.absent) & (after != self.absent)
        return np.where(is_step, after - expected, after + _ABSOLUTE)


@dataclass(frozen=True)
class SituationTable:
    """Situations that led to one outcome whenever they were recorded, and that outcome.

    Attributes:
        situations: Ascending numbers [N].
        tokens: What followed [N].
    """

    situations: NDArray[np.int64]
    tokens: NDArray[np.int64]

    @classmethod
    def of(
        cls, situations: Array, tokens: Array, *, min_count: int, min_purity: float
    ) -> "SituationTable":
        """From recorded situations [S], of which 0 says that there is none, and tokens [S].

        Args:
            situations: [S].
            tokens: [S].
            min_count: A situation is kept if it was recorded at least so often,
            min_purity: and if at least this fraction of its outcomes were the same.
        """
        pairs = np.column_stack([situations, tokens])[situations != 0]
        if not len(pairs):
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        outcomes, counts = np.unique(pairs, axis=0, return_counts=True)
        order = np.lexsort((-counts, outcomes[:, 0]))
        outcomes = outcomes[order]  # of each situation the commonest first
        counts = counts[order]
        known, first, group = np.unique(outcomes[:, 0], return_index=True, return_inverse=True)
        totals = np.bincount(group, counts)
        is_kept = (totals >= min_count) & (counts[first] >= min_purity * totals)
        return cls(known[is_kept], outcomes[first, 1][is_kept])

    def lookup(self, situations: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tokens [B], and whether each situation [B] is known."""
        if not len(self.situations):
            return np.zeros(len(situations), np.int64), np.zeros(len(situations), np.bool_)
        places = np.searchsorted(self.situations, situations)
        places[places == len(self.situations)] = 0
        return self.tokens[places], self.situations[places] == situations


@dataclass(frozen=True)
class PartReader:
    """What is learned of a part without gradients.

    Its symbols, its tokens and its clear situations.
    """

    table: SymbolTable
    codec: ValueCodec
    situations: SituationTable

    def to_json(self) -> dict[str, Any]:
        """As JSON, in the names of the first version."""
        return {
            "symbols": self.table.known.tolist(),
            "words": self.codec.words.tolist(),
            "absent": self.codec.absent,
            "longest_step": self.codec.max_delta,
            "situations": self.situations.situations.tolist(),
            "tokens": self.situations.tokens.tolist(),
        }

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "PartReader":
        """The reader of `to_json`."""
        lists = {
            name: np.array(description[name], np.int64)
            for name in ("symbols", "words", "situations", "tokens")
        }
        return cls(
            SymbolTable(lists["symbols"]),
            ValueCodec(lists["words"], description["absent"], description["longest_step"]),
            SituationTable(lists["situations"], lists["tokens"]),
        )


class SymbolNetwork(nn.Module):
    """The sum of a row's embeddings, hidden layers, and a classifier.

    Args:
        num_symbols: Rows of the embedding.
        width: Hidden units.
        num_layers: Hidden layers behind the embedding.
        num_tokens: Categories.
        dropout: Fraction of hidden units that are silent in training.
        generator: Draws the weights.
    """

    def __init__(
        self,
        num_symbols: int,
        width: int,
        num_layers: int,
        num_tokens: int,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = nn.Parameter(torch.randn(num_symbols, width, generator=generator) * 0.15)
        self.bias = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(_linear(width, width, generator) for _ in range(num_layers))
        self.head = _linear(width, num_tokens, generator)

    def forward(self, symbols: Tensor) -> Tensor:
        """Symbols [B, K] -> logits [B, num_tokens]."""
        hidden = F.silu(F.embedding_bag(symbols, self.embedding, mode="sum") + self.bias)
        for layer in self.layers:
            hidden = F.silu(layer(self._dropped_out(hidden)))
        logits: Tensor = self.head(self._dropped_out(hidden))
        return logits

    def draw(self, symbols: Tensor, generator: torch.Generator | None) -> Tensor:
        """Tokens [B]: drawn, or the likeliest where there is no generator."""
        return _selected(self.forward(symbols), generator)

    def _dropped_out(self, hidden: Tensor) -> Tensor:
        # Without dropout nothing is drawn from the global generator.
        return F.dropout(hidden, self.dropout, self.training) if self.dropout else hidden


def _selected(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """The likeliest category, or a drawn one.

    Dividing by exponential noise and taking the largest draws from the softmax.
    """
    if generator is None:
        return logits.argmax(1)
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (torch.softmax(logits, 1) / noise).argmax(1)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = uninitialised(nn.Linear, inputs, outputs)
    nn.init.kaiming_uniform_(layer.weight, 5**0.5, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
