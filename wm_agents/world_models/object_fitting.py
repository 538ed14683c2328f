"""What an `ObjectModel` learns, part by part: tables and codecs of symbols, and the networks' fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.finite import descend, require_finite
from wm_agents.training.stored_shapes import config_from_json
from wm_agents.training.trainer import FitReport, Trainer

Array = NDArray[Any]

_NUM_WARMUP = 50
_FINAL_LEARNING_RATE = 0.01  # as a fraction of the highest
_AVERAGING = 0.01  # weight of the newest loss: over about the last hundred updates
_LOGGED_EVERY = 100
# Added to values that are predicted as they are, so that they never equal a difference.
# Far beyond any difference of positions and scores.
_ABSOLUTE = 1 << 20
_OLD_NAMES = {
    "fewest": "min_count",
    "fewest_symbols": "min_symbol_count",
    "purity": "min_purity",
    "known_share": "memorized_fraction",
    "longest_step": "max_delta",
}


@dataclass(frozen=True)
class ObjectConfig:
    """Shape and training of an `ObjectModel`.

    Attributes:
        width: Hidden units of each part's layers.
        num_layers: Hidden layers behind the embedding.
        dropout: Fraction of hidden units that are silent in training.
        num_updates: Optimizer steps of each part's network.
        batch_size: Transitions per update.
        learning_rate: AdamW's at its highest; it falls to 1 % by a cosine.
        weight_decay: Decoupled.
        min_count: Situations recorded less often than this are not memorized.
        min_symbol_count: Symbols recorded less often than this are not told apart.
        min_purity: Fraction of equal outcomes from which on a situation is memorized; above 1
            nothing is.
        memorized_fraction: Of each batch, what the network sees of memorized situations, so that it
            can stand in elsewhere.
        max_delta: A part that ends at most this far from its expected value is predicted as a
            difference to it.
    """

    width: int = 128
    num_layers: int = 2
    dropout: float = 0.0
    num_updates: int = 800
    batch_size: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    min_count: int = 1
    min_symbol_count: int = 4
    min_purity: float = 0.98
    memorized_fraction: float = 0.25
    max_delta: int = 25

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> "ObjectConfig":
        """The configuration of a stored model; names of earlier versions are understood."""
        named = {_OLD_NAMES.get(name, name): value for name, value in description.items()}
        config: ObjectConfig = config_from_json(cls, named)
        return config


@dataclass(frozen=True)
class _SymbolTable:
    """The symbols that were recorded often enough to be told apart; all others read as one.

    Attributes:
        known: Symbols, ascending.
    """

    known: Array

    @classmethod
    def of(cls, symbols: Array, num_symbols: int, min_count: int) -> "_SymbolTable":
        """From recorded symbols [S, K]."""
        counts = np.bincount(symbols.ravel(), minlength=num_symbols)
        # A symbol that was hardly ever seen has an embedding that was hardly ever trained.
        return cls(np.flatnonzero(counts >= min_count))

    @property
    def num_known(self) -> int:
        """How many."""
        return len(self.known)

    @cached_property
    def _numbers(self) -> NDArray[np.int32]:
        size = int(self.known[-1]) + 1 if len(self.known) else 0
        # One place more, on which everything beyond the table is clipped.
        numbers = np.full(size + 1, self.num_known, np.int32)
        numbers[self.known] = np.arange(self.num_known)
        return numbers

    def encode(self, symbols: Array) -> NDArray[np.int32]:
        """Symbols as numbers 0 .. num_known; the last is the unknown one."""
        encoded: NDArray[np.int32] = np.take(self._numbers, symbols, mode="clip")
        return encoded


@dataclass(frozen=True)
class _ValueCodec:
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
    ) -> "_ValueCodec":
        """From recorded steps [S]."""
        # A codec without words, which still knows how a word is made.
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
        # The nearest word has the least error that a token can express.
        is_lower = np.abs(self.words[lower] - words) < np.abs(self.words[upper] - words)
        return np.where(is_lower, lower, upper)

    def decode(self, expected: Array, tokens: Array) -> NDArray[np.int64]:
        """The values [B] that tokens lead to."""
        words = self.words[tokens]
        decoded: NDArray[np.int64] = np.where(
            # Half of the offset: differences may be negative.
            words > _ABSOLUTE // 2,
            words - _ABSOLUTE,
            expected + words,
        )
        return decoded

    def _word(self, before: Array, expected: Array, after: Array) -> Array:
        # Large jumps are new beginnings, such as a serve: their place counts and not their
        # distance.
        is_step = np.abs(after - expected) <= self.max_delta
        if self.absent is not None:
            is_step &= (before != self.absent) & (after != self.absent)
        return np.where(is_step, after - expected, after + _ABSOLUTE)


@dataclass(frozen=True)
class _SituationTable:
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
    ) -> "_SituationTable":
        """From recorded situations [S], of which 0 says that there is none, and tokens [S].

        Args:
            situations: [S].
            tokens: [S].
            min_count: A situation is kept if it was recorded at least so often,
            min_purity: and if at least this fraction of its outcomes were the same.
        """
        # Situation 0 is none, about which nothing is memorized.
        pairs = np.column_stack([situations, tokens])[situations != 0]
        if not len(pairs):
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        outcomes, counts = np.unique(pairs, axis=0, return_counts=True)
        # By situation, then by falling count.
        order = np.lexsort((-counts, outcomes[:, 0]))
        outcomes = outcomes[order]  # of each situation the commonest first
        counts = counts[order]
        known, first, group = np.unique(outcomes[:, 0], return_index=True, return_inverse=True)
        totals = np.bincount(group, counts)
        # A situation that mostly leads to one outcome is still left to the network if it is not
        # pure enough.
        is_kept = (totals >= min_count) & (counts[first] >= min_purity * totals)
        return cls(known[is_kept], outcomes[first, 1][is_kept])

    def lookup(self, situations: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tokens [B], and whether each situation [B] is known."""
        if not len(self.situations):
            return np.zeros(len(situations), np.int64), np.zeros(len(situations), np.bool_)
        places = np.searchsorted(self.situations, situations)
        # Beyond the last entry; the comparison below says that it is not known.
        places[places == len(self.situations)] = 0
        return self.tokens[places], self.situations[places] == situations


