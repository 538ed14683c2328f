"""How an `ObjectModel` learns: each part by itself, from recorded situations and symbols to recorded tokens."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import NonFiniteError
from wm_agents.training.progress import progress as progress_bar
from wm_agents.world_models.objects import ObjectConfig, ObjectModel
from wm_agents.world_models.symbols import PartReader, SituationTable, SymbolNetwork, SymbolTable, ValueCodec

Array = NDArray[Any]

_NUM_WARMUP = 50


def fit_parts(
    model: ObjectModel, memories: Array, actions: Array, before: Array, decided: Array, shows: bool | None
) -> dict[str, float]:
    """Learn all parts; returns the share of steps that are looked up and the loss at the end, by part.

    Args:
        model: Its readers and networks are made afresh.
        memories: [S, M] before each step.
        actions: [S].
        before: Parts [S, D].
        decided: Parts [S, D] after each step.
        shows: Show a progress bar; None shows it on a terminal only.
    """
    config, figures, examples = model.config, {}, []
    for part, name in enumerate(model.view.parts):
        expected, numbers = model.view.look(part, memories, actions, decided)
        values = before[:, part], expected, decided[:, part]
        codec = ValueCodec.of(*values, model.view.absent[part], config.longest_step)
        tokens = codec.encode(*values)
        situations = SituationTable.of(numbers, tokens, config.fewest, config.purity)
        symbols, num_symbols = model.view.symbols(part, memories, actions, decided)
        table = SymbolTable.of(symbols, num_symbols, config.fewest_symbols)
        is_known = situations.lookup(numbers)[1]
        figures[f"{name}_known"] = float(is_known.mean())
        weights = _weights(is_known, config.known_share)
        rows = torch.from_numpy(table.encode(symbols)), torch.from_numpy(tokens), weights
        examples.append((PartReader(table, codec, situations), rows))
    model.arrange([reader for reader, _ in examples])
    with progress_bar(config.num_updates * len(examples), "fit", shows) as bar:
        for number, (_, rows) in enumerate(examples):
            generator = torch.Generator().manual_seed(model.seed + 1000 * number + 1)
            figures[f"{model.view.parts[number]}_loss"] = _train(model.network(number), *rows, config, generator, bar)
    model.requires_grad_(False)
    model.eval()
    return figures


def _weights(is_known: NDArray[np.bool_], known_share: float) -> Tensor:
    """How often each transition [S] is drawn, so that those that are looked up make up `known_share` of the draws."""
    num_known = int(is_known.sum())
    num_unknown = len(is_known) - num_known
    if num_known == 0 or num_unknown == 0:
        return torch.ones(len(is_known))
    known, unknown = known_share / num_known, (1 - known_share) / num_unknown
    return torch.from_numpy(np.where(is_known, min(known, unknown), unknown)).float()


def _train(
    network: SymbolNetwork,
    symbols: Tensor,
    tokens: Tensor,
    weights: Tensor,
    config: ObjectConfig,
    generator: torch.Generator,
    bar: Any,
) -> float:
    """Minimise the cross-entropy; the mean of it over about the last hundred updates."""
    parameters, running = list(network.parameters()), 0.0
    optimizer = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True)
    drawn = torch.multinomial(weights, config.num_updates * config.batch_size, True, generator=generator)
    network.train()
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
        torch.manual_seed(generator.initial_seed())
        for update, rows in enumerate(drawn.split(config.batch_size)):
            loss = F.cross_entropy(network(symbols[rows]), tokens[rows])
            value = float(loss.detach())
            if not math.isfinite(value):
                raise NonFiniteError(f"the loss is not finite at update {update}: lower the learning rate")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.param_groups[0]["lr"] = _learning_rate(config, update)
            optimizer.step()
            running = value if update == 0 else 0.99 * running + 0.01 * value
            bar.advance(1)
    return running


def _learning_rate(config: ObjectConfig, update: int) -> float:
    warm = min(1.0, (update + 1) / _NUM_WARMUP)
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * update / config.num_updates)))
