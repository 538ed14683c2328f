"""The loop that all learners share, on a line that is fitted by hand-made updates."""

import itertools
import math

import pytest

from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.trainer import Trainer


class Halving:
    """Each update halves what is left; figures and states are exact in binary."""

    def __init__(self, seed=0, breaks_at=None):
        self.left, self.seed, self.breaks_at = 1024.0, seed, breaks_at
        self.num_steps = 0

    def step(self, update):
        if update == self.breaks_at:
            return {"loss": math.nan}
        self.left /= 2
        self.num_steps += 1
        return {"loss": self.left}

    def state_dict(self):
        return {"left": self.left}

    def load_state_dict(self, state):
        self.left = state["left"]

    def fingerprint(self):
        return {"kind": "halving", "seed": self.seed}


class Judged(Halving):
    """Held-out losses as they are told; the weights are the number that is left."""

    def __init__(self, losses, **options):
        super().__init__(**options)
        self.losses = losses

    def evaluate(self, update):
        return {"loss": self.losses[update - 1]}

    def weights(self):
        return {"left": self.left}

    def load_weights(self, weights):
        self.left = weights["left"]


def test_a_plain_run_goes_to_its_end_with_means_in_its_history():
    run = Halving()
    report = Trainer(run, 5, evaluate_every=2).train()
    assert run.left == 32
    assert [row["update"] for row in report.history] == [2, 4, 5]
    assert [row["loss"] for row in report.history] == [384, 96, 32]
    assert (report.num_updates, report.best_update, report.best_loss, report.is_held_out) == (
        5,
        5,
        32,
        False,
    )


def test_the_best_evaluation_is_kept_and_patience_ends_the_run():
    run = Judged([5, 3, 4, 4, 4, 1])
    report = Trainer(run, 6, evaluate_every=1, patience=3).train()
    assert (report.num_updates, report.best_update, report.best_loss) == (5, 2, 3)
    assert report.is_held_out
    assert run.left == 256


def test_patience_waits_for_the_end_of_a_curriculum():
    run = Judged([1, 2, 2, 2, 2, 0.5])
    report = Trainer(run, 6, evaluate_every=1, patience=2, patience_from=4).train()
    assert report.best_update == 6


@pytest.mark.parametrize("stop", range(1, 7))
@pytest.mark.parametrize(
    "make", [Halving, lambda: Judged([5, 3, 4, 2, 6, 7, 8])], ids=["plain", "evaluated"]
)
def test_a_stopped_run_goes_on_bitwise(make, stop, tmp_path):
    options = {"evaluate_every": 3, "checkpoint_every": 2}
    whole = Trainer(make(), 7, **options).train()

    class StoppedError(Exception):
        pass

    broken = make()
    step = broken.step
    calls = itertools.count()

    def stopping(update):
        if next(calls) == stop:
            raise StoppedError
        return step(update)

    broken.step = stopping
    with pytest.raises(StoppedError):
        Trainer(broken, 7, checkpoints=tmp_path, **options).train()
    again = make()
    report = Trainer(again, 7, checkpoints=tmp_path, **options).train()
    assert again.num_steps == 7 - stop // 2 * 2
    assert report.history == whole.history
    assert (report.best_update, report.best_loss) == (whole.best_update, whole.best_loss)


def test_checkpoints_of_another_run_are_refused(tmp_path):
    Trainer(Halving(), 2, checkpoints=tmp_path).train()
    with pytest.raises(CheckpointError, match="seed"):
        Trainer(Halving(seed=1), 2, checkpoints=CheckpointManager(tmp_path)).train()


def test_what_is_not_finite_stops_the_run_and_the_best_weights_come_back():
    run = Judged([1, 2, 3, 4], breaks_at=2)
    with pytest.raises(NonFiniteError, match="loss is nan at update 2"):
        Trainer(run, 4, evaluate_every=1).train()
    assert run.left == 512
    with pytest.raises(NonFiniteError, match="evaluated loss is nan at update 2"):
        Trainer(Judged([1, math.nan]), 4, evaluate_every=1).train()


def test_a_callback_stops():
    seen = []
    report = Trainer(
        Halving(), 9, callback=lambda update, figures: seen.append(figures["loss"]) or update < 3
    ).train()
    assert report.num_updates == 3
    assert seen == [512, 256, 128]


@pytest.mark.parametrize("name", ["num_updates", "evaluate_every", "checkpoint_every", "patience"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        Trainer(Halving(), **{"num_updates": 1, name: 0})
