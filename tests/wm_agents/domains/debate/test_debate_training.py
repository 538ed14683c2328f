"""Training, validation, loggers and saved models: the contract of the guide."""

import json
import math
import re

import numpy as np
import pytest

from wm_agents.domains.debate import (
    ConsoleLogger,
    Debaters,
    JSONLogger,
    Observation,
    Observations,
    Tendency,
    TensorBoardLogger,
    TrainConfig,
    Trainer,
    Validator,
    WandbLogger,
    create_world_model,
    load_world_model,
    plot_trajectories,
)
from wm_agents.domains.debate.validation import summarize
from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.training.checkpoints import CheckpointManager
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, TENDENCIES
from wm_envs.errors import DebateError, ObservationError


class NamedRelevance:
    """Relevance 0.9 for the tendency that a text names, 0.05 for the others."""

    def score(self, texts):
        return np.array(
            [[0.9 if t in text else 0.05 for t in TENDENCIES] for text in texts]
        ).reshape(len(texts), 7)


def person(num=60, labelled=True, share_of_meaning=0.5):
    rows = []
    for i in range(num):
        name = "meaning" if i < share_of_meaning * num else TENDENCIES[i % 7].value
        rows.append(
            Observation(f"o{i}", f"{name} scene {i}", metadata={"owner": name} if labelled else {})
        )
    return Observations(rows, "test")


def trainer(relevance=None, **settings):
    return Trainer(
        TrainConfig(**settings), relevance=NamedRelevance() if relevance is None else relevance
    )


def test_the_defaults_are_the_contract():
    assert vars(TrainConfig()) == {
        "max_epochs": 10,
        "min_epochs": 2,
        "convergence_threshold": 0.005,
        "patience": 3,
        "initial_lr": 0.15,
        "lr_decay": 0.9,
        "validation_split": 0.2,
        "min_allocation": 0.03,
        "max_allocation": 0.50,
    }
    assert Debaters().allocations == dict(DEFAULT_ALLOCATIONS)
    assert sum(DEFAULT_ALLOCATIONS.values()) == pytest.approx(1)


def test_a_run_finds_the_drive_and_says_what_it_did():
    agents = Debaters()
    history, result = trainer(max_epochs=6, convergence_threshold=0.0).train(
        person(), agents, verbose=False
    )
    assert history.epochs_run == len(history.metrics) == len(history.validation_results) == 6
    assert not history.converged
    assert result.winner is Tendency.MEANING
    assert agents.allocations == result.allocations == history.metrics[-1].allocations
    assert max(agents, key=lambda agent: agent.allocation).tendency is Tendency.MEANING
    for number, metrics in enumerate(history.metrics):
        assert metrics.epoch == number + 1
        assert metrics.learning_rate == pytest.approx(0.15 * 0.9**number)
        assert (
            metrics.winning_score == metrics.scores[metrics.winner] == max(metrics.scores.values())
        )
        assert sum(metrics.allocations.values()) == pytest.approx(1)
        assert sum(metrics.allocation_changes.values()) == pytest.approx(0)
        assert metrics.total_stakes == result.total_stakes >= 48 * 7
    before = dict(DEFAULT_ALLOCATIONS)
    for metrics in history.metrics:
        for tendency in TENDENCIES:
            before[tendency] += metrics.allocation_changes[tendency]
    assert before == pytest.approx(agents.allocations)
    last = history.validation_results[-1]
    assert (last.num_correct, last.num_observations, last.accuracy) == (12, 12, 1.0)
    assert history.best_epoch == 1  # the first among equals


def test_stable_allocations_stop_training_after_patience():
    settings = {"max_epochs": 10, "convergence_threshold": 2.0}
    assert trainer(**settings).train(person(), verbose=False)[0].epochs_run == 3
    history, _ = trainer(**settings, patience=1).train(person(), verbose=False)
    assert (history.epochs_run, history.converged) == (2, True)  # not before min_epochs
    assert (
        trainer(**settings, patience=1, min_epochs=5).train(person(), verbose=False)[0].epochs_run
        == 5
    )
    history, _ = trainer(max_epochs=2, convergence_threshold=2.0).train(person(), verbose=False)
    assert (history.epochs_run, history.converged) == (2, True)
    history, _ = trainer(max_epochs=1, convergence_threshold=2.0).train(person(), verbose=False)
    assert (history.epochs_run, history.converged) == (1, False)