@dataclass(frozen=True)
class PartReader:
    """What is learned of a part without gradients.

    Its symbols, its tokens and its clear situations.
    """

    table: _SymbolTable
    codec: _ValueCodec
    situations: _SituationTable

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
            _SymbolTable(lists["symbols"]),
            _ValueCodec(lists["words"], description["absent"], description["longest_step"]),
            _SituationTable(lists["situations"], lists["tokens"]),
        )


class PartRows(NamedTuple):
    """What a part is learned from.

    Attributes:
        symbols: [S, K].
        tokens: [S].
        weights: [S], how often each step is drawn.
    """

    symbols: Tensor
    tokens: Tensor
    weights: Tensor


class PartSteps(NamedTuple):
    """A part in S recorded steps.

    Attributes:
        before: Values [S] before the step.
        expected: Values [S] if nothing happens.
        after: Values [S] after the step.
        situations: [S].
        symbols: [S, K].
        num_symbols: How many different ones there can be.
        absent: The value that says that the part is not there, or None.
    """

    before: Array
    expected: Array
    after: Array
    situations: Array
    symbols: Array
    num_symbols: int
    absent: int | None


def learn_tables(steps: PartSteps, config: ObjectConfig) -> tuple[PartReader, PartRows, float]:
    """A part's tables, what its network learns from, and the memorized fraction of the steps."""
    values = steps.before, steps.expected, steps.after
    codec = _ValueCodec.of(*values, steps.absent, config.max_delta)
    tokens = codec.encode(*values)
    situations = _SituationTable.of(
        steps.situations, tokens, min_count=config.min_count, min_purity=config.min_purity
    )
    table = _SymbolTable.of(steps.symbols, steps.num_symbols, config.min_symbol_count)
    _, is_memorized = situations.lookup(steps.situations)
    rows = PartRows(
        torch.from_numpy(table.encode(steps.symbols)),
        torch.from_numpy(tokens),
        _weights(is_memorized, config.memorized_fraction),
    )
    return PartReader(table, codec, situations), rows, float(is_memorized.mean())


def _weights(is_memorized: NDArray[np.bool_], memorized_fraction: float) -> Tensor:
    """How often each transition [S] is drawn: memorized ones make up a fraction of the draws."""
    num_memorized = int(is_memorized.sum())
    num_others = len(is_memorized) - num_memorized
    if num_memorized == 0 or num_others == 0:
        # Nothing to balance.
        return torch.ones(len(is_memorized))
    of_memorized = memorized_fraction / num_memorized
    of_others = (1 - memorized_fraction) / num_others
    # A memorized transition is never drawn more often than another one.
    weights = np.where(is_memorized, min(of_memorized, of_others), of_others)
    return torch.from_numpy(weights).float()


