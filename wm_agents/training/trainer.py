"""The one training loop.

Progress, logging, early stopping, non-finite guards, checkpoints and bitwise resumption. Everything
that learns by updates is a `TrainingRun`; `Trainer(run, ...).train()` drives it. What is particular
to a learner (its data, losses and optimizer) is in the run, what all of them need is here.
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError
from wm_agents.training.checkpoints import (
    CheckpointManager,
    as_json,
    refuse_another_run,
    refusing_misfits,
)
from wm_agents.training.config_checks import require_at_least
from wm_agents.training.loggers import Logger
from wm_envs.data.display import data_frame
from wm_envs.data.paths import user_path
from wm_envs.data.progress import progress as progress_bar

Checkpoints = CheckpointManager | str | os.PathLike[str] | None
"""A manager, the path of a folder, or None for no checkpoints."""

Callback = Callable[[int, dict[str, float]], bool | None]
"""(updates done, figures) -> False to stop."""

_REMEDY = "lower the learning rate or look for extreme values in the data"


class TrainingRun(Protocol):
    """One run of learning, as the loop sees it."""

    def step(self, update: int) -> Mapping[str, float]:
        """Do one update and give its figures; `update` counts from 0.

        Raises:
            NonFiniteError: A loss or gradient is not finite; nothing was updated with it
                (`gradient_step`).
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to resume bitwise.

        Weights, optimizer, random generators, counters.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Which run this is, as JSON.

        What a checkpoint must agree with (configuration, seed, spaces, hash of data).
        """
        ...


@runtime_checkable
class EvaluatedRun(TrainingRun, Protocol):
    """A run that is also evaluated on held-out data, and left with the weights that did best there."""

    def evaluate(self, update: int) -> Mapping[str, float]:
        """Figures after `update` updates; "loss" is what early stopping minimizes."""
        ...

    def weights(self) -> dict[str, Any]:
        """A copy of what is learned."""
        ...

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Take over a copy that `weights` gave."""
        ...


@runtime_checkable
class _MeasuredRun(TrainingRun, Protocol):
    """A run whose end is not a number of updates, such as one that counts environment steps."""

    def position(self) -> tuple[int, int]:
        """(done, total) in a unit of its own; the run ends once `done` reaches `total`."""
        ...


@runtime_checkable
class _FiledRun(TrainingRun, Protocol):
    """A run whose checkpoints are files of the agent itself, which its `load` reads as well."""

    def stored(self) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        """Tensors and metadata of such a file; the fingerprint is among the metadata."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
        """Take over what `stored` gave; the updates done."""
        ...

    def stored_fingerprint(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Which run a file is of, in the words of this version."""
        ...


