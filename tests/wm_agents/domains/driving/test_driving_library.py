"""The driving examples on the built-in circuits: small, but through every step."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from benchmarks import driving_models
from examples import plan_driving, record_driving
from wm_agents.domains.driving.imagination import (
    CompiledModel,
    learned_imagination,
    true_imagination,
)
from wm_agents.domains.driving.laps import drive_laps
from wm_agents.domains.driving.model import (
    AY,
    BEND,
    BRAKE,
    CIRCUIT,
    COLUMNS,
    HEADING,
    LAYOUTS,
    LEFT,
    OFFSET,
    PLACE,
    STEERING,
    VX,
    VY,
    extend,
    extend_trajectories,
    load_circuits,
    make_layout,
    model_space,
    new_model,
)
from wm_agents.domains.driving.network import (
    MOTION,
    expected_end,
    is_off_or_spun,
    member_of,
    mirrored,
    new_car_model,
)
from wm_agents.domains.driving.planner import DrivingPlanner, PlannerConfig
from wm_agents.domains.driving.trace import Trace
from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.world_models import FitConfig
from wm_envs.driving import dynamics
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert
from wm_envs.errors import TrackError

TRACKS = ["oval", "figure_eight"]


@pytest.fixture(scope="module")
def recorded():
    return [
        extend_trajectories(record_driving.record_circuit(track, 12, 120, number), number)
        for number, track in enumerate(TRACKS)
    ]


@pytest.fixture(scope="module")
def fitted(recorded):
    model = new_car_model(
        make_layout("kinematics", load_circuits(TRACKS)), num_members=2, widths=(32, 32)
    )
    model.fit(recorded[0], FitConfig(num_updates=300, horizon=2), progress=False)
    return model


def test_the_columns_are_those_of_the_space(recorded):
    assert len(COLUMNS) == model_space().shape[0] == recorded[0].observations.shape[1]
    assert (recorded[1].observations[:, CIRCUIT] == 1).all()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_each_layout_makes_a_model(kind, recorded):
    model = new_model(make_layout(kind, load_circuits(TRACKS)), widths=(8,), seed=1)
    model.initialise(recorded[0])
    model.is_fitted = True  # with random weights, whose shapes are what is tested
    start = torch.as_tensor(recorded[0].observations[:3])
    assert model.rollout(start, torch.zeros(3, 4, 3)).observations.shape == (3, 5, 40)


def test_the_map_is_the_road_of_the_environment():
    """From the true next velocities, geometry gives the true next place, offset, heading and road."""
    env = DrivingEnv(track="figure_eight", **record_driving.OPTIONS)
    before, _ = env.reset(seed=3)
    expert = Expert(env.parameters)
    layout = make_layout("kinematics", load_circuits(TRACKS))
    for _ in range(100):
        after = env.step(expert.actions_on(before[None])[0])[0]
        rows = [torch.as_tensor(extend(row, 1))[None] for row in (before, after)]
        wrong = rows[1].clone()
        wrong[:, [PLACE, OFFSET, HEADING, BEND, LEFT]] = 7.0
        decoded = layout.decode(rows[0], layout.targets(rows[0], wrong), torch.zeros(1, 3))
        np.testing.assert_allclose(decoded[0, OFFSET], after[OFFSET], atol=2e-4)
        np.testing.assert_allclose(decoded[0, HEADING], after[HEADING], atol=2e-4)
        np.testing.assert_allclose(decoded[0, PLACE], after[PLACE], atol=2e-6)
        np.testing.assert_allclose(decoded[0, 24:37], after[24:37], atol=2e-4)
        before = after


def test_the_lags_of_the_actuators_are_found(fitted):
    lags = [dynamics.STEER_SHARE, dynamics.THROTTLE_SHARE, dynamics.BRAKE_SHARE]
    np.testing.assert_allclose(fitted.lags.numpy(), lags, atol=1e-4)


def test_a_rigid_body_moves_as_its_accelerations_say(fitted):
    """With the true accelerations and yaw rates the velocities are the true ones, whatever the tyres did."""
    env = DrivingEnv(track="figure_eight", start_speed=30.0, **record_driving.OPTIONS)
    before, _ = env.reset(seed=3)
    expert = Expert(env.parameters)
    for _ in range(100):
        action = expert.actions_on(before[None])[0]
        after = env.step(action)[0]
        rows = [torch.as_tensor(extend(row, 1))[None, MOTION] for row in (before, after)]
        change = rows[1] - rows[0]
        forces = torch.cat([rows[1][:, 2:4], change[:, 4:5], change[:, 8:]], 1)
        moved = fitted.advance(rows[0], torch.as_tensor(action)[None], forces)
        np.testing.assert_allclose(moved, rows[1], atol=2e-3)
        before = after


def test_the_mirror_image_of_driving_obeys_the_same_rules(recorded):
    seen, image = recorded[0], mirrored(recorded[0])
    np.testing.assert_array_equal(
        image.observations[:, [VX, BRAKE, 36]], seen.observations[:, [VX, BRAKE, 35]]
    )
    flipped = [VY, AY, STEERING, OFFSET, HEADING, BEND]
    np.testing.assert_array_equal(image.observations[:, flipped], -seen.observations[:, flipped])
    np.testing.assert_array_equal(mirrored(image).observations, seen.observations)
    np.testing.assert_array_equal(mirrored(image).actions, seen.actions)


@pytest.mark.parametrize("member", [0, 1])
def test_the_compiled_model_is_the_model(fitted, member):
    env = DrivingEnv(track="oval", random_start=False, start_speed=30.0, **record_driving.OPTIONS)
    observation, _ = env.reset(seed=0)
    generator = np.random.default_rng(0)
    steering, pedals = generator.uniform(-0.1, 0.1, (1, 10, 1)), np.full((1, 10, 2), [0.6, 0.3])
    zeros = np.zeros((1, 10, 1))
    disturbances = np.concatenate([steering, zeros, zeros, pedals], axis=2)
    imagine = learned_imagination(observation, env.parameters, CompiledModel(fitted), False, member)
    paths = imagine(disturbances, Expert(env.parameters).table)
    actions = torch.as_tensor(np.concatenate([steering, pedals], axis=2), dtype=torch.float32)
    motion = torch.as_tensor(extend(observation, 0))[None, MOTION]
    for step in range(10):
        forces = fitted.forces(motion.expand(2, -1, -1), actions[:, step])[member]
        motion = fitted.advance(
            motion, actions[:, step], forces.clamp(fitted.force_low, fitted.force_high)
        )
        np.testing.assert_allclose(
            paths[0, step, 2], torch.hypot(motion[0, 0], motion[0, 1]), rtol=1e-4
        )
        np.testing.assert_allclose(
            paths[0, step, 3], torch.atan2(motion[0, 1], motion[0, 0]), atol=1e-4
        )


def test_both_imaginations_share_their_geometry(recorded, fitted):
    """A well-fitted second: the learned path stays near the true one, place and all."""
    env = DrivingEnv(track="oval", random_start=False, start_speed=30.0, **record_driving.OPTIONS)
    observation, _ = env.reset(seed=0)
    table, nothing = Expert(env.parameters).table, np.zeros((1, 5, 3))
    learned = learned_imagination(observation, env.parameters, CompiledModel(fitted))(
        nothing, table
    )
    true = true_imagination(env.clone_state(), env.parameters)(nothing, table)
    np.testing.assert_allclose(learned[..., :3], true[..., :3], atol=0.3)
    np.testing.assert_allclose(learned[..., 4], true[..., 4], atol=0.05)


def test_a_plan_is_left_for_the_policy_unless_every_member_prefers_it():
    env = DrivingEnv(track="oval", random_start=False, start_speed=40.0, **record_driving.OPTIONS)
    env.reset(seed=0)
    imagine = true_imagination(env.clone_state(), env.parameters)

    def doubtful(disturbances, table):
        paths = imagine(disturbances, table)
        paths[np.abs(disturbances).max(axis=(1, 2)) > 0, :, 1] = (
            30.0  # off the road, whatever was planned
        )
        return paths

    sure = DrivingPlanner(env.parameters, PlannerConfig(margin=-1.0)).decide([imagine], 0.0)
    unsure = DrivingPlanner(env.parameters, PlannerConfig(margin=-1.0)).decide(
        [imagine, doubtful], 0.0
    )
    assert sure.chosen > 0
    assert unsure.chosen == 0
    np.testing.assert_allclose(
        unsure.action, imagine(np.zeros((1, 1, 3)), _table(env))[0, 0, 5:8], atol=1e-6
    )


def _table(env):
    return Expert(env.parameters, PlannerConfig().policy_grip).table


def test_the_oracle_planner_drives_no_slower_than_the_expert_and_stays_on():
    distances = []
    for is_planned in (False, True):
        env = DrivingEnv(
            track="oval", random_start=False, start_speed=40.0, **record_driving.OPTIONS
        )
        observation, _ = env.reset(seed=0)
        planner, expert = DrivingPlanner(env.parameters, PlannerConfig()), Expert(env.parameters)
        for _ in range(250):
            state = env.clone_state()
            if is_planned:
                decision = planner.decide(
                    [true_imagination(state, env.parameters)], float(state["distance"])
                )
                action = decision.action
            else:
                action = expert.actions_on(observation[None])[0]
            observation, _, terminated, _, _ = env.step(action)
            assert not terminated
        distances.append(float(env.clone_state()["driven"]))
    assert distances[1] > 0.99 * distances[0]


def test_a_trace_is_json_and_a_page(fitted, tmp_path):
    env = DrivingEnv(track="oval", random_start=False, **record_driving.OPTIONS)
    observation, _ = env.reset(seed=0)
    planner = DrivingPlanner(env.parameters, PlannerConfig())
    trace = Trace(every=2, bands=np.ones((45, 2)))
    for step in range(4):
        imagine = learned_imagination(observation, env.parameters, CompiledModel(fitted))
        decision = planner.decide([imagine], float(env.clone_state()["distance"]))
        trace.add(step, observation, decision, None)
        observation = env.step(decision.action)[0]
    trace.write(tmp_path, "a test")
    records = json.loads((tmp_path / "trace.json").read_text())
    assert [record["step"] for record in records] == [0, 2]
    assert len(records[0]["alternatives"]) == 3
    assert "a test" in (tmp_path / "trace.html").read_text()


def test_circuits_are_held_out_by_their_names(tmp_path):
    for name in "abcdefg":
        (tmp_path / f"{name}.csv").touch()
    training, unseen = record_driving.held_out(tmp_path)
    assert [path.stem for path in unseen] == ["c", "f"]
    assert [path.stem for path in training] == ["a", "b", "d", "e", "g"]
    config = plan_driving.Config(track=str(tmp_path / "b.csv"), circuits=tmp_path)
    assert [path.stem for path in plan_driving.training_circuits(config)] == ["a", "d", "e", "g"]


@pytest.mark.parametrize(
    "mistake", [{"track": "nowhere"}, {"laps": 0}, {"num_training_circuits": 0}]
)
def test_what_cannot_be_driven_is_refused_before_anything_is_learned(
    mistake, tmp_path, monkeypatch
):
    monkeypatch.setattr(plan_driving, "learn", lambda *_: pytest.fail("minutes were spent"))
    (tmp_path / "a.csv").touch()
    options = {"track": "oval", "circuits": tmp_path, "output_dir": tmp_path / "out"} | mistake
    with pytest.raises((TrackError, ConfigError), match=str(*mistake.values())):
        plan_driving.main(plan_driving.Config(**options))


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


def test_recording_begins_with_a_folder_that_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(
        record_driving, "record_widely", lambda *_: pytest.fail("minutes were spent")
    )
    (tmp_path / "a.csv").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        record_driving.main(record_driving.Config(circuits=tmp_path, output_dir=tmp_path / "a.csv"))


def test_a_model_file_says_on_which_circuits_it_was_learned(recorded, tmp_path, monkeypatch):
    """Not those that the run which loads it would have learned on."""
    monkeypatch.setattr(plan_driving, "record", lambda *_: recorded[0])
    monkeypatch.setattr(plan_driving, "load_circuits", lambda _: load_circuits(["oval"]))
    config = plan_driving.Config(
        num_updates=2, num_members=1, collect_rounds=0, output_dir=tmp_path
    )
    learned = plan_driving.learn(config, [Path("oval.csv")])
    loaded = plan_driving.load(
        replace(config, model=tmp_path / "model.safetensors"), ["figure_eight"]
    )
    assert learned.circuits == loaded.circuits == ["oval"]


@pytest.mark.parametrize("surroundings", [{}, {"bands": "none"}, {"bands": [[1.0]]}])
def test_a_model_without_intervals_is_no_model_of_this_script(surroundings, fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors", surroundings)
    config = plan_driving.Config(model=tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="intervals"):
        plan_driving.load(config, TRACKS)


def test_shares_of_persistence_by_hand(recorded):
    segment = driving_models.windows(recorded[0], 5)
    perfect = driving_models.shares(segment.observations[:, -1], segment)
    still = driving_models.shares(segment.observations[:, 0], segment)
    assert all(figure == 0 for figures in perfect.values() for figure in figures.values())
    assert all(
        figure == pytest.approx(1) for figures in still.values() for figure in figures.values()
    )


def test_laps_are_driven_in_the_learned_model_of_a_bad_driver_without_crashing_the_script(fitted):
    env = DrivingEnv(track="oval", random_start=False, time_limit=30, **record_driving.OPTIONS)
    figures = drive_laps(
        env, DrivingPlanner(env.parameters, PlannerConfig()), CompiledModel(fitted), 1
    )
    assert figures["num_decisions"] == 30
    assert not figures["is_clean"]


def test_what_is_expected_leaves_out_futures_that_have_ended(fitted, recorded):
    """With one member after 5 steps it is that member's rollout; with two, the mean of both."""
    segment = driving_models.windows(recorded[0], 5)
    starts, actions = segment.observations[:20, 0], segment.actions[:20]
    ends = [member_of(fitted, k).rollout(starts, actions).observations[:, -1] for k in range(2)]
    assert not torch.stack([is_off_or_spun(end) for end in ends]).any()
    torch.testing.assert_close(expected_end(member_of(fitted, 1), starts, actions), ends[1])
    torch.testing.assert_close(expected_end(fitted, starts, actions), 0.5 * (ends[0] + ends[1]))
    spun = starts.clone()
    spun[:, VY] = 3.0 * spun[:, VX]
    assert is_off_or_spun(spun).all()
    held = expected_end(member_of(fitted, 0), spun, actions)
    first = member_of(fitted, 0).rollout(spun, actions[:, :1]).observations[:, 1]
    torch.testing.assert_close(held, first)  # it ended with the first step and holds still


def test_intervals_hold_the_figure(recorded):
    segment = driving_models.windows(recorded[0], 5)
    predicted = segment.observations[:, -1] + 0.1 * (
        segment.observations[:, 0] - segment.observations[:, -1]
    )
    intervals = driving_models.rmse_intervals(
        predicted, segment, driving_models.episodes_of([recorded[0]], 5)
    )
    assert all(low == high == pytest.approx(0.1, abs=1e-3) for low, high in intervals.values())
