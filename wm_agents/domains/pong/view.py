"""Pong as parts and symbols: the view through which a world model of symbols reads either game."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong import features, layout, measuring, memory, situations, symbols
from wm_agents.domains.pong.court import Court, measure_court, seen_court, unexplained
from wm_envs.errors import OptionError

Array = NDArray[Any]

_COURT_STEPS = 10_000  # that the court is measured in, at least
_MOST = 1000  # of any number
_MOST_SYMBOLS = 40  # per part and row
_CONSTANTS = ((0, 140), (2, 4), (3, 16), (4, 16), (6, 4), (7, 16), (10, 2), (11, 4))
_PLACES = range(layout.HIGHEST_PLACE, layout.HIGHEST_PLACE + layout.NUM_PLACES)
_BOUNCES = (
    tuple((place + 4) // 4 - 2 for place in _PLACES),
    tuple((place + 2) // 4 - 2 for place in _PLACES),
)


@dataclass(frozen=True)
class PongView:
    """The values that change, each a part: `wm_agents.world_models.PartView` says what for.

    The numbers below are the game's own; `measured` finds them in recordings instead. Still told by
    hand, in `wm_agents.domains.pong.paddle`, `enemy`, `ball` and `situations`: where the columns of
    both paddles are and on which lines a paddle is met; in form, how a ball turns at a wall and
    flies on frame by frame, that FIRE may make it faster, how a pull moves the player's paddle,
    that the enemy follows the ball by equal strides and pauses in one frame of every eight; which
    actions push and which fire; and which situations should have one outcome.

    Args:
        reach: Steps of one action that take the pull on the player's paddle from end to end.
        middle: Steps from the upper end at which a game begins.
        rest_offset: The paddle comes to rest at the odd pixel 2 * floor(rest_offset + rest_rate *
            pull) + 1.
        rest_rate: Pairs of pixels per step of pull.
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

    reach: float = 8.29072
    middle: float = 4.14536
    rest_offset: float = 0.36885
    rest_rate: float = 11.518718
    highest: float = 25.0
    walls: tuple[float, float] = (30.0, 194.0)
    constants: tuple[tuple[int, int], ...] = _CONSTANTS
    court: Court = Court()  # noqa: RUF009  (frozen)
    first_pauses: tuple[int, ...] = (4, 5, 6, 3)
    bounces: tuple[tuple[int, ...], tuple[int, ...]] = _BOUNCES

    parts: ClassVar[tuple[str, ...]] = (
        "player_y",
        "ball_x",
        "ball_y",
        "enemy_y",
        "player_score",
        "enemy_score",
    )
    outcomes: ClassVar[tuple[int, ...]] = (4, 5)
    absent: ClassVar[tuple[int | None, ...]] = (None, 0, 0, None, None, None)
    observation_size: ClassVar[int] = layout.NUM_FEATURES * layout.STACK
    memory_size: ClassVar[int] = layout.MEMORY_SIZE

    @classmethod
    def measured(
        cls, observations: Array, actions: Array, lengths: Array, *, seed: int = 0
    ) -> Self:
        """A view whose numbers come from recorded games.

        Args:
            observations: [S + E, 56] of E episodes end to end, each from a reset to its end.
            actions: [S], from 0.
            lengths: [E].
            seed: Of the search for the paddle's constants.

        Raises:
            OptionError: The recording is of another layout or too short, or the paddle hardly moves
                in it.
        """
        _check_recording(observations, actions, lengths)
        pull = measuring.measure_pull(observations, actions, lengths, seed=seed)
        walls, constants = (
            measuring.measure_walls(observations),
            measuring.measure_constants(observations),
        )
        court = seen_court(observations)
        view = cls(
            **asdict(pull), walls=walls, constants=constants, court=court, first_pauses=(-1,) * 4
        )
        for _ in range(2):
            view = view._with_bounces(observations, actions, lengths)
            view = view._with_court(observations, actions, lengths)
        memories, _ = view.remember(observations, actions, lengths)
        view = replace(view, first_pauses=measuring.measure_first_pauses(_rows(memories), lengths))
        return view._with_bounces(observations, actions, lengths)

    def to_json(self) -> dict[str, Any]:
        """The numbers of this view, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> Self:
        """The view that `to_json` describes, as JSON gives it back.

        Raises OptionError for anything else.
        """
        if not isinstance(description, Mapping) or description.keys() != asdict(cls()).keys():
            raise OptionError(
                f"a view of Pong has the fields {', '.join(asdict(cls()))}, got {description!r:.200}"
            )
        values = {
            name: _like(default, description[name], name) for name, default in asdict(cls()).items()
        }
        for feature, _ in values["constants"]:
            if not 0 <= feature < layout.NUM_FEATURES:
                raise OptionError(
                    f"constants: Pong has the features 0 to {layout.NUM_FEATURES - 1}, got {feature}"
                )
        return cls(**{**values, "court": Court(**values["court"])})

    def _with_bounces(self, observations: Array, actions: Array, lengths: Array) -> Self:
        nothing = (0,) * layout.NUM_PLACES
        memories, decided = replace(self, bounces=(nothing, nothing)).remember(
            observations, actions, lengths
        )
        return replace(
            self, bounces=measuring.measure_bounces(_rows(memories), actions, lengths, decided)
        )

    def _with_court(self, observations: Array, actions: Array, lengths: Array) -> Self:
        few = lengths[: int(np.searchsorted(lengths.cumsum(), _COURT_STEPS)) + 1]
        seen, acts = (
            observations[: int(few.sum()) + len(few)],
            actions[: int(few.sum())].astype(np.int64),
        )

        def cost(court: Court) -> int:
            memories, decided = replace(self, court=court).remember(seen, acts, few)
            return int(unexplained(_rows(memories), acts, decided))

        return replace(self, court=measure_court(self.court, cost))

    def begin(self, observations: Array) -> NDArray[np.int32]:
        """Memories [B, M] of observations [B, 56] alone.

        Raises:
            OptionError: The constant features are not where they belong, so this is another layout.
        """
        _check_layout(observations)
        frames = observations.reshape(len(observations), layout.NUM_FEATURES, layout.STACK)
        for feature, value in self.constants:
            if (frames[:, feature] != value).any():
                raise OptionError(
                    f"feature {feature} of Pong is always {value}: these observations have another layout"
                )
        rows = np.zeros(len(observations), layout.MEMORY)
        memory.begin_rows(rows, observations, self._charge)
        return rows.view(np.int32).reshape(len(rows), -1)

    def remember(
        self, observations: Array, actions: Array, lengths: Array
    ) -> tuple[NDArray[np.int32], Array]:
        """Memories [S, M] before each step of episodes laid end to end, and what was decided [S, 6].

        Raises:
            OptionError: The recording is of another layout.
        """
        _check_recording(observations, actions, lengths)
        num_steps = int(lengths.sum())
        rows, decided = np.zeros(num_steps, layout.MEMORY), np.zeros((num_steps, 6), np.int64)
        memory.remember_rows(
            observations, actions.astype(np.int64), lengths, self._charge, rows, decided
        )
        return rows.view(np.int32).reshape(num_steps, -1), decided

    def look(
        self, part: int, memories: Array, actions: Array, decided: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is expected of a part [B], and the number [B] of the situation that it is in, 0 where it has none."""
        out = np.zeros((2, len(memories)), np.int64)
        situations.situation_rows(part, _rows(memories), actions, decided, out[0], out[1])
        return out[0], out[1]

    def symbols(
        self, part: int, memories: Array, actions: Array, decided: Array
    ) -> tuple[NDArray[np.int32], int]:
        """What a part's network reads [B, K], and how many different symbols there are."""
        out = np.zeros((len(memories), _MOST_SYMBOLS), np.int32)
        place = np.zeros(2, np.int64)
        symbols.symbol_rows(part, _rows(memories), actions, decided, out, place)
        return out[:, : place[0]], int(place[1])

    def advance(self, memories: Array, actions: Array, decided: Array) -> NDArray[np.int32]:
        """The memories [B, M] after a step; rows with a negative action stay."""
        after = np.array(memories, np.int32)
        memory.advance_rows(_rows(after), actions, decided)
        return after

    def present(self, observations: Array) -> NDArray[np.int64]:
        """The newest values [B, 6] of what changes."""
        columns = [feature * layout.STACK + layout.STACK - 1 for feature in layout.DECIDED]
        return np.ascontiguousarray(observations[:, columns], dtype=np.int64)

    def observations(self, memories: Array) -> NDArray[np.float32]:
        """The observations [B, 56] that memories hold."""
        out = np.zeros((len(memories), layout.NUM_FEATURES, layout.STACK), np.float32)
        for feature, value in self.constants:
            out[:, feature] = value
        flat = out.reshape(len(out), -1)
        memory.observation_rows(_rows(memories), flat)
        return flat

    def features(self, memories: Array) -> NDArray[np.float32]:
        """What a policy sees [B, F]."""
        out = np.zeros((len(memories), features.NUM_FEATURES), np.float32)
        features.feature_rows(_rows(memories), *self.walls, out)
        return out

    @property
    def _charge(self) -> NDArray[np.int64]:
        pull = [self.reach, self.middle, self.rest_offset, self.rest_rate, self.highest]
        others = [
            *self.first_pauses,
            *asdict(self.court).values(),
            *self.bounces[0],
            *self.bounces[1],
        ]
        return np.concatenate([np.rint(layout.STEP * np.array(pull)), others]).astype(np.int64)


