"""The Gymnasium shells of all native domains.

`KernelEnv` for one environment, `KernelVectorEnv` for a batch.

A domain describes itself to both shells with one `Rules` value: its spaces, its parameters and its
three kernels. The shells own what Gymnasium asks for (seeds, checks, autoreset, infos, rendering)
and know nothing of any domain.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from wm_envs.data.infos import REWARD_COMPONENTS, BatchInfos, StepInfo
from wm_envs.data.options import UNLIMITED, as_integer, check_integer, check_row_seeds, check_seed
from wm_envs.data.paths import absolute_options
from wm_envs.errors import OptionError, StateError, UnknownOptionError
from wm_envs.kernel import ThreadPool, copy_rows, empty_rows, seed_rows, specialised
from wm_envs.limits import LimitedByEnv, OwnLimit, is_own, with_limit
from wm_envs.rules import OUTCOME_HEADER, Array, Info, Rules, draw_seed

_INTEGERS = frozenset({int, np.int64, np.int32})
_FLOATS = frozenset({np.dtype(np.float32), np.dtype(np.float64)})
_ONE_ROW = np.ones(1, np.bool_)


class KernelEnv(gym.Env[Any, Any]):
    """One environment on the rules of a native domain.

    A subclass gives `rules(**options)`, `metadata` and, where it renders, `draw` and `describe`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human", "ansi"], "render_fps": 4}

    @classmethod
    def rules(cls, *_: Any, **options: Any) -> Rules:
        """The domain with these options.

        A subclass names them, keyword only, and raises OptionError.
        """
        raise NotImplementedError

    @staticmethod
    def draw(state: Any, parameters: Any) -> NDArray[np.uint8]:
        """The picture of a state row, uint8 [height, width, 3]."""
        raise NotImplementedError

    @staticmethod
    def describe(state: Any, parameters: Any) -> str:
        """A state row as a line of text."""
        raise NotImplementedError

    def __init__(
        self,
        *,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **options: Any,
    ) -> None:
        self._spec: EnvSpec | None = None
        # Options before everything else: a wrong one leaves no half-made environment behind.
        self._rules = make_rules(type(self), options).limited_to(max_episode_steps)
        self.render_mode = check_render_mode(render_mode, self.metadata)
        self.observation_fields = self._rules.observation_fields
        self.reward_components = self._rules.reward_components
        self.observation_space = self._rules.observation_space
        self.action_space = self._rules.action_space
        seed = draw_seed()
        super().reset(
            seed=seed
        )  # so that `np_random_seed` repeats an episode that was given no seed
        self._states = self._rules.new_states(1, seed)
        self._outcomes = empty_rows(1, self._rules.outcome_dtype)
        self._needs_reset = True
        self._is_closed = False
        self._num_actions = (
            int(self.action_space.n) if isinstance(self.action_space, spaces.Discrete) else 0
        )
        self._actions = np.zeros(
            (1, *(self.action_space.shape or ())), np.int64 if self._num_actions else np.float64
        )
        self._bounds = _vector_bounds(self.action_space)
        self._observations = np.zeros((1, len(self.observation_fields)), np.float32)
        # Most domains report nothing at a reset.
        self._zero_outcome = np.zeros((), self._rules.outcome_dtype).item()
        self._window: Any = None
        self._bind()

    def _bind(self) -> None:
        """Look up once what every step needs; none of it can be pickled."""
        states, parameters, observations = self._states, self._rules.parameters, self._observations
        step_arguments = (states, parameters, self._actions, observations, self._outcomes, False)
        self._step_arguments = step_arguments
        # Numba looks the signature up at every call; the machine code of this one is bound once.
        self._step_row = specialised(self._rules.step_rows, *step_arguments)
        self._reset_arguments = (states, parameters, _ONE_ROW)
        self._reset_row = specialised(self._rules.reset_rows, *self._reset_arguments)
        self._observe_arguments = (states, parameters, observations)
        self._observe_row = specialised(self._rules.observe_rows, *self._observe_arguments)
        self._observation = observations[0]
        self._time = states["time"]
        self._info = _info_maker(self._rules)
        # Elsewhere a constant is reported, which spares 2 us.
        self._reports_reset = self._rules.report_rows is not None

    def __getstate__(self) -> dict[str, Any]:
        bound = {
            f"_{verb}_{what}"
            for verb in ("step", "reset", "observe")
            for what in ("row", "arguments")
        }
        # What is bound refers to compiled code and to buffers by address, and is made anew.
        bound |= {"_observation", "_time", "_info", "_window"}
        return {name: value for name, value in self.__dict__.items() if name not in bound}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._window = None
        self._bind()

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[NDArray[np.float32], Info]:
        """Start an episode; a seed starts the random stream anew, without one it goes on."""
        _check_open(self._is_closed)
        if seed is not None:
            number = check_seed(seed)
            super().reset(seed=number)
            seed_rows(self._states, [number])
        self._reset_row(*self._reset_arguments)
        # Only now: a seed that was refused above leaves the environment as it was.
        self._needs_reset = False
        if self.render_mode == "human":
            self.render()
        outcome = self._first_outcome() if self._reports_reset else self._zero_outcome
        self._observe_row(*self._observe_arguments)
        return self._observation.copy(), self._info(outcome)

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        """Advance by one action.

        Raises ResetNeeded after the end and InvalidActionError, both with nothing changed.
        """
        # A step of a small domain takes about a microsecond: everything below is written for that.
        if self._needs_reset:
            _check_open(self._is_closed)
            raise ResetNeeded(
                "the episode is over or was never started: call reset() before step()"
            )
        # The full check takes several microseconds, and almost every action is plain. By class and
        # not by isinstance: True is an integer, too, and is left to the full check. Numbers are
        # looked at here, since a call would cost more than the comparison.
        if type(action) in _INTEGERS:
            is_plain = 0 <= action < self._num_actions
        else:
            is_plain = self._is_plain_vector(action)
        if not is_plain:
            action = self._rules.check_actions(action, ())
        # The buffer keeps its address, to which the compiled call is bound.
        self._actions[0] = action
        self._step_row(*self._step_arguments)
        # One tuple of Python numbers, which is quicker than reading field by field.
        outcome = self._outcomes.item()
        reward, terminated, truncated = outcome[:3]
        self._needs_reset = terminated or truncated
        if self.render_mode == "human":
            self.render()
        return self._observation.copy(), reward, terminated, truncated, self._info(outcome)

    def render(self) -> Any:
        """The current state as an RGB array, a line of text, or in a window, by `render_mode`."""
        _check_open(self._is_closed)
        state, parameters = self._states[0], self._rules.parameters[0]
        if self.render_mode == "ansi":
            return self.describe(state, parameters)
        if self.render_mode == "rgb_array":
            return self._rules.picture(state, self.draw)
        if self.render_mode == "human":
            # A window opens with the first frame, so that making an environment shows nothing.
            if self._window is None:
                # pygame is loaded for windows alone.
                from wm_envs.rendering.window import Window

                self._window = Window(type(self).__name__, self.metadata["render_fps"])
            self._window.show(self._rules.picture(state, self.draw))
        return None

    def close(self) -> None:
        """Close the window, if there is one; may be called twice.

        After it the environment refuses to be used.
        """
        self._is_closed = self._needs_reset = True
        if self._window is not None:
            self._window.close()
            self._window = None

    @property
    def spec(self) -> EnvSpec | None:
        """How `gym.make` makes this again, with its time limit and from any folder.

        None without it.
        """
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = with_limit(with_absolute_paths(spec), self._rules.time_limit)
        if self._spec is not None:
            self._spec.additional_wrappers = LimitedByEnv(self._spec.additional_wrappers)

    def limit_to(self, max_episode_steps: int | None) -> None:
        """Truncate episodes after so many steps, the running one included; raises OptionError.

        Args:
            max_episode_steps: None and -1 change nothing.
        """
        before = self._rules
        self._rules = before.limited_to(max_episode_steps)
        if self._rules is before:
            return
        self._bind()
        if self._spec is not None:
            # Among the options it outlives JSON, where `take_limit` is lost.
            given = {"max_episode_steps": self._rules.time_limit}
            self._spec = with_limit(
                replace(self._spec, kwargs={**self._spec.kwargs, **given}), self._rules.time_limit
            )

    def clone_state(self) -> Array:
        """A copy of the state row, shape (): the random stream is part of it."""
        self._rules.save_rows(self._states)
        return copy_rows(self._states)[0, ...]

    def restore_state(self, state: Array) -> NDArray[np.float32]:
        """Return to a cloned state and give its observation [O].

        Raises StateError with nothing changed.
        """
        _check_open(self._is_closed)
        self._rules.check_states(state, ())
        # After the check, so that a foreign state changes nothing.
        self._states[0] = state
        self._rules.load_rows(self._states)
        # A state may be cloned at the end of an episode; such a one needs a reset wherever it is
        # restored.
        self._needs_reset = bool(self._states["ended"][0])
        self._observe_row(*self._observe_arguments)
        return self._observation.copy()

    def _is_plain_vector(self, action: Any) -> bool:
        """Whether this is beyond doubt a valid action of numbers, found in 1 us at most.

        Comparing arrays takes 5.
        """
        if type(action) is not np.ndarray or not self._bounds or action.dtype not in _FLOATS:
            return False
        if action.shape != (len(self._bounds),):
            return False
        for value, (low, high) in zip(action.tolist(), self._bounds, strict=True):  # noqa: SIM110  (all() costs more)
            if not low <= value <= high:  # so that NaN is refused
                return False
        return True

    def _first_outcome(self) -> tuple[Any, ...]:
        """What is reported right after a reset by a domain whose state has a say in it."""
        self._rules.report_reset(self._states, self._outcomes, _ONE_ROW)
        return self._outcomes.item()


