"""The rooms keep to their doors: who may import whom, as DESIGN's table says, and what stays cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.tiny import ROOT

# room: the rooms that it may import beside itself; those that put the others together import all
MAY_IMPORT: dict[str, set[str]] = {
    "common": set(),
    "pooling": set(),
    "model_loaders": {"common", "pooling"},
    "triplets": {"common", "model_loaders"},
    "trainers": {"common", "model_loaders", "triplets", "evaluation"},
    "evaluation": {"common", "model_loaders"},
    "comparison": {"common"},
    "quickstart": {"common"},
    "study": {"common", "pooling", "model_loaders", "triplets", "trainers", "evaluation", "comparison", "quickstart"},
    "benchmarks": {
        "common",
        "pooling",
        "model_loaders",
        "triplets",
        "trainers",
        "evaluation",
        "comparison",
        "quickstart",
        "study",
    },
}
# The order inside a room: a part imports itself and what stands before it. A name is a file or a sub-room; what is not named
# here is of the last line, "*": the scripts and files that users open first.
ORDER: dict[str, list[str]] = {
    "model_loaders": [
        "designs options vectors bundle",
        "hub",
        "text",
        "backbone",
        "layouts",
        "version encoding",
        "embed_model",
        "fingerprints",
        "create saving",
        "loading",
        "*",
    ],
    "triplets": [
        "keys printed_lists formats mixing",
        "folders batch_plan",
        "triplet data_sets",
        "arguments dataset",
        "sources",
        "prepare",
        "read",
        "check",
        "mining",
        "conversion",
        "*",
    ],
    "trainers": [
        "step checkpoints.run_files scoring.arguments scoring.checks scoring.selection",
        "masked",
        "flags",
        "memory monitor checkpoints",
        "scoring",
        "run",
        "data_check",
        "*",
    ],
    "evaluation": ["time_left", "progress paper_tasks options", "tasks", "encode", "results", "evaluate", "rerun", "*"],
    "comparison": ["errors places findings", "reading", "stats", "disagreements", "claims importing", "report", "compare", "*"],
    "comparison.report": ["words", "tables plots", "*"],
}
OURS = set(MAY_IMPORT)
ROOMS = [room for room in MAY_IMPORT if (ROOT / room / "__init__.py").is_file()]
LIBRARIES_OF = {
    "pooling": {"torch"},
    "comparison": {"numpy", "scipy", "statsmodels", "matplotlib", "jinja2", "yaml", "setuptools"},
}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_table_allows(room: str) -> None:
    for path in sources(room):
        names = imported(path)
        beyond = names & (OURS | {"tests", "run_mteb", "run_mteb_retrieval", "run_study"}) - MAY_IMPORT[room] - {room}
        assert not beyond, f"{path.relative_to(ROOT)} imports {sorted(beyond)}"
        if room in LIBRARIES_OF:
            libraries = names - set(sys.stdlib_module_names) - MAY_IMPORT[room] - {room}
            assert libraries <= LIBRARIES_OF[room], f"{path.relative_to(ROOT)} imports {sorted(libraries)}"


def test_training_scores_tasks_in_one_module() -> None:
    """It is imported by runs that ask for scores alone: mteb takes seconds."""
    importing = [path.relative_to(ROOT).as_posix() for path in sources("trainers") if "evaluation" in imported(path)]
    assert importing == ["trainers/scoring/task_scores.py"]


def modules() -> dict[str, Path]:
    """Every module of the rooms by its dotted name."""
    named = {}
    for room in OURS:
        for path in sources(room):
            parts = path.relative_to(ROOT).with_suffix("").parts
            named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def arrows() -> dict[str, set[str]]:
    """Every module and the modules that it imports, inside functions and for types too."""
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= inner & set(known) or {str(node.module)}
        graph[name] = targets & set(known) - {name}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A way from a module back to itself, or nothing."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph[name]):
            if back := visit(target, [*way, name]):
                return back
        done.add(name)
        return []

    for name in sorted(graph):
        if back := visit(name, []):
            return back
    return []


def test_no_circle() -> None:
    assert not circle(arrows())


def test_a_circle_would_be_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def floor_of(room: str, module: str) -> int:
    """The place of a module in its room's order; the longest name that stands there counts."""
    rest = module.removeprefix(room).removeprefix(".")
    best, floor = 0, len(ORDER[room]) - 1
    for number, line in enumerate(ORDER[room]):
        for part in line.split():
            if (rest == part or rest.startswith(f"{part}.")) and len(part) > best:
                best, floor = len(part), number
    return floor


@pytest.mark.parametrize("room", ORDER)
def test_a_part_of_a_room_imports_only_what_stands_before_it(room: str) -> None:
    wrong = []
    for name, targets in arrows().items():
        for target in targets:
            inside = name.startswith(f"{room}.") and target.startswith(f"{room}.")
            if inside and floor_of(room, target) > floor_of(room, name):
                wrong.append(f"{name} imports {target}")
    assert not wrong


def test_the_order_names_what_is_there() -> None:
    for room, lines in ORDER.items():
        folder = ROOT / Path(*room.split("."))
        for part in " ".join(lines).replace("*", "").split():
            place = folder / Path(*part.split("."))
            assert place.is_dir() or place.with_suffix(".py").is_file(), f"{room} has no {part}"


def test_scripts_import_no_tests() -> None:
    scripts = sorted(ROOT.glob("run_*.py"))
    assert scripts
    for path in scripts:
        assert "tests" not in imported(path), path.name


def test_no_module_bears_the_name_of_a_library() -> None:
    """A script's own folder is first on sys.path: a datasets.py there would be imported instead of the library."""
    taken = set(sys.stdlib_module_names) | set(metadata.packages_distributions()) - OURS
    for room in OURS:
        for path in sources(room):
            name = path.parent.name if path.stem == "__init__" else path.stem
            assert name not in taken, f"{path.relative_to(ROOT)} hides the library {name}"


def test_the_packages_are_the_rooms() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert sorted(settings["setuptools"]["packages"]["find"]["include"]) == sorted(f"{room}*" for room in [*ROOMS, "configs"])
    assert sorted(settings["mypy"]["packages"]) == sorted(ROOMS)
    holders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert holders <= OURS | {"tests"}, "a folder with code that is no room"


@pytest.mark.parametrize(
    "statement", ["import model_loaders.model3", "from model_loaders.designs import DESIGNS", "from model_loaders import load"]
)
def test_names_that_users_type_import_no_torch(statement: str) -> None:
    script = f"import sys; {statement}; print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stdout + done.stderr


@pytest.mark.parametrize("design", ["model1", "model2", "model3", "model4", "model5"])
def test_each_published_design_has_its_module(design: str) -> None:
    """`from model_loaders.model3 import EmbedModel` binds one row of the table and takes the published arguments."""
    import importlib

    loader = importlib.import_module(f"model_loaders.{design}").EmbedModel
    assert loader.args == (design,)


def test_scripts_find_the_rooms_before_they_import_them() -> None:
    """A script's own folder is on sys.path, the root is not: an import above the line that puts it there fails."""
    for path in [path for room in ROOMS for path in sources(room)]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inserts = [node.lineno for node in tree.body if isinstance(node, ast.Expr) and "sys.path.insert" in ast.unparse(node)]
        for node in tree.body:
            if inserts and isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in OURS:
                assert node.lineno > inserts[0], f"{path}:{node.lineno}"