def test_convergence_is_where_changes_fall_below_the_threshold():
    history, _ = trainer(max_epochs=200, lr_decay=1.0, initial_lr=0.3, patience=1).train(
        person(), verbose=False
    )
    assert history.converged
    assert history.epochs_run < 200
    assert history.metrics[-1].total_change < 0.005 <= history.metrics[-2].total_change


def test_labels_are_never_looked_at_while_training():
    first, second = Debaters(), Debaters()
    trainer(max_epochs=3).train(person(), first, verbose=False)
    history, _ = trainer(max_epochs=3).train(person(labelled=False), second, verbose=False)
    assert first.allocations == second.allocations
    assert history.validation_results == []
    assert history.best_epoch == 3  # changes shrink


class FailingRelevance:
    def __init__(self, value):
        self.value = value

    def score(self, texts):
        return self.value


@pytest.mark.parametrize(
    "value", [None, np.full((48, 7), np.nan), np.zeros((3, 7)), np.full((48, 7), 2.0)], ids=range(4)
)
def test_a_scorer_that_fails_never_counts_as_zero(value):
    agents = Debaters()
    with pytest.raises(ObservationError, match="scorer"):
        trainer(FailingRelevance(value)).train(person(), agents, verbose=False)
    assert agents.allocations == dict(DEFAULT_ALLOCATIONS)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": 0},
        {"min_epochs": 1.5},
        {"patience": True},
        {"initial_lr": 1.5},
        {"lr_decay": -0.1},
        {"convergence_threshold": math.nan},
        {"validation_split": 1.0},
        {"min_allocation": 0.2},
        {"max_allocation": 0.1},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError):
        TrainConfig(**settings)


def test_no_observations_to_train_on():
    with pytest.raises(ObservationError, match="give more"):
        trainer().train(Observations(), verbose=False)


# Console and files


LINES = [
    r"EPOCH 1 \(lr=0\.150\)",
    r"  Winner: MEANING \(score: \d+\.\d{3}\)",
    r"  Allocations: survival=\d+\.\d%, meaning=\d+\.\d%, status=.*, connection=.*, autonomy=.*, "
    r"comfort=.*, curiosity=.*",
    r"  Validation: 100\.0% accuracy \(p=0\.000\)\*\*\*",
]


@pytest.mark.parametrize("logger", [None, ConsoleLogger()], ids=["verbose", "logger"])
def test_the_console_lines_of_the_guide(capsys, logger):
    trainer(max_epochs=2).train(person(), logger=logger)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8  # once, not twice
    for pattern, line in zip(LINES, lines, strict=False):
        assert re.fullmatch(pattern, line), line
    assert lines[4] == "EPOCH 2 (lr=0.135)"


def test_quiet_and_unlabelled(capsys):
    trainer(max_epochs=1).train(person(), verbose=False)
    assert capsys.readouterr().out == ""
    trainer(max_epochs=1).train(person(labelled=False))
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "  Validation: none (no held-out observation has a label)"
    )


def test_the_json_log_of_the_guide(tmp_path):
    path = tmp_path / "new" / "log.json"
    history, _ = trainer(max_epochs=2).train(person(), logger=JSONLogger(path), verbose=False)
    data = json.loads(path.read_text())
    assert data["config"]["max_epochs"] == 2
    assert [epoch["epoch"] for epoch in data["epochs"]] == [1, 2]
    first = data["epochs"][0]
    assert first["winner"] == "meaning"
    assert list(first["scores"]) == list(first["allocations"]) == [t.value for t in TENDENCIES]
    assert first["validation"]["accuracy"] == 1.0
    assert data["result"] == {"epochs_run": 2, "converged": False, "best_epoch": 1}
    assert json.loads(json.dumps(history.to_plain()))["metrics"][0]["epoch"] == 1
    assert list(path.parent.iterdir()) == [path]  # nothing temporary is left


def test_a_log_that_cannot_be_written_stops_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    agents = Debaters()
    with pytest.raises(ConfigError, match="cannot write"):
        trainer().train(
            person(), agents, logger=JSONLogger(tmp_path / "file" / "log.json"), verbose=False
        )
    assert agents.allocations == dict(DEFAULT_ALLOCATIONS)


