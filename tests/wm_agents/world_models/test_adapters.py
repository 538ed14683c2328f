import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError
from wm_agents.world_models import DerivedFeature, FeatureLayout, detect_layout, frame_stack
from wm_agents.world_models.adapters import wrap
from wm_envs.data.trajectories import Trajectories

NO_ACTION = torch.zeros(1, 0)


def test_differences_are_added():
    layout = FeatureLayout(2)
    before, after = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 0.0]])
    assert layout.targets(before, after).tolist() == [[3, -2]]
    assert layout.decode(before, torch.tensor([[3.0, -2.0]]), NO_ACTION).tolist() == [[4, 0]]


def test_every_rule_decodes_what_it_encoded():
    layout = FeatureLayout(
        8, circles=((1, 2),), angles=(4,), copies=((5, 0),), absolutes=(3,), actions=((6, 1),)
    )
    turn = torch.tensor([0.3, 2.9])
    before = torch.tensor([[7.0, turn[0].cos(), turn[0].sin(), 5.0, 3.0, 1.0, 0.0, 9.0]])
    after = torch.tensor([[8.5, turn[1].cos(), turn[1].sin(), -2.0, -3.0, 7.0, 0.25, 9.5]])
    targets = layout.targets(before, after)
    # differences of columns 0 and 7, column 3 itself, the turn, and the short way from 3 to -3 over
    # pi
    assert targets[0].tolist() == pytest.approx([1.5, 0.5, -2.0, 2.6, 2 * np.pi - 6], abs=1e-5)
    decoded = layout.decode(before, targets, torch.tensor([[0.5, 0.25]]))
    assert decoded[0].tolist() == pytest.approx(after[0].tolist(), abs=1e-5)
    assert layout.inputs(before).shape == (1, layout.num_inputs)
    assert layout.num_inputs == 9


def test_the_circle_holds_over_a_long_rollout():
    layout = FeatureLayout(2, circles=((0, 1),))
    rows = torch.tensor([[1.0, 0.0]])
    for _ in range(10_000):
        rows = layout.decode(rows, torch.tensor([[0.1]]), NO_ACTION)
    assert abs(float(rows.square().sum()) - 1) < 1e-5
    assert torch.atan2(rows[0, 1], rows[0, 0]) == pytest.approx(
        float(wrap(torch.tensor(1000.0))), abs=0.02
    )


def test_wrapping():
    values = wrap(torch.tensor([0.0, np.pi + 0.1, -np.pi - 0.1, 6.5 * np.pi]))
    assert values.tolist() == pytest.approx([0, -np.pi + 0.1, np.pi - 0.1, np.pi / 2], abs=1e-5)


@pytest.mark.parametrize("is_interleaved", [False, True])
def test_a_stack_predicts_the_newest_frame_and_moves_the_rest(is_interleaved):
    layout = frame_stack(3, 2, is_interleaved=is_interleaved)
    frames = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])
    before = (frames.transpose(1, 2) if is_interleaved else frames).reshape(1, 6)
    assert layout.num_targets == 2
    after = layout.decode(before, torch.tensor([[1.0, 10.0]]), NO_ACTION)
    shifted = torch.tensor([[[2.0, 20.0], [3.0, 30.0], [4.0, 40.0]]])
    assert torch.equal(
        after, (shifted.transpose(1, 2) if is_interleaved else shifted).reshape(1, 6)
    )


def test_known_columns_follow_from_the_next_observation():
    """Column 2 is the square of column 0 after the step, whatever a network says."""
    layout = FeatureLayout(
        3, derived=(DerivedFeature((2,), lambda before, after: after[:, :1] ** 2),)
    )
    after = layout.decode(torch.tensor([[1.0, 5.0, 0.0]]), torch.tensor([[3.0, 1.0]]), NO_ACTION)
    assert after.tolist() == [[4, 6, 16]]
    with pytest.raises(ConfigError, match=r"given=layout\.derived"):
        FeatureLayout.from_json(layout.to_json())


def recorded(columns):
    rows = np.stack(columns, 1)
    return Trajectories.from_arrays(
        rows, np.zeros(len(rows) - 1, int), np.zeros(len(rows) - 1), np.zeros(len(rows) - 1)
    )


def test_circles_and_copies_are_detected():
    random = np.random.default_rng(0)
    angle, noise = random.normal(size=301).cumsum(), random.normal(size=302)
    data = recorded([noise[1:], np.cos(angle), np.sin(angle), noise[:-1], np.full(301, 3.0)])
    layout = detect_layout(data)
    assert layout.circles == ((1, 2),)
    assert layout.copies == ((3, 0), (4, 4))
    assert layout.differences == (0,)


def test_one_hots_of_two_are_no_circle_and_few_steps_show_nothing():
    random = np.random.default_rng(0)
    bit = random.integers(2, size=301)
    assert detect_layout(recorded([bit, 1 - bit])).circles == ()
    angle = random.normal(size=50)
    assert detect_layout(recorded([np.cos(angle), np.sin(angle)])) == FeatureLayout(2)


def test_contradictory_layouts_are_refused():
    with pytest.raises(ConfigError, match="one rule"):
        FeatureLayout(3, circles=((0, 1),), absolutes=(1,))
    with pytest.raises(ConfigError, match="of 3"):
        FeatureLayout(3, copies=((0, 3),))


def test_json_keeps_a_layout():
    layout = FeatureLayout(
        8, circles=((1, 2),), angles=(4,), copies=((5, 0),), absolutes=(3,), actions=((6, 1),)
    )
    assert FeatureLayout.from_json(layout.to_json()) == layout
