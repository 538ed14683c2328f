"""How neural world models are fitted.

Configuration, curriculum, and the run that the `Trainer` drives.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_agents.errors import ConfigError, NonFiniteError
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.finite import first_non_finite, gradient_step
from wm_agents.training.trainer import Checkpoints, FitReport, Trainer, as_manager
from wm_agents.world_models.losses import weighted_sum
from wm_agents.world_models.sampling import BatchSampler, TrainingBatch
from wm_envs.data.trajectories import Trajectories

# The report's home is the trainer; fits of models are imported from here.
__all__ = ["FitConfig", "FitReport", "fit"]

_KIND = "world model fit"
# Updates between computing what a model with memory remembers of the recorded episodes: often
# enough that the memories are those of nearly the current weights, rarely enough to cost little.
_REMEMBER_EVERY = 100

_REMEDY = "lower the learning rate or look for extreme values in the data"

OnEvaluation = Callable[[int, dict[str, float]], bool | None]
"""(updates done, held-out figures) -> False to stop."""


@dataclass(frozen=True)
class FitConfig:
    """How a world model is fitted.

    Attributes:
        num_updates: Optimizer steps at most.
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
        is_warm_start: Resume from the current weights instead of starting afresh. Scales are
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
        object.__setattr__(self, "seed", checked_seed(self.seed))
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
        # The share of the updates that are done, so that longer fits have longer phases.
        done = update / self.num_updates
        # Single steps first: until they are predicted well, longer rollouts teach the model to correct
        # errors that it soon makes no more.
        if num_levels == 0 or done < self.curriculum_start:
            return 1
        share = (done - self.curriculum_start) / max(1 - self.curriculum_start, 1e-9)
        level = int(share * num_levels) + 1
        return min(2**level, self.horizon)

    @property
    def full_horizon_from(self) -> int:
        """The first update with the whole horizon; `num_updates` if there is none."""
        full = (u for u in range(self.num_updates) if self.horizon_at(u) == self.horizon)
        return next(full, self.num_updates)

    def learning_rate_at(self, update: int) -> float:
        """Linear warm-up, then a cosine."""
        # Small first steps, while the optimizer's averages are of few gradients.
        warm = min(1.0, (update + 1) / max(self.num_warmup, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * update / self.num_updates))
        return (
            self.learning_rate
            * warm
            * (self.final_learning_rate + (1 - self.final_learning_rate) * cosine)
        )


def fit(
    model: Any,
    trajectories: Trajectories,
    config: FitConfig,
    *,
    validation: Trajectories | None = None,
    checkpoints: Checkpoints = None,
    progress: bool | None = False,
    on_evaluation: OnEvaluation | None = None,
) -> FitReport:
    """Fit a neural world model and leave it with the weights of its best held-out evaluation.

    Args:
        model: A `NeuralModel`.
        trajectories: What to learn from.
        config: How.
        validation: Held-out episodes; None sets a share of the episodes aside.
        checkpoints: A manager or a folder, written at each evaluation; the same call resumes
            bitwise.
        progress: A bar on a terminal, elsewhere lines; None: there only of long work.
        on_evaluation: Called with the number of updates and the held-out figures; False stops.

    Returns:
        Its history has one row per evaluation. `loss` is the weighted loss on held-out windows over
        the full horizon, and `train_loss` is the same on training windows, so that the two can be
        compared. `batch_loss` is the mean of what was minimized since the last row, over the
        curriculum's `horizon` and with every loss term: compare it with nothing but other rows of
        that horizon. Then follow each named term of `loss`, and `update`. Where there was a single
        episode, `is_held_out` is False and all figures are on training data.

    Raises:
        NonFiniteError: With the update and the name of the tensor; the model has the last good
            weights.
        CheckpointError: The checkpoints are damaged or belong to other data or another
            configuration.
    """
    manager = as_manager(checkpoints)
    if manager is not None:
        manager.require_writable()  # before the model changes
    training, held_out = _hold_out(trajectories, validation, config)
    if config.is_warm_start:
        model.adapt(training)
    else:
        model.initialize(training)
        model.is_fitted = False  # until the first finite evaluation, should this fit fail
    # Only now: measuring needs no gradients.
    model.requires_grad_(True)
    try:
        run = _ModelRun(model, training, held_out, config)
        if manager is not None:
            # Hashing the data takes time, and only a resumed fit asks for it.
            run.describe(trajectories, validation)
        report = Trainer(
            run,
            config.num_updates,
            evaluate_every=config.evaluate_every,
            patience=config.patience,
            # The loss over the full horizon says nothing of progress while shorter ones are
            # trained.
            patience_from=config.full_horizon_from,
            checkpoints=manager,
            checkpoint_every=config.evaluate_every,
            progress=progress,
            callback=_with_update(on_evaluation),
        ).train()
    finally:
        model.requires_grad_(False)
    model.finish(held_out)
    return replace(
        report,
        is_held_out=held_out is not None,
        is_calibrated=getattr(model, "is_calibrated", None),
    )