def test_tensorboard_events(tmp_path):
    trainer(max_epochs=2).train(person(), logger=TensorBoardLogger(tmp_path), verbose=False)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    scalars = events.Scalars("allocation/meaning")
    assert [event.step for event in scalars] == [1, 2]
    assert scalars[1].value > scalars[0].value > 0.1
    assert events.Scalars("validation/accuracy")[0].value == 1.0


def test_several_loggers_follow_one_run(tmp_path):
    """Any logger of scalars gets one step for each epoch."""

    class Kept:
        def __init__(self):
            self.steps = []

        def log(self, step, metrics):
            self.steps.append((step, metrics["allocation/meaning"]))

        def close(self):
            self.steps.append("closed")

    scalars, file = Kept(), JSONLogger(tmp_path / "log.json")
    history, _ = trainer(max_epochs=2).train(person(), logger=[scalars, file], verbose=False)
    shares = [metrics.allocations["meaning"] for metrics in history.metrics]
    assert scalars.steps == [(1, shares[0]), (2, shares[1]), "closed"]
    assert len(json.loads(file.path.read_text())["epochs"]) == 2
    with pytest.raises(ConfigError, match="neither log_epoch nor log"):
        trainer(max_epochs=2).train(person(), logger=[7], verbose=False)


class CountedRelevance(NamedRelevance):
    def __init__(self):
        self.num_calls = 0

    def score(self, texts):
        self.num_calls += 1
        return super().score(texts)


class StopsAfter:
    def __init__(self, num_epochs):
        self.num_epochs = num_epochs

    def log(self, step, metrics):
        if step == self.num_epochs:
            raise KeyboardInterrupt

    def close(self):
        pass


def test_a_run_that_was_stopped_resumes_bitwise_and_asks_the_scorer_no_more(tmp_path):
    settings = {"max_epochs": 8, "convergence_threshold": 0.02, "patience": 2}
    whole, debate = trainer(**settings).train(person(), verbose=False)
    with pytest.raises(KeyboardInterrupt):
        trainer(**settings).train(
            person(),
            logger=StopsAfter(3),
            verbose=False,
            checkpoints=CheckpointManager(tmp_path / "run"),
        )
    for _ in range(2):  # the second time nothing is left to do
        relevance, agents = CountedRelevance(), Debaters()
        relevance.__class__.__qualname__ = NamedRelevance.__qualname__
        log = JSONLogger(tmp_path / "log.json")
        history, result = trainer(relevance, **settings).train(
            person(), agents, log, verbose=False, checkpoints=CheckpointManager(tmp_path / "run")
        )
        assert history == whole
        assert result.scores == debate.scores
        assert agents.allocations == debate.allocations
        assert relevance.num_calls == 0
        assert len(json.loads(log.path.read_text())["epochs"]) == history.epochs_run


def test_a_scorer_that_fails_leaves_an_earlier_log_whole(tmp_path):
    path = tmp_path / "log.json"
    path.write_text("earlier")
    with pytest.raises(ObservationError):
        trainer(FailingRelevance(None)).train(person(), logger=JSONLogger(path), verbose=False)
    assert path.read_text() == "earlier"


def test_wandb_is_asked_for_project_and_name(monkeypatch):
    import sys
    import types

    calls = []
    run = types.SimpleNamespace(
        log=lambda metrics, step: calls.append((step, metrics)), finish=lambda: calls.append("end")
    )
    wandb = types.SimpleNamespace(init=lambda **options: calls.append(options) or run)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    trainer(max_epochs=1).train(
        person(), logger=WandbLogger(project="world-model", run_name="one"), verbose=False
    )
    assert (calls[0]["project"], calls[0]["name"]) == ("world-model", "one")
    assert calls[1][0] == 1
    assert calls[-1] == "end"


def test_trajectories_as_a_picture(tmp_path):
    for labelled in (True, False):
        history, _ = trainer(max_epochs=3).train(person(labelled=labelled), verbose=False)
        plot_trajectories(history, tmp_path / "t.png")
        assert (tmp_path / "t.png").stat().st_size > 10_000


