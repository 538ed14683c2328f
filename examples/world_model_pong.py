"""Fit a world model of Pong, roll it out for 30 steps and see where it parts from the game.

    python examples/world_model_pong.py --env-id wm/PongAtari-v0 --seed 5 --output-dir out

Trains on games of players that explore or act at random and tests on the games of a player that
training never saw, from random starts; test windows whose first step also occurs in training are
left out. The model sees the observations and actions before a window, then nothing but the actions.
Its view of the game (`wm_agents.domains.pong.view`) is told much of the geometry and of how the
paddles move; what is learned are the outcomes. Writes summary.json (errors, 95 % intervals by
episode), model.safetensors, open_loop.png and play.gif (real and imagined play side by side).
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.domains.pong import layout
from wm_agents.domains.pong.view import PongView
from wm_agents.protocols import ModelState
from wm_agents.training.cards import Card, save_with_card
from wm_agents.training.summary import make_output_directory, without_infinities, write_summary
from wm_agents.world_models.objects import ObjectConfig, ObjectModel
from wm_envs import oracle, record
from wm_envs.data.paths import expand_paths
from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError
from wm_envs.pong import dynamics, render
from wm_envs.pong.planner import PlanningPlayer
from wm_envs.pong.players import BallTracker, Explorer, RandomHolder

Array = NDArray[Any]

NEWEST = np.arange(14) * 4 + 3  # columns of the newest frame
BALL_X, BALL_Y, LAST_BALL_X = 35, 39, 34
FAST = 8.0  # pixels a step: 2 a frame


@dataclass(frozen=True)
class Config:
    """What to record, fit and test."""

    env_id: str = "wm/PongAtari-v0"
    """The original, or its compiled copy wm/Pong-v0."""
    seed: int = 0
    """Of games, players, weights and batches."""
    output_dir: Path = Path("runs/world_model_pong")
    """Folder for summary.json, the model with its card and view.json, open_loop.png and play.gif."""
    repeat_action_probability: float = 0.0
    """Sticky actions."""
    train_steps: int = 200_000
    """Steps to learn from, at most.

    Three quarters are the explorer's, the rest random held actions.
    """
    test_games: int = 16
    """Full games of the player that training never saw."""
    test_player: Literal["tracker", "planner"] = "tracker"
    """Who plays them: one that follows the ball with errors, or one that looks ahead and wins."""
    horizon: int = 30
    """Steps that are imagined."""
    stride: int = 7
    """Steps between the starts of test windows."""
    spread_windows: int = 200
    """Windows in which the noise of sticky actions is drawn anew, which is slow in the original."""
    model: ObjectConfig = field(default_factory=lambda: ObjectConfig(num_updates=800))
    """Of the world model."""
    num_threads: int = 2
    """Threads of torch."""
    has_pictures: bool = True
    """Draw open_loop.png and play.gif."""


@dataclass(frozen=True)
class Windows:
    """Test windows: W starts of H steps.

    Attributes:
        observations: What happened [W, H + 1, 56].
        actions: [W, H].
        starts: The model's state at each start, with what preceded it.
        states: The game's state at each start [W].
        episodes: [W].
    """

    observations: Array
    actions: Array
    starts: ModelState
    states: Array
    episodes: Array

    @property
    def is_fast(self) -> NDArray[np.bool_]:
        """Whether the ball of a start [W] moves by at least 2 pixels a frame."""
        x, before = self.observations[:, 0, BALL_X], self.observations[:, 0, LAST_BALL_X]
        return (x > 0) & (before > 0) & (np.abs(x - before) >= FAST)


def main(config: Config) -> dict[str, float]:
    """Record, fit, test; returns the summary that is written."""
    config = expand_paths(config)
    check(config)
    torch.set_num_threads(config.num_threads)
    make_output_directory(config.output_dir, has_pictures=config.has_pictures)
    train = record_training(config)
    env = gym.make(config.env_id, **options(config))
    began = time.perf_counter()
    view, is_measured = measured(train)
    model = ObjectModel(
        env.observation_space, env.action_space, view, config.model, seed=config.seed
    )
    figures = model.fit(train)
    seconds = time.perf_counter() - began
    windows, num_left_out = test_windows(config, env, model, train)
    imagined = imagine(model, windows)
    summary = summarise(config, windows, imagined)
    summary |= {
        "train_steps": float(train.num_steps),
        "fit_seconds": seconds,
        "windows_left_out": float(num_left_out),
    }
    summary["is_view_measured"] = float(is_measured)
    summary |= {f"{name}_looked_up": figures[f"{name}_known"] for name in model.view.parts}
    write_summary(config.output_dir, summary)
    (config.output_dir / "view.json").write_text(
        json.dumps(view.to_json(), indent=2) + "\n", encoding="utf-8"
    )
    save_with_card(model, config.output_dir, card_of(config, summary))
    print(json.dumps(without_infinities(summary), indent=2))
    if config.has_pictures:
        draw_errors(config, windows, imagined)
        draw_play(config, model, windows)
    return summary


def check(config: Config) -> None:
    """Refuse before anything is recorded what would fail after it."""
    least = {"horizon": 6, "train_steps": 4, "test_games": 1, "stride": 1, "num_threads": 1}
    for name, number in least.items():
        if getattr(config, name) < number:
            raise SystemExit(f"{name} is at least {number}, got {getattr(config, name)}")


def measured(train: Trajectories) -> tuple[PongView, bool]:
    """The view, and whether the recording was long enough to give its numbers.

    Else they are the game's own.
    """
    try:
        return PongView.measured(train.observations, train.actions, train.lengths), True
    except OptionError as error:
        print(f"the view keeps the game's own numbers: {error}", flush=True)
        return PongView(), False


def card_of(config: Config, summary: dict[str, float]) -> Card:
    """What a stranger has to know about the model."""
    return Card(
        title=f"A world model of the objects of {config.env_id}",
        env_id=config.env_id,
        env_kwargs=options(config),
        scores=summary,
        command=f"python examples/world_model_pong.py --env-id {config.env_id} --seed {config.seed} "
        f"--repeat-action-probability {config.repeat_action_probability} --train-steps {config.train_steps}",
        seeds=(config.seed,),
        evaluation=f"Open loop from every {config.stride}th step of {config.test_games} games of a player, the "
        f"{config.test_player}, that training never saw; pixels.",
        limits="It reads the positions of the objects, and its view is told the form of the game's rules.",
        tags=("world-model",),
        usage=(
            "import json",
            "from pathlib import Path",
            "",
            "import gymnasium as gym",
            "import wm_envs",
            "from wm_agents.world_models.objects import ObjectModel",
            "from wm_agents.domains.pong.view import PongView",
            "",
            f'env = gym.make("{config.env_id}")',
            'view = PongView.from_json(json.loads(Path("view.json").read_text(encoding="utf-8")))',
            'model = ObjectModel.load("model.safetensors", env.observation_space, env.action_space, view)',
        ),
    )


def options(config: Config) -> dict[str, Any]:
    """Of the environment.

    A rally without end is cut before the console ends it, where nothing is left to predict.
    """
    return {"repeat_action_probability": config.repeat_action_probability, "time_limit": 16_000}


def record_training(config: Config) -> Trajectories:
    """Games of two players, cut where the steps are spent."""
    parts = []
    for number, (player, share) in enumerate(((Explorer, 0.75), (RandomHolder, 0.25))):
        seed, steps = config.seed + 1000 * number, round(share * config.train_steps)
        kwargs = {**options(config), "time_limit": min(1000, steps)}
        episodes = steps // 1000 if player is Explorer else steps // 780
        recording = record(
            config.env_id,
            episodes=max(episodes, 1),
            policy=player(seed),
            seed=seed,
            env_kwargs=kwargs,
        )
        parts.append(recording)
    episodes = [part.episode(number) for part in parts for number in range(part.num_episodes)]
    lengths = np.cumsum([len(episode.actions) for episode in episodes])
    kept = max(int((lengths <= config.train_steps).sum()), 1)
    return Trajectories.concatenate(episodes[:kept])


def test_windows(
    config: Config, env: gym.Env[Any, Any], model: ObjectModel, train: Trajectories
) -> tuple[Windows, int]:
    """Windows from games of the test player, and how many were left out.

    Training has their start.
    """
    test, states, rows = play_test(config, env)
    has_room = (
        rows + config.horizon <= (test.step_starts + test.lengths)[test.episode_of_step[rows]]
    )
    steps = rows[:, None] + np.arange(config.horizon)
    is_seen = np.zeros(test.num_steps, np.bool_)
    is_seen[test.duplicates(train).steps] = True
    # A ball that is not in play looks alike in all games, as does a slow one on its way: what
    # counts is the first step.
    is_kept = has_room & ~is_seen[rows]
    starts = model.starts(test)
    seen = test.observation_of_step[rows[is_kept]][:, None] + np.arange(config.horizon + 1)
    windows = Windows(
        test.observations[seen],
        test.actions[steps[is_kept]],
        starts.select(torch.as_tensor(rows[is_kept])),
        np.stack(states)[is_kept],
        test.episode_of_step[rows[is_kept]],
    )
    return windows, int((has_room & is_seen[rows]).sum())


def play_test(config: Config, env: gym.Env[Any, Any]) -> tuple[Trajectories, list[Array], Array]:
    """Full games from random starts, with the game's state at every window's start and the number of its step."""
    game: Any = env.unwrapped
    columns: list[list[Any]] = [[], [], [], [], []]
    states, rows = [], []
    for number in range(config.test_games):
        player = tester(config, number)
        observation, _ = env.reset(seed=config.seed + 20_000 + number)
        columns[0].append(observation)
        ended = False
        while not ended:
            if len(columns[1]) % config.stride == 0:
                states.append(game.clone_state())
                rows.append(len(columns[1]))
            action = int(player(observation[None])[0])
            observation, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            for column, value in zip(
                columns, (observation, action, reward, terminated, truncated), strict=True
            ):
                column.append(value)
    return (
        Trajectories.from_arrays(*(np.array(column) for column in columns)),
        states,
        np.array(rows),
    )


def tester(config: Config, number: int) -> Callable[[Array], Array]:
    """The player of a test game."""
    if config.test_player == "planner":
        return PlanningPlayer(config.seed + 20_000 + number, env_kwargs=options(config))
    return BallTracker(config.seed + 10_000 + number, fire_share=0.3)


def imagine(model: ObjectModel, windows: Windows) -> Array:
    """The likeliest future [W, H + 1, 56] under the recorded actions."""
    futures: Array = model.rollout(
        windows.starts, torch.as_tensor(windows.actions)
    ).observations.numpy()
    return futures


def summarise(config: Config, windows: Windows, imagined: Array) -> dict[str, float]:
    """Flat names to numbers, with 95 % intervals that resample whole games."""
    real = windows.observations
    summary: dict[str, float] = {
        "windows": float(len(real)),
        "fast_share": float(windows.is_fast.mean()),
    }
    for step in (1, 6, config.horizon):
        summary |= errors_at(step, real, imagined, windows.episodes)
    summary |= {
        f"persistence_{k}": v
        for k, v in errors_at(6, real, real[:, :1].repeat(7, 1), windows.episodes).items()
    }
    straight = straight_on(real[:, 0], 6)
    summary |= {
        f"constant_velocity_{k}": v
        for k, v in errors_at(6, real, straight, windows.episodes).items()
    }
    if windows.is_fast.sum() > 1:
        fast = windows.is_fast
        summary |= {
            f"fast_{k}": v
            for k, v in errors_at(6, real[fast], imagined[fast], windows.episodes[fast]).items()
        }
    if config.repeat_action_probability > 0:
        summary |= spread(config, windows, imagined)
    return summary


def spread(config: Config, windows: Windows, imagined: Array) -> dict[str, float]:
    """How far the game itself strays from what happened if its noise is drawn anew, and the model in these windows."""
    num_windows = len(windows.actions)
    chosen = np.linspace(0, num_windows - 1, min(config.spread_windows, num_windows)).astype(int)
    states, actions, real = (
        windows.states[chosen],
        windows.actions[chosen],
        windows.observations[chosen],
    )
    again = oracle.rollout(
        config.env_id, states, actions, env_kwargs=options(config), seed=config.seed + 1
    )[0]
    summary = {}
    for step in (6, config.horizon):
        for name, futures in (("spread", again), ("model_beside_spread", imagined[chosen])):
            errors = errors_at(step, real, futures, windows.episodes[chosen])
            summary |= {f"{name}_{key}": value for key, value in errors.items()}
    return summary


def straight_on(seen: Array, num_steps: int) -> Array:
    """The future [W, num_steps + 1, 56] in which everything but the scores moves on as in the last step."""
    frames = seen.reshape(len(seen), 14, 4)
    velocity = frames[..., 3] - frames[..., 2]
    velocity[:, 12:] = 0
    velocity[(frames[:, 8, 2:] == 0).any(1), 8:10] = 0  # a ball that comes or goes
    futures = [frames]
    for _ in range(num_steps):
        newest = futures[-1][..., 3] + velocity
        futures.append(np.concatenate([futures[-1][..., 1:], newest[..., None]], 2))
    return np.stack([future.reshape(len(seen), -1) for future in futures], 1)


def errors_at(step: int, real: Array, imagined: Array, episodes: Array) -> dict[str, float]:
    """Mean squared errors over the 56 and the 14 newest features, share of exact windows and the ball's error in px."""
    squared = (imagined[:, step] - real[:, step]) ** 2
    newest = squared[:, NEWEST]
    both = (real[:, step, BALL_X] > 0) & (imagined[:, step, BALL_X] > 0)
    ball = squared[both][:, [BALL_X, BALL_Y]].sum(1)
    measured: dict[str, Array] = {
        f"mse56_step{step}": squared.mean(1),
        f"mse14_step{step}": newest.mean(1),
        f"exact_share_step{step}": (newest == 0).all(1).astype(float),
    }
    summary: dict[str, float] = {}
    for name, values in measured.items():
        low, high = interval_by_episode(values, episodes)
        summary |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
    summary[f"median14_step{step}"] = float(np.median(newest.mean(1)))
    summary[f"ball_rmse_step{step}"] = float(np.sqrt(ball.mean())) if both.any() else 0.0
    summary[f"ball_agrees_step{step}"] = float(
        ((real[:, step, BALL_X] > 0) == (imagined[:, step, BALL_X] > 0)).mean()
    )
    return summary


