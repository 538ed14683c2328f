"""The site can be read: alternative texts, contrast in light and dark, labels for narrow screens."""

import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from wm_agents.evaluation.plots import COLOURS, DARK, GRID, INK

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *(DOCS / "tutorials").glob("*.md")])
CSS = (DOCS / "stylesheets" / "extra.css").read_text(encoding="utf-8")


def luminance(color):
    """Relative luminance of #rrggbb, by WCAG 2.2."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def colors_of(scheme):
    block = re.search(rf'\[data-md-color-scheme="{scheme}"\] \{{(.*?)\}}', CSS, re.DOTALL)[1]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


@pytest.mark.parametrize("scheme", ["default", "slate"])
def test_text_stands_out_from_what_is_behind_it(scheme):
    colors = colors_of(scheme)
    grounds = (colors["md-default-bg-color"], colors["wm-raised"])
    for ground in grounds:
        for name in ("md-default-fg-color", "md-default-fg-color--light", "md-typeset-a-color"):
            assert contrast(colors[name], ground) >= 4.5, (name, ground)
        assert contrast(colors["md-accent-fg-color"], ground) >= 3
    assert contrast(colors["md-primary-bg-color"], colors["md-primary-fg-color"]) >= 4.5


def test_charts_stand_out_from_light_and_from_dark_pages():
    light, dark = (colors_of(scheme)["md-default-bg-color"] for scheme in ("default", "slate"))
    assert contrast(INK, light) >= 4.5
    assert contrast(DARK[INK], dark) >= 4.5
    # Those that a leaderboard and the page of benchmarks use; markers differ, too.
    for color in COLOURS[:4]:
        assert contrast(color, light) >= 2.9
        assert contrast(DARK[color], dark) >= 3
    assert contrast(DARK[GRID], dark) < 2


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_picture_is_there_and_says_what_it_shows(page):
    text = page.read_text(encoding="utf-8")
    for words, target in re.findall(r"!\[(.*?)\]\((.*?)\)", text):
        assert len(words.split()) >= 3, f"{target} needs an alternative text"
        assert (page.parent / target.partition("#")[0]).exists(), target


def test_pictures_on_white_ground_follow_dark_pages():
    """Each PNG of a page has a version of its own for dark pages, or the style of charts."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target, after in re.findall(r"!\[.*?\]\(([^)]*\.png[^)]*)\)\n(.*)", text):
            has_twin = "-mode-only" in target
            assert has_twin or "wm-chart" in after, f"{page.name}: {target} is white on dark pages"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_page_is_in_the_menu_and_its_headings_nest(page):
    menu = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.search(rf"\b{re.escape(str(page.relative_to(DOCS)))}$", menu, re.MULTILINE)
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def load_hooks(monkeypatch):
    """The hooks without MkDocs, which only serves the files."""
    files = ModuleType("mkdocs.structure.files")
    files.File = files.Files = object
    monkeypatch.setitem(sys.modules, "mkdocs.structure.files", files)
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cells_carry_the_headings_of_their_columns(monkeypatch):
    hooks = load_hooks(monkeypatch)
    html = (
        '<p>x</p><table>\n<thead>\n<tr>\n<th>Id</th>\n<th style="text-align: right;">A <code>b</code>'
        '</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n<td style="text-align: right;"></td>\n'
        "</tr>\n</tbody>\n</table>"
    )
    found = hooks.on_page_content(html)
    assert '<table data-columns="2">' in found
    assert '<td data-label="Id"><span>1</span></td>' in found
    assert '<td data-label="A b" style="text-align: right;"></td>' in found
    assert found.startswith("<p>x</p>")


def test_links_to_results_lead_to_files(monkeypatch):
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((\.\./benchmarks/results/[^)]*)\)", text)
    assert len(set(targets)) > 40
    assert all((DOCS / target).resolve().exists() for target in targets)
    served = load_hooks(monkeypatch).on_page_markdown(text)
    assert "](../benchmarks/results/" not in served
    assert served.count("](results/") == len(targets)