def _info_maker(rules: Rules) -> Callable[[tuple[Any, ...]], Info]:
    """A function from an outcome tuple to the info of a step.

    It is compiled from the field names, as `collections.namedtuple` does, since zipping costs six
    times more.
    """
    # `item` gives a field that is an array as a view of the buffer, which the next step overwrites.
    dtype = rules.outcome_dtype
    position = {
        name: f"outcome[{i}].copy()" if dtype[name].shape else f"outcome[{i}]"
        for i, name in enumerate(dtype.names or ())
    }
    components = ", ".join(f"{name!r}: {position[name]}" for name in rules.reward_components)
    # Key by key: a subclass of dict that is made from a display copies it, which costs twice as much.
    lines = [f"info[{name!r}] = {position[name]}" for name in rules.info_names]
    lines.append(f"info[{REWARD_COMPONENTS!r}] = {{{components}}}")
    body = "\n    ".join(lines)
    namespace: dict[str, Any] = {"StepInfo": StepInfo}
    exec(f"def maker(outcome):\n    info = StepInfo()\n    {body}\n    return info\n", namespace)
    maker: Callable[[tuple[Any, ...]], Info] = namespace["maker"]
    return maker


class KernelVectorEnv(VectorEnv[Any, Any, Array]):
    """A batch of environments on the rules of `env_class`.

    Row i seeded with s + i is that single environment.

    Args:
        num_envs: Number of rows, B.
        autoreset_mode: Gymnasium's three modes; NEXT_STEP is its default.
        copy: False returns one observation buffer that the next step overwrites.
        num_threads: Rows are split over this many threads, since the kernels release the
            interpreter lock.
        render_mode: As for the single environment; `render` gives one frame per row.
        max_episode_steps: A time limit in place of that of the options; None and -1 keep theirs.
        options: The options of the single environment.
    """

    env_class: ClassVar[type[KernelEnv]]
    # `wm_envs.data.specs` asks for it: steps whole batches, in any autoreset mode.
    is_compiled: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        num_threads: int = 1,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **options: Any,
    ) -> None:
        num_envs = check_integer("num_envs", num_envs, 1)
        num_threads = check_integer("num_threads", num_threads, 1)
        self._rules = make_rules(self.env_class, options).limited_to(max_episode_steps)
        self.num_envs = num_envs
        self.autoreset_mode = _check_autoreset_mode(autoreset_mode)
        self.metadata = {**self.env_class.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = check_render_mode(render_mode, self.metadata)
        self.observation_fields = self._rules.observation_fields
        self.reward_components = self._rules.reward_components
        self.single_observation_space = self._rules.observation_space
        self.single_action_space = self._rules.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._copy = copy
        self._spec: EnvSpec | None = None
        seed = draw_seed()
        super().reset(seed=seed)
        # Where no seed is given the rows still have known ones, so that any run can be repeated.
        self._row_seeds: Sequence[int] = range(seed, seed + num_envs)
        self._states = self._rules.new_states(num_envs, seed)
        self._outcomes = empty_rows(num_envs, self._rules.outcome_dtype)
        self._observations = np.zeros((num_envs, len(self.observation_fields)), np.float32)
        self._was_reset = False
        self._all = np.ones(num_envs, np.bool_)
        self._num_threads = num_threads
        self._pool = ThreadPool(num_threads)
        # Contiguous slices of nearly equal size; each thread writes its own rows alone.
        bounds = np.linspace(0, num_envs, num_threads + 1).astype(int)
        self._slices = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        if num_threads > 1:
            self._rules.use_threads(self._slices)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], Info]:
        """Reset all rows, or those of `options["reset_mask"]`.

        Args:
            seed: s gives row i the stream s + i; a sequence gives each row its own; None lets the
                streams go on.
            options: `reset_mask`, booleans [B] with at least one True.
        """
        _check_open(self.closed)
        mask = self._reset_mask(options)
        self._seed(seed, mask)
        # Seeds first: resetting draws from the streams that they name.
        self._rules.reset_rows(self._states, self._rules.parameters, mask)
        self._rules.report_reset(self._states, self._outcomes, mask)
        self._was_reset = True
        observations = self._observation_buffer()
        self._rules.observe_rows(self._states, self._rules.parameters, observations)
        return observations, self._infos(mask)

    def step(self, actions: Any) -> tuple[NDArray[np.float32], Array, Array, Array, Info]:
        """Advance all rows; raises ResetNeeded and InvalidActionError with nothing changed."""
        if not self._was_reset:
            _check_open(self.closed)
            raise ResetNeeded("call reset() before step()")
        # Before anything changes, so that a refused batch can be sent again.
        checked = self._rules.check_actions(actions, (self.num_envs,))
        mode = self.autoreset_mode
        if mode == AutoresetMode.DISABLED and self._states["ended"].any():
            ended = np.flatnonzero(self._states["ended"]).tolist()
            raise ResetNeeded(
                f"autoreset is disabled and rows {ended} have ended: reset them with options "
                "reset_mask"
            )
        observations = self._observation_buffer()
        self._step_rows(checked, observations, mode == AutoresetMode.NEXT_STEP)
        # Copies: the next step writes into the same buffers, and results are kept by learners.
        rewards = self._outcomes["reward"].copy()
        terminated = self._outcomes["terminated"].copy()
        truncated = self._outcomes["truncated"].copy()
        # Only this mode shows a new episode in the answer that ends the old one.
        if mode == AutoresetMode.SAME_STEP and self._states["ended"].any():
            return observations, rewards, terminated, truncated, self._restart_ended(observations)
        return observations, rewards, terminated, truncated, self._infos(self._all)

    def render(self) -> tuple[Any, ...] | None:
        """One frame or text per row."""
        _check_open(self.closed)
        if self.render_mode is None:
            return None
        if self.render_mode == "ansi":
            return tuple(
                self.env_class.describe(state, self._rules.parameters[0]) for state in self._states
            )
        return tuple(self._rules.picture(state, self.env_class.draw) for state in self._states)

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ARG002
        """Stop the threads and refuse to be used from now on."""
        self._was_reset = False
        self._pool.stop()
        self._rules.close()

    @property
    def spec(self) -> EnvSpec | None:
        """How `gym.make_vec` makes this again, also from another folder; None without it."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = with_limit(with_absolute_paths(spec), self._rules.time_limit)

    def clone_state(self) -> Array:
        """A copy of all state rows [B]: their random streams are part of them."""
        self._rules.save_rows(self._states)
        return copy_rows(self._states)

    def restore_state(self, states: Array) -> NDArray[np.float32]:
        """Return to cloned states [B] and give their observations [B, O].

        Raises StateError with nothing changed.
        """
        _check_open(self.closed)
        self._rules.check_states(states, (self.num_envs,))
        # Such a row would have been reset by the step that ended it.
        if self.autoreset_mode == AutoresetMode.SAME_STEP and np.any(states["ended"]):
            rows = np.flatnonzero(states["ended"]).tolist()
            raise StateError(
                f"rows {rows} have ended, which in SAME_STEP mode have been reset: restore others"
            )
        self._states[:] = states
        self._rules.load_rows(self._states)
        self._was_reset = True
        observations = self._observation_buffer()
        self._rules.observe_rows(self._states, self._rules.parameters, observations)
        return observations

    @property
    def np_random_seed(self) -> Any:
        """The `seed` of the `reset` that gives all rows the streams that they have.

        An integer s where row i has s + i, which `reset(seed=s)` does, else a tuple of one for each
        row.
        """
        if isinstance(self._row_seeds, range):
            return self._row_seeds.start
        return tuple(self._row_seeds)

    def _step_rows(self, actions: Array, observations: Array, is_autoreset: bool) -> None:
        step_rows, parameters = self._rules.step_rows, self._rules.parameters
        # One thread needs no pool, whose hand-over costs more than a small batch.
        if self._num_threads == 1:
            step_rows(self._states, parameters, actions, observations, self._outcomes, is_autoreset)
            return
        states, outcomes = self._states, self._outcomes
        self._pool.run(
            step_rows,
            [
                (states[s], parameters, actions[s], observations[s], outcomes[s], is_autoreset)
                for s in self._slices
            ],
        )

    def _restart_ended(self, observations: Array) -> Info:
        """SAME_STEP.

        Keep what the ended rows saw last, reset them, and report both as Gymnasium does.
        """
        ended = self._states["ended"].copy()
        # Gymnasium gives an array of objects, None where a row has not ended.
        final_observations = np.full(self.num_envs, None, dtype=object)
        # Before the reset below overwrites them.
        final_rows = observations[ended]
        # Through `fromiter`: an assignment would spread the rows' numbers over the array of
        # objects.
        final_observations[ended] = np.fromiter(final_rows, dtype=object, count=len(final_rows))
        final_info = self._infos(ended)
        self._rules.reset_rows(self._states, self._rules.parameters, ended)
        self._rules.observe_rows(self._states, self._rules.parameters, observations)
        self._rules.report_reset(self._states, self._outcomes, ended)
        infos = self._infos(self._all)
        infos.update(
            final_obs=final_observations,
            _final_obs=ended,
            final_info=final_info,
            _final_info=ended.copy(),
        )
        return infos

    def _infos(self, mask: Array) -> Info:
        """Arrays of length B with `_key` masks; rows outside the mask are zero."""
        names = (self._rules.outcome_dtype.names or ())[len(OUTCOME_HEADER) :]
        outcomes = self._outcomes
        if mask is self._all:
            # Every step but a few: a plain copy takes half as long as a product.
            columns = {name: outcomes[name].copy() for name in names}
        else:
            columns = {name: _where(mask, outcomes[name]) for name in names}
        infos = _masked(self._rules.batch_infos(columns), mask)
        return infos if self.autoreset_mode == AutoresetMode.SAME_STEP else BatchInfos(infos)

    def _observation_buffer(self) -> NDArray[np.float32]:
        return np.empty_like(self._observations) if self._copy else self._observations

    def _reset_mask(self, options: dict[str, Any] | None) -> Array:
        if options is not None and not isinstance(options, Mapping):
            raise OptionError(f"options is a dictionary or None, got {options!r}")
        if options is None or "reset_mask" not in options:
            return self._all
        mask = options["reset_mask"]
        if (
            not isinstance(mask, np.ndarray)
            or mask.dtype != np.bool_
            or mask.shape != (self.num_envs,)
        ):
            raise OptionError(
                f"reset_mask is a boolean array of shape ({self.num_envs},), got {mask!r}"
            )
        if not (self._was_reset or mask.all()):
            raise ResetNeeded(
                "the first reset starts every row: leave reset_mask out of its options"
            )
        # A reset of nothing is a mistake of the caller, and would look like a success.
        if not mask.any():
            raise OptionError(
                "reset_mask selects no environment: leave step() to go on, or select at least one"
            )
        return mask

    def _seed(self, seed: int | Sequence[int | None] | None, mask: Array) -> None:
        """Give the masked rows their streams; raises OptionError with nothing changed."""
        if seed is None:
            return
        # A negative number or a sequence is judged by the row-wise check, whose message names what
        # is wrong.
        first = as_integer(seed)
        if first is not None and first >= 0:
            super().reset(seed=first)
            seeds: Sequence[int | None] = range(first, first + self.num_envs)
        else:
            seeds = check_row_seeds(seed, self.num_envs)
        if isinstance(seeds, range) and mask.all():  # the common case, in one call
            seed_rows(self._states, seeds)
            self._row_seeds = seeds
            return
        # Rows whose seed is None keep their stream, as in Gymnasium.
        seed_of = {row: s for row in np.flatnonzero(mask).tolist() if (s := seeds[row]) is not None}
        rows = self._states[list(seed_of)]
        seed_rows(rows, list(seed_of.values()))
        for name in ("key", "counter"):
            # Only the stream: time and position of a row that is not reset stay.
            self._states[name][list(seed_of)] = rows[name]
        self._row_seeds = [seed_of.get(row, before) for row, before in enumerate(self._row_seeds)]


def vector_class(env_class: type[KernelEnv]) -> type[KernelVectorEnv]:
    """The class of batches of an environment, for one that adds nothing to them.

    It is given to a module's variable of its own name, `TMazeVectorEnv` for `TMazeEnv`, under which
    Gymnasium and pickle find it.
    """
    name = f"{env_class.__name__.removesuffix('Env')}VectorEnv"
    body = {
        "__doc__": f"A batch of `{env_class.__name__}`.",
        "__module__": env_class.__module__,
        "__qualname__": name,
        "env_class": env_class,
    }
    return type(name, (KernelVectorEnv,), body)


def take_limit(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Replace Gymnasium's outermost TimeLimit by the native environment's own.

    `gym.make` calls it after it has put the TimeLimit on; see `wm_envs.limits.LimitedByEnv`.
    """
    kernel_env = env.unwrapped
    if type(env) is not TimeLimit or not isinstance(kernel_env, KernelEnv):
        return env
    max_episode_steps = env._max_episode_steps
    if is_own(max_episode_steps):
        return env.env
    # Wrappers in between stay where they are: the limit alone moves inward.
    outer: Any = env
    # The limit that was given counts steps of the innermost environment, whatever wraps it.
    while not isinstance(outer.env, _OneStep | KernelEnv):
        outer = outer.env
    if isinstance(outer.env, _OneStep):
        if max_episode_steps == 1:
            return env.env
        outer.env = kernel_env
    kernel_env.limit_to(max_episode_steps)
    return env.env


