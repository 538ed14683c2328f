"""The floors of the house, counted on the syntax trees.

Lazy imports and those for type checking are imports too.
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.house import Tree, import_circles, module_name

ROOT = Path(__file__).parents[1]
TREE = Tree(ROOT)
DOMAINS = ("pong", "driving", "resolutions", "debate")


def imports_from(prefix):
    """(module, imported module) for all modules below a prefix."""
    return [
        (module, imported)
        for module, found in TREE.imports.items()
        if module == prefix or module.startswith(f"{prefix}.")
        for imported in sorted(found)
    ]


def is_below(module, *prefixes):
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def test_there_are_no_import_circles():
    assert import_circles(TREE.imports) == []


def test_the_data_floor_knows_nothing_above_it():
    assert [
        pair for pair in imports_from("wm_envs.data") if not is_below(pair[1], "wm_envs.data")
    ] == []


def test_environments_know_no_learners():
    assert [pair for pair in imports_from("wm_envs") if not is_below(pair[1], "wm_envs")] == []


def test_generic_learners_know_data_and_no_domain():
    wrong = [
        (module, imported)
        for module, imported in imports_from("wm_agents")
        if not is_below(module, "wm_agents.domains")
        and not (is_below(imported, "wm_envs.data") or is_below(imported, "wm_agents"))
    ]
    assert wrong == []
    above = [
        (module, imported)
        for module, imported in imports_from("wm_agents")
        if not is_below(module, "wm_agents.domains") and is_below(imported, "wm_agents.domains")
    ]
    assert above == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_domains_do_not_import_each_other(domain):
    others = [f"wm_agents.domains.{other}" for other in DOMAINS if other != domain]
    assert [
        pair for pair in imports_from(f"wm_agents.domains.{domain}") if is_below(pair[1], *others)
    ] == []


def test_nobody_imports_examples_or_benchmarks():
    """Benchmarks may share among themselves, examples are leaves."""
    leaves = ("examples", "benchmarks")
    for room in ("wm_envs", "wm_agents", "wm_suite", "examples"):
        assert [pair for pair in imports_from(room) if is_below(pair[1], *leaves)] == []
    assert [pair for pair in imports_from("benchmarks") if is_below(pair[1], "examples")] == []


def test_nobody_imports_the_command():
    for room in ("wm_envs", "wm_agents", "examples", "benchmarks"):
        assert [pair for pair in imports_from(room) if is_below(pair[1], "wm_suite")] == []


def test_no_file_edits_the_search_path():
    edits = []
    for path in [*TREE.files, *sorted(p.relative_to(ROOT) for p in (ROOT / "tests").rglob("*.py"))]:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            target = (
                node.func.value
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                else node
            )
            if isinstance(node, ast.Call) and ast.unparse(target) == "sys.path":
                edits.append(f"{path}:{node.lineno}")
    assert edits == []


def test_every_public_class_has_one_home():
    homes = defaultdict(list)
    for path, tree in TREE.trees.items():
        if path.parts[0] not in ("wm_envs", "wm_agents", "wm_suite"):
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module_name(path))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
