"""No text file is read or written in the encoding of the machine.

The sources are walked for calls that would.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("wm_envs", "wm_agents", "wm_suite", "examples", "benchmarks", "docs")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

METHODS_OF_TEXT = {"read_text", "write_text"}
TEXT_BY_DEFAULT = {"TextIOWrapper", "FileHandler", "loadtxt", "savetxt", "genfromtxt", "to_csv"}
ASKS_FOR_TEXT = {"text", "universal_newlines"}  # of subprocess
# The place of `encoding` among what is given without a name: it may stand there as well.
PLACE_OF_ENCODING = {"read_text": 0, "write_text": 1}
OPENERS = {"open", "fdopen"}
NAMED_OTHERWISE = {"os.open", "webbrowser.open", "Image.open", "imageio.open"}  # no text files


def bare_calls(source: str) -> list[str]:
    """The calls that read or write text and name no encoding, each with its line."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [f"line {call.lineno}: {ast.unparse(call)[:80]}" for call in calls if is_bare(call)]


def is_bare(call: ast.Call) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    keywords = {keyword.arg for keyword in call.keywords}
    if "encoding" in keywords or ast.unparse(function) in NAMED_OTHERWISE:
        return False
    if name in METHODS_OF_TEXT:
        is_method = isinstance(function, ast.Attribute)  # a function of this name is our own
        return is_method and len(call.args) <= PLACE_OF_ENCODING[name]
    if name in OPENERS:
        return is_text_mode(call, name, is_method=isinstance(function, ast.Attribute))
    return name in TEXT_BY_DEFAULT or bool(keywords & ASKS_FOR_TEXT and name != "tqdm")


def is_text_mode(call: ast.Call, name: str, *, is_method: bool) -> bool:
    """Whether the mode is one of text; gzip, bz2 and lzma open in binary where none is given."""
    modes = [argument for argument in call.args if is_mode(argument)]
    modes += [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    module = ast.unparse(call.func).rpartition(".")[0]
    if module in ("gzip", "bz2", "lzma", "zipfile", "tarfile"):
        return any("t" in ast.literal_eval(mode) for mode in modes)
    return not any("b" in ast.literal_eval(mode) for mode in modes)


def is_mode(argument: ast.expr) -> bool:
    value = getattr(argument, "value", None)
    return (
        isinstance(argument, ast.Constant)
        and isinstance(value, str)
        and set(value) <= set("rwxabt+")
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_file_names_its_encoding(path):
    assert bare_calls(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "path.read_text()",
        "path.write_text(text)",
        "path.write_text(\n    text\n)",
        "open('a')",
        "open('a', 'w')",
        "open('a', mode='a')",
        "path.open()",
        "path.open('w', newline='')",
        "gzip.open(path, 'rt')",
        "os.fdopen(3, 'w')",
        "io.TextIOWrapper(stream)",
        "subprocess.run(command, text=True)",
        "subprocess.Popen(command, universal_newlines=True)",
        "np.savetxt(path, rows)",
    ],
)
def test_a_bare_call_is_found(line):
    assert bare_calls(line)
    assert not bare_calls(
        (line.rstrip(")").rstrip("\n") + ", encoding='utf-8')").replace("(, ", "(")
    )


@pytest.mark.parametrize(
    "line",
    [
        "open('a', 'rb')",
        "path.open('wb')",
        "gzip.open(path)",
        "path.read_bytes()",
        "os.open(folder, os.O_RDONLY)",
        "path.read_text('utf-8')",
        "subprocess.run(command, capture_output=True)",
    ],
)
def test_what_is_no_text_is_let_alone(line):
    assert not bare_calls(line)
