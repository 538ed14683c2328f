"""Every command that a page shows names a script that exists and options that it takes, and the scripts are run."""

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import tyro

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(
    r"python (?:-m (?P<module>benchmarks\.[\w.]+)|(?P<script>(?:examples|benchmarks)/\w+\.py))(?P<rest>[^`#\n|)]*)"
)


def commands():
    found = {}
    for page in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs/tutorials").glob("*.md")),
    ]:
        for match in COMMAND.finditer(page.read_text(encoding="utf-8").replace("\\\n", " ")):
            arguments = tuple(
                word
                for word in shlex.split(re.sub(r"<[^>]*>", "value", match["rest"]))
                if word != "..."
            )
            found[(match["module"] or match["script"], arguments)] = None
    return list(found)


class Parsed(BaseException):
    """Stops a script once its options are read.

    Not an Exception, so that no script takes it for a fault.
    """


def stop_after(parse):
    def parsed(*arguments, **options):
        parse(*arguments, **options)
        raise Parsed

    return parsed


def has_options(target):
    path = ROOT / (target if target.endswith(".py") else target.replace(".", "/") + ".py")
    return re.search(r"tyro\.cli|parse_args", path.read_text(encoding="utf-8")) is not None


def run(target):
    if target.endswith(".py"):
        return runpy.run_path(str(ROOT / target), run_name="__main__")
    return runpy.run_module(target, run_name="__main__", alter_sys=True)


def as_python_does(target, monkeypatch):
    """A script finds what lies beside it, and the repository only where it says so itself.

    A module finds both.
    """
    is_script = target.endswith(".py")
    elsewhere = [place for place in sys.path if Path(place).resolve() != ROOT]
    monkeypatch.setattr(
        sys, "path", [str((ROOT / target).parent) if is_script else str(ROOT), *elsewhere]
    )
    for name in [name for name in sys.modules if name.split(".")[0] in ("examples", "benchmarks")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("target", "arguments"),
    commands(),
    ids=lambda value: value if isinstance(value, str) else " ".join(value) or "-",
)
def test_a_command_has_options_that_its_script_takes(target, arguments, monkeypatch):
    if not has_options(target):
        assert not arguments, "this script takes no options"
        return
    monkeypatch.setattr(tyro, "cli", stop_after(tyro.cli))
    monkeypatch.setattr(
        argparse.ArgumentParser, "parse_args", stop_after(argparse.ArgumentParser.parse_args)
    )
    # An option at the end is a flag, or the page left the value out: `--peer-python ...`.
    endings = ([], ["value"]) if arguments and arguments[-1].startswith("--") else ([],)
    assert any(takes(target, [*arguments, *ending], monkeypatch) for ending in endings)


def takes(target, arguments, monkeypatch):
    """Whether the script reads these arguments without an error."""
    monkeypatch.setattr(sys, "argv", [target, *arguments])
    as_python_does(target, monkeypatch)
    with pytest.raises((Parsed, SystemExit)) as raised:
        run(target)
    return raised.type is Parsed


def test_an_unknown_option_would_be_noticed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["examples/plan.py", "--no-such-option", "1"])
    with pytest.raises(SystemExit):
        run("examples/plan.py")


def test_every_example_that_takes_an_id_registers_ours():
    for script in (ROOT / "examples").glob("*.py"):
        source = script.read_text(encoding="utf-8")
        if "env_id: str" in source:
            assert re.search(
                r"^\s*(import wm_envs|from wm_envs\S* import)", source, re.MULTILINE
            ), script.name


def test_every_example_is_run_by_a_test():
    tests = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    )
    for script in (ROOT / "examples").glob("*.py"):
        assert re.search(rf"\b{script.stem}\b", tests), f"{script.name} is in no test"