# Validation


def test_the_test_of_the_guides_own_history():
    # 27.3%, 9.1% and 15.2% of 33: only the first is above chance.
    results = [summarize(correct, 33, 0.2) for correct in (9, 3, 5)]
    assert [result.p_value for result in results] == pytest.approx([0.038, 0.87, 0.52], abs=0.005)
    assert [result.verdict for result in results] == [
        "above chance",
        "not above chance",
        "not above chance",
    ]
    assert [result.stars for result in results] == ["*", "", ""]
    assert results[0].accuracy == pytest.approx(9 / 33)
    assert results[0].interval.low < 9 / 33 < results[0].interval.high
    assert results[0].p_value == pytest.approx(
        sum(math.comb(33, k) * 6 ** (33 - k) for k in range(9, 34)) / 7**33
    )


def test_influence_is_the_prior():
    observations = Observations([Observation("a", "nothing named", metadata={"owner": "status"})])
    tilted = Debaters({**dict.fromkeys(TENDENCIES, 0.1), Tendency.STATUS: 0.4})
    validator = Validator(NamedRelevance())
    assert validator.validate(observations, None, tilted).num_correct == 1
    assert (
        validator.validate(observations, None, Debaters()).num_correct == 0
    )  # connection has the most
    unlabelled = Observations([Observation("a", "nothing named")])
    assert validator.validate(unlabelled, None, tilted) is None


def test_the_majority_is_the_most_frequent_label():
    result = Validator(NamedRelevance()).validate(
        person(70, share_of_meaning=0.5), None, Debaters()
    )
    assert result.majority_accuracy == pytest.approx(40 / 70)


# Models


def test_a_model_comes_back_as_it_went(tmp_path):
    person().save(tmp_path / "observations.json")
    model = create_world_model("Ann", tmp_path / "observations.json")
    trainer(max_epochs=2).train(model.observations, model.agents, verbose=False)
    model.save(tmp_path / "trained.json")
    loaded = load_world_model(tmp_path / "trained.json")
    assert loaded.name == "Ann"
    assert loaded.agents.allocations == pytest.approx(model.agents.allocations)
    assert list(loaded.observations) == list(model.observations)


def test_a_damaged_model_is_a_checkpoint_error(tmp_path):
    from wm_agents.domains.debate import DebateModel

    path = tmp_path / "model.json"
    DebateModel("Ann", person(3)).save(path)
    good = path.read_text()
    damaged = [
        "",
        "{}",
        good[:-40],
        good.replace("0.18", "0.68"),
        good.replace('"status": 0.12,', ""),
    ]
    damaged += [
        good.replace("advocate", "loud"),
        good.replace('"meaning scene 0"', "7"),
        good.replace('"count": 3', '"count": 4'),
    ]
    for text in damaged:
        assert text != good
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"model\.json"):
            load_world_model(path)
    with pytest.raises(CheckpointError):
        load_world_model(tmp_path / "none.json")


def test_empty_files_and_unknown_tendencies(tmp_path):
    Observations().save(tmp_path / "empty.json")
    with pytest.raises(ObservationError, match="holds no observations"):
        create_world_model("Ann", tmp_path / "empty.json")
    for allocations in ({Tendency.STATUS: 1.0}, dict.fromkeys(TENDENCIES, 0.2)):
        with pytest.raises(DebateError):
            Debaters(allocations)
    agents = Debaters()
    with pytest.raises(DebateError):
        agents.update({**DEFAULT_ALLOCATIONS, Tendency.STATUS: math.nan})
    assert agents.allocations == dict(DEFAULT_ALLOCATIONS)


@pytest.mark.parametrize(
    "options", [{"seed": -1}, {"seed": 1.5}, {"rebuttal": math.nan}, {"rebuttal": -1.0}]
)
def test_a_trainer_with_wrong_numbers_is_refused_before_anything_is_scored(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Trainer(**options)


@pytest.mark.filterwarnings("ignore:wm_agents:DeprecationWarning")
def test_names_of_the_guide_and_of_earlier_versions():
    from wm_agents.domains import debate

    assert debate.Trainer is debate.DebateTrainer
    assert debate.TrainConfig is debate.DebateConfig
    assert debate.Agents is Debaters
