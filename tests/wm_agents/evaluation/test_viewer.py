"""The page's model gives Python's numbers, and the page loads, plays, scrubs and branches."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import wm_agents as wma
from wm_agents.errors import ConfigError, NotFittedError, SpaceError, TrajectoryError
from wm_agents.evaluation import viewer as module
from wm_agents.evaluation.viewer import describe_model, viewer
from wm_agents.world_models import DerivedFeature, FeatureLayout
from wm_envs import record
from wm_envs.errors import OptionError

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="JavaScript is run by node")
HARNESS = Path(__file__).parents[2] / "support" / "viewer.js"
ENGINE = Path(module.__file__).parent / "viewer_page" / "model.js"
SMALL: dict[str, Any] = {"dynamics_widths": (16, 16), "reward_widths": (8,)}
NAMES = ("cosine", "sine", "velocity </script><b>")


def javascript(*arguments: str, given: Any = None) -> Any:
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(HARNESS), *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fitted(env_id: str, config: Any) -> tuple[Any, wma.Trajectories]:
    data = record(env_id, episodes=12, seed=0, progress=False)
    kind: Any = (
        wma.EnsembleModel if isinstance(config, wma.EnsembleConfig) else wma.DeterministicModel
    )
    model = kind.for_env(env_id, config)
    model.fit(data, wma.FitConfig(num_updates=60))
    return model, data


@pytest.fixture(scope="module")
def pendulum() -> tuple[Any, wma.Trajectories]:
    return fitted("Pendulum-v1", wma.DeterministicConfig(**SMALL))


def check_parity(model: Any, data: wma.Trajectories, num_steps: int = 1000) -> None:
    """Single steps from recorded states, and rollouts of ten."""
    rows = np.random.default_rng(0).integers(0, data.num_steps, num_steps)
    starts, actions = data.start_observations[rows], data.actions[rows]
    given = {
        "spec": describe_model(model),
        "starts": starts.tolist(),
        "actions": [[action] for action in actions.tolist()],
    }
    theirs = javascript("rollout", str(ENGINE), given=given)
    ours = model.predict(torch.as_tensor(starts), torch.as_tensor(actions))
    after = np.array([one["observations"][1] for one in theirs])
    np.testing.assert_allclose(after, ours.observations.numpy(), rtol=1e-4, atol=1e-4)
    for name, expected in (("rewards", ours.rewards), ("terminations", ours.terminations)):
        found = np.array([one[name][0] for one in theirs])
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
    window = data.windows(10, data.window_starts(10)[:20])
    given["starts"], given["actions"] = window.observations[:, 0].tolist(), window.actions.tolist()
    theirs = javascript("rollout", str(ENGINE), given=given)
    imagined = model.rollout(window.observations[:, 0], window.actions).observations.numpy()
    found = np.array([one["observations"] for one in theirs])
    np.testing.assert_allclose(found, imagined, rtol=1e-3, atol=1e-3)


@needs_node
def test_a_circle_and_vectors_of_actions(pendulum: tuple[Any, wma.Trajectories]) -> None:
    check_parity(*pendulum)


@needs_node
@pytest.mark.parametrize(
    "config",
    [
        wma.EnsembleConfig(**SMALL, num_members=3, activation="elu"),
        wma.DeterministicConfig(**SMALL, latent_size=4, encoder_widths=(8,), activation="tanh"),
        wma.DeterministicConfig(**SMALL, activation="relu"),
    ],
    ids=["ensemble", "encoder", "relu"],
)
def test_counted_actions_and_ends(config: Any) -> None:
    check_parity(*fitted("CartPole-v1", config))


@needs_node
def test_layouts_with_every_rule() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(401, 6)).astype(np.float32)
    rows[1:, 2] = rows[:-1, 1]
    rows[:, 3] = np.mod(np.arange(401) * 0.4 + np.pi, 2 * np.pi) - np.pi
    acts = generator.integers(3, 6, 400)
    rows[1:, 5] = acts == 4
    data = wma.Trajectories.from_arrays(rows, acts, rows[1:, 0], np.zeros(400, bool))
    layout = FeatureLayout(
        6, angles=(3,), copies=((2, 1),), absolutes=(0,), actions=((5, 1),), for_heads=(1,), ignored=(4,)
    )  # fmt: skip
    space = gym.spaces.Box(-np.inf, np.inf, (6,))
    model = wma.DeterministicModel(
        space, gym.spaces.Discrete(3, start=3), wma.DeterministicConfig(**SMALL), layout=layout
    )
    model.fit(data, wma.FitConfig(num_updates=30))
    check_parity(model, data)


@needs_node
@pytest.mark.parametrize("env_id", ["wm/LightsOut-v0", "wm/PermPuzzle-v0", "wm/TokenAutomaton-v0"])
def test_tokens_and_programs(env_id: str) -> None:
    data = record(env_id, episodes=80, seed=0, progress=False)
    model = wma.TokenModel.for_env(env_id)
    model.fit(data)
    check_parity(model, data)


@needs_node
def test_all_that_the_grammar_has() -> None:
    text = (
        "feature x: -3..4 at column 0\nfeature y: 0..8 at column 1, step 0.5 from -1\n"
        "table t: 3 1 0 2\nk = 0\nwhile k * k < y:\n    k = k + 1\n"
        "if action in {1, 2} and not x == 4:\n    x = min(max(-x // 2 + t[(x + 3) % 4] - 1, -3), 4)\n"
        "elif x < 0 <= y or abs(x) >= 2:\n    x, y = y % 5 - 1, abs(x)\nelse:\n    y = unknown\n"
        "reward = sum((x, after.x, 0.5)) * (1 if any((x > 1, y != 3)) else 2)\n"
        "terminated = all((after.y == 2, k > 1))\n"
    )
    model = wma.ProgramModel(text, gym.spaces.Box(-9, 9, (2,)), gym.spaces.Discrete(3))
    grid = np.stack(np.meshgrid(np.arange(-3, 5), np.arange(9) / 2 - 1, [0, 1, 2]), -1).reshape(
        -1, 3
    )
    starts, actions = grid[:, :2].astype(np.float32), grid[:, 2].astype(int)
    ours = model.predict(starts, actions)
    given = {"spec": describe_model(model), "starts": starts.tolist()}
    theirs = javascript(
        "rollout", str(ENGINE), given=given | {"actions": actions[:, None].tolist()}
    )
    assert [one["observations"][1] for one in theirs] == ours.observations.tolist()
    assert [one["rewards"][0] for one in theirs] == ours.rewards.tolist()
    assert [one["terminations"][0] for one in theirs] == ours.terminations.tolist()
    for rule in ("x = x + 9", "x = t[9]", "x = 1 // (x - x)", "while 1 == 1:\n    pass"):
        broken = wma.ProgramModel(
            f"feature x: 0..4 at column 0\ntable t: 1\n{rule}\n",
            gym.spaces.Box(0, 4, (1,)),
            gym.spaces.Discrete(2),
        )
        given = {"spec": describe_model(broken), "starts": [[1]], "actions": [[0]]}
        assert "line 3" in javascript("rollout", str(ENGINE), given=given)[0]["error"]


@needs_node
def test_the_page_loads_plays_scrubs_and_branches(
    pendulum: tuple[Any, wma.Trajectories], tmp_path: Path
) -> None:
    model, data = pendulum
    path = viewer(model, data, tmp_path / "look", title="<Look>", feature_names=NAMES, horizon=30)
    assert path.name == "look.html"
    assert path.stat().st_size < module.MAX_BYTES
    seen = javascript("page", str(path), "2.0")
    assert seen["errors"] == []
    assert seen["network"] == []
    assert seen["milliseconds"] < 1000
    assert seen["loaded"]["where"] == "step 0 of 30, episode 1 from step 0"
    assert seen["loaded"]["plots"].count("<figure>") == 4
    assert seen["loaded"]["plots"].count('class="band"') == 3
    assert "velocity &lt;/script&gt;" in seen["loaded"]["plots"]
    assert (seen["playing"]["step"], seen["playing"]["play"]) == (3, "Pause")
    assert (seen["paused"]["step"], seen["paused"]["play"]) == (3, "Play")
    assert seen["window"]["where"] == "step 0 of 30, episode 1 from step 2"
    np.testing.assert_allclose(seen["window"]["recorded"][0], data.observations[2], rtol=1e-5)
    assert seen["scrubbed"]["branch"] is None
    actions = data.actions[2:32].copy()
    actions[1] = 2.0
    expected = model.rollout(data.observations[2:3], actions[None]).observations[0].numpy()
    np.testing.assert_allclose(seen["branched"]["branch"], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(seen["branched"]["branch"][1], seen["branched"]["model"][1])
    assert seen["branched"]["note"].startswith("1 action(s) changed")
    assert seen["branched"]["plots"].count('class="branch"') == 4
    assert seen["undone"]["branch"] is None
    assert seen["other"]["where"].startswith("step 0 of 30, episode 2")
    page = path.read_text(encoding="utf-8")
    assert "prefers-color-scheme:dark" in page
    assert 'name="viewport"' in page
    assert "&lt;Look&gt;" in page
    assert "certified" in page


@needs_node
def test_a_page_of_a_program_shows_what_went_wrong(tmp_path: Path) -> None:
    data = record("wm/LightsOut-v0", episodes=4, seed=0, progress=False)
    lines = [
        "feature cell[18]: 0..1 at column 0",
        "if action == 3:",
        "    cell[0] = 2 - cell[0] * 1",
    ]
    text = "\n".join(lines).replace("2 - cell[0] * 1", "cell[0] + cell[0] + 2")
    good = wma.ProgramModel.for_env("wm/LightsOut-v0", lines[0])
    path = viewer(good, data, tmp_path / "look.html", horizon=5, max_episodes=2)
    seen = javascript("page", str(path), "3")
    assert seen["branched"]["problem"] == ""
    assert "they take at least 9 held-out episodes, and there are 4" in path.read_text(
        encoding="utf-8"
    )
    assert "band" not in seen["loaded"]["plots"]
    bad = wma.ProgramModel.for_env("wm/LightsOut-v0", text)
    quiet = data.select([0])
    safe = wma.Trajectories(
        quiet.observations,
        np.zeros_like(quiet.actions),
        quiet.rewards,
        quiet.terminations,
        quiet.truncations,
        quiet.lengths,
    )
    twice = wma.Trajectories.concatenate([safe, safe])
    seen = javascript("page", str(viewer(bad, twice, tmp_path / "bad.html", horizon=5)), "3")
    assert "line 3: cell[0] would become" in seen["branched"]["problem"]
    assert seen["undone"]["problem"] == ""


def test_what_no_page_can_run_or_hold_is_refused(
    pendulum: tuple[Any, wma.Trajectories], tmp_path: Path
) -> None:
    model, data = pendulum
    path = tmp_path / "look.html"
    with pytest.raises(NotFittedError):
        viewer(wma.DeterministicModel.for_env("Pendulum-v1"), data, path)
    table = wma.TabularModel.for_env("CartPole-v1")
    carts = record("CartPole-v1", episodes=2, seed=0, progress=False)
    table.fit(carts)
    with pytest.raises(ConfigError, match="no page can run a TabularModel"):
        viewer(table, carts, path)
    with pytest.raises(SpaceError, match="the model expects"):
        viewer(model, carts, path)
    layout = FeatureLayout(3, derived=(DerivedFeature((2,), lambda before, after: before[:, 2:]),))
    derived = wma.DeterministicModel(
        gym.spaces.Box(-8, 8, (3,)),
        gym.spaces.Box(-2, 2, (1,)),
        wma.DeterministicConfig(**SMALL),
        layout=layout,
    )
    derived.fit(data, wma.FitConfig(num_updates=5))
    with pytest.raises(ConfigError, match="with derived features"):
        viewer(derived, data, path)
    wide, _ = fitted("Pendulum-v1", wma.DeterministicConfig(dynamics_widths=(600, 600)))
    with pytest.raises(ConfigError, match="fit narrower networks"):
        viewer(wide, data, path)
    with pytest.raises(TrajectoryError, match="are no features"):
        viewer(model, data, path, shown=("speed",))
    with pytest.raises(ConfigError, match="horizon"):
        viewer(model, data, path, horizon=0)
    assert not path.exists()


@pytest.mark.parametrize(
    ("low", "high", "recorded"),
    [(100, 200, (120, 180)), (1000, 1002, (1000, 1002)), (-1e-7, 1e-7, (-1e-7, 1e-7))],
)
def test_a_slider_ends_where_actions_do(
    low: float, high: float, recorded: tuple[float, ...]
) -> None:
    space = gym.spaces.Box(low, high, (1,), np.float32)
    found = module._action(space, np.float32(recorded)[:, None])
    assert found["low"] == pytest.approx([low])
    assert found["high"] == pytest.approx([high])


@pytest.mark.parametrize("recorded", [(-3e5, 3e5), (4e-7, 5e-7), (70.0, 70.0), (0.0, 0.0)])
def test_a_slider_without_bounds_reaches_beyond_what_was_recorded(
    recorded: tuple[float, ...],
) -> None:
    for reach in (np.inf, 1e30):
        space = gym.spaces.Box(-reach, reach, (1,), np.float32)
        found = module._action(space, np.float32(recorded)[:, None])
        width = max(recorded) - min(recorded) or max(abs(recorded[0]), 1.0)
        assert found["low"] == pytest.approx([min(recorded) - 5 * width])
        assert found["high"] == pytest.approx([max(recorded) + 5 * width])


def test_a_page_that_cannot_be_written_is_refused_before_the_work(
    pendulum: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = pendulum
    monkeypatch.setattr(module, "certified_horizon", lambda *_, **__: pytest.fail("worked"))
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "file" / "page.html", ""):
        with pytest.raises(OptionError):
            viewer(model, data, path)