@dataclass(frozen=True)
class FitReport:
    """What happened in a fit.

    Attributes:
        num_updates: Updates done.
        best_update: The update whose weights were kept; the last one without evaluations.
        best_loss: The evaluated loss there; without evaluations the mean of "loss" in the last row
            of the history.
        is_held_out: Whether `best_loss` is on held-out data.
        history: One row of figures by name every `evaluate_every` updates: means over these
            updates, and evaluations. A mean takes the prefix "train_" where an evaluation has a
            figure of the same name.
        seconds: Wall time, that of interrupted parts included.
        metrics: Further numbers that the learner reports.
        is_calibrated: Whether intervals were calibrated on held-out episodes; None for what has no
            intervals.
    """

    num_updates: int
    best_update: int
    best_loss: float
    is_held_out: bool
    history: list[dict[str, float]]
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    is_calibrated: bool | None = None

    def __repr__(self) -> str:
        where = "held-out loss" if self.is_held_out else "loss"
        return (
            f"{type(self).__name__}({self.num_updates:,} updates in {self.seconds:.1f} s, {where} "
            f"{self.best_loss:.4g} after {self.best_update:,})"
        )

    def to_pandas(self) -> Any:
        """The history as a `pandas.DataFrame`, one row for each evaluation.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        names = {name: None for row in self.history for name in row}
        return data_frame({name: [row.get(name) for row in self.history] for name in names})


@dataclass
class _Progress:
    """What the loop itself has to remember."""

    update: int = 0
    best_update: int = 0
    best_loss: float = math.inf
    num_stale: int = 0
    is_finished: bool = False
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_weights: dict[str, Any] = field(default_factory=dict)
    # Of figures since the last row of the history.
    sums: dict[str, float] = field(default_factory=dict)
    num_summed: int = 0
    # Updates that had a figure, where not all of them do.
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, figures: Mapping[str, float]) -> None:
        """Count an update's figures for the next row of the history."""
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.num_summed += 1

    def take_means(self) -> dict[str, float]:
        """Mean figures since the last row."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums = {}
        self.counts = {}
        self.num_summed = 0
        return means


class Trainer:
    """Drives a run from its newest checkpoint, or from the beginning, to its end.

    Args:
        run: What is trained; an `EvaluatedRun` is evaluated and keeps its best weights.
        num_updates: Updates in all, those before a resumption included; None for a run that has a
            `position` of its own.
        description: What is being done, in a word or two, beside the progress bar.
        evaluate_every: Updates between rows of the history, with an evaluation where the run has
            one; the last update always closes a row.
        patience: Evaluations without improvement after which training stops; None never stops
            early.
        patience_from: Updates after which patience begins to count, such as the end of a
            curriculum.
        checkpoints: Where to save and to resume from: a manager, or the path of a folder. The same
            call resumes bitwise, as if it had never stopped.
        checkpoint_every: Updates between checkpoints; the last update is always saved.
        progress: A bar on a terminal, elsewhere lines; None: there only of long work.
        logger: Receives the figures of every update, and those of evaluations.
        callback: Called after every evaluation, or without evaluations after every update.
        first_update: Updates that the run has done before. Above 0 it goes on from what it is, and
            checkpoints are only written.
        headline: Which figures stand beside the progress bar; None shows all.

    Raises:
        ConfigError: A count below 1.
    """

    def __init__(
        self,
        run: TrainingRun,
        num_updates: int | None,
        *,
        description: str = "fit",
        evaluate_every: int = 100,
        patience: int | None = None,
        patience_from: int = 0,
        checkpoints: Checkpoints = None,
        checkpoint_every: int = 100,
        progress: bool | None = False,
        logger: Logger | None = None,
        callback: Callback | None = None,
        first_update: int = 0,
        headline: Sequence[str] | None = None,
    ) -> None:
        require_at_least(1, evaluate_every=evaluate_every, checkpoint_every=checkpoint_every)
        if num_updates is not None:
            require_at_least(1, num_updates=num_updates)
        elif not isinstance(run, _MeasuredRun):
            raise ConfigError("num_updates is a number unless the run measures itself, got None")
        if patience is not None:
            require_at_least(1, patience=patience)
        self.run = run
        self.num_updates = num_updates
        self.description = description
        self.evaluate_every = evaluate_every
        self.patience = patience
        self.patience_from = patience_from
        self.checkpoints = as_manager(checkpoints)
        self.checkpoint_every = checkpoint_every
        self.shows_progress = progress
        self.logger = logger
        self.callback = callback
        self.headline = headline
        self._progress = _Progress(update=first_update)
        # By the callback, which may decide otherwise when the run is resumed; so it is not saved.
        self._is_stopped = False
        # Asked once, since protocols are checked slowly and updates can be quick.
        self._evaluated = run if isinstance(run, EvaluatedRun) else None
        self._measured = run if isinstance(run, _MeasuredRun) else None

    def train(self) -> FitReport:
        """Update until the end, until patience is spent or until the callback says so.

        Raises:
            CheckpointError: The checkpoints are of another run, or none of them is whole.
            NonFiniteError: A figure is not finite; the run has its last good weights, the
                checkpoints are whole.
        """
        self._resume()
        state = self._progress
        if self._evaluated is not None and not state.best_weights:
            state.best_weights = self._evaluated.weights()
        done, total = self._position()
        # The bar begins where the run was resumed, so that its estimate of the time left is right.
        with progress_bar(total, self.description, self.shows_progress, done) as bar:
            while not (state.is_finished or self._is_stopped or done >= total):
                began = time.perf_counter()
                figures = self._step()
                state.update += 1
                state.add(figures)
                before = done
                done, _ = self._position()
                is_last = done >= total
                if is_last or state.update % self.evaluate_every == 0:
                    row = self._close_row()
                    # The row holds the held-out figures too, which tell a user more than those of
                    # the last batch.
                    if self._evaluated is not None:
                        figures = row
                if self._evaluated is None or not state.num_summed:
                    self._call_back(figures)
                # Before the checkpoint is written, which is to hold the time of this update too.
                state.seconds += time.perf_counter() - began
                is_end = is_last or state.is_finished or self._is_stopped
                if is_end or state.update % self.checkpoint_every == 0:
                    self._save()
                shown = figures if self.headline is None else self._headline(figures)
                bar.advance(done - before, **shown)
        self._restore_best()
        return self._report()

    def _position(self) -> tuple[int, int]:
        """How far the run is, and where it ends."""
        if self._measured is not None:
            return self._measured.position()
        assert self.num_updates is not None
        return self._progress.update, self.num_updates

    def _headline(self, figures: Mapping[str, float]) -> dict[str, float]:
        return {name: figures[name] for name in self.headline or () if name in figures}

    def _step(self) -> dict[str, float]:
        update = self._progress.update
        try:
            figures = {name: float(value) for name, value in self.run.step(update).items()}
        except NonFiniteError as error:
            raise self._stopped(str(error)) from error
        wrong = next((name for name, value in figures.items() if not math.isfinite(value)), None)
        if wrong is not None:
            raise self._stopped(f"{wrong} is {figures[wrong]} at update {update}: {_REMEDY}")
        if self.logger is not None:
            self.logger.log(update + 1, figures)
        return figures

    def _close_row(self) -> dict[str, float]:
        """The means since the last row of the history, with an evaluation where the run has one."""
        state = self._progress
        means = state.take_means()
        if self._evaluated is not None:
            evaluated = self._evaluate(self._evaluated)
            # A mean over the batches is not the figure of the same name on held-out data.
            named = {f"train_{name}" if name in evaluated else name: means[name] for name in means}
            figures = named | evaluated
        else:
            figures = means
        state.history.append({"update": float(state.update), **figures})
        return figures

    def _evaluate(self, run: EvaluatedRun) -> dict[str, float]:
        """Keep better weights; patience counts once the curriculum is complete."""
        state = self._progress
        try:
            figures = {name: float(value) for name, value in run.evaluate(state.update).items()}
        except NonFiniteError as error:
            raise self._stopped(str(error)) from error
        loss = figures["loss"]
        if not math.isfinite(loss):
            message = f"the evaluated loss is {loss} at update {state.update}: {_REMEDY}"
            raise self._stopped(message)
        is_better = loss < state.best_loss
        if is_better:
            state.best_loss = loss
            state.best_update = state.update
            state.best_weights = run.weights()
        # A curriculum makes the loss harder by and by: what does not improve then is not stale.
        is_counted = state.update > self.patience_from
        state.num_stale = state.num_stale + 1 if is_counted and not is_better else 0
        if self.patience is not None and state.num_stale >= self.patience:
            state.is_finished = True
        if self.logger is not None:
            self.logger.log(state.update, figures)
        return figures

    def _call_back(self, figures: dict[str, float]) -> None:
        if self.callback is not None and self.callback(self._progress.update, figures) is False:
            self._is_stopped = True

    def _stopped(self, message: str) -> NonFiniteError:
        """The error to raise once the best weights are back, which the message says."""
        if self._evaluated is None:
            # Without an evaluation there are no best weights: the run stays as the failed update
            # left it.
            return NonFiniteError(message)
        self._restore_best()
        best = self._progress.best_update
        return NonFiniteError(f"{message}; the weights are those of update {best}")

    def _restore_best(self) -> None:
        if self._evaluated is not None:
            self._evaluated.load_weights(self._progress.best_weights)

    def _report(self) -> FitReport:
        state = self._progress
        if isinstance(self.run, EvaluatedRun):
            best_update = state.best_update
            best_loss = state.best_loss
        else:
            last = state.history[-1] if state.history else {}
            best_update = state.update
            best_loss = last.get("loss", math.nan)
        return FitReport(
            num_updates=state.update,
            best_update=best_update,
            best_loss=best_loss,
            is_held_out=isinstance(self.run, EvaluatedRun),
            history=state.history,
            seconds=state.seconds,
        )

    def _save(self) -> None:
        if self.checkpoints is None:
            return
        if isinstance(self.run, _FiledRun):
            self.checkpoints.save(self._progress.update, *self.run.stored())
            return
        state = {"progress": vars(self._progress).copy(), "run": self.run.state_dict()}
        self.checkpoints.save_state(self._progress.update, state, self.run.fingerprint())

    def _resume(self) -> None:
        # The run has gone on from where it was in memory: what lies in the folder is older.
        if self._progress.update > 0:
            return
        if isinstance(self.run, _FiledRun) and self.checkpoints is not None:
            self._progress.update = resume_from_files(self.run, self.checkpoints)
            return
        found = (
            None
            if self.checkpoints is None
            else self.checkpoints.latest_state(self.run.fingerprint())
        )
        if found is None or self.checkpoints is None:
            return
        with refusing_misfits(self.checkpoints.directory):
            state = found[1]
            self._progress = _Progress(**state["progress"])
            self.run.load_state_dict(state["run"])


def resume_from_files(run: Any, checkpoints: CheckpointManager) -> int:
    """Let a run whose checkpoints are files of its agent take over the newest one.

    Returns:
        The updates done, 0 where there is no file.

    Raises:
        CheckpointError: The checkpoints are of another run, or none of them is whole.
    """
    checkpoints.require_writable()
    wanted = as_json(run.fingerprint())
    latest = checkpoints.latest()
    if latest is None:
        return 0
    with refusing_misfits(checkpoints.directory):
        stored = run.stored_fingerprint(latest.metadata)
    refuse_another_run(checkpoints.directory, stored, wanted)
    with refusing_misfits(checkpoints.directory):
        done: int = run.restore(latest.tensors, latest.metadata)
    return done


def as_manager(checkpoints: Checkpoints) -> CheckpointManager | None:
    """A manager for what users pass as `checkpoints`: a manager, the path of a folder, or None.

    Raises:
        CheckpointError: The path is that of a file, as fits of earlier versions wrote one.
    """
    if checkpoints is None or isinstance(checkpoints, CheckpointManager):
        return checkpoints
    if user_path(checkpoints).is_file():
        raise CheckpointError(
            f"{checkpoints} is a file: checkpoints are kept in a folder. What an earlier version "
            "wrote as one file cannot be resumed; give a new folder and repeat the fit"
        )
    return CheckpointManager(checkpoints)
