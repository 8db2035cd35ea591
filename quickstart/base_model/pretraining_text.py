"""The pretraining text: docstrings of train modules of every installed package, and public books."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.lines import json_rows
from quickstart.docstrings.cleaning import Docstring, clean_all
from quickstart.docstrings.deduplicate import deduplicate
from quickstart.docstrings.sources import STANDARD_LIBRARY, find_roots, package_licence, package_versions, read_packages
from quickstart.docstrings.split import SplitLeakage, held_out_first, measure_leakage, require_apart, split_of

NOT_READ = frozenset({"pip", "setuptools", "pkg_resources", "_pytest", "pytest", "_distutils_hack"})


@dataclass(frozen=True, slots=True)
class PretrainingText:
    """Texts by origin.

    Attributes:
        docstrings: of train modules.
        held_out: docstrings of dev and test modules, for the perplexity.
        books: (source, text) of each document in the corpus files.
        leakage: of the held-out docstrings into the train ones.
        packages: version and licence of each package that has train docstrings.
    """

    docstrings: list[str]
    held_out: list[str]
    books: list[tuple[str, str]]
    leakage: SplitLeakage
    packages: dict[str, tuple[str, str]]


def installed_packages() -> list[str]:
    """Return the standard library and every importable package folder in site-packages, by name."""
    root = Path(sysconfig.get_path("purelib"))
    names = {file.parent.name for file in root.glob("*/__init__.py") if file.is_file()}
    return [STANDARD_LIBRARY, *sorted(names - NOT_READ)]


def full_text(doc: Docstring) -> str:
    """Return summary and paragraphs, one a line, the name unmasked."""
    return "\n".join([doc.summary, *doc.paragraphs])


def read_pretraining_text(corpus_files: Sequence[Path], workers: int = 2) -> PretrainingText:
    """Read, clean, deduplicate (held-out text first), split, and check that the splits are apart."""
    cleaned: list[Docstring] = []
    for raw in read_packages(find_roots(installed_packages()), workers).values():
        cleaned += clean_all(raw)
    docs, _ = deduplicate(held_out_first(cleaned))
    train: list[Docstring] = []
    held_out: list[Docstring] = []
    for doc in docs:
        part = train if split_of(doc.module) == "train" else held_out
        part.append(doc)
    leakage = measure_leakage(train, held_out)
    require_apart(leakage, "the pretraining text and the held-out modules")
    books = []
    for file in corpus_files:
        for _, row in json_rows(Path(file)):
            books.append((str(row["source"]), str(row["text"])))
    packages = {}
    for name, version in package_versions(sorted({doc.package for doc in train})).items():
        packages[name] = (version, package_licence(name))
    return PretrainingText(
        docstrings=list(map(full_text, train)),
        held_out=list(map(full_text, held_out)),
        books=books,
        leakage=leakage,
        packages=packages,
    )
