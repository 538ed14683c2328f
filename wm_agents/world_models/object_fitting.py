"""How an `ObjectModel` learns: each object's network by itself, from recorded symbols to recorded tokens."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import NonFiniteError
from wm_agents.training.progress import progress as progress_bar
from wm_agents.world_models.objects import ObjectConfig, ObjectModel, cross_entropies
from wm_agents.world_models.symbols import SymbolNetwork, SymbolTable, ValueCodec

Array = NDArray[Any]

_DRAWN_AT_ONCE = 50  # batches
_LEAST_PRIORITY, _HIGHEST_PRIORITY = 0.02, 2.0  # nats
_NUM_WARMUP = 200


def fit_objects(
    model: ObjectModel, memories: Array, actions: Array, before: Array, decided: Array, shows: bool | None
) -> dict[str, float]:
    """Train all networks; returns the mean loss of each over its last updates.

    Args:
        model: Its tables, codecs and networks are made afresh.
        memories: [S, M] before each step.
        actions: [S].
        before: Values [S, D].
        decided: Values [S, D] after each step.
        shows: Show a progress bar; None shows it on a terminal only.
    """
    config, losses = model.config, {}
    with progress_bar(sum(num_updates(config, number) for number in range(len(model.view.objects))), "fit", shows) as bar:
        for number, (name, columns) in enumerate(model.view.objects.items()):
            symbols, num_symbols = model.view.symbols(name, memories, actions, decided)
            table = SymbolTable.of(symbols, num_symbols, config.fewest)
            codecs = [
                ValueCodec.of(before[:, c], decided[:, c], model.view.absent[c], config.longest_step) for c in columns
            ]
            tokens = np.stack(
                [codec.encode(before[:, c], decided[:, c]) for c, codec in zip(columns, codecs, strict=True)], 1
            )
            network = model.arrange(name, table, codecs, number)
            rows = torch.from_numpy(table.encode(symbols)), torch.from_numpy(tokens)
            losses[name] = _train(network, *rows, config, number, model.seed, bar)
    model.requires_grad_(False)
    model.eval()
    return losses


def num_updates(config: ObjectConfig, number: int) -> int:
    """Optimiser steps of an object."""
    return config.updates[number % len(config.updates)]


def _train(
    network: SymbolNetwork, symbols: Tensor, tokens: Tensor, config: ObjectConfig, number: int, seed: int, bar: Any
) -> float:
    updates, running = num_updates(config, number), 0.0
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    batches = _Batches(len(symbols), config, torch.Generator().manual_seed(seed + 1000 * number + 1))
    network.train()
    for update in range(updates):
        rows = batches.next()
        losses = cross_entropies(network, symbols[rows], tokens[rows])
        loss = losses.mean()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NonFiniteError(f"the loss is not finite at update {update}: lower the learning rate")
        batches.report(rows, losses.detach())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = _learning_rate(config, update, updates)
        optimizer.step()
        running = value if update == 0 else 0.99 * running + 0.01 * value
        bar.advance(1)
    return running


def _learning_rate(config: ObjectConfig, update: int, updates: int) -> float:
    warm = min(1.0, (update + 1) / _NUM_WARMUP)
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * update / updates)))


class _Batches:
    """Batches of row numbers: all rows in random order, a share of each batch by what was predicted badly."""

    def __init__(self, num_rows: int, config: ObjectConfig, generator: torch.Generator) -> None:
        self.num_rows, self.size, self.generator = num_rows, min(config.batch_size, num_rows), generator
        self.num_focused = round(config.focus * self.size)
        self.priorities = torch.full((num_rows,), _HIGHEST_PRIORITY)
        self.order = torch.randperm(num_rows, generator=generator)
        self.position, self.number = 0, 0

    def next(self) -> Tensor:
        """The next batch; the first pass over the rows is not focused, since nothing is known yet."""
        is_first = self.number * self.size < self.num_rows
        num_focused = 0 if is_first else self.num_focused
        rows = self._in_order(self.size - num_focused)
        if num_focused:
            place = self.number % _DRAWN_AT_ONCE
            if place == 0 or not hasattr(self, "drawn"):
                count = num_focused * _DRAWN_AT_ONCE
                self.drawn = torch.multinomial(self.priorities, count, replacement=True, generator=self.generator)
            rows = torch.cat([rows, self.drawn[place * num_focused : (place + 1) * num_focused]])
        self.number += 1
        return rows

    def report(self, rows: Tensor, losses: Tensor) -> None:
        """How badly the rows of a batch were predicted."""
        if self.num_focused:
            self.priorities[rows] = losses.clamp(max=_HIGHEST_PRIORITY) + _LEAST_PRIORITY

    def _in_order(self, count: int) -> Tensor:
        if self.position + count > self.num_rows:
            self.order, self.position = torch.randperm(self.num_rows, generator=self.generator), 0
        self.position += count
        return self.order[self.position - count : self.position]
