"""The rooms of the house, from the imports themselves: which way they run, and how full a room may be.

A room is a folder with Python files of its own. `__main__` is the door of a program and stands above all its rooms.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest

from tests.architecture.test_layout import PACKAGES, ROOT, named, sources, tree

MOST = 14
# Catalogues, with one file an entry, and the contract.
FULLER = {"mpc.protocols": 22, "party_node.jobs.stages": 22, "wire": 22}


@cache
def modules() -> Mapping[str, str]:
    """Every module of ours and the room it is in."""
    found = {}
    for path in sources(*PACKAGES):
        name = named(path).removesuffix(".py").replace("/", ".")
        room = name.rpartition(".")[0]
        found[name.removesuffix(".__init__")] = room
    return found


def imported(name: str, path_tree: ast.Module) -> Iterable[str]:
    """Modules of ours that `name` imports, wherever in the file."""
    for node in ast.walk(path_tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                target = whole if whole in modules() else node.module
                if target in modules():
                    yield target


@cache
def edges() -> Mapping[tuple[str, str], list[str]]:
    """(room, room it imports from) -> the imports."""
    found = defaultdict(list)
    for path in sources(*PACKAGES):
        name = named(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        if name.endswith(".__main__"):
            continue
        for target in imported(name, tree(path)):
            if modules()[target] != modules()[name]:
                found[modules()[name], modules()[target]].append(f"{name} imports {target}")
    return found


def circle(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Names that import one another in a circle; none, if there is no circle."""
    below = defaultdict(set)
    for above, under in pairs:
        below[above].add(under)
    try:
        tuple(TopologicalSorter(below).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_rooms_are_seen() -> None:
    assert len(set(modules().values())) > 30
    assert len(edges()) > 80


def test_no_import_between_rooms_runs_in_a_circle() -> None:
    found = circle(edges())
    assert found == [], [edges().get(pair) for pair in pairwise(found)]


def test_no_two_files_import_one_another() -> None:
    pairs = [(named(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__"), target)
             for path in sources(*PACKAGES)
             for target in imported(named(path), tree(path))]
    assert circle(pair for pair in pairs if pair[0] != pair[1]) == []


def test_a_circle_would_be_seen() -> None:
    assert circle([("a", "b"), ("b", "c"), ("c", "a")])
    assert circle([*edges(), ("mpc", "party_node.daemon")])


@pytest.mark.parametrize("package", ["mpc", "party_node", "coordinator"])
def test_the_floor_of_a_package_stands_below_its_rooms(package: str) -> None:
    upward = [imports for (above, under), imports in edges().items()
              if above == package and under.startswith(package + ".")]
    assert upward == []


def test_a_room_can_be_taken_in_at_a_glance() -> None:
    files = Counter(modules().values())
    assert {room: count for room, count in files.items() if count > FULLER.get(room, MOST)} == {}


def test_a_room_says_what_is_in_it() -> None:
    for path in sources(*PACKAGES):
        if path.name == "__init__.py" and path.parent.name not in ("testing", "protocols", "stages"):
            text = path.read_text(encoding="utf-8")
            assert ast.get_docstring(tree(path)), f"{named(path)} names no face"
            assert len(text.splitlines()) <= 12, named(path)


def test_no_name_says_the_same_twice() -> None:
    stutters = [named(path) for path in sources(*PACKAGES)
                if path.stem.rstrip("s") == path.parent.name.rstrip("s")]
    assert stutters == []


def test_every_file_is_on_the_map() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `((?:mpc|wire|reporting|party_node|coordinator|joint_risk)[\w/]*)` \| (.*) \|$", page,
                           re.MULTILINE))
    for path in sources(*PACKAGES):
        room = named(path.parent)
        if path.name != "__init__.py" and room != "mpc/testing":
            assert f"`{path.stem}`" in rows[room], f"docs/architecture.md does not say what {named(path)} is"
    for room, words in rows.items():
        for name in re.findall(r"`([a-z_0-9]+)`", words):
            known = (ROOT / room / f"{name}.py").is_file() or name in ("ifma", "avx2")
            assert known, f"{room}/{name}.py is on the map and nowhere else"
