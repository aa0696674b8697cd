"""The rules of docs/architecture.md that a machine can check: directions, sizes, names, forbidden imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mpc.domains import Domain

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mpc", "reporting", "wire", "party_node", "coordinator", "joint_risk")
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def sources(*folders: str) -> list[Path]:
    """Python files of the folders, without generated code."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "v1" not in path.relative_to(ROOT).parts]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, `from a import b` as a.b."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def importers(prefix: str, *folders: str) -> set[str]:
    """Files of the folders that import `prefix` or something in it."""
    return {named(path) for path in sources(*folders)
            if any(name == prefix or name.startswith(prefix + ".") for name in imports(path))}


def test_the_import_contracts_hold() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert ", 0 broken" in done.stdout


def test_files_are_short() -> None:
    files = sources(*PACKAGES, "scripts")
    lengths = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(lengths) > 100
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_fit_on_a_screen() -> None:
    long = {}
    for path in sources(*PACKAGES, "scripts"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno >= LONGEST_FUNCTION:
                    long[f"{named(path)}: {node.name}"] = node.end_lineno - node.lineno + 1
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    silent = [named(path) for path in sources(*PACKAGES, "scripts")
              if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(tree(path))]
    assert silent == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = re.compile(r"(^|_)(utils?|common|helpers?|misc)$")
    assert [named(path) for path in sources(*PACKAGES, "scripts", "tests") if drawers.search(path.stem)] == []


def test_only_the_generator_asks_the_system_for_randomness() -> None:
    assert importers("secrets", "mpc") == {"mpc/rng.py"}


@pytest.mark.parametrize("banned", ["numpy.random", "random", "os.urandom"])
def test_the_mathematics_has_no_other_source_of_randomness(banned: str) -> None:
    assert importers(banned, "mpc") == set()
    spelled = re.compile(r"\b(np|numpy)\.random\b|\burandom\b")
    assert [named(path) for path in sources("mpc") if spelled.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("banned", ["pickle", "marshal", "shelve", "joblib", "cloudpickle"])
def test_nothing_is_unpickled_anywhere(banned: str) -> None:
    assert importers(banned, *PACKAGES, "scripts") == set()
    for path in sources(*PACKAGES, "scripts"):
        assert "allow_pickle=True" not in path.read_text(encoding="utf-8"), named(path)


@pytest.mark.parametrize("banned", ["eval", "exec", "__import__"])
def test_no_code_is_made_from_text(banned: str) -> None:
    calls = [named(path) for path in sources(*PACKAGES) for node in ast.walk(tree(path))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == banned]
    assert calls == []


def test_the_parser_of_the_command_line_is_reached_through_typer_only() -> None:
    assert importers("click", *PACKAGES, "scripts", "tests") == set()  # typer vendors its own


def test_a_domain_label_has_one_purpose() -> None:
    labels = Counter(member.value for member in Domain.__members__.values())
    assert len(Domain.__members__) == len(labels), "two names, one label"
    assert all(re.fullmatch(r"jcr/v1/[a-z0-9/-]+", label) for label in labels)


def test_labels_are_written_in_one_place() -> None:
    prefix = "jcr" + "/v1"
    holders = {named(path) for path in sources(*PACKAGES, "scripts") if prefix in path.read_text(encoding="utf-8")}
    assert holders == {"mpc/domains.py"}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: nothing says which files are tracked")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


# Spelled apart, so that this file does not hold what it looks for.
MACHINE = re.compile("|".join(["/" + "root/", "/" + "home/", "/" + "work/", "/" + "Users/", "[A-Z]:" + r"\\Users"]))
REGISTRY_HOSTS = re.compile("|".join(["pypi" + r"\.", "python" + r"hosted\.", "docker" + r"\.io", "ghcr" + r"\.io",
                                      "conda" + r"\.anaconda", "artifact" + "ory", "npmjs" + r"\."]), re.IGNORECASE)


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = {}
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        hits = {*MACHINE.findall(text), *REGISTRY_HOSTS.findall(text)}
        if hits:
            found[named(path)] = hits
    assert found == {}


def test_nothing_is_left_for_later() -> None:
    words = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
    later = [named(path) for path in tracked() if path.suffix in {".py", ".md", ".toml", ".proto", ".html"}
             and words.search(path.read_text(encoding="utf-8"))]
    assert later == []


def test_declared_dependencies_are_used_and_used_ones_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    lines = project["dependencies"] + extras
    declared = {re.split(r"[<>=!\[ ]", line)[0].lower() for line in lines}
    names = {"grpc": "grpcio", "grpc_health": "grpcio-health-checking", "google": "protobuf", "sklearn": "scikit-learn"}
    roots = {name.partition(".")[0] for path in sources(*PACKAGES) for name in imports(path)}
    foreign = {names.get(root, root) for root in roots - set(PACKAGES) - set(sys.stdlib_module_names)}
    assert foreign == declared


def test_what_is_pinned_is_what_is_declared() -> None:
    pins = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=!\[ ]", line)[0].lower() for line in wanted} - pins == set()
