"""The page of all benchmarks, docs/benchmarks.md, written from the JSON files alone.

    python -m benchmarks.page

`benchmarks.themes` says which figures are shown in which table; the files have all of them. A
result without a table there, or with figures of another form, gets a plain section all the same.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.catalogue import FOLDER, benchmarks, summary
from benchmarks.compare import figures_of
from benchmarks.report import RESULTS
from benchmarks.theme_rows import Bar, Row
from benchmarks.themes import THEMES, Table, Theme
from benchmarks.tuning import UNTUNED

PAGE = FOLDER.parent / "docs" / "benchmarks.md"
MAX_ROWS = 16
OURS, THEIRS = "#0072B2", "#5A5A5A"
Results = Mapping[str, Mapping[str, Any]]

REMARKS = {
    name: f"Untuned: {why}. See [how we try to fool ourselves](fooling-ourselves.md)."
    for name, why in UNTUNED.items()
}
"""Name of a result -> a sentence that stands under its table."""

ELSEWHERE = {
    "leaderboard": "[leaderboard](leaderboard.md)",
    "pong_specified": "[Pong](pong.md)",
    "one_agent_scale": "[environments](environments/index.md), page by page",
    "crash_prediction_spa": "[driving](driving.md)",
    "plan_driving_spa": "[driving](driving.md)",
    "dream_pong_seed_5": "[Pong](pong.md)",
    "world_model_pong_seed_5": "[Pong](pong.md)",
    "dream_sac_gradients_4": "[dreams](dreams.md)",
    "world_model_resolutions": "[United Nations resolutions](resolutions.md)",
    "debate_speed": "[debate](debate.md)",
}
"""Results that another page shows."""


def write_page(results: Path = RESULTS, page: Path = PAGE) -> Path:
    """Write the page and its pictures, which go to `images/benchmarks` beside it.

    Gives the page's path.
    """
    documents = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(results.glob("*.json"))
    }
    pictures = page.parent / "images" / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    lines = [*introduction()]
    shown: set[str] = set()
    for theme in THEMES:
        found = [*theme_sections(theme, documents, pictures, shown)]
        if found:
            lines += [f"## {theme.title}", "", theme.text, "", *found]
    others = [name for name in documents if name not in shown | ELSEWHERE.keys()]
    if others:
        lines += ["## Other results", ""]
    for name in others:
        lines += plain_section(name, documents[name])
    lines += all_files(documents)
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def introduction() -> Iterator[str]:
    """What the page is and how it is made again."""
    yield "# Benchmarks"
    yield ""
    yield (
        "The main figures by theme. [All files](#all-files) have every figure, with seeds, versions "
        "and machine; below each table is the command that measures it again. Brackets and thin "
        "lines are 95% intervals; in charts, blue is ours and grey is others' or a baseline. Speeds "
        "are per CPU-second unless the heading says otherwise."
    )
    yield ""


def theme_sections(
    theme: Theme, documents: Results, pictures: Path, shown: set[str]
) -> Iterator[str]:
    """The tables of a theme whose results are there; their names are added to what is shown."""
    for table in theme.tables:
        if not documents.keys() >= set(table.results):
            continue
        figures = [documents[name]["figures"] for name in table.results]
        try:
            rows = list(table.rows(*figures))
        except (KeyError, TypeError, AttributeError, ValueError):
            continue
        shown.update(table.results)
        yield f"### {table.title}"
        yield ""
        if table.text:
            yield table.text
            yield ""
        yield from chart(table, figures, pictures)
        yield from table_lines(table.columns, rows)
        yield from sources({name: documents[name] for name in table.results})


def chart(table: Table, figures: list[Mapping[str, Any]], pictures: Path) -> Iterator[str]:
    """The picture of a table, where it has one."""
    bars = table.bars(*figures) if table.bars else []
    if bars:
        path = pictures / f"{table.results[0]}.svg"
        draw(bars, table.axis, path, is_log=table.is_log)
        yield f"![Chart of {table.axis}, as in the table below](images/benchmarks/{path.name})"
        yield ""


def table_lines(columns: Row, rows: list[Row]) -> Iterator[str]:
    """Markdown; the columns after the first are aligned to the right."""
    yield f"| {' | '.join(columns)} |"
    yield f"|---|{'---:|' * (len(columns) - 1)}"
    for row in rows:
        yield unbroken(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |")
    yield ""


def unbroken(line: str) -> str:
    """The same with intervals that no line break parts."""
    return re.sub(r"\[(-?[\d.,]+), (-?[\d.,]+)\]", r"[\1,&nbsp;\2]", line)


def sources(documents: Results) -> Iterator[str]:
    """Links to the files, what is to be remarked on them, and their commands."""
    links = ", ".join(link(name) for name in documents)
    yield f"Data: {links}."
    yield ""
    for name in documents:
        if name in REMARKS:
            yield f"{REMARKS[name]}"
            yield ""
    yield "```console"
    commands = [doc["command"].split(" && ") for doc in documents.values()]
    yield from dict.fromkeys(f"$ {line}" for lines in commands for line in lines)
    yield "```"
    yield ""


def link(name: str) -> str:
    """Markdown that leads to the file of a result."""
    return f"[{name}.json](../benchmarks/results/{name}.json)"


def plain_section(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    """A result that no theme has a table for: its first figures."""
    yield f"### {name.replace('_', ' ').capitalize()}"
    yield ""
    if about := _about(name):
        yield about
        yield ""
    found = figures_of({"figures": result["figures"]})
    rows = []
    for path, figure in list(found.items())[:MAX_ROWS]:
        interval = "" if figure.low is None else f" [{figure.low:,.4g}, {figure.high:,.4g}]"
        rows.append((path.replace("_", " "), f"{number(figure.value)}{interval}"))
    if len(found) > MAX_ROWS:
        rows.append((f"and {len(found) - MAX_ROWS} more in the file", ""))
    if rows:
        yield from table_lines(("Figure", "Value"), rows)
    yield from sources({name: result})


def all_files(documents: Results) -> Iterator[str]:
    """Each file with what it measures, when, and on how many seeds."""
    yield "## All files"
    yield ""
    yield "One command runs all benchmarks, and another says what a change did:"
    yield ""
    yield "```console"
    yield "$ python -m benchmarks.run --all --peer-python ../peers/bin/python"
    yield "$ python -m benchmarks.compare HEAD~1 HEAD"
    yield "```"
    yield ""
    yield (
        "Peers run in the same process or, where they need other packages, in turns from a Python "
        "of their own that `--peer-python` names."
    )
    yield ""
    rows = []
    for name, result in documents.items():
        about = _about(name)
        if name in ELSEWHERE:
            about = f"See {ELSEWHERE[name]}. {REMARKS.get(name, '')}".rstrip()
        rows.append((link(name), about, _seeds(result["seeds"]), result["date"]))
    yield from table_lines(("File", "What it measures", "Seeds", "Date"), rows)


def _about(name: str) -> str:
    """The first line of the benchmark's docstring.

    By the longest module name that the result's name begins with.
    """
    matching = [module for module in _summaries() if name.startswith(module)]
    return _summaries()[max(matching, key=len)] if matching else ""


@cache
def _summaries() -> dict[str, str]:
    return {benchmark.module: summary(benchmark) for benchmark in benchmarks()}


def _seeds(seeds: list[int]) -> str:
    is_range = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if is_range else ", ".join(map(str, seeds))


def number(value: float) -> str:
    """With separators where it is large, with four digits where it is not."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def draw(bars: list[Bar], axis: str, path: Path, *, is_log: bool = False) -> None:
    """Bars with intervals, ours in blue and others in grey, for light and for dark pages."""
    from wm_agents.evaluation.plots import INK, make_axes, save_figure

    figure, axes = make_axes(5.8, 0.8 + 0.36 * len(bars))
    places = range(len(bars))
    colors = [OURS if bar.is_ours else THEIRS for bar in bars]
    axes.barh(places, [bar.value for bar in bars], height=0.62, color=colors)
    for place, bar in zip(places, bars, strict=True):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [place, place], color=INK, linewidth=1.5)
    axes.set_yticks(places, [textwrap.fill(bar.label, 26) for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(axis)
    if is_log:
        axes.set_xscale("log")
    save_figure(figure, path)


def main() -> None:
    """Write this page, and that of the leaderboard from its result."""
    # Only here: the leaderboard imports the learners.
    from benchmarks import leaderboard

    print(f"written to {write_page()}")
    result = json.loads((RESULTS / "leaderboard.json").read_text(encoding="utf-8"))
    names = [name.partition(", ")[2] for name in result["figures"] if ", " in name]
    protocol = leaderboard.LeaderboardConfig(
        env_ids=tuple(dict.fromkeys(names)), seeds=tuple(result["seeds"])
    )
    path = leaderboard.write_page(result["figures"], protocol)
    path.write_text(unbroken(path.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
