"""Open-loop errors of a world model of Pong, in games of players that training never saw.

Trains on games of players that explore or act at random and tests on full games of another one,
from random starts; test windows whose first step also occurs in training are left out. The model
reads the observations and actions before a window, then nothing but the actions.

Where nothing is specified, no explorer that knows the ball plays for training: half of the steps
hold random actions, and half are those of a policy that learns in the model itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.domains.pong.dreaming import DreamConfig, DreamTraining
from wm_agents.domains.pong.object_view import calibrated_view
from wm_agents.domains.pong.specification import Specified
from wm_agents.domains.pong.state import FEATURE_OF_PART, NEWEST_COLUMNS, Part
from wm_agents.errors import ConfigError
from wm_agents.protocols import ModelState
from wm_agents.world_models.object_fitting import ObjectConfig
from wm_agents.world_models.objects import ObjectModel
from wm_agents.world_models.stacked_forest import StackedForestModel
from wm_agents.world_models.stacked_search import ForestConfig
from wm_envs import oracle, record
from wm_envs.data.trajectories import Trajectories
from wm_envs.pong import dynamics, render
from wm_envs.pong.columns import NUM_FEATURES, STACK, PongFeature
from wm_envs.pong.planner import PlanningPlayer
from wm_envs.pong.players import BallTracker, Explorer, RandomHolder

Array = NDArray[Any]

NEWEST = np.array(NEWEST_COLUMNS)
BALL_X = NEWEST_COLUMNS[PongFeature.BALL_X]
BALL_Y = NEWEST_COLUMNS[PongFeature.BALL_Y]
LAST_BALL_X = BALL_X - 1
MEAN_LENGTH = 780  # steps of a game of random actions
FAST = 8.0  # pixels a step: 2 a frame
HOLDS = (1, 2, 3, 5, 12, 30)  # longest times for which random actions are held
OWN_SHARES = (0.4, 0.3, 0.3)  # of the steps that explore in rounds
STEPS = (1, 6)  # at which errors are given, beside the horizon


@dataclass(frozen=True)
class OpenLoopConfig:
    """What to record, fit and test."""

    env_id: str = "wm/PongAtari-v0"
    """The original, or its compiled copy wm/Pong-v0."""
    seed: int = 0
    """Of games, players, weights and batches."""
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
    specified: Specified = "everything"
    """What the model and the players of its training are told of the game."""
    model: ObjectConfig = field(default_factory=lambda: ObjectConfig(num_updates=800))
    """Of the world model to which rules are specified."""
    forest: ForestConfig = field(default_factory=ForestConfig)
    """Of the world model to which nothing is specified."""
    own_updates: tuple[int, int, int] = (40, 40, 1)
    """Updates of the policy whose games such a model learns from, by round; the last plays none."""
    num_threads: int = 2
    """Threads of torch."""

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """Options of the environment.

        A rally without end is cut before the console ends it, where nothing is left to predict.
        """
        return {
            "repeat_action_probability": self.repeat_action_probability,
            "time_limit": 16_000,
        }

    def check(self) -> None:
        """Raise ConfigError before anything is recorded for what would fail after it."""
        least = {
            "horizon": max(STEPS),
            "train_steps": 4,
            "test_games": 1,
            "stride": 1,
            "num_threads": 1,
        }
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ConfigError(f"{name} is at least {number}, got {getattr(self, name)}")


@dataclass(frozen=True)
class _OpenLoopWindows:
    """W test windows of H steps.

    Attributes:
        observations: What happened [W, H + 1, 56].
        actions: [W, H].
        starts: The model's state at each start, with what preceded it.
        game_states: The game's state at each start [W].
        episodes: [W].
    """

    observations: Array
    actions: Array
    starts: ModelState
    game_states: Array
    episodes: Array

    @property
    def is_fast(self) -> NDArray[np.bool_]:
        """Whether the ball of a start [W] moves by at least 2 pixels a frame."""
        x = self.observations[:, 0, BALL_X]
        before = self.observations[:, 0, LAST_BALL_X]
        is_fast: NDArray[np.bool_] = (x > 0) & (before > 0) & (np.abs(x - before) >= FAST)
        return is_fast


# Games


def record_training(config: OpenLoopConfig) -> Trajectories:
    """Games to learn from, cut where the steps are spent."""
    if config.specified == "none":
        return _record_without_knowledge(config)
    return _record_scripted(config)


def _record_without_knowledge(config: OpenLoopConfig) -> Trajectories:
    """Random actions held for times of all lengths, and a policy that learns in rounds."""
    num_random = config.train_steps // 2
    episodes = []
    for number, max_hold in enumerate(HOLDS):
        seed = config.seed + 1000 * number
        steps = num_random // len(HOLDS)
        recording = record(
            config.env_id,
            episodes=max(steps // MEAN_LENGTH, 1),
            policy=RandomHolder(seed, max_hold=max_hold),
            seed=seed,
            env_kwargs={**config.env_kwargs, "time_limit": min(1000, steps)},
            progress=False,
        )
        episodes += [recording.episode(row) for row in range(recording.num_episodes)]
    num_left = config.train_steps - sum(len(episode.actions) for episode in episodes)
    explorer = DreamTraining(
        DreamConfig(
            env_id=config.env_id,
            seed=config.seed + 1000 * len(HOLDS),
            max_real_steps=num_left,
            repeat_action_probability=config.repeat_action_probability,
            specified="none",
            shares=OWN_SHARES,
            dream_updates=config.own_updates,
            forest=replace(
                config.forest,
                num_trees=min(config.forest.num_trees, 3),
                search_steps=min(config.forest.search_steps, 6000),
                searches_columns=False,
            ),
        )
    )
    explorer.train()
    return Trajectories.concatenate([*episodes, explorer.experience.trajectories()])


def _record_scripted(config: OpenLoopConfig) -> Trajectories:
    """Games of two players."""
    episodes = []
    for number, (player, share) in enumerate(((Explorer, 0.75), (RandomHolder, 0.25))):
        seed = config.seed + 1000 * number
        steps = round(share * config.train_steps)
        # An explorer's episode lasts to its limit, a random player loses in about 780 steps.
        mean_length = 1000 if player is Explorer else MEAN_LENGTH
        recording = record(
            config.env_id,
            episodes=max(steps // mean_length, 1),
            policy=player(seed),
            seed=seed,
            env_kwargs={**config.env_kwargs, "time_limit": min(1000, steps)},
        )
        episodes += [recording.episode(row) for row in range(recording.num_episodes)]
    ends = np.cumsum([len(episode.actions) for episode in episodes])
    num_kept = max(int((ends <= config.train_steps).sum()), 1)
    return Trajectories.concatenate(episodes[:num_kept])


def untrained_model(
    config: OpenLoopConfig, env: gym.Env[Any, Any], train: Trajectories
) -> tuple[ObjectModel | StackedForestModel, bool]:
    """The model of what is specified, and whether its view is estimated from the recording."""
    if config.specified != "everything":
        return StackedForestModel.for_env(env, config.forest, seed=config.seed), True
    view, is_measured = calibrated_view(train)
    return ObjectModel.for_env(env, config.model, view=view, seed=config.seed), is_measured


def play_test(
    config: OpenLoopConfig, env: gym.Env[Any, Any]
) -> tuple[Trajectories, list[Array], NDArray[np.int64]]:
    """Full games of the test player from random starts.

    Returns:
        The games, the game's state at every window's start, and the number of its step.
    """
    game: Any = env.unwrapped
    episodes = []
    game_states = []
    starts = []
    num_steps = 0
    for number in range(config.test_games):
        player = _test_player(config, number)
        observation, _ = env.reset(seed=config.seed + 20_000 + number)
        observations = [observation]
        steps: list[tuple[Any, ...]] = []
        ended = False
        while not ended:
            if num_steps % config.stride == 0:
                game_states.append(game.clone_state())
                starts.append(num_steps)
            action = int(player(observation[None])[0])
            observation, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            observations.append(observation)
            steps.append((action, reward, terminated, truncated))
            num_steps += 1
        columns = (np.array(column) for column in zip(*steps, strict=True))
        episodes.append(Trajectories.from_arrays(np.array(observations), *columns))
    return Trajectories.concatenate(episodes), game_states, np.array(starts)


def _test_player(config: OpenLoopConfig, number: int) -> Callable[[Array], Array]:
    """The player of a test game."""
    if config.test_player == "planner":
        return PlanningPlayer(config.seed + 20_000 + number, env_kwargs=config.env_kwargs)
    return BallTracker(config.seed + 10_000 + number, fire_share=0.3)


def open_loop_windows(
    config: OpenLoopConfig,
    env: gym.Env[Any, Any],
    model: ObjectModel | StackedForestModel,
    train: Trajectories,
) -> tuple[_OpenLoopWindows, int]:
    """Windows from games of the test player, and how many were left out.

    Training has their start.
    """
    test, game_states, starts = play_test(config, env)
    episodes = test.episode_of_step[starts]
    has_room = starts + config.horizon <= (test.step_starts + test.lengths)[episodes]
    is_in_training = np.zeros(test.num_steps, np.bool_)
    is_in_training[test.duplicates(train).steps] = True
    # A ball that is not in play looks alike in all games, as does a slow one on its way: what
    # counts is the first step.
    is_kept = has_room & ~is_in_training[starts]
    rows = starts[is_kept]
    first = test.observation_of_step[rows]
    windows = _OpenLoopWindows(
        observations=test.observations[first[:, None] + np.arange(config.horizon + 1)],
        actions=test.actions[rows[:, None] + np.arange(config.horizon)],
        starts=model.starts(test).select(torch.as_tensor(rows)),
        game_states=np.stack(game_states)[is_kept],
        episodes=episodes[is_kept],
    )
    return windows, int((has_room & is_in_training[starts]).sum())


def imagine(model: ObjectModel | StackedForestModel, windows: _OpenLoopWindows) -> Array:
    """The likeliest future [W, H + 1, 56] under the recorded actions."""
    rollout = model.rollout(windows.starts, torch.as_tensor(windows.actions))
    observations: Array = rollout.observations.numpy()
    return observations


# Errors


def summarize(
    config: OpenLoopConfig, windows: _OpenLoopWindows, imagined: Array
) -> dict[str, float]:
    """Flat names to numbers, with 95 % intervals that resample whole games."""
    real = windows.observations
    episodes = windows.episodes
    is_fast = windows.is_fast
    summary = {"windows": float(len(real)), "fast_share": float(is_fast.mean())}
    for step in (*STEPS, config.horizon):
        summary |= errors_at(step, real, imagined, episodes)
    last = STEPS[-1]
    still = np.repeat(real[:, :1], last + 1, axis=1)
    summary |= _prefixed("persistence", errors_at(last, real, still, episodes))
    straight = constant_velocity(real[:, 0], last)
    summary |= _prefixed("constant_velocity", errors_at(last, real, straight, episodes))
    if is_fast.sum() > 1:
        errors = errors_at(last, real[is_fast], imagined[is_fast], episodes[is_fast])
        summary |= _prefixed("fast", errors)
    if config.repeat_action_probability > 0:
        summary |= spread(config, windows, imagined)
    return summary


def _prefixed(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def spread(config: OpenLoopConfig, windows: _OpenLoopWindows, imagined: Array) -> dict[str, float]:
    """How far the game itself strays from what happened if its noise is drawn anew.

    And the model in the same windows.
    """
    num_windows = len(windows.actions)
    num_selected = min(config.spread_windows, num_windows)
    selected = np.linspace(0, num_windows - 1, num_selected).astype(int)
    again = oracle.rollout(
        config.env_id,
        windows.game_states[selected],
        windows.actions[selected],
        env_kwargs=config.env_kwargs,
        seed=config.seed + 1,
    )[0]
    real = windows.observations[selected]
    episodes = windows.episodes[selected]
    summary: dict[str, float] = {}
    for step in (STEPS[-1], config.horizon):
        summary |= _prefixed("spread", errors_at(step, real, again, episodes))
        beside = errors_at(step, real, imagined[selected], episodes)
        summary |= _prefixed("model_beside_spread", beside)
    return summary


def constant_velocity(observations: Array, num_steps: int) -> Array:
    """The future [W, num_steps + 1, 56] with the last step's velocities; scores stay."""
    frames = observations.reshape(len(observations), NUM_FEATURES, STACK)
    velocity = frames[..., -1] - frames[..., -2]
    velocity[:, [PongFeature.PLAYER_SCORE, PongFeature.ENEMY_SCORE]] = 0
    comes_or_goes = (frames[:, PongFeature.BALL_X, -2:] == 0).any(1)
    velocity[np.ix_(comes_or_goes, [PongFeature.BALL_X, PongFeature.BALL_Y])] = 0
    futures = [frames]
    for _ in range(num_steps):
        newest = futures[-1][..., -1] + velocity
        futures.append(np.concatenate([futures[-1][..., 1:], newest[..., None]], 2))
    return np.stack([future.reshape(len(frames), -1) for future in futures], 1)


