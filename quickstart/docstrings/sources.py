"""Docstrings of installed Python sources, read with ``ast``; nothing is imported."""

from __future__ import annotations

import ast
import inspect
import os
import platform
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

STANDARD_LIBRARY = "python"
"""Stands for the standard library in every list of packages."""

CORE_PACKAGES = (
    STANDARD_LIBRARY,
    "numpy",
    "scipy",
    "sklearn",
    "pandas",
    "networkx",
    "sympy",
    "torch",
    "statsmodels",
    "matplotlib",
)
"""Packages that the quickstart reads: our own dependencies bring them. transformers is left out (mostly copies)."""

SKIPPED_FOLDERS = frozenset(
    {
        "test",
        "tests",
        "testing",
        "_vendor",
        "_vendored",
        "vendored",
        "vendor",
        "externals",
        "site-packages",
        "dist-packages",
        "__pycache__",
        "idlelib",
        "lib2to3",
        "turtledemo",
        "ensurepip",
        "node_modules",
        "benchmarks",
        "_pytest",
        "test_utils",
        "sandbox",
    }
)
MAX_FILE_BYTES = 2_000_000
_DOC_CALLS = frozenset({"add_newdoc", "add_docstr", "_add_docstr"})
_Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class RawDocstring:
    """A docstring as in the source.

    Attributes:
        package: top-level package, or ``"python"`` for the standard library.
        module: path of the file relative to site-packages or to the standard library, with forward slashes.
        qualname: dotted name inside the module, ``"Class.method"``.
        text: the docstring, dedented.
    """

    package: str
    module: str
    qualname: str
    text: str


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, in the order given."""
    distributions = metadata.packages_distributions()
    versions = {}
    for package in packages:
        if package == STANDARD_LIBRARY:
            versions[package] = platform.python_version()
        elif package in distributions:
            versions[package] = metadata.version(distributions[package][0])
    return versions


def package_licence(package: str) -> str:
    """Return the licence in an installed package's metadata, in a few words; "unstated" where there is none."""
    if package == STANDARD_LIBRARY:
        return "PSF-2.0"
    facts = metadata.metadata(metadata.packages_distributions()[package][0])
    approved = "License :: OSI Approved :: "
    stated = [line.removeprefix(approved) for line in facts.get_all("Classifier") or [] if line.startswith(approved)]
    for key in ("License-Expression", "License"):
        if key == "License" and stated:
            return ", ".join(stated)
        if key in facts and facts[key].strip():
            return facts[key].strip().splitlines()[0][:120]
    return "unstated"


def package_root(package: str) -> Path | None:
    """Return the folder that module paths are relative to: the standard library's, or the package's site-packages."""
    if package == STANDARD_LIBRARY:
        return Path(sysconfig.get_path("stdlib"))
    for key in ("purelib", "platlib"):
        root = Path(sysconfig.get_path(key))
        if (root / package / "__init__.py").is_file():
            return root
    return None


def find_roots(packages: Sequence[str]) -> dict[str, Path]:
    """Return the folders of those packages that are installed."""
    roots = {}
    for package in packages:
        root = package_root(package)
        if root is not None:
            roots[package] = root
    return roots


def list_modules(package: str, root: Path) -> list[Path]:
    """Return the source files of a package in a fixed order, without tests and vendored copies."""
    top = root if package == STANDARD_LIBRARY else root / package
    files = []
    for folder, folders, names in os.walk(top):  # Path.walk is not in Python 3.11
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("config-"))
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith(("test_", "conftest")) and not name.endswith("_test.py"):
                files.append(Path(folder, name))
    return files


def _string(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _attached_docstring(call: ast.Call) -> tuple[str, str] | None:
    """Return (name, docstring) of a call that attaches a docstring to compiled code, as numpy and torch do."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function not in _DOC_CALLS or len(call.args) < 2:
        return None
    name = _string(call.args[1]) if function == "add_newdoc" else ast.unparse(call.args[0])
    doc: ast.expr = call.args[-1]
    if isinstance(doc, ast.Tuple) and len(doc.elts) == 2:  # add_newdoc(place, class, (method, docstring))
        name, doc = f"{name}.{_string(doc.elts[0])}", doc.elts[1]
    if isinstance(doc, ast.Call) and isinstance(doc.func, ast.Attribute):  # r"""...""".format(**shared)
        doc = doc.func.value
    text = _string(doc)
    return None if name is None or text is None else (name, text)


def _walk(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield (qualname, docstring) of every function and class, not descending into function bodies."""
    for node in body:
        if isinstance(node, _Scope):
            qualname = f"{prefix}{node.name}"
            text = ast.get_docstring(node)
            if text:
                yield qualname, text
            if isinstance(node, ast.ClassDef):
                yield from _walk(node.body, f"{qualname}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from _walk(node.body, prefix)
            yield from _walk(node.orelse, prefix)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            attached = _attached_docstring(node.value)
            if attached:
                yield attached


def read_module(package: str, root: Path, file: Path) -> list[RawDocstring]:
    """Docstrings of one file; a file that does not parse has none."""
    if file.stat().st_size > MAX_FILE_BYTES:
        return []
    source = file.read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's sources
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    module = file.relative_to(root).as_posix()
    return [RawDocstring(package, module, name, inspect.cleandoc(text)) for name, text in _walk(tree.body, "")]


def _read_chunk(job: tuple[str, Path, list[Path]]) -> list[RawDocstring]:
    package, root, files = job
    docs = []
    for file in files:
        docs += read_module(package, root, file)
    return docs


def read_packages(
    roots: dict[str, Path], workers: int = 2, chunk: int = 64, on_files: Callable[[int, int], None] | None = None
) -> dict[str, list[RawDocstring]]:
    """Return the docstrings of each package, in the order of ``roots``; the result does not depend on ``workers``.

    Args:
        roots: folder that holds each package.
        workers: processes that parse.
        chunk: files that a process gets at once.
        on_files: called with the number of files that are read, and of all.
    """
    jobs = []
    for package, root in roots.items():
        files = list_modules(package, root)
        jobs += [(package, root, files[start : start + chunk]) for start in range(0, len(files), chunk)]
    collected: dict[str, list[RawDocstring]] = {package: [] for package in roots}
    total, done = sum(len(files) for _, _, files in jobs), 0

    def collect(results: Iterable[list[RawDocstring]]) -> None:
        nonlocal done
        for (package, _, files), docs in zip(jobs, results, strict=True):
            collected[package] += docs
            done += len(files)
            if on_files is not None:
                on_files(done, total)

    if workers <= 1:
        collect(map(_read_chunk, jobs))
    else:
        with ProcessPoolExecutor(max_workers=workers) as pool:
            collect(pool.map(_read_chunk, jobs))
    return collected
