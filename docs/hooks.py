"""What MkDocs does beyond Markdown: the JSON of results is served, and table cells carry headings.

Pages link to `../benchmarks/results/NAME.json`, which is where the files are for a reader of the
repository; on the site the same links lead to copies of them.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
TABLE = re.compile(r"<table>(.*?)</table>", re.DOTALL)
ROW = re.compile(r"<tr([^>]*)>(.*?)</tr>", re.DOTALL)
HEADING = re.compile(r"<th(?: [^>]*)?>(.*?)</th>", re.DOTALL)
CELL = re.compile(r"<td([^>]*)>(.*?)</td>", re.DOTALL)
TAG = re.compile(r"<[^>]+>")


def on_files(files: Files, config: Any) -> Files:
    """Add the results to what is served."""
    for path in sorted(RESULTS.glob("*.json")):
        files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to results to what is served."""
    return markdown.replace("](../benchmarks/results/", "](results/")


def on_page_content(html: str, **_: Any) -> str:
    """Give each cell the heading of its column, which narrow screens show beside it."""
    return TABLE.sub(lambda match: labelled(match[1]), html)


def labelled(table: str) -> str:
    """A table with `data-label` at its cells and the number of its columns."""
    headings = [TAG.sub("", heading).replace('"', "&quot;") for heading in HEADING.findall(table)]
    rows = ROW.sub(lambda match: f"<tr{match[1]}>{labelled_row(match[2], headings)}</tr>", table)
    return f'<table data-columns="{len(headings)}">{rows}</table>'


def labelled_row(row: str, headings: list[str]) -> str:
    """The cells of a row, in the order of the headings; the content of each is one element."""
    labels = iter(headings)

    def labelled_cell(cell: re.Match[str]) -> str:
        content = f"<span>{cell[2]}</span>" if cell[2] else ""
        return f'<td data-label="{next(labels, "")}"{cell[1]}>{content}</td>'

    return CELL.sub(labelled_cell, row)
