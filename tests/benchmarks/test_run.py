"""The runner: every benchmark has its line, failures do not stop the others, the page tells all."""

import json
import sys
from functools import cache
from pathlib import Path

import pytest

from benchmarks import page, run
from benchmarks.catalogue import FOLDER, SPECIAL, Benchmark, Special, benchmarks, summary
from benchmarks.theme_rows import Bar
from benchmarks.themes import THEMES


def test_every_script_is_a_benchmark_or_known_not_to_be():
    start = '\nif __name__ == "__main__":'
    runnable = {
        path.stem for path in FOLDER.glob("*.py") if start in path.read_text(encoding="utf-8")
    }
    listed = {benchmark.module for benchmark in benchmarks()}
    others = {name for name, special in SPECIAL.items() if not special.is_measurement}
    assert {"throughput", "planning_speed", "control", "symbolic_learning"} <= listed
    assert runnable - listed <= others
    assert all(summary(benchmark) for benchmark in benchmarks())


def test_names_are_unique_and_can_be_asked_for():
    names = [benchmark.name for benchmark in benchmarks()]
    assert len(set(names)) == len(names)
    chosen = run.choose(run.Config(only=("symbolic_learning", "throughput")))
    assert [b.module for b in chosen].count("symbolic_learning") == len(
        SPECIAL["symbolic_learning"].parts
    )
    assert [
        benchmark.name for benchmark in run.choose(run.Config(only=("symbolic_learning_recall",)))
    ] == ["symbolic_learning_recall"]
    with pytest.raises(SystemExit, match="no benchmarks"):
        run.choose(run.Config(only=("speed",)))


SCRIPT = """
import sys
from benchmarks.report import write_result
if "--fail" in sys.argv:
    sys.exit("it broke")
write_result("tiny", {"peer": "--peer-python" in sys.argv}, seeds=0, command="python -m benchmarks.tiny")
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A root with a benchmark of its own."""
    package = tmp_path / "root" / "benchmarks"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "report.py").write_text((FOLDER / "report.py").read_text(encoding="utf-8"))
    (package / "tiny.py").write_text(SCRIPT)
    monkeypatch.setattr(run, "ROOT", tmp_path / "root")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def test_done_skipped_and_failed(tiny):
    kinds = [
        Benchmark("tiny"),
        Benchmark("tiny", special=Special(needs=("json", "no_such_module"))),
        Benchmark("tiny", ("--fail",)),
        Benchmark("tiny", special=Special(peers=("no_such_peer",), peers_by="argument")),
        Benchmark("tiny", special=Special(peers=("json",), peers_by="argument")),
    ]
    config = run.Config(quiet=True, peer_python=(Path("/no/such/python"), Path(sys.executable)))
    outcomes = []
    figures = []
    for benchmark in kinds:
        outcomes.append(run.run(benchmark, tiny / "results", config))
        path = tiny / "results" / "tiny.json"
        figures.append(json.loads(path.read_text(encoding="utf-8"))["figures"]["peer"])
    assert [outcome.status for outcome in outcomes] == ["done", "skipped", "failed", "done", "done"]
    assert outcomes[1].remark == "not installed: no_such_module"
    assert outcomes[2].remark.endswith("it broke")
    assert "without peers" in outcomes[3].remark
    assert figures == [False, False, False, False, True]


def committed_tables():
    """Tables whose results have been measured."""
    tables = [table for theme in THEMES for table in theme.tables]
    return [table for table in tables if documents().keys() >= set(table.results)]


@cache
def documents():
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in page.RESULTS.glob("*.json")
    }


def test_the_page_shows_every_result_and_where_its_file_is(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "draw", lambda *_, **__: None)
    written = page.write_page(page=tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    others = written.partition("## Other results\n")[2].partition("## All files\n")[0]
    assert others.count("\n### ") < 8, "give them tables in benchmarks/themes.py"
    for table in committed_tables():
        assert f"### {table.title}\n" in written, "its figures have another form"
        for name in table.results:
            command = documents()[name]["command"].split(" && ")[0]
            assert f"$ {command}\n" in written
    for name in documents():
        assert f"| [{name}.json](../benchmarks/results/{name}.json) |" in written
    assert "-0.00 " not in written


@pytest.mark.parametrize(
    "table",
    committed_tables(),
    ids=lambda table: table.title,
)
def test_a_table_has_a_cell_for_each_column_and_a_chart_both_sides(table):
    figures = [documents()[name]["figures"] for name in table.results]
    rows = list(table.rows(*figures))
    assert rows
    assert {len(row) for row in rows} == {len(table.columns)}
    if table.bars:
        assert {bar.is_ours for bar in table.bars(*figures)} == {True, False}


def test_a_chart_follows_the_colors_of_its_page(tmp_path):
    path = tmp_path / "chart.svg"
    page.draw([Bar("ours", 12.0, 11.0, 13.0), Bar("theirs", 11.0, is_ours=False)], "speed", path)
    text = path.read_text(encoding="utf-8")
    assert "prefers-color-scheme:dark" in text
    assert ">theirs</text>" in text
    assert "fill: #ffffff" not in text
    page.draw([Bar("ours", 12.0, 11.0, 13.0), Bar("theirs", 11.0, is_ours=False)], "speed", path)
    assert path.read_text(encoding="utf-8") == text


def test_figures_of_another_form_still_have_a_section(tmp_path):
    facts = {
        "command": "c",
        "date": "d",
        "versions": {},
        "machine": {"processor": "p", "cores": 1, "system": "s"},
    }
    for name in ("planning_speed", "unheard_of"):
        content = {"name": name, "figures": {"speed": 12345.6}, "seeds": [0, 1, 2], **facts}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    text = page.write_page(tmp_path, tmp_path / "page.md").read_text(encoding="utf-8")
    assert text.count("| speed | 12,346 |") == 2
    assert "| 0 to 2 |" in text
    assert ".svg" not in text
