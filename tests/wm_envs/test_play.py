import json
import subprocess
import sys
from types import SimpleNamespace

import gymnasium as gym
import pytest

from examples import play as example
from wm_envs import play
from wm_envs.errors import OptionError
from wm_envs.rendering import window

ROWS = [
    row
    for row in list(gym.registry)  # making one may register others
    if row.startswith("wm/") and isinstance(gym.make(row).action_space, gym.spaces.Discrete)
]


def run(text, *arguments):
    command = [sys.executable, "examples/play.py", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, env=None)


def test_a_piped_game_ends_cleanly_at_the_end_of_the_input(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ".")
    result = run("3\nzz\n99\n3\n\n3\n3\n", "--env-id", "wm/Navigation-v0", "--seed", "4")
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.count("is no action: enter 0 to 7, or q to quit") == 2
    assert "last action 3" in result.stdout
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary == {"episodes": 1, "mean_return": 0.0, "success_rate": 0.0}


@pytest.mark.parametrize("env_id", ROWS)
def test_every_id_can_be_played_as_text(env_id, monkeypatch, capsys):
    monkeypatch.setattr(play, "lines", lambda: iter(["1"] * 1200))
    summary = play.play(env_id, seed=1)
    assert summary["episodes"] >= 1
    assert env_id.removeprefix("wm/").removesuffix("-v0") in capsys.readouterr().out


def test_nothing_after_q_is_played(monkeypatch):
    monkeypatch.setattr(play, "lines", lambda: iter(["1", "q", "1", "1"]))
    assert play.play("wm/PatternEcho-v0")["episodes"] == 1


def test_the_summary_counts_finished_episodes(monkeypatch):
    env = gym.make("wm/DelayedMatch-v0")
    right = str(int(env.reset(seed=0)[0].argmax()))
    monkeypatch.setattr(play, "lines", lambda: iter([right, right, "0"]))
    summary = play.play("wm/DelayedMatch-v0")
    assert summary == {"episodes": 1, "mean_return": 1.0, "success_rate": 1.0}


@pytest.mark.parametrize(
    ("entry", "action"),
    [
        *[("0", 0), ("9", 9), ("12", 12), ("a", 10), ("F", 15)],
        *[(entry, None) for entry in ("g", "16", "-1", "1.5", "9" * 5000, "³", "", "ab")],
    ],
)
def test_what_an_entry_stands_for(entry, action):
    assert play.action_of(entry, 16) == action


def test_a_window_is_played_with_its_keys(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    keys = [SimpleNamespace(type=pygame.KEYDOWN, unicode=key) for key in ("1", "\r", "z", "2", "q")]
    events = iter([SimpleNamespace(type=pygame.KEYUP), *keys])
    monkeypatch.setattr(pygame.event, "wait", lambda: next(events))
    summary = play.play("wm/PatternEcho-v0", render_mode="human")
    assert summary["episodes"] == 2


def test_closing_the_window_ends_the_game(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setattr(pygame.event, "wait", lambda: SimpleNamespace(type=pygame.QUIT))
    assert list(play.key_presses()) == []


def test_a_box_without_keys_is_refused_in_a_window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.raises(OptionError, match="action_of_keys"):
        play.play("Pendulum-v1", render_mode="human")
    with pytest.raises(SystemExit, match="action_of_keys"):
        example.main(example.Config(env_id="Pendulum-v1", render_mode="human"))


def test_a_box_is_played_with_lines_of_numbers(monkeypatch, capsys):
    monkeypatch.setattr(
        play, "lines", lambda: iter(["1 1 0"] * 200 + ["1 2 0", "fast", "1 0", "q", "0 1 0"])
    )
    summary = play.play("wm/Driving-v0", seed=1)
    assert summary["episodes"] >= 1  # full lock leaves the road
    assert capsys.readouterr().out.count("is no action: enter numbers within") == 3


def test_the_arrow_keys_drive():
    env = gym.make("wm/Driving-v0").unwrapped
    assert env.action_of_keys(frozenset({"left", "up"})).tolist() == [0.5, 1.0, 0.0]
    assert env.action_of_keys(frozenset({"right", "down"})).tolist() == [-0.5, 0.0, 1.0]


def show_of(window, monkeypatch):
    """What windows are asked to show: legends and cards."""
    shown = []
    show = window.Window.show

    def noted(self, frame, legend=(), card=()):
        shown.append((legend, card))
        show(self, frame, legend, card)

    monkeypatch.setattr(window.Window, "show", noted)
    return shown


def test_a_window_has_a_legend_and_a_card_at_the_end(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    keys = [SimpleNamespace(type=pygame.KEYDOWN, unicode=key) for key in ("1", "4", "1", "q", "1")]
    events = iter(keys)
    monkeypatch.setattr(pygame.event, "wait", lambda: next(events))
    shown = show_of(window, monkeypatch)
    summary = play.play("wm/UNResolution-v0", render_mode="human")
    assert summary["episodes"] == 1
    legend = shown[0][0]
    assert legend == ("0 cosponsor, 1 yes, 2 no, 3 abstain, 4 no action, q quits",)
    cards = [card for _, card in shown if card]
    assert cards[0][0] == "episode 1"
    assert cards[0][1].startswith("return ")


def test_pong_is_played_in_real_time(monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    held = [frozenset({"up"}), frozenset({"down", "space"}), frozenset()]
    monkeypatch.setattr(play, "held_keys", lambda _: iter(held))
    shown = show_of(window, monkeypatch)
    assert play.play("wm/Pong-v0", render_mode="human")["episodes"] == 0
    assert len(shown) == 1 + len(held)
    assert "space fires" in shown[0][0][0]
    keyboard = gym.make("wm/Pong-v0").unwrapped
    assert [keyboard.action_of_keys(keys) for keys in held] == [2, 5, 0]


def test_without_a_display_there_is_no_window_that_waits_forever(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(pygame.display, "get_driver", lambda: window.HIDDEN)
    with pytest.raises(OptionError, match="no display"):
        play.play("wm/PatternEcho-v0", render_mode="human")


def test_a_gamepad_presses_keys():
    def pad(axes, buttons):
        return SimpleNamespace(
            get_numaxes=lambda: len(axes),
            get_axis=axes.__getitem__,
            get_numbuttons=lambda: len(buttons),
            get_button=buttons.__getitem__,
        )

    assert window.gamepad_keys(pad([-0.8, 0.1], [1, 0, 0])) == {"left", "up"}
    assert window.gamepad_keys(pad([0.9, 0.7], [0, 0, 0, 1])) == {"right", "down", "space"}
    assert window.gamepad_keys(pad([0.1], [0, 1])) == {"down"}


def test_any_environment_with_pictures_has_a_window(monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(play, "key_presses", lambda: iter("01"))
    assert play.play("CartPole-v1", render_mode="human")["episodes"] == 0
