"""The entry point of `wm`: one table of commands, one form of output, one line for every error."""

import contextlib
import difflib
import functools
import inspect
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import tyro

from wm_envs import __version__
from wm_envs.data.files import without_infinities
from wm_suite import environments, learners
from wm_suite.command_result import CommandResult

COMMANDS: dict[str, Callable[..., CommandResult]] = {
    "envs": environments.envs,
    "info": environments.info,
    "play": environments.play,
    "record": environments.record,
    "fit": learners.fit,
    "score": learners.score,
    "plan": learners.plan,
    "train": learners.train,
    "view": learners.view,
    "bench": environments.bench,
    "compile": environments.compile_,
    "data": environments.data,
}

DESCRIPTION = (
    "Environments and agents for world models. After any command, --json prints one JSON object on "
    "the standard output instead of text. `wm --tyro-print-completion bash` prints a completion "
    "script."
)
USAGE_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141
# So that each command's help page has it; `main` takes the word out of what was typed.
JSON_OPTION = inspect.Parameter(
    "json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        tyro.conf.FlagCreatePairsOff[bool],
        tyro.conf.arg(help="Print one JSON object on the standard output instead of text."),
    ],
)


class _Failure(NamedTuple):
    """What a user is told and what the shell is told."""

    message: str
    code: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 after an error, which is one line, or 130 after an interruption."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_json = "--json" in words
    words = [word for word in words if word != "--json"]
    if words == ["--version"]:
        print(f"wm-suite {__version__}")
        return 0
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        return _fail(_unknown(words[0]))
    try:
        outcome = _run(words, is_json)
        text = outcome.text
        if is_json:
            text = json.dumps(without_infinities(outcome.result), indent=2, allow_nan=False)
        print(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more while it flushes what nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _fail(_Failure("interrupted", INTERRUPTED))
    except Exception as error:
        if os.environ.get("WM_DEBUG"):
            raise
        return _fail(_failure_of(error, words))
    return outcome.exit_code


def _run(words: list[str], is_json: bool) -> CommandResult:
    # What a command prints on its way is not its result.
    way = contextlib.redirect_stdout(sys.stderr) if is_json else contextlib.nullcontext()
    usage = io.StringIO()
    try:
        # The parser writes a box of several lines about what it does not know.
        typed = {name: _as_typed(command, sys.stderr) for name, command in COMMANDS.items()}
        with contextlib.redirect_stderr(usage), way:
            outcome: CommandResult = tyro.extras.subcommand_cli_from_dict(
                typed,
                prog="wm",
                description=DESCRIPTION,
                args=words or ["--help"],
                sort_subcommands=False,
            )
    except SystemExit as stopped:
        if stopped.code != USAGE_ERROR:
            raise
        raise UsageError(_in_one_line(usage.getvalue(), words[0])) from None
    return outcome


def _as_typed(function: Callable[..., CommandResult], stderr: Any) -> Callable[..., CommandResult]:
    """A command that has --json on its help page, and this as its standard error stream."""

    @functools.wraps(function)
    def run(*arguments: Any, json: bool = False, **options: Any) -> CommandResult:  # noqa: ARG001
        with contextlib.redirect_stderr(stderr):
            return function(*arguments, **options)

    signature = inspect.signature(function)
    parameters = [*signature.parameters.values(), JSON_OPTION]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**function.__annotations__, "json": JSON_OPTION.annotation}
    # Else the parser would look at the command behind it, which has no such option.
    del run.__wrapped__
    return run


class UsageError(Exception):
    """What was typed does not fit a command."""


def _in_one_line(box: str, command: str) -> str:
    """The first part of a message in a box that is drawn with lines, and what was meant perhaps."""
    parts: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]:  # the first is a heading
        words = line.strip(" |\u2502")
        if re.fullmatch(r"[-+ \u2500-\u257f]*", words):
            parts.append([])
        else:
            parts[-1].append(words)
    told = [" ".join(" ".join(part).split()) for part in parts if part]
    help_page = f"`wm {command} --help` lists the options" if command in COMMANDS else "`wm --help`"
    if not told:
        return f"wrong usage: {help_page}"
    # Choices come as Python writes a tuple.
    mistake = re.sub(r"\('([^)]*)\)", lambda found: found[1].replace("'", ""), told[0])
    hints = [_similar_option(part, command) for part in told[1:]]
    if meant := [hint for hint in hints if hint]:
        # In an order of their own: tyro's changes from one process to the next.
        mistake = f"{mistake.rstrip('.')}: did you mean {' and '.join(sorted(set(meant)))}?"
        return f"{mistake} {help_page}"
    return f"{mistake.rstrip('.')}: {help_page}"


def _similar_option(part: str, command: str) -> str:
    """The first option of this command in a list of similar ones of all commands; "" without one."""
    if not part.startswith(("Perhaps you meant", "Arguments similar")):
        return ""
    for described in re.split(r" (?=--[a-z])", part.replace(" --help", ""))[1:]:
        # The commands that have an option follow it: "--episodes INT How many. in wm record".
        if re.search(rf"in wm {command}( |$)", described):
            return described.split()[0]
    return ""


def _failure_of(error: Exception, words: Sequence[str]) -> _Failure:
    """One line for what was raised; what is not one of our errors says its kind, too."""
    message = " ".join(str(error).split())
    kind = type(error)
    if kind.__name__ in ("NameNotFound", "NamespaceNotFound", "VersionNotFound"):
        message += " `wm envs` lists ours"
        is_after_import = any(":" in word for word in words)
        message += "." if is_after_import else "; module:ID imports a module first."
    elif not kind.__module__.startswith(("wm_envs", "wm_agents", "wm_suite", "gymnasium")):
        is_about_a_file = isinstance(error, ImportError | OSError)
        if not is_about_a_file or not message:
            message = f"{kind.__name__}: {message} (WM_DEBUG=1 shows where)"
    return _Failure(message, USAGE_ERROR)


def _unknown(word: str) -> _Failure:
    """A word that is no command, and the command that was meant, if one is similar."""
    near = difflib.get_close_matches(word, COMMANDS, 1)
    hint = f"did you mean `wm {near[0]}`?" if near else f"there are {', '.join(COMMANDS)}"
    return _Failure(f"no command {word!r}: {hint}", USAGE_ERROR)


def _fail(failure: _Failure) -> int:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"wm: {failure.message}", file=sys.stderr)
    return failure.code


def entry_point() -> Any:
    """What the installed script calls."""
    sys.exit(main())