def _check_layout(observations: Array) -> None:
    if observations.ndim != 2 or observations.shape[1] != PongView.observation_size:
        raise OptionError(
            f"expected observations [B, {PongView.observation_size}] of Pong, got shape {observations.shape}: "
            "this is another layout, such as that of directions=True"
        )


def _check_recording(observations: Array, actions: Array, lengths: Array) -> None:
    """Compiled code reads where these numbers point."""
    _check_layout(observations)
    num_steps = int(lengths.sum())
    if (
        (lengths < 1).any()
        or len(actions) != num_steps
        or len(observations) != num_steps + len(lengths)
    ):
        raise OptionError(
            f"{len(lengths)} episodes of {num_steps} steps have as many actions and {num_steps + len(lengths)} "
            f"observations, got {len(actions)} and {len(observations)}"
        )
    if num_steps and not 0 <= actions.min() <= actions.max() < layout.UNKNOWN_ACTION:
        raise OptionError(f"Pong's actions are 0 to 5, got {actions.min()} to {actions.max()}")


def _like(default: Any, value: Any, name: str) -> Any:
    """A value in the form of its default, lists as tuples; raises OptionError."""
    if isinstance(default, dict) and isinstance(value, Mapping) and value.keys() == default.keys():
        return {key: _like(default[key], value[key], f"{name}.{key}") for key in default}
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        if name == "constants":
            return tuple(_like(default[0], pair, "a constant") for pair in value)
        if len(value) == len(default):
            return tuple(_like(one, other, name) for one, other in zip(default, value, strict=True))
    is_number = isinstance(value, int) and not isinstance(value, bool)
    is_number |= isinstance(default, float) and isinstance(value, float)
    if isinstance(default, int | float) and is_number and -_MOST <= value <= _MOST:
        return type(default)(value)
    raise OptionError(
        f"{name} of a view of Pong has the form of {default!r:.80}, got {value!r:.80}"
    )


def _rows(memories: Array) -> Array:
    return np.ascontiguousarray(memories, np.int32).view(layout.MEMORY).reshape(-1)