def interval_by_episode(
    values: Array, episodes: Array, num_resamples: int = 2000
) -> tuple[float, float]:
    """A 95 % interval of the mean that resamples whole episodes, since windows of one episode are alike.

    A single episode has the limits 0 and infinity, which summary.json shows as null.
    """
    _, group = np.unique(episodes, return_inverse=True)
    if group.max() == 0:
        return 0.0, np.inf  # one game says nothing of others
    totals, counts = np.bincount(group, values), np.bincount(group)
    drawn = np.random.default_rng(0).integers(len(counts), size=(num_resamples, len(counts)))
    means = totals[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def draw_errors(config: Config, windows: Windows, imagined: Array) -> None:
    """Error and share of exact windows against the step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    real, steps = windows.observations, np.arange(1, config.horizon + 1)
    squared = ((imagined - real) ** 2)[:, 1:, NEWEST]
    still = ((real[:, :1] - real) ** 2)[:, 1:, NEWEST]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(steps, still.mean((0, 2)), "--", color="#5A5A5A", label="nothing changes")
    left.plot(steps, squared.mean((0, 2)), "o-", color="#0072B2", label="world model")
    left.set(
        xlabel="steps ahead",
        ylabel="mean squared error over 14 features [px²]",
        yscale="symlog",
        title=config.env_id,
    )
    left.legend()
    exact = (squared == 0).all(2)
    for label, mask, colour in (
        ("all", slice(None), "#0072B2"),
        ("fast balls", windows.is_fast, "#D55E00"),
    ):
        right.plot(steps, exact[mask].mean(0), "o-", color=colour, label=label)
    right.set(
        xlabel="steps ahead", ylabel="share of windows exact in all 14 features", ylim=(0, 1.02)
    )
    right.legend()
    figure.savefig(config.output_dir / "open_loop.png", dpi=120)


def draw_play(config: Config, model: ObjectModel, windows: Windows, num_windows: int = 8) -> None:
    """Real play on the left, imagined play on the right, which is set right again after every window."""
    import imageio

    chosen = np.linspace(0, len(windows.actions) - 1, num_windows).astype(int)
    imagined = model.rollout(
        windows.starts.select(torch.as_tensor(chosen)), torch.as_tensor(windows.actions[chosen])
    )
    pictures = []
    for number, window in enumerate(chosen):
        for step in range(config.horizon + 1):
            real = picture(windows.observations[window, step])
            dream = picture(imagined.observations[number, step].numpy())
            pictures.append(np.concatenate([real, np.zeros((len(real), 8, 3), np.uint8), dream], 1))
    imageio.mimsave(config.output_dir / "play.gif", pictures, duration=1000 / 15, loop=0)


def picture(observation: Array) -> NDArray[np.uint8]:
    """The newest frame of an observation as the screen shows it."""
    values = observation[np.array(layout.DECIDED) * 4 + 3]
    has_ball = values[1] > 0
    offsets = (dynamics.PLAYER_TOP, dynamics.BALL_LEFT, dynamics.BALL_TOP, dynamics.ENEMY_TOP, 0, 0)
    # Imagined values may leave the screen, and a score the digits that it is shown with.
    player_y, ball_x, ball_y, enemy_y, *scores = np.clip(
        values + np.array(offsets), 0, (255,) * 4 + (99,) * 2
    ).astype(int)
    ball = (int(ball_x), int(ball_y)) if has_ball else (0, 0)
    word = dynamics.packed(int(player_y), int(enemy_y), *ball, int(scores[0]), int(scores[1]))
    return np.asarray(render.draw({"seen_0": word}), np.uint8)


if __name__ == "__main__":
    main(tyro.cli(Config))
