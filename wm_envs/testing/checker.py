"""`check_vector_env`: what to check, in which modes, and the report."""

import inspect
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv

from wm_envs.data.display import counted
from wm_envs.data.specs import spec_of
from wm_envs.errors import OptionError
from wm_envs.testing.checks import CHECKS
from wm_envs.testing.trace import Trial


@dataclass(frozen=True)
class Finding:
    """One broken promise: which check, in which autoreset mode, and what was seen where."""

    check: str
    mode: str
    message: str

    def __str__(self) -> str:
        return f"[{self.check}, {self.mode}] {self.message}"


@dataclass(frozen=True)
class Report:
    """The result of `check_vector_env`.

    Attributes:
        name: The environment.
        modes: The autoreset modes that were tried, by Gymnasium's names.
        passed: Checks without a finding in any mode.
        not_run: Check or mode -> why it was left out.
        findings: Broken promises, in the order of the checks.
        num_episodes: Mode -> episodes that ended in the main trace, so that a pass is not an empty
            one.
    """

    name: str
    modes: tuple[str, ...]
    passed: tuple[str, ...]
    not_run: dict[str, str]
    findings: tuple[Finding, ...]
    num_episodes: dict[str, int]

    @property
    def failed(self) -> frozenset[str]:
        """The names of the checks with findings."""
        return frozenset(finding.check for finding in self.findings)

    def raise_if_failed(self) -> None:
        """Raise VectorEnvError with all findings, if there are any."""
        if self.findings:
            raise VectorEnvError(self)


class VectorEnvError(AssertionError):
    """A vector environment breaks its promises; `report` holds all findings."""

    def __init__(self, report: Report) -> None:
        self.report = report
        lines = "\n".join(f"  {finding}" for finding in report.findings)
        names = ", ".join(sorted(report.failed))
        super().__init__(
            f"{report.name} fails {counted(len(report.failed), 'check')} ({names}):\n{lines}\n"
            'What breaks a check by design is left out with skip=("<check>",).'
        )


AnyVectorEnv = VectorEnv[Any, Any, Any]
MakeSingle = Callable[[], gym.Env[Any, Any]]

ALL_MODES = tuple(AutoresetMode)
# Of a check in a mode: the first ones tell the story.
MAX_MESSAGES = 3


@dataclass(frozen=True)
class _Subject:
    """What is checked.

    How to make it in each of its modes, and the single environment beside it.
    """

    name: str
    num_envs: int | None  # None: as many as it has
    modes: tuple[AutoresetMode, ...]
    make: Callable[[AutoresetMode], AnyVectorEnv]
    make_single: MakeSingle | None
    has_chosen_modes: bool = False