def fit_networks(
    networks: nn.ModuleList,
    rows: Sequence[PartRows],
    names: Sequence[str],
    config: ObjectConfig,
    seed: int,
    *,
    progress: bool | None,
    checkpoints: CheckpointManager | None,
    checkpoint_every: int,
) -> FitReport:
    """Minimize the cross-entropy of every part's network, one after the other.

    Args:
        networks: One for each part; trained in place.
        rows: What each is learned from.
        names: Of the parts.
        config: Shape and training.
        seed: Draws batches and dropout.
        progress: A bar on a terminal, elsewhere lines; None: there only of long work.
        checkpoints: Where to save and to resume from; tables take seconds and are made again.
        checkpoint_every: In updates.

    Returns:
        With the metrics `<part>_loss`, the averaged loss at the end of each part.
    """
    run = _PartByPart(networks, rows, names, config, seed)
    trainer = Trainer(
        run,
        config.num_updates * len(rows),
        evaluate_every=_LOGGED_EVERY,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
        report = trainer.train()
    return replace(report, metrics={f"{name}_loss": loss for name, loss in run.losses.items()})


class _PartByPart:
    """The networks of all parts, one after the other, as a `TrainingRun`.

    Attributes:
        losses: The averaged loss at the end of each part so far.
        average: The same of the part that is being trained.
    """

    def __init__(
        self,
        networks: nn.ModuleList,
        rows: Sequence[PartRows],
        names: Sequence[str],
        config: ObjectConfig,
        seed: int,
    ) -> None:
        self.networks = networks
        self.rows = rows
        self.names = list(names)
        self.config = config
        self.seed = seed
        self.average = 0.0
        self.losses: dict[str, float] = {}
        self._part = -1  # that optimizer and batches belong to

    def step(self, update: int) -> Mapping[str, float]:
        """One update of the part whose turn it is."""
        part, number = divmod(update, self.config.num_updates)
        # Each part begins with an average, an optimizer and random numbers of its own.
        if part != self._part:
            self._prepare(part)
            self.average = 0.0
            torch.manual_seed(self._part_seed(part))
        network = self.networks[part]
        network.train()
        # All batches were drawn at once, see `_prepare`.
        batch = self._batches[number]
        self._optimizer.param_groups[0]["lr"] = _learning_rate(self.config, number)
        logits = network(self.rows[part].symbols[batch])
        value = descend(
            F.cross_entropy(logits, self.rows[part].tokens[batch]),
            self._optimizer,
            network.named_parameters(),
            f"at update {number} of {self.names[part]}",
            max_norm=1.0,
        )
        is_first = number == 0
        average = (1 - _AVERAGING) * self.average + _AVERAGING * value
        # The first loss begins the average, which would otherwise rise from 0.
        self.average = value if is_first else average
        if number + 1 == self.config.num_updates:
            self.losses[self.names[part]] = self.average
        return {"loss": value}

    def state_dict(self) -> dict[str, Any]:
        """Weights of all parts, the optimizer of this one, random state and losses."""
        weights = self.networks.state_dict()
        require_finite(weights, "a parameter, so it is not saved")
        return {
            "weights": weights,
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "part": self._part,
            "average": self.average,
            "losses": self.losses,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run."""
        self.networks.load_state_dict(state["weights"])
        self._prepare(int(state["part"]))
        self._optimizer.load_state_dict(state["optimizer"])
        self.average = float(state["average"])
        self.losses = dict(state["losses"])
        # Last, since building the networks has drawn from it.
        torch.set_rng_state(state["random"])

    def fingerprint(self) -> dict[str, Any]:
        """The configuration and a hash of everything that is learned from."""
        digest = sha256()
        for columns in self.rows:
            for column in columns:
                digest.update(str(tuple(column.shape)).encode())
                digest.update(column.contiguous().numpy().tobytes())
        return {
            "kind": "object model fit",
            "config": asdict(self.config),
            "seed": self.seed,
            "parts": self.names,
            "data": digest.hexdigest(),
        }

    def _prepare(self, part: int) -> None:
        """A new optimizer, and all batches of a part: they follow from the seed alone."""
        config = self.config
        self._part = part
        self._optimizer = torch.optim.AdamW(
            self.networks[part].parameters(),
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        # Drawn at once and not stored: a resumed fit draws the same ones again.
        drawn = torch.multinomial(
            self.rows[part].weights,
            config.num_updates * config.batch_size,
            replacement=True,
            generator=torch.Generator().manual_seed(self._part_seed(part)),
        )
        self._batches = drawn.split(config.batch_size)

    def _part_seed(self, part: int) -> int:
        return self.seed + 1000 * part + 1


def _learning_rate(config: ObjectConfig, update: int) -> float:
    """A linear warm-up, then half a cosine."""
    warm = min(1.0, (update + 1) / _NUM_WARMUP)
    falling = 0.5 * (1 + math.cos(math.pi * update / config.num_updates))
    fraction = _FINAL_LEARNING_RATE + (1 - _FINAL_LEARNING_RATE) * falling
    return config.learning_rate * warm * fraction
