"""The rooms keep to their doors: who may import whom, as DESIGN's table says, and what stays cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import ROOT

# room: the rooms that it may import beside itself; those that put the others together import all
MAY_IMPORT: dict[str, set[str]] = {
    "pooling": set(),
    "model_loaders": {"pooling"},
    "trainers": {"model_loaders"},
    "evaluation": {"model_loaders"},
    "comparison": set(),
    "quickstart": set(),
    "study": {"pooling", "model_loaders", "trainers", "evaluation", "comparison", "quickstart"},
    "benchmarks": {"pooling", "model_loaders", "trainers", "evaluation", "comparison", "quickstart", "study"},
}
OURS = set(MAY_IMPORT)
ROOMS = [room for room in MAY_IMPORT if (ROOT / room / "__init__.py").is_file()]
LIBRARIES_OF = {"pooling": {"torch"}, "comparison": {"numpy", "scipy", "statsmodels", "matplotlib", "jinja2", "yaml"}}


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
            libraries = names - set(sys.stdlib_module_names) - {room}
            assert libraries <= LIBRARIES_OF[room], f"{path.relative_to(ROOT)} imports {sorted(libraries)}"


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
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted(ROOMS)
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
