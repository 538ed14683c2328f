"""How an `ObjectModel` learns.

Each part by itself, from recorded situations and symbols to recorded tokens.
"""

import math
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.training.checkpoints import CheckpointManager, refusing_misfits
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import descend, require_finite
from wm_agents.training.progress import ProgressBar
from wm_agents.training.progress import progress as progress_bar
from wm_agents.world_models.objects import ObjectConfig, ObjectModel
from wm_agents.world_models.symbols import PartReader, SituationTable, SymbolTable, ValueCodec

Array = NDArray[Any]
Rows = tuple[Tensor, Tensor, Tensor]
"""What a part is learned from: symbols [S, K], tokens [S], and how often each step is drawn [S]."""

_NUM_WARMUP = 50


def fit_parts(
    model: ObjectModel,
    memories: Array,
    actions: Array,
    before: Array,
    decided: Array,
    shows: bool | None,
    checkpoints: CheckpointManager | None = None,
    checkpoint_every: int = 200,
) -> dict[str, float]:
    """Learn all parts; returns the share of steps that are looked up and the loss at the end, by part.

    Args:
        model: Its readers and networks are made afresh.
        memories: [S, M] before each step.
        actions: [S].
        before: Parts [S, D].
        decided: Parts [S, D] after each step.
        shows: Show a progress bar; None shows it on a terminal only.
        checkpoints: Where to save; tables take seconds and are made again.
        checkpoint_every: In updates of a part's network.
    """
    require_integers(1, checkpoint_every=checkpoint_every)
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
    losses = _Training(model, [rows for _, rows in examples], checkpoints, checkpoint_every).run(
        shows
    )
    model.requires_grad_(False)
    model.eval()
    return figures | {
        f"{name}_loss": loss for name, loss in zip(model.view.parts, losses, strict=True)
    }


def _weights(is_known: NDArray[np.bool_], known_share: float) -> Tensor:
    """How often each transition [S] is drawn, so that those that are looked up make up `known_share` of the draws."""
    num_known = int(is_known.sum())
    num_unknown = len(is_known) - num_known
    if num_known == 0 or num_unknown == 0:
        return torch.ones(len(is_known))
    known, unknown = known_share / num_known, (1 - known_share) / num_unknown
    return torch.from_numpy(np.where(is_known, min(known, unknown), unknown)).float()


class _Training:
    """The networks of all parts, one after the other.

    Attributes:
        part: The one that is learned.
        update: Its updates so far.
        running: Its mean cross-entropy over about the last hundred of them.
        losses: What `running` was at the end of the parts before.
    """

    def __init__(
        self,
        model: ObjectModel,
        rows: list[Rows],
        checkpoints: CheckpointManager | None,
        checkpoint_every: int,
    ) -> None:
        self.model, self.rows = model, rows
        self.checkpoints, self.checkpoint_every = checkpoints, checkpoint_every
        self.run_facts = {} if checkpoints is None else _facts(model, rows)
        self.part, self.update, self.running = 0, 0, 0.0
        self.losses: list[float] = []
        self.optimizer = self._new_optimizer()

    def run(self, shows: bool | None) -> list[float]:
        """Minimise the cross-entropy of every part; gives the loss at the end of each."""
        num_updates = self.model.config.num_updates
        with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
            is_begun = self._resume()
            num_done = self.part * num_updates + self.update
            with progress_bar(num_updates * len(self.rows), "fit", shows, num_done) as bar:
                while self.part < len(self.rows):
                    if not is_begun:
                        self._begin_part()
                    self._train_part(bar)
                    self.losses.append(self.running)
                    self.part, is_begun = self.part + 1, False
        return self.losses

    def _begin_part(self) -> None:
        self.update, self.running, self.optimizer = 0, 0.0, self._new_optimizer()
        torch.manual_seed(self._part_seed)

    def _train_part(self, bar: ProgressBar) -> None:
        config, network = self.model.config, self.model.network(self.part)
        symbols, tokens, weights = self.rows[self.part]
        generator = torch.Generator().manual_seed(self._part_seed)
        drawn = torch.multinomial(
            weights, config.num_updates * config.batch_size, True, generator=generator
        )
        network.train()
        for rows in drawn.split(config.batch_size)[self.update :]:
            self.optimizer.param_groups[0]["lr"] = _learning_rate(config, self.update)
            loss = F.cross_entropy(network(symbols[rows]), tokens[rows])
            place = f"at update {self.update} of {self.model.view.parts[self.part]}"
            value = descend(loss, self.optimizer, network.named_parameters(), place, max_norm=1.0)
            self.running = value if self.update == 0 else 0.99 * self.running + 0.01 * value
            self.update += 1
            bar.advance(1)
            if self.update % self.checkpoint_every == 0 or self.update == config.num_updates:
                self._save()

    @property
    def _part_seed(self) -> int:
        return self.model.seed + 1000 * self.part + 1

    def _new_optimizer(self) -> torch.optim.AdamW:
        config, parameters = self.model.config, self.model.network(self.part).parameters()
        return torch.optim.AdamW(
            parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def _save(self) -> None:
        if self.checkpoints is None:
            return
        weights = self.model.state_dict()
        require_finite(weights, f"a parameter after update {self.update}, so it is not saved")
        state = {
            "weights": weights,
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "progress": [self.part, self.update, self.running, self.losses],
        }
        step = self.part * self.model.config.num_updates + self.update
        self.checkpoints.save_state(step, state, self.run_facts)

    def _resume(self) -> bool:
        """Bring back the newest checkpoint; False without one."""
        found = None if self.checkpoints is None else self.checkpoints.latest_state(self.run_facts)
        if found is None or self.checkpoints is None:
            return False
        with refusing_misfits(self.checkpoints.directory):
            state = found[1]
            self.part, self.update, self.running, self.losses = state["progress"]
            self.model.load_state_dict(state["weights"])
            self.optimizer = self._new_optimizer()
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
        return True


def _facts(model: ObjectModel, rows: list[Rows]) -> dict[str, Any]:
    """Which fit this is: the configuration and a hash of everything that it learns from."""
    digest = sha256()
    for columns in rows:
        for column in columns:
            digest.update(str(tuple(column.shape)).encode() + column.contiguous().numpy().tobytes())
    return {
        "kind": "object model fit",
        "config": asdict(model.config),
        "seed": model.seed,
        "parts": list(model.view.parts),
        "data": digest.hexdigest(),
    }


def _learning_rate(config: ObjectConfig, update: int) -> float:
    warm = min(1.0, (update + 1) / _NUM_WARMUP)
    return (
        config.learning_rate
        * warm
        * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * update / config.num_updates)))
    )