def errors_at(step: int, real: Array, imagined: Array, episodes: Array) -> dict[str, float]:
    """Errors after some steps, with intervals.

    Mean squared errors over the 56 and the 14 newest features, share of windows with all 14 exact,
    and the ball's error in pixels.
    """
    squared = (imagined[:, step] - real[:, step]) ** 2
    newest = squared[:, NEWEST]
    figures: dict[str, Array] = {
        f"mse56_step{step}": squared.mean(1),
        f"mse14_step{step}": newest.mean(1),
        f"exact_share_step{step}": (newest == 0).all(1).astype(float),
    }
    summary: dict[str, float] = {}
    for name, values in figures.items():
        low, high = interval_by_episode(values, episodes)
        summary |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
    has_ball = real[:, step, BALL_X] > 0
    imagines_ball = imagined[:, step, BALL_X] > 0
    ball = squared[has_ball & imagines_ball][:, [BALL_X, BALL_Y]].sum(1)
    summary[f"median14_step{step}"] = float(np.median(newest.mean(1)))
    summary[f"ball_rmse_step{step}"] = float(np.sqrt(ball.mean())) if len(ball) else 0.0
    summary[f"ball_agrees_step{step}"] = float((has_ball == imagines_ball).mean())
    return summary


def interval_by_episode(
    values: Array, episodes: Array, num_resamples: int = 2000
) -> tuple[float, float]:
    """A 95 % interval of the mean that resamples whole episodes: windows of one episode are alike.

    A single episode has the limits 0 and infinity, which summary.json shows as null.
    """
    _, group = np.unique(episodes, return_inverse=True)
    if group.max() == 0:
        return 0.0, np.inf  # one game says nothing of others
    totals = np.bincount(group, values)
    counts = np.bincount(group)
    drawn = np.random.default_rng(0).integers(len(counts), size=(num_resamples, len(counts)))
    means = totals[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


# Pictures


def draw_errors(
    config: OpenLoopConfig, windows: _OpenLoopWindows, imagined: Array, path: Path
) -> None:
    """Error and share of exact windows against the step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    real = windows.observations
    steps = np.arange(1, config.horizon + 1)
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
    is_exact = (squared == 0).all(2)
    right.plot(steps, is_exact.mean(0), "o-", color="#0072B2", label="all")
    fast = is_exact[windows.is_fast].mean(0)
    right.plot(steps, fast, "o-", color="#D55E00", label="fast balls")
    right.set(
        xlabel="steps ahead", ylabel="share of windows exact in all 14 features", ylim=(0, 1.02)
    )
    right.legend()
    figure.savefig(path, dpi=120)


def draw_play(
    model: ObjectModel | StackedForestModel,
    windows: _OpenLoopWindows,
    path: Path,
    num_windows: int = 8,
) -> None:
    """Real play on the left, imagined play on the right, set right again after every window."""
    import imageio

    selected = np.linspace(0, len(windows.actions) - 1, num_windows).astype(int)
    rollout = model.rollout(
        windows.starts.select(torch.as_tensor(selected)), torch.as_tensor(windows.actions[selected])
    )
    imagined = rollout.observations.numpy()
    pictures: list[Any] = []
    for number, window in enumerate(selected):
        for step in range(imagined.shape[1]):
            real = picture(windows.observations[window, step])
            gap = np.zeros((len(real), 8, 3), np.uint8)
            beside = picture(imagined[number, step])
            pictures.append(np.concatenate([real, gap, beside], 1))
    imageio.mimsave(path, pictures, duration=1000 / 15, loop=0)


def picture(observation: Array) -> NDArray[np.uint8]:
    """The newest frame of an observation as the screen shows it."""
    values = observation[NEWEST[list(FEATURE_OF_PART)]]
    has_ball = values[Part.BALL_X] > 0
    offsets = (dynamics.PLAYER_TOP, dynamics.BALL_LEFT, dynamics.BALL_TOP, dynamics.ENEMY_TOP, 0, 0)
    # Imagined values may leave the screen, and a score the digits that it is shown with.
    limits = (255, 255, 255, 255, 99, 99)
    player_y, ball_x, ball_y, enemy_y, player_score, enemy_score = (
        int(value) for value in np.clip(values + np.array(offsets), 0, limits)
    )
    if not has_ball:
        ball_x = 0
        ball_y = 0
    word = dynamics.packed(player_y, enemy_y, ball_x, ball_y, player_score, enemy_score)
    return np.asarray(render.draw({"seen_0": word}), np.uint8)