class _ModelRun:
    """One fit as the `Trainer` sees it, an `EvaluatedRun`."""

    def __init__(
        self,
        model: Any,
        training: Trajectories,
        held_out: Trajectories | None,
        config: FitConfig,
    ) -> None:
        evaluated = training if held_out is None else held_out
        self.model = model
        self.config = config
        self.sampler = BatchSampler(training, model.device)
        self.max_length = int(training.lengths.max())
        self.held_out = BatchSampler(evaluated, model.device)
        self.held_out_horizon = min(
            # Held-out windows have the context, too, and at most the longest episode.
            config.horizon + model.num_context,
            int(evaluated.lengths.max()),
        )
        # The same windows where nothing is held out: then `train_loss` is `loss`.
        self.train_evaluation = self.held_out if held_out is None else self.sampler
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._description: dict[str, Any] = {}

    def step(self, update: int) -> dict[str, float]:
        """Minimize the weighted loss of one batch."""
        terms = self._batch_terms(update)
        loss = weighted_sum(terms, self.model.config.weights)
        place = f"at update {update}"
        # A term by name says more than their sum.
        wrong = first_non_finite(terms.items())
        if wrong is not None:
            raise NonFiniteError(f"loss term {wrong} is not finite {place}: {_REMEDY}")
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate_at(update)
        parameters = self.model.named_parameters()
        value = gradient_step(loss, self.optimizer, parameters, place, self.config.gradient_clip)
        return {"batch_loss": value}

    def evaluate(self, update: int) -> dict[str, float]:
        """The loss on held-out windows and on as many training windows, over the full horizon."""
        loss, terms = self._loss_on(self.held_out)
        if not math.isfinite(loss):
            wrong = first_non_finite(self.model.named_parameters()) or "the held-out loss"
            raise NonFiniteError(f"{wrong} is not finite at update {update}: {_REMEDY}")
        # Only now: random weights that were updated to NaN are no fit.
        self.model.is_fitted = True
        train_loss = loss
        if self.train_evaluation is not self.held_out:
            train_loss, _ = self._loss_on(self.train_evaluation)
        horizon = float(self.config.horizon_at(update - 1))
        return {"horizon": horizon, "train_loss": train_loss, "loss": loss, **terms}

    def weights(self) -> dict[str, Tensor]:
        """A copy of weights and scales."""
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Take over a copy; whether the model counts as fitted stays what it was."""
        was_fitted = self.model.is_fitted
        self.model.load_state_dict(weights)
        self.model.is_fitted = was_fitted

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and generator."""
        return {
            "weights": self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "is_fitted": bool(self.model.is_fitted),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.model.load_state_dict(state["weights"])
        self.model.is_fitted = state["is_fitted"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])

    def fingerprint(self) -> dict[str, Any]:
        """This model, from these weights where the fit is warm, this data, this configuration."""
        return self._description

    def describe(self, trajectories: Trajectories, validation: Trajectories | None) -> None:
        """Compute the fingerprint, before the first update changes the weights."""
        model = self.model
        self._description = {
            "kind": _KIND,
            "model": type(model).__name__,
            "model_config": asdict(model.config),
            "model_seed": model.seed,
            "layout": model.layout.to_json(),
            "observation_space": str(model.observation_space),
            "action_space": str(model.action_space),
            "config": asdict(self.config),
            "data": _data_hash(trajectories),
            "validation": None if validation is None else _data_hash(validation),
        }
        if self.config.is_warm_start:
            # The same settings from other weights are another run.
            self._description["weights"] = _weights_hash(model)

    def _batch_terms(self, update: int) -> dict[str, Tensor]:
        """The loss terms of a fresh batch."""
        config = self.config
        horizon = config.horizon_at(update)
        length = min(horizon + self.model.num_context, self.max_length)
        # Counted from the last evaluation, where an interrupted fit resumes.
        if self.model.has_memory and update % config.evaluate_every % _REMEMBER_EVERY == 0:
            self.sampler.memories = self.model.remember(self.sampler)
        # As many predicted steps whatever the horizon, so that updates cost about the same.
        num_windows = max(config.batch_size // horizon, 1) * self.model.num_members
        batch = self._noisy(self.sampler.sample(num_windows, length, self.generator))
        is_low = update < config.bfloat16_share * config.num_updates
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=is_low):
            terms: dict[str, Tensor] = self.model.loss(batch, self.generator)
        return terms

    def _noisy(self, batch: TrainingBatch) -> TrainingBatch:
        if not self.config.input_noise:
            return batch
        # Inputs alone: the targets are what was recorded, to which the model is to find back.
        scale = self.sampler.observations.std(0) * self.config.input_noise
        noise = torch.randn(batch.inputs.shape, generator=self.generator).to(scale.device) * scale
        return replace(batch, inputs=batch.inputs + noise)

    @torch.no_grad()
    def _loss_on(self, sampler: BatchSampler) -> tuple[float, dict[str, float]]:
        """What is compared between evaluations.

        The weighted sum of the selection terms, and every term by itself.
        """
        sampler.memories = self.model.remember(sampler)
        windows = sampler.spread(self.config.num_validation_windows, self.held_out_horizon)
        # The same draws at every evaluation, so that losses differ by the weights alone.
        generator = torch.Generator().manual_seed(0)
        terms = self.model.loss(self.model.for_all_members(windows), generator)
        figures = {name: float(term) for name, term in terms.items()}
        weights = self.model.config.weights
        loss = sum(getattr(weights, name) * figures[name] for name in self.model.selection_terms)
        return float(loss), figures


