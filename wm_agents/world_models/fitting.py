"""The one training loop of all neural world models.

Curriculum, early stopping, resumption, checks.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError
from wm_agents.training.checkpoints import (
    Checkpoint,
    CheckpointManager,
    load_checkpoint,
    pack_state,
    refusing_misfits,
    save_checkpoint,
    unpack_state,
)
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import clip_gradient, first_non_finite, spoilt_gradient
from wm_agents.training.progress import progress
from wm_agents.world_models.losses import weighted_sum
from wm_agents.world_models.segments import Segment, SegmentSource
from wm_envs.data.errors import OptionError
from wm_envs.data.paths import writable_file
from wm_envs.data.trajectories import Trajectories

_KIND = "world model fit"
_REMEMBER_EVERY = (
    100  # updates between computing what a model with memory remembers of the recorded episodes
)


@dataclass(frozen=True)
class FitConfig:
    """How a world model is fitted.

    Attributes:
        num_updates: Optimiser steps at most.
        batch_size: Transitions per update and ensemble member; longer horizons take fewer windows.
        learning_rate: Adam's, per update, after the warm-up; it falls to `final_learning_rate` of
            this by a cosine.
        final_learning_rate: Share of the learning rate at the end.
        num_warmup: Updates over which the learning rate rises from 0.
        weight_decay: Decoupled (AdamW), per update and learning rate.
        horizon: Steps of the open-loop loss at the end of the curriculum.
        curriculum_start: Share of the updates with horizon 1; the rest is divided among 2, 4, ...
            up to `horizon`.
        input_noise: Standard deviation of noise on the first observation, in the data's standard
            deviations.
        gradient_clip: Largest gradient norm.
        holdout: Share of episodes set aside for early stopping when no validation set is given; 0
            keeps all.
        evaluate_every: Updates between evaluations on the held-out episodes.
        patience: Evaluations without improvement after which fitting stops, counted once the
            curriculum is complete.
        num_validation_windows: Held-out windows per evaluation at most.
        bfloat16_share: Share of the updates, from the first on, whose matrix products run in
            bfloat16: about twice as fast on processors that have it (AVX-512 BF16, AMX, GPUs),
                slower on others. The rest settles in float32.
        is_warm_start: Go on from the present weights instead of starting afresh. Scales are
            measured anew, and the weights changed so that predictions stay what they were.
        seed: Draws batches, noise, dropout and the held-out episodes.
    """

    num_updates: int = 3000
    batch_size: int = 256
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.02
    num_warmup: int = 50
    weight_decay: float = 1e-5
    horizon: int = 8
    curriculum_start: float = 0.6
    input_noise: float = 0.0
    gradient_clip: float = 1.0
    holdout: float = 0.1
    evaluate_every: int = 250
    patience: int = 8
    num_validation_windows: int = 512
    bfloat16_share: float = 0.0
    is_warm_start: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (
            "num_updates",
            "batch_size",
            "horizon",
            "evaluate_every",
            "patience",
            "num_validation_windows",
        )
        require_integers(1, **{name: getattr(self, name) for name in counts})
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is a positive number, got {getattr(self, name)}")
        for name in ("holdout", "curriculum_start", "final_learning_rate", "bfloat16_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        if self.holdout == 1:
            raise ConfigError("holdout=1 leaves no episode to learn from: take a smaller share")

    def horizon_at(self, update: int) -> int:
        """The horizon of an update: 1 at first, then doubling up to `horizon`."""
        num_levels = math.ceil(math.log2(self.horizon))
        done = update / self.num_updates
        if num_levels == 0 or done < self.curriculum_start:
            return 1
        level = (
            int((done - self.curriculum_start) / max(1 - self.curriculum_start, 1e-9) * num_levels)
            + 1
        )
        return min(2**level, self.horizon)

    def learning_rate_at(self, update: int) -> float:
        """Linear warm-up, then a cosine."""
        warm = min(1.0, (update + 1) / max(self.num_warmup, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * update / self.num_updates))
        return (
            self.learning_rate
            * warm
            * (self.final_learning_rate + (1 - self.final_learning_rate) * cosine)
        )


@dataclass(frozen=True)
class FitReport:
    """What happened in a fit.

    Attributes:
        num_updates: Updates done.
        best_update: The update whose weights were kept.
        best_loss: The held-out weighted loss there.
        is_held_out: False when there was a single episode, so that the figures are on training
            data.
        history: One row per evaluation. `loss` is the weighted loss on held-out windows over the
            full horizon, and `train_loss` is the same on training windows, so that the two can be
            compared. `batch_loss` is the mean of what was minimised since the last row, over the
            curriculum's `horizon` and with every loss term: compare it with nothing but other rows
            of that horizon. Then follow each named term of `loss`, and `update`.
        seconds: Wall time, that of interrupted parts included.
        is_calibrated: Whether intervals were calibrated on held-out episodes; None for models
            without intervals.
    """

    num_updates: int
    best_update: int
    best_loss: float
    is_held_out: bool
    history: list[dict[str, float]]
    seconds: float
    is_calibrated: bool | None = None


@dataclass
class _Progress:
    """What an interrupted fit needs to go on, besides weights, optimiser and generator."""

    update: int = 0
    best_update: int = 0
    best_loss: float = math.inf
    num_stale: int = 0
    is_finished: bool = False
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def fit(
    model: Any,
    trajectories: Trajectories,
    config: FitConfig,
    *,
    validation: Trajectories | None = None,
    checkpoint: str | os.PathLike[str] | CheckpointManager | None = None,
    show_progress: bool | None = None,
    on_evaluation: Callable[[int, dict[str, float]], None] | None = None,
) -> FitReport:
    """Fit a neural world model and leave it with the weights of its best held-out evaluation.

    Args:
        model: A `NeuralModel`.
        trajectories: What to learn from.
        config: How.
        validation: Held-out episodes; None sets a share of the episodes aside.
        checkpoint: File for exact resumption, written at each evaluation; a `CheckpointManager`
            keeps several, so that a damaged newest one has a predecessor.
        show_progress: None shows a bar on a terminal only.
        on_evaluation: Called with the number of updates and the held-out figures.

    Raises:
        NonFiniteError: With the update and the name of the tensor; the model has the last good
            weights.
        CheckpointError: The checkpoint is damaged or belongs to other data or another
            configuration.
    """
    training, held_out = _hold_out(trajectories, validation, config)
    if config.is_warm_start:
        model.adapt(training)
    else:
        model.initialise(training)
        model.is_fitted = False  # until the first finite evaluation, should this fit fail
    model.requires_grad_(True)
    try:
        fingerprint = (
            "" if checkpoint is None else _fingerprint(model, trajectories, validation, config)
        )
        loop = _Loop(model, training, held_out or training, config, checkpoint, fingerprint)
        loop.run(show_progress, on_evaluation)
    finally:
        model.requires_grad_(False)
    model.finish(held_out)
    state = loop.progress
    return FitReport(
        state.update,
        state.best_update,
        state.best_loss,
        held_out is not None,
        state.history,
        state.seconds,
        getattr(model, "is_calibrated", None),
    )


class _Loop:
    """The state of one fit."""

    def __init__(
        self,
        model: Any,
        training: Trajectories,
        held_out: Trajectories,
        config: FitConfig,
        checkpoint: str | os.PathLike[str] | CheckpointManager | None,
        fingerprint: str,
    ) -> None:
        self.model = model
        self.config = config
        self.source = SegmentSource(training, model.device)
        self.longest = int(training.lengths.max())
        self.held_out = SegmentSource(held_out, model.device)
        self.held_out_horizon = min(config.horizon + model.num_context, int(held_out.lengths.max()))
        # The same windows where nothing is held out: then `train_loss` is `loss`.
        self.judged_training = self.held_out if held_out is training else self.source
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.progress = _Progress(best_weights=_copy_weights(model))
        if isinstance(checkpoint, str | os.PathLike):
            checkpoint = _writable(checkpoint)
        elif checkpoint is not None:
            checkpoint.require_writable()
        self.checkpoint = checkpoint
        self.fingerprint = fingerprint
        self._resume()

    def run(
        self,
        show_progress: bool | None,
        on_evaluation: Callable[[int, dict[str, float]], None] | None,
    ) -> None:
        """Update until the end or until patience is spent, then restore the best weights."""
        state, config = self.progress, self.config
        running = 0.0
        with progress(config.num_updates, "fit", show_progress, state.update) as bar:
            while not state.is_finished:
                began = time.perf_counter()
                running += self._update()
                state.update += 1
                if state.update % config.evaluate_every == 0 or state.update == config.num_updates:
                    since = (state.update - 1) % config.evaluate_every + 1
                    figures = self._evaluate(running / since)
                    running = 0.0
                    state.seconds += time.perf_counter() - began
                    self._save()
                    if on_evaluation is not None:
                        on_evaluation(state.update, figures)
                    bar.advance(1, loss=figures["loss"], horizon=figures["horizon"])
                else:
                    state.seconds += time.perf_counter() - began
                    bar.advance(1)
        self.model.load_state_dict(state.best_weights)

    def _update(self) -> float:
        config, update = self.config, self.progress.update
        horizon = config.horizon_at(update)
        length = min(horizon + self.model.num_context, self.longest)
        # Counted from the last evaluation, after which an interrupted fit goes on.
        if self.model.has_memory and update % config.evaluate_every % _REMEMBER_EVERY == 0:
            self.source.memories = self.model.remember(self.source)
        num_segments = max(config.batch_size // horizon, 1) * self.model.num_members
        segment = self._noisy(self.source.sample(num_segments, length, self.generator))
        is_low = update < config.bfloat16_share * config.num_updates
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=is_low):
            terms = self.model.loss(segment, self.generator)
        loss = weighted_sum(terms, self.model.config.weights)
        value = float(loss.detach())
        if not math.isfinite(value):
            self._stop(
                next(
                    (f"loss term {name}" for name, term in terms.items() if not term.isfinite()),
                    "the loss",
                )
            )
        self.optimizer.zero_grad()
        loss.backward()
        norm = clip_gradient(self.model.parameters(), config.gradient_clip)
        if not torch.isfinite(norm):
            self._stop(f"the gradient of {spoilt_gradient(self.model)}")
        self.optimizer.param_groups[0]["lr"] = config.learning_rate_at(update)
        self.optimizer.step()
        return value

    def _noisy(self, segment: Segment) -> Segment:
        if not self.config.input_noise:
            return segment
        scale = self.source.observations.std(0) * self.config.input_noise
        noise = torch.randn(segment.inputs.shape, generator=self.generator).to(scale.device) * scale
        return Segment(
            segment.inputs + noise, *(getattr(segment, item.name) for item in fields(Segment)[1:])
        )

    def _evaluate(self, batch_loss: float) -> dict[str, float]:
        """Held-out figures.

        Better weights are kept, and patience runs once the horizon is at its full length.
        """
        state = self.progress
        loss, terms = self._loss_on(self.held_out)
        if not math.isfinite(loss):
            self._stop(first_non_finite(self.model.named_parameters()) or "the held-out loss")
        is_better = loss < state.best_loss
        if is_better:
            state.best_loss, state.best_update, state.best_weights = (
                loss,
                state.update,
                _copy_weights(self.model),
            )
            self.model.is_fitted = True
        horizon = self.config.horizon_at(state.update - 1)
        state.num_stale = 0 if is_better or horizon < self.config.horizon else state.num_stale + 1
        state.is_finished = (
            state.update >= self.config.num_updates or state.num_stale >= self.config.patience
        )
        train_loss = (
            loss
            if self.judged_training is self.held_out
            else self._loss_on(self.judged_training)[0]
        )
        figures = {
            "update": float(state.update),
            "horizon": float(horizon),
            "batch_loss": batch_loss,
        }
        figures |= {"train_loss": train_loss, "loss": loss} | terms
        state.history.append(figures)
        return figures

    @torch.no_grad()
    def _loss_on(self, source: SegmentSource) -> tuple[float, dict[str, float]]:
        """What is compared between evaluations.

        The weighted sum of the selection terms, and every term by itself.
        """
        source.memories = self.model.remember(source)
        windows = source.spread(self.config.num_validation_windows, self.held_out_horizon)
        terms = self.model.loss(
            self.model.for_all_members(windows), torch.Generator().manual_seed(0)
        )
        figures = {name: float(term) for name, term in terms.items()}
        weights = self.model.config.weights
        loss = sum(getattr(weights, name) * figures[name] for name in self.model.selection_terms)
        return float(loss), figures

    def _stop(self, tensor: str) -> None:
        was_fitted = self.model.is_fitted
        self.model.load_state_dict(self.progress.best_weights)
        self.model.is_fitted = was_fitted
        raise NonFiniteError(
            f"{tensor} is not finite at update {self.progress.update}; the model has the weights of update "
            f"{self.progress.best_update}. Lower the learning rate or look for extreme values in the data"
        )

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "progress": {
                item.name: getattr(self.progress, item.name) for item in fields(_Progress)
            },
            "weights": _copy_weights(self.model),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        tensors, structure = pack_state(state)
        metadata = {"kind": _KIND, "fingerprint": self.fingerprint, "structure": structure}
        if isinstance(self.checkpoint, CheckpointManager):
            self.checkpoint.save(self.progress.update, tensors, metadata)
        else:
            save_checkpoint(self.checkpoint, tensors, metadata)

    def _stored(self) -> Checkpoint | None:
        if isinstance(self.checkpoint, CheckpointManager):
            return self.checkpoint.latest()
        if self.checkpoint is None or not self.checkpoint.exists():
            return None
        return load_checkpoint(self.checkpoint, kind=_KIND)

    def _resume(self) -> None:
        stored = self._stored()
        if stored is None:
            return
        place = (
            self.checkpoint.directory
            if isinstance(self.checkpoint, CheckpointManager)
            else self.checkpoint
        )
        if (
            stored.metadata.get("kind") != _KIND
            or stored.metadata.get("fingerprint") != self.fingerprint
        ):
            raise CheckpointError(
                f"{place} belongs to a fit of another model, with other data or another configuration: "
                "repeat that fit or delete the file"
            )
        with refusing_misfits(place):
            state = unpack_state(stored.metadata["structure"], stored.tensors)
            self.progress = _Progress(**state["progress"])
            self.model.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"])


def _hold_out(
    trajectories: Trajectories, validation: Trajectories | None, config: FitConfig
) -> tuple[Trajectories, Trajectories | None]:
    if validation is not None or config.holdout == 0 or trajectories.num_episodes < 2:
        return trajectories, validation
    num_held_out = min(
        max(1, round(config.holdout * trajectories.num_episodes)), trajectories.num_episodes - 1
    )
    order = np.random.default_rng(config.seed).permutation(trajectories.num_episodes)
    return trajectories.select(np.sort(order[num_held_out:])), trajectories.select(
        np.sort(order[:num_held_out])
    )


def _writable(checkpoint: str | os.PathLike[str]) -> Path:
    """The absolute path of a file that can be written, which is found out before the updates and not after them."""
    try:
        return writable_file(checkpoint).absolute()
    except OptionError as error:
        raise CheckpointError(str(error)) from error


def _fingerprint(
    model: Any, trajectories: Trajectories, validation: Trajectories | None, config: FitConfig
) -> str:
    """What a checkpoint is for.

    This model, from these weights where the fit is warm, this data, this configuration.
    """
    spaces = [str(model.observation_space), str(model.action_space)]
    described = [
        type(model).__name__,
        asdict(model.config),
        model.seed,
        model.layout.to_json(),
        spaces,
        asdict(config),
    ]
    digest = hashlib.sha256(json.dumps(described).encode())
    for episodes in (trajectories, validation):
        for item in fields(trajectories) if episodes is not None else ():
            array = np.ascontiguousarray(getattr(episodes, item.name))
            digest.update(f"{item.name} {array.shape} {array.dtype}".encode() + array.tobytes())
    for name, tensor in model.state_dict().items() if config.is_warm_start else ():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _copy_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