def _check_open(is_closed: bool) -> None:
    if is_closed:
        raise ClosedEnvironmentError("this environment was closed: make another")


def make_one_step_env(
    env_class: type[KernelEnv],
    *,
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    **options: Any,
) -> gym.Env[Any, Any]:
    """Build an environment, with Gymnasium's TimeLimit where the limit is a single step.

    Gymnasium's `check_env` refuses an unwrapped environment that truncates at its first step.
    """
    limit = make_rules(env_class, options).limited_to(max_episode_steps).time_limit
    if limit > 1:
        # With more than one step the kernel truncates by itself, and no wrapper is needed.
        return env_class(render_mode=render_mode, max_episode_steps=max_episode_steps, **options)
    return _OneStep(env_class(render_mode=render_mode, max_episode_steps=UNLIMITED, **options))


class _OneStep(TimeLimit):
    """Gymnasium's time limit of a single step around a native environment.

    It refuses a second step as native environments do.

    The state says whether there was a step, so that a restored one needs no reset. Gymnasium's own
    methods would take as long as the environment.
    """

    env: KernelEnv

    def __init__(self, env: KernelEnv) -> None:
        super().__init__(env, max_episode_steps=OwnLimit(1))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode."""
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """The only step; raises ResetNeeded after it."""
        # The kernel has no limit here, so that it would go on.
        if self.env._time[0]:
            raise ResetNeeded("the episode is over: call reset() before step()")
        observation, reward, terminated, _, info = self.env.step(action)
        return observation, reward, terminated, True, info


def with_absolute_paths(spec: EnvSpec | None) -> EnvSpec | None:
    """A copy of a specification in which the paths of files are absolute."""
    return None if spec is None else replace(spec, kwargs=absolute_options(spec.kwargs))


def make_rules(env_class: type[KernelEnv], options: Mapping[str, Any]) -> Rules:
    """The rules of a native environment with these options.

    Raises OptionError, also for names it does not know.
    """
    known = inspect.signature(env_class.rules).parameters
    # Anything goes where the domain takes any keyword.
    takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values())
    if not takes_any and (unknown := sorted(set(options) - set(known))):
        raise UnknownOptionError(
            f"{env_class.__name__} got an unexpected keyword argument {unknown[0]!r}: its options "
            f"are {sorted(known)}"
        )
    return env_class.rules(**options)


def _check_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        names = [known.value for known in AutoresetMode]
        raise OptionError(f"autoreset_mode is one of {names}, got {mode!r}") from None


def _vector_bounds(space: spaces.Space[Any]) -> list[tuple[float, float]]:
    """The bounds of each number of a one-dimensional Box, empty for another space."""
    # Other shapes take the slow check of `Rules.check_actions`.
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        return []
    return list(zip(space.low.tolist(), space.high.tolist(), strict=True))


def check_render_mode(render_mode: str | None, metadata: Mapping[str, Any]) -> str | None:
    """Return the mode or raise OptionError."""
    if render_mode is not None and render_mode not in metadata["render_modes"]:
        raise OptionError(
            f"render_mode is one of {metadata['render_modes']} or None, got {render_mode!r}"
        )
    return render_mode


def _where(mask: Array, column: Array) -> Array:
    """A copy of a column [B, ...] that is zero outside the mask [B]."""
    # Multiplied and not selected: works for columns of any shape and keeps their type.
    return column * mask.reshape(mask.shape + (1,) * (column.ndim - 1))


def _masked(info: Info, mask: Array) -> Info:
    masked: Info = {}
    for name, value in info.items():
        masked[name] = value
        masked[f"_{name}"] = mask.copy()
    return masked
