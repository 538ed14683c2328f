"""The planning, warning and recording examples refuse mistakes before minutes are spent."""

from dataclasses import replace
from pathlib import Path

import pytest
import tyro

from examples import crash_prediction, plan_driving, record_driving
from wm_agents.domains.driving import learning
from wm_agents.domains.driving.network import DrivingModel, DrivingModelConfig
from wm_agents.domains.driving.observations import CircuitMap
from wm_agents.errors import CheckpointError, ConfigError
from wm_envs.errors import TrackError


@pytest.mark.parametrize(
    "mistake", [{"track": "nowhere"}, {"laps": 0}, {"num_training_circuits": 0}]
)
def test_what_cannot_be_driven_is_refused_before_anything_is_learned(
    mistake, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        plan_driving, "learn_driving_model", lambda *_: pytest.fail("minutes were spent")
    )
    (tmp_path / "a.csv").touch()
    options = {"track": "oval", "circuits": tmp_path, "output_dir": tmp_path / "out"} | mistake
    with pytest.raises((TrackError, ConfigError), match=str(*mistake.values())):
        plan_driving.main(plan_driving.Config(**options))


def test_without_real_circuits_the_built_in_ones_serve(tmp_path, monkeypatch):
    def learn(circuits, _):
        raise LookupError(*map(str, circuits))

    monkeypatch.setattr(plan_driving, "learn_driving_model", learn)
    monkeypatch.setattr(plan_driving.Config, "circuits", tmp_path / "none")
    config = plan_driving.Config(circuits=tmp_path / "none", output_dir=tmp_path)
    with pytest.raises(LookupError) as raised:
        plan_driving.model_of(config, plan_driving.DrivingPlannerConfig())
    assert raised.value.args == ("figure_eight", "random")
    with pytest.raises(ConfigError, match="wm data fetch circuits"):
        plan_driving.model_of(
            plan_driving.Config(circuits=tmp_path / "another"), plan_driving.DrivingPlannerConfig()
        )


def test_the_command_of_a_card_learns_the_same_model_again(tmp_path):
    track = tmp_path / "Spa.csv"
    config = plan_driving.Config(
        track=str(track), num_training_circuits=2, laps=1, seed=3, from_scratch=True
    )
    script, *options = plan_driving.command_of(config).split()[1:]
    assert script == "examples/plan_driving.py"
    again = tyro.cli(plan_driving.Config, args=options)
    assert Path(again.track).resolve() == track.resolve()
    assert replace(again, track=config.track) == config
    assert plan_driving.from_here("oval") == "oval"


def test_a_model_without_intervals_is_no_model_of_this_script(tmp_path):
    model = DrivingModel.for_circuits(CircuitMap.of(["oval"]), DrivingModelConfig(widths=(8, 8)))
    path = model.save(tmp_path / "model.safetensors")
    (tmp_path / "a.csv").touch()
    config = plan_driving.Config(track="oval", circuits=tmp_path, model=path, output_dir=tmp_path)
    with pytest.raises(CheckpointError, match="intervals"):
        plan_driving.main(config)


def test_recording_begins_with_a_folder_that_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(
        record_driving, "record_widely", lambda *_: pytest.fail("minutes were spent")
    )
    (tmp_path / "a.csv").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        record_driving.main(record_driving.Config(circuits=tmp_path, output_dir=tmp_path / "a.csv"))


@pytest.mark.parametrize("mistake", [{"threshold": 0.0}, {"hold": 0}, {"cars": 0}, {"steps": 49}])
def test_warnings_that_cannot_work_are_refused_before_anything_is_learned(
    mistake, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        learning, "learn_driving_model", lambda *_: pytest.fail("minutes were spent")
    )
    with pytest.raises(ConfigError, match=str(*mistake.values())):
        crash_prediction.main(crash_prediction.Config(output_dir=tmp_path, **mistake))


def test_a_circuit_has_to_be_left_unseen(tmp_path):
    (tmp_path / "a.csv").touch()
    with pytest.raises(ConfigError, match="none unseen"):
        crash_prediction.main(
            crash_prediction.Config(circuits=tmp_path, output_dir=tmp_path / "out")
        )