def _with_update(on_evaluation: OnEvaluation | None) -> OnEvaluation | None:
    """The callback with figures that hold the update too, as the rows of the history do."""
    if on_evaluation is None:
        return None

    def called(update: int, figures: dict[str, float]) -> bool | None:
        return on_evaluation(update, {"update": float(update)} | figures)

    return called


def _hold_out(
    trajectories: Trajectories, validation: Trajectories | None, config: FitConfig
) -> tuple[Trajectories, Trajectories | None]:
    if validation is not None or config.holdout == 0 or trajectories.num_episodes < 2:
        return trajectories, validation
    num_held_out = min(
        max(1, round(config.holdout * trajectories.num_episodes)), trajectories.num_episodes - 1
    )
    # Whole episodes: the steps of one are too much alike to tell fitting from memorizing.
    order = np.random.default_rng(config.seed).permutation(trajectories.num_episodes)
    return trajectories.select(np.sort(order[num_held_out:])), trajectories.select(
        np.sort(order[:num_held_out])
    )


def _data_hash(trajectories: Trajectories) -> str:
    """SHA-256 of the recorded arrays; the spaces beside them are known by the model."""
    digest = hashlib.sha256()
    for item in fields(trajectories):
        value = getattr(trajectories, item.name)
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value)
            digest.update(f"{item.name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()


def _weights_hash(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
