"""Examples in docstrings run as they stand: ``>>> model.encode(["a text"]).shape``.

An example may use the names in ``names`` below without an import. One module alone: ``-k NAME``, such as ``-k pooling.mean``.
"""

from __future__ import annotations

import doctest
import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from model_loaders.saving import save
from tests.comparison.conftest import write_items, write_result
from tests.evaluation.conftest import make_tasks
from tests.test_imports import MAY_IMPORT, modules
from tests.tiny import ROOT, new_model, triplets

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SCORES = {"plain": (0.50, 0.40, 0.60), "better": (0.55, 0.48, 0.63), "worse": (0.40, 0.35, 0.52)}


def modules_with_examples() -> list[str]:
    """Return the dotted names of the modules whose source has an example."""
    rooms = set(MAY_IMPORT) - {"benchmarks"}
    names = []
    for name, path in modules().items():
        if name.split(".")[0] in rooms and ">>> " in path.read_text(encoding="utf-8"):
            names.append(name)
    return sorted(names)


@pytest.fixture(scope="session")
def names(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that examples use: paths of small things of every kind."""
    root = tmp_path_factory.mktemp("examples")
    rows = root / "triplets.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for row in triplets(40):
            content = {"query": row["query"], "positive": row["positive"], "negative": row["negatives"]}
            file.write(json.dumps(content) + "\n")
    adapter = root / "adapter"
    save(new_model("model3", base), adapter)
    results = root / "results"
    for system, scores in SCORES.items():
        for number, score in enumerate(scores):
            folder = results / f"ours__{system}" / "revision"
            task = f"Task{number}Retrieval"
            write_result(folder, task, score)
            write_items(folder, task, [{"ndcg_at_10": score - 0.01}, {"ndcg_at_10": score + 0.01}])
    return {
        "base": base,  # a tiny base LLM
        "triplets": rows,  # a JSONL file of training data
        "adapter": adapter,  # an adapter of model3 on `base`
        "tasks": make_tasks(root / "tasks"),  # a folder of task folders
        "results": results,  # a results folder in mteb's layout, three systems
    }


def run_examples(module: object, names: dict[str, Any]) -> doctest.TestResults:
    """Run the examples of a module; each docstring gets the names anew."""
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, globs=names, extraglobs=None):
        runner.run(example)
    return runner.summarize(verbose=False)


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_of(module: str, names: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = importlib.import_module(module)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    here = Path.cwd()
    os.chdir(tmp_path)  # an example that writes to a relative path leaves nothing behind
    try:
        outcome = run_examples(code, vars(code) | names | {"scratch": scratch})
    finally:
        os.chdir(here)
    assert outcome.attempted, f"no example of {module} was found: is it in the docstring of a public name?"
    assert not outcome.failed, capsys.readouterr().out


def test_the_library_page(names: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    outcome = doctest.testfile(
        str(ROOT / "docs" / "library.md"), module_relative=False, globs=names | {"scratch": scratch}, optionflags=OPTIONS
    )
    assert outcome.attempted > 20
    assert not outcome.failed, capsys.readouterr().out


def test_a_wrong_example_fails(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    module = type(pytest)("made_up")
    exec(
        'def double(x):\n    """Double.\n\n    >>> double(2)\n    5\n    """\n    return 2 * x\ndouble.__module__ = "made_up"',
        vars(module),
    )
    assert run_examples(module, vars(module) | names).failed == 1
    assert "Expected:" in capsys.readouterr().out
