"""A rule program as a world model: interpreted row by row, replayed on records, kept as JSON."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError, ProgramError, SpaceError
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.encoding import EncodedSpaces, check_observations
from wm_agents.world_models.lattice import TokenCodec
from wm_agents.world_models.program_interpreter import Interpreter
from wm_agents.world_models.program_text import Assignment, Branch, read_program
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path
from wm_envs.data.spaces import space_from_json, space_to_json
from wm_envs.data.trajectories import Trajectories

SUFFIX = ".json"
KIND = "rule program"
_MAX_BYTES = 1 << 22  # of a file
# Bounds the memory of a replay of many episodes.
_ROWS_AT_ONCE = 4096
_EXACT = 1e-6  # relative, of rewards, which models give as float32

Ints = NDArray[Any]


@dataclass(frozen=True)
class Mismatch:
    """One number of one recorded step that a program predicts otherwise.

    Attributes:
        episode: Which.
        step: Within the episode.
        name: A feature, "reward" or "terminated".
        predicted: None where the program says that it does not know.
        recorded: What really followed.
        line: That gave the prediction, from 1; 0 where no line did, so that the feature stays.
    """

    episode: int
    step: int
    name: str
    predicted: float | None
    recorded: float
    line: int

    def __str__(self) -> str:
        where = f"episode {self.episode}, step {self.step}"
        source = f"line {self.line}" if self.line else "no line changes it, so the program"
        if self.predicted is None:
            return f"{where}: line {self.line} leaves {self.name} open, recorded {self.recorded:g}"
        return (
            f"{where}: {source} predicts {self.name} = {self.predicted:g}, recorded "
            f"{self.recorded:g}"
        )


@dataclass(frozen=True)
class Replay:
    """A program held against every recorded step, each from the recorded state before it.

    Attributes:
        num_transitions: Steps.
        unexplained: The steps [K] of which anything is predicted otherwise or left open.
        mismatches: What, of the first of them.
    """

    num_transitions: int
    unexplained: NDArray[np.int64]
    mismatches: tuple[Mismatch, ...]

    @property
    def num_exact(self) -> int:
        """Steps that the program predicts in full."""
        return self.num_transitions - len(self.unexplained)

    @property
    def is_exact(self) -> bool:
        """Whether that is all of them."""
        return len(self.unexplained) == 0

    def __str__(self) -> str:
        if self.is_exact:
            return f"all {self.num_transitions} transitions are replayed exactly"
        return (
            f"{self.num_exact} of {self.num_transitions} transitions are replayed exactly; first "
            f"mismatch: {self.mismatches[0]}"
        )


class ProgramModel(EncodedSpaces, Unrolled):
    """A world model that one can read: a program of conditions and integer arithmetic.

    What the program does not assign stays as it is; the reward is then 0, and the episode goes on.
    The grammar is in `program_text`. Programs are interpreted and never executed as Python. Whether
    a person, a language model or `TokenModel.to_program` wrote one, it goes on the same scorecard.

    Args:
        text: The program.
        observation_space: Of any kind; features cover the columns of its rows.
        action_space: `action` is the value of a Discrete row space; a Box has none.

    Raises:
        ProgramError: The text is outside the grammar.
        SpaceError: Its features do not cover the observation, or it asks for an action that is no
            number.
    """

    def __init__(
        self, text: str, observation_space: gym.Space[Any], action_space: gym.Space[Any]
    ) -> None:
        self._set_spaces(observation_space, action_space)
        self.program = read_program(text)
        if self.program.num_columns != self.num_features:
            raise SpaceError(
                f"the program's features cover {self.program.num_columns} columns, the rows of "
                f"{observation_space} have {self.num_features}: declare each column once"
            )
        self._codec = TokenCodec(self.program.features)
        self._lows = np.array(self.program.lows)
        # Actions that are vectors have no number to ask for.
        self._has_action = isinstance(self.action_space, spaces.Discrete)
        if not self._has_action and _reads_action(self.program.statements):
            raise SpaceError(
                f"the program asks for `action`, but {action_space} has no numbered actions"
            )

    @classmethod
    def _of_spaces(
        cls,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any,
        seed: int,  # noqa: ARG003 - nothing is drawn
    ) -> Self:
        if config is None:
            raise ConfigError("a program model needs its program: for_env(env, text)")
        return cls(config, observation_space, action_space)

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """The program as it was written."""
        return self.program.text

    @property
    def num_lines(self) -> int:
        """Lines that are neither empty nor a comment."""
        return self.program.num_lines

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Observations [B, O]; a program has no memory.

        Numbers off a feature's lattice count as the nearest on it.
        """
        rows = check_observations(observations, self.num_features, torch.device("cpu"))
        return ModelState(rows, hidden)

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """Interpret the program for actions [B] or [B, A]; there is no randomness to draw.

        Raises:
            ProgramError: A value outside its feature's range, an entry that a table lacks, a
                division by 0, or a loop without end.
        """
        run = self._run(state.observations, actions)
        # The interpreter counts from each feature's low, the codec from 0.
        tokens = torch.as_tensor(run.after - self._lows)
        after = self._codec.decode(tokens).to(state.observations.dtype)
        rewards = torch.as_tensor(run.outcomes["reward"], dtype=torch.float32)
        terminations = torch.as_tensor(run.outcomes["terminated"], dtype=torch.float32)
        return ModelState(after), Prediction(after, rewards, terminations)

    def replay(self, trajectories: Trajectories, max_shown: int = 20) -> Replay:
        """Predict every recorded step from the recorded state before it.

        Args:
            trajectories: Of the model's spaces.
            max_shown: How many unexplained steps to tell of in words.

        Raises:
            SpaceError: The trajectories are of other spaces.
            ProgramError: As `step`.
        """
        self._check_trajectories(trajectories)
        is_wrong = np.zeros(trajectories.num_steps, np.bool_)
        shown: list[Mismatch] = []
        for first in range(0, trajectories.num_steps, _ROWS_AT_ONCE):
            steps = np.arange(first, min(first + _ROWS_AT_ONCE, trajectories.num_steps))
            rows = trajectories.observation_of_step[steps]
            run = self._run(
                torch.as_tensor(trajectories.observations[rows]),
                torch.as_tensor(trajectories.actions[steps]),
            )
            recorded = torch.as_tensor(trajectories.observations[rows + 1])
            decoded = self._codec.decode(torch.as_tensor(run.after - self._lows))
            found = self._codec.encode(recorded).numpy() + self._lows
            # A record off the lattice is no token, and so cannot be predicted exactly.
            is_off = (self._codec.decode(torch.as_tensor(found - self._lows)) != recorded).numpy()
            # A negative line is one that left the value open.
            wrong = (run.after != found) | (run.lines[:, :-2] < 0)
            wrong |= self._by_feature(is_off | (decoded != recorded).numpy())
            outcomes = self._wrong_outcomes(run, trajectories, steps)
            is_wrong[steps] = wrong.any(axis=1) | outcomes.any(axis=1)
            shown += [
                self._mismatch(run, found, wrong, outcomes, row, trajectories, first)
                # Only so many rows are worked out in full: the first ones are what a reader mends.
                for row in np.flatnonzero(is_wrong[steps])[: max(0, max_shown - len(shown))]
            ]
        return Replay(trajectories.num_steps, np.flatnonzero(is_wrong), tuple(shown))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the program and its spaces as JSON and return the file's path.

        ".json" is added where there is no suffix.
        """
        target = user_path(path)
        target = target if target.suffix else target.with_name(target.name + SUFFIX)
        content = {
            "kind": KIND,
            "version": 1,
            "program": self.text.splitlines(),
            "observation_space": space_to_json(self.raw_observation_space),
            "action_space": space_to_json(self.raw_action_space),
        }
        with replacing(target) as file:
            file.write(json.dumps(content, indent=1, allow_nan=False) + "\n")
        return target

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: Any = None,
        *,
        device: str = "auto",  # noqa: ARG003 - a program is interpreted on the CPU
        given: Any = None,  # noqa: ARG003 - a file holds all of it
    ) -> Self:
        """Read a file that `save` wrote; its program is checked and never executed as Python.

        Args:
            path: The file, with or without its suffix.
            env: An id or environment whose spaces the model must fit; None checks nothing.
            device: Not used.
            given: Not used.

        Raises:
            CheckpointError: The file is missing, damaged or of something else.
            ProgramError: Its program is outside the grammar.
            SpaceError: The environment has other spaces.
        """
        target = user_path(path)
        target = target if target.is_file() else target.with_name(target.name + SUFFIX)
        # Size first: a file that is too large is not even read.
        try:
            if target.stat().st_size > _MAX_BYTES:
                raise ValueError(f"it has more than {_MAX_BYTES} bytes")
            content = json.loads(target.read_text(encoding="utf-8"))
            if content["kind"] != KIND or content["version"] != 1:
                raise ValueError(f"it holds {content['kind']!r}, version {content['version']!r}")
            text = "\n".join(content["program"]) + "\n"
            found = [
                space_from_json(content[name]) for name in ("observation_space", "action_space")
            ]
        except Exception as error:
            raise CheckpointError(f"{target} is no rule program: {error!r}") from error
        try:
            model = cls(text, *found)
        except ProgramError as error:
            raise ProgramError(f"{target}: {error}") from error
        except SpaceError as error:
            raise CheckpointError(f"{target} contradicts itself: {error}") from error
        model._check_env(env)
        return model

    def _run(self, observations: Tensor, actions: Tensor) -> Interpreter:
        before = self._codec.encode(observations).numpy() + self._lows
        acts = actions.numpy().astype(np.int64) if self._has_action else np.zeros(0, np.int64)
        run = Interpreter(self.program, before, acts)
        # All rows at once; branches split them.
        run.block(self.program.statements, np.arange(len(before)))
        return run

    def _by_feature(self, is_wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Columns [B, O] as features [B, F]."""
        return np.stack(
            [is_wrong[:, list(feature.columns)].any(1) for feature in self.program.features], 1
        )

    def _wrong_outcomes(
        self, run: Interpreter, trajectories: Trajectories, steps: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether reward and termination are wrong or open [B, 2]."""
        rewards = trajectories.rewards[steps]
        # Models and records give float32; programs compute with whole numbers.
        # A sum that cancels is off by a share of its largest terms, whose unit may be small.
        size = min(1.0, float(np.abs(trajectories.rewards).max(initial=0.0)))
        is_close = np.isclose(run.outcomes["reward"], rewards, rtol=_EXACT, atol=_EXACT * size)
        is_same = run.outcomes["terminated"] == trajectories.terminations[steps]
        wrong: NDArray[np.bool_] = np.stack([~is_close, ~is_same], 1) | (run.lines[:, -2:] < 0)
        return wrong

    def _mismatch(
        self,
        run: Interpreter,
        found: Ints,
        wrong: NDArray[np.bool_],
        wrong_outcomes: NDArray[np.bool_],
        row: int,
        trajectories: Trajectories,
        first: int,
    ) -> Mismatch:
        """The first thing that is wrong with a row, which is step `first + row`."""
        step = first + row
        episode = int(trajectories.episode_of_step[step])
        place = int(step - trajectories.step_starts[episode])
        if wrong[row].any():
            # The first wrong feature in order: others may follow from it.
            number = int(np.argmax(wrong[row]))
            name = self.program.names[number]
            predicted, recorded = float(run.after[row, number]), float(found[row, number])
        else:
            outcome = int(np.argmax(wrong_outcomes[row]))
            name = ("reward", "terminated")[outcome]
            number = len(self.program.names) + outcome
            predicted = float(run.outcomes[name][row])
            recorded = float((trajectories.rewards, trajectories.terminations)[outcome][step])
        # Its sign says whether the value was left open.
        line = int(run.lines[row, number])
        return Mismatch(episode, place, name, predicted if line >= 0 else None, recorded, abs(line))


def _reads_action(part: Any) -> bool:
    if isinstance(part, Branch):
        return _reads_action((part.condition, part.body, part.otherwise))
    if isinstance(part, Assignment):
        return _reads_action(part.value)
    if isinstance(part, tuple):
        return part == ("action",) or any(_reads_action(inner) for inner in part)
    return False
