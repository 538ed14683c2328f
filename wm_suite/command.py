"""The entry point of `wm`: one table of commands, one form of output, one line for every error."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
        return _fail(_failure_of(error))
    return outcome.exit_code


def _run(words: list[str], is_json: bool) -> CommandResult:
    # What a command prints on its way is not its result.
    way = contextlib.redirect_stdout(sys.stderr) if is_json else contextlib.nullcontext()
    with way:
        outcome: CommandResult = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="wm",
            description=DESCRIPTION,
            args=words or ["--help"],
            sort_subcommands=False,
        )
    return outcome


def _failure_of(error: Exception) -> _Failure:
    """One line for what was raised; what is not one of our errors says its kind, too."""
    message = " ".join(str(error).split())
    kind = type(error)
    if kind.__name__ in ("NameNotFound", "NamespaceNotFound", "VersionNotFound"):
        message += " `wm envs` lists ours; module:ID imports a module first."
    elif not kind.__module__.startswith(("wm_envs", "wm_agents", "gymnasium")):
        is_about_a_file = isinstance(error, ImportError | OSError)
        if not is_about_a_file or not message:
            message = f"{kind.__name__}: {message} (WM_DEBUG=1 shows where)"
    return _Failure(message, USAGE_ERROR)


def _fail(failure: _Failure) -> int:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"wm: {failure.message}", file=sys.stderr)
    return failure.code


def entry_point() -> Any:
    """What the installed script calls."""
    sys.exit(main())