def check_vector_env(
    env: str | AnyVectorEnv | Callable[..., AnyVectorEnv],
    *,
    single: str | MakeSingle | None = None,
    num_envs: int = 3,
    num_steps: int = 200,
    seed: int = 7,
    env_kwargs: dict[str, Any] | None = None,
    vectorization_mode: str | None = None,
    autoreset_modes: Sequence[AutoresetMode | str] | None = None,
    skip: Collection[str] = (),
) -> Report:
    """Prove that a vector environment keeps the promises of Gymnasium's vector interface.

    The checks, by the names that `skip` takes; all run in each autoreset mode that the environment
    supports:

    - `spaces`: batches of the single spaces; the metadata name the autoreset mode.
    - `calls`: shapes and dtypes of all that `reset` and `step` give.
    - `coverage`: episodes ended, so that the other checks saw what they judge.
    - `info_masks`: infos are arrays of length B with boolean `_key` masks.
    - `info_keys`: the same keys at reset and step.
    - `outputs_kept`: earlier observations, rewards and infos are not overwritten (skip it for
      `copy=False`).
    - `autoreset`: next-step mode resets on the call right after the end (Gymnasium #1103, #1356).
    - `final_observations`: same-step mode reports the true last observation and info (gymnax #108,
      cleanrl #198).
    - `matches_single`: row i seeded with s is the single environment seeded with s + i, over
      several episodes.
    - `reproducible`: equal seeds give equal traces across autoresets (Gymnasium #1321).
    - `reset_discards_ends`: a full reset forgets rows that were waiting for their autoreset
      (Gymnasium #1103).
    - `episodes_vary`: rows and later episodes do not repeat one random stream.
    - `seed_list`: `seed=[s, s + 1, ...]` is `seed=s`.
    - `ended_actions`: the action of a row that is being reset is ignored.
    - `partial_reset`: `options["reset_mask"]` leaves the other rows untouched (ALE #673, #676).
    - `close`: closing twice is harmless.

    Args:
        env: An id; or an instance, which is checked in its own mode and closed in the end; or a
            function that makes one, called with those of `num_envs`, `autoreset_mode` and
            `env_kwargs` that its signature names.
        single: The single environment, an id or a function; by default that of the id. Without one,
            what needs it is not run.
        num_envs: Rows of the environments made here, at least 2.
        num_steps: Steps of each trace; a few episodes of every row should end within them.
        seed: The first seed.
        env_kwargs: Options for the vector and the single environment alike.
        vectorization_mode: As for `gym.make_vec`; by default the id's own vector environment, else
            "sync".
        autoreset_modes: The modes to try; by default all that it can be made with, which the report
            names.
        skip: Checks to leave out, for what an environment breaks by design.

    Returns:
        The report of a pass: checks and modes that ran, those that did not and why, episodes that
            were seen.

    Raises:
        VectorEnvError: Some promise is broken; the message and `.report` list the findings with row
            and call.
        OptionError: An unknown check in `skip`, or fewer than two rows or steps.
    """
    _check_options(num_envs, num_steps, skip)
    subject = _subject(env, single, num_envs, env_kwargs or {}, vectorization_mode)
    if autoreset_modes is not None:
        wanted = tuple(AutoresetMode(mode) for mode in autoreset_modes)
        if unsupported := [mode.value for mode in wanted if mode not in subject.modes]:
            raise OptionError(f"{subject.name} cannot be made with autoreset modes {unsupported}")
        subject = replace(subject, modes=wanted, has_chosen_modes=True)
    report = _run(subject, num_steps, seed, skip)
    report.raise_if_failed()
    return report


def _check_options(num_envs: int, num_steps: int, skip: Collection[str]) -> None:
    if unknown := sorted(set(skip) - set(CHECKS)):
        raise OptionError(f"unknown checks {unknown}: skip takes {list(CHECKS)}")
    if num_envs < 2 or num_steps < 2:
        raise OptionError(f"num_envs and num_steps are at least 2, got {num_envs} and {num_steps}")


def _subject(
    env: str | AnyVectorEnv | Callable[..., AnyVectorEnv],
    single: str | MakeSingle | None,
    num_envs: int,
    env_kwargs: dict[str, Any],
    vectorization_mode: str | None,
) -> _Subject:
    if single is None and isinstance(env, str):
        single = env
    make_single = (
        _quiet(lambda: gym.make(single, **env_kwargs)) if isinstance(single, str) else single
    )
    if isinstance(env, str):
        modes, make = _from_id(env, num_envs, env_kwargs, vectorization_mode)
        return _Subject(env, num_envs, modes, make, make_single)
    if isinstance(env, VectorEnv):
        return _Subject(str(env), None, (_mode_of(env),), lambda _: env, make_single)
    modes, make = _from_function(env, num_envs, env_kwargs)
    known = num_envs if "num_envs" in inspect.signature(env).parameters else None
    return _Subject(getattr(env, "__name__", str(env)), known, modes, make, make_single)


Maker = Callable[[AutoresetMode], AnyVectorEnv]


def _from_id(
    env_id: str, num_envs: int, env_kwargs: dict[str, Any], vectorization_mode: str | None
) -> tuple[tuple[AutoresetMode, ...], Maker]:
    entry_point = spec_of(env_id).vector_entry_point
    how = vectorization_mode or ("vector_entry_point" if entry_point else "sync")
    if how != "vector_entry_point":
        return ALL_MODES, _quiet(
            lambda mode: gym.make_vec(
                env_id, num_envs, how, vector_kwargs={"autoreset_mode": mode}, **env_kwargs
            )
        )
    creator: Any = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    if "autoreset_mode" in inspect.signature(creator).parameters:
        return ALL_MODES, _quiet(
            lambda mode: gym.make_vec(env_id, num_envs, how, autoreset_mode=mode, **env_kwargs)
        )
    make = _quiet(lambda _: gym.make_vec(env_id, num_envs, how, **env_kwargs))
    return _only_mode(make), make


