"""Pong as objects: the view through which a world model of objects reads either game."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong import calibration, features, object_encoding
from wm_agents.domains.pong.calibration import Court
from wm_agents.domains.pong.state import (
    ESTIMATE_SIZE,
    HIGHEST_PLACE,
    NUM_PLACES,
    OBSERVATION_SIZE,
    UNITS_PER_STEP,
    Part,
    as_rows,
)
from wm_agents.domains.pong.state_estimator import StateEstimator, check_recording, encode
from wm_agents.domains.pong.tracking import ENEMY_OFFSET, PLAYER_OFFSET
from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError
from wm_envs.pong import dynamics
from wm_envs.pong.columns import NUM_FEATURES, PongFeature

Array = NDArray[Any]

_COURT_STEPS = 10_000  # that the court is estimated from, at least
_MAX_NUMBER = 1000  # in a stored view
_MAX_SYMBOLS = 40  # per part and row

_CONSTANTS = (
    (int(PongFeature.PLAYER_X), dynamics.PLAYER_X),
    (int(PongFeature.PLAYER_WIDTH), dynamics.PADDLE_WIDTH),
    (int(PongFeature.PLAYER_HEIGHT), dynamics.PADDLE_HEIGHT),
    (int(PongFeature.ENEMY_X), dynamics.ENEMY_X),
    (int(PongFeature.ENEMY_WIDTH), dynamics.PADDLE_WIDTH),
    (int(PongFeature.ENEMY_HEIGHT), dynamics.PADDLE_HEIGHT),
    (int(PongFeature.BALL_WIDTH), dynamics.BALL_WIDTH),
    (int(PongFeature.BALL_HEIGHT), dynamics.BALL_HEIGHT),
)
_PLACES = range(HIGHEST_PLACE, HIGHEST_PLACE + NUM_PLACES)
_BOUNCES = (
    tuple(int(dynamics.deflected(place + PLAYER_OFFSET)) for place in _PLACES),
    tuple(int(dynamics.deflected(place + ENEMY_OFFSET)) for place in _PLACES),
)
# The integrator of the player's paddle in steps of four frames, rounded as it is stored
_CHARGE_PER_STEP = 4 * dynamics.CHARGE_PER_FRAME
_REACH = round((dynamics.MAX_CHARGE - dynamics.MIN_CHARGE) / _CHARGE_PER_STEP, 5)
_MIDDLE = round((dynamics.FIRST_CHARGE - dynamics.MIN_CHARGE) / _CHARGE_PER_STEP, 5)
_REST_RATE = round(_CHARGE_PER_STEP / dynamics.CHARGE_PER_PLACE, 6)
# Pixels are memory units less PLAYER_TOP, an odd number, so that the paddle rests at odd pixels.
_REST_OFFSET = round(
    (dynamics.MIN_CHARGE + dynamics.CHARGE_OFFSET) / dynamics.CHARGE_PER_PLACE
    - (dynamics.PLAYER_TOP + 1) / 2,
    5,
)


@dataclass(frozen=True)
class PongView:
    """The values that change, each a part: `world_models.objects.ObjectView` says what for.

    The default numbers are the game's own, from `wm_envs.pong.dynamics`; `calibrated` estimates
    them from recordings instead. Still specified by hand, in this package: where the columns of
    both paddles are and on which lines a paddle is met; in form, how a ball turns at a wall and
    flies on frame by frame, that FIRE may make it faster, how a setpoint moves the player's paddle,
    that the enemy follows the ball by equal strides and pauses in one frame of every eight; which
    actions push and which fire; and which situations should have one outcome.

    Args:
        reach: Steps of one action that take the setpoint of the player's paddle from end to end.
        middle: Steps from the upper end at which a game begins.
        rest_offset: The paddle comes to rest at the odd pixel 2 * floor(rest_offset + rest_rate *
            setpoint) + 1.
        rest_rate: Pairs of pixels per step of the setpoint.
        highest: Pixel above which the paddle never goes.
        walls: Highest and lowest pixel at which a ball was recorded; only `features` uses them.
        constants: Features of a frame that never change, and their values in pixels.
        court: Lines where a ball turns and where it is a point, the enemy's stride and aim, the
            ball's speeds.
        first_pauses: After a game's first serve, by the ball's first place across modulo 4: the
            frame 0..3 of a step in which the enemy pauses, plus 4 if the next pause is a step
            further off; -1: unknown.
        bounces: Pixels down in a frame of a ball that met the player, and of one that met the
            enemy, for its places on the paddle from -3 to 15.
    """

    reach: float = _REACH
    middle: float = _MIDDLE
    rest_offset: float = _REST_OFFSET
    rest_rate: float = _REST_RATE
    highest: float = float(dynamics.HIGHEST_PLACE - dynamics.PLAYER_TOP)
    walls: tuple[float, float] = (30.0, 194.0)
    constants: tuple[tuple[int, int], ...] = _CONSTANTS
    court: Court = Court()  # noqa: RUF009  (frozen)
    first_pauses: tuple[int, ...] = (4, 5, 6, 3)
    bounces: tuple[tuple[int, ...], tuple[int, ...]] = _BOUNCES

    parts: ClassVar[tuple[str, ...]] = tuple(part.name.lower() for part in Part)
    outcomes: ClassVar[tuple[int, ...]] = (int(Part.PLAYER_SCORE), int(Part.ENEMY_SCORE))
    absent: ClassVar[tuple[int | None, ...]] = (None, 0, 0, None, None, None)
    observation_size: ClassVar[int] = OBSERVATION_SIZE
    state_size: ClassVar[int] = ESTIMATE_SIZE

    # --- calibration

    @classmethod
    def calibrated(
        cls, observations: Array, actions: Array, lengths: Array, *, seed: int = 0
    ) -> Self:
        """A view whose numbers come from recorded games.

        Args:
            observations: [S + E, 56] of E concatenated episodes, each from a reset to its end.
            actions: [S], from 0.
            lengths: [E].
            seed: Of the search for the paddle's constants.

        Raises:
            OptionError: The recording is of another layout or too short, or the paddle hardly moves
                in it.
        """
        check_recording(observations, actions, lengths)
        paddle = calibration.estimate_paddle(observations, actions, lengths, seed=seed)
        view = cls(
            **asdict(paddle),
            walls=calibration.ball_extremes(observations),
            constants=calibration.constant_features(observations),
            court=calibration.visible_court(observations),
            first_pauses=(-1,) * 4,
        )
        # Bounces are seen through the court and the court through bounces: twice is enough.
        for _ in range(2):
            view = view._with_bounces(observations, actions, lengths)
            view = view._with_court(observations, actions, lengths)
        states, _ = view.replay(observations, actions, lengths)
        first_pauses = calibration.estimate_first_pauses(as_rows(states), lengths)
        view = replace(view, first_pauses=first_pauses)
        return view._with_bounces(observations, actions, lengths)

    @classmethod
    def measured(
        cls, observations: Array, actions: Array, lengths: Array, *, seed: int = 0
    ) -> Self:
        """The former name of `calibrated`, until the next release."""
        message = "PongView.measured is now PongView.calibrated"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return cls.calibrated(observations, actions, lengths, seed=seed)

    def _with_bounces(self, observations: Array, actions: Array, lengths: Array) -> Self:
        nothing = (0,) * NUM_PLACES
        unaware = replace(self, bounces=(nothing, nothing))
        states, next_values = unaware.replay(observations, actions, lengths)
        bounces = calibration.estimate_bounces(as_rows(states), actions, lengths, next_values)
        return replace(self, bounces=bounces)

    def _with_court(self, observations: Array, actions: Array, lengths: Array) -> Self:
        few = lengths[: int(np.searchsorted(lengths.cumsum(), _COURT_STEPS)) + 1]
        first_observations = observations[: int(few.sum()) + len(few)]
        first_actions = actions[: int(few.sum())].astype(np.int64)

        def cost(court: Court) -> int:
            view = replace(self, court=court)
            states, next_values = view.replay(first_observations, first_actions, few)
            return int(calibration.count_unexplained(as_rows(states), first_actions, next_values))

        return replace(self, court=calibration.estimate_court(self.court, cost))

    def to_json(self) -> dict[str, Any]:
        """The numbers of this view, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> Self:
        """The view that `to_json` describes, as JSON gives it back.

        Raises OptionError for anything else.
        """
        defaults = asdict(cls())
        if not isinstance(description, Mapping) or description.keys() != defaults.keys():
            raise OptionError(
                f"a view of Pong has the fields {', '.join(defaults)}, got {description!r:.200}"
            )
        values = {
            name: _like(default, description[name], name) for name, default in defaults.items()
        }
        for feature, _ in values["constants"]:
            if not 0 <= feature < NUM_FEATURES:
                raise OptionError(
                    f"constants: Pong has the features 0 to {NUM_FEATURES - 1}, got {feature}"
                )
        return cls(**{**values, "court": Court(**values["court"])})

    # --- states

    @cached_property
    def estimator(self) -> StateEstimator:
        """The state estimator with this view's numbers."""
        paddle = [self.reach, self.middle, self.rest_offset, self.rest_rate, self.highest]
        others = [*self.first_pauses, *asdict(self.court).values()]
        others += [*self.bounces[0], *self.bounces[1]]
        numbers = np.concatenate([np.rint(UNITS_PER_STEP * np.array(paddle)), others])
        return StateEstimator(numbers.astype(np.int64), self.constants)

    def initialize(self, observations: Array) -> NDArray[np.int32]:
        """States [B, M] of observations [B, 56] alone; OptionError for another layout."""
        return self.estimator.initialize(observations)

    def replay(
        self, observations: Array, actions: Array, lengths: Array
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """States [S, M] before each step of concatenated episodes, and the parts [S, 6] after it.

        Raises:
            OptionError: The recording is of another layout.
        """
        return self.estimator.replay(observations, actions, lengths)

    def update(self, states: Array, actions: Array, next_values: Array) -> NDArray[np.int32]:
        """The states [B, M] after a step; rows with a negative action stay."""
        return self.estimator.update(states, actions, next_values)

    def values(self, observations: Array) -> NDArray[np.int64]:
        """The newest values [B, 6] of the parts."""
        return encode(observations)

    def observations(self, states: Array) -> NDArray[np.float32]:
        """The observations [B, 56] that states hold."""
        return self.estimator.observations(states)

    # --- what models and policies read

    def encode(
        self, part: int, states: Array, actions: Array, next_values: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Expected values [B] and situations [B] of a part, 0 where it has none."""
        expected = np.zeros(len(states), np.int64)
        situations = np.zeros(len(states), np.int64)
        rows = as_rows(states)
        object_encoding.situation_rows(part, rows, actions, next_values, expected, situations)
        return expected, situations

    def symbols(
        self, part: int, states: Array, actions: Array, next_values: Array
    ) -> tuple[NDArray[np.int32], int]:
        """What a part's network reads [B, K], and how many different symbols there are."""
        out = np.zeros((len(states), _MAX_SYMBOLS), np.int32)
        cursor = np.zeros(2, np.int64)
        object_encoding.symbol_rows(part, as_rows(states), actions, next_values, out, cursor)
        num_columns, num_symbols = cursor.tolist()
        return out[:, :num_columns], num_symbols

    def features(self, states: Array) -> NDArray[np.float32]:
        """What a policy reads [B, F]."""
        out = np.zeros((len(states), features.NUM_FEATURES), np.float32)
        features.feature_rows(as_rows(states), *self.walls, out)
        return out


def calibrated_view(trajectories: Trajectories) -> tuple[PongView, bool]:
    """A view with the numbers of a recording, and whether it was long enough to give them.

    Else they are the game's own.
    """
    try:
        view = PongView.calibrated(
            trajectories.observations, trajectories.actions, trajectories.lengths
        )
    except OptionError as error:
        print(f"the view keeps the game's own numbers: {error}", flush=True)
        return PongView(), False
    return view, True


def _like(default: Any, value: Any, name: str) -> Any:
    """A value in the form of its default, lists as tuples; raises OptionError."""
    if isinstance(default, dict) and isinstance(value, Mapping) and value.keys() == default.keys():
        return {key: _like(default[key], value[key], f"{name}.{key}") for key in default}
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        if name == "constants":  # as many as there are
            return tuple(_like(default[0], pair, "a constant") for pair in value)
        if len(value) == len(default):
            return tuple(_like(one, other, name) for one, other in zip(default, value, strict=True))
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float):
        is_number = is_number or isinstance(value, float)
    # A NaN fails the comparison.
    if isinstance(default, int | float) and is_number and -_MAX_NUMBER <= value <= _MAX_NUMBER:
        return type(default)(value)
    raise OptionError(
        f"{name} of a view of Pong has the form of {default!r:.80}, got {value!r:.80}"
    )