def _from_function(
    function: Callable[..., AnyVectorEnv], num_envs: int, env_kwargs: dict[str, Any]
) -> tuple[tuple[AutoresetMode, ...], Maker]:
    names = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in names.values())
    arguments = {key: value for key, value in env_kwargs.items() if key in names or takes_any}
    if "num_envs" in names:
        arguments["num_envs"] = num_envs
    if "autoreset_mode" in names:
        return ALL_MODES, _quiet(lambda mode: function(autoreset_mode=mode, **arguments))
    make = _quiet(lambda _: function(**arguments))
    return _only_mode(make), make


def _only_mode(make: Maker) -> tuple[AutoresetMode, ...]:
    # The argument is ignored: what cannot be asked for is looked up in the metadata.
    env = make(AutoresetMode.NEXT_STEP)
    mode = _mode_of(env)
    env.close()
    return (mode,)


def _mode_of(env: AnyVectorEnv) -> AutoresetMode:
    """The mode that the metadata name.

    Where they do not, Gymnasium's default, and the `spaces` check says so.
    """
    mode = env.metadata.get("autoreset_mode")
    return mode if isinstance(mode, AutoresetMode) else AutoresetMode.NEXT_STEP


def _quiet(make: Callable[..., Any]) -> Callable[..., Any]:
    """Without Gymnasium's warnings: what matters of them is a check of its own."""

    def made(*arguments: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make(*arguments)

    return made


def _run(subject: _Subject, num_steps: int, seed: int, skip: Collection[str]) -> Report:
    findings: list[Finding] = []
    not_run = dict.fromkeys(skip, "skipped")
    if subject.make_single is None:
        not_run.setdefault("matches_single", "no single environment was given")
    num_episodes = {}
    ran: set[str] = set()
    for mode, env in _made(subject, not_run):
        trial = Trial(
            env, mode, subject.num_envs or env.num_envs, num_steps, seed, subject.make_single
        )
        failure = _trace_failure(trial)
        findings += [Finding("calls", mode.value, failure)] if failure else []
        # Without a main trace the other checks would only repeat its failure.
        for name in ("spaces", "close") if failure else CHECKS:
            if name not in not_run:
                ran.add(name)
                findings += [
                    Finding(name, mode.value, message) for message in _messages(trial, name)
                ]
        num_episodes[mode.value] = 0 if failure else int(trial.num_episodes.sum())
    failed = {finding.check for finding in findings}
    passed = tuple(name for name in CHECKS if name in ran - failed)
    return Report(subject.name, tuple(num_episodes), passed, not_run, tuple(findings), num_episodes)


def _made(
    subject: _Subject, not_run: dict[str, str]
) -> Iterator[tuple[AutoresetMode, AnyVectorEnv]]:
    """The environment in each mode.

    A mode that it refuses is noted, unless it was asked for or is the only one.
    """
    num_made = 0
    for mode in subject.modes:
        try:
            env = subject.make(mode)
        # How environments say that they do not know an autoreset mode.
        except (ValueError, NotImplementedError) as error:
            if subject.has_chosen_modes or (mode == subject.modes[-1] and num_made == 0):
                raise
            not_run[mode.value] = f"cannot be made: {error}"
            continue
        num_made += 1
        yield mode, env


def _trace_failure(trial: Trial) -> str | None:
    """What the main trace raised, without which only the first and the last check make sense."""
    try:
        _ = trial.trace
    except Exception as error:
        return f"the main trace raised {type(error).__name__}: {error}"
    return None


def _messages(trial: Trial, name: str) -> list[str]:
    """The first messages of a check; an exception is one, since no check raises by itself."""
    messages: list[str] = []
    try:
        messages.extend(CHECKS[name](trial))
    except Exception as error:
        messages.append(f"raised {type(error).__name__}: {error}")
    # A broken promise is broken in every row and call.
    if len(messages) > MAX_MESSAGES:
        messages[MAX_MESSAGES:] = [f"and {len(messages) - MAX_MESSAGES} more"]
    return messages
