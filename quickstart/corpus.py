"""Build the quickstart's corpus from the Python documentation that is installed on this machine.

Command::

    python -m quickstart.corpus --output_dir DIR
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from quickstart.docstrings.cleaning import Docstring, clean_all
from quickstart.docstrings.deduplicate import deduplicate
from quickstart.docstrings.sources import CORE_PACKAGES, find_roots, package_versions, read_packages
from quickstart.docstrings.split import Split, held_out_first, measure_leakage, require_apart, split_of
from quickstart.docstrings.tasks import (
    TaskFiles,
    classification_task,
    clustering_task,
    pair_task,
    reranking_task,
    retrieval_task,
)
from quickstart.docstrings.triplets import make_triplets

FORMAT = 1
"""Increment when the code changes the files that it writes; an older cache is then built anew."""
INFO_FILE = "corpus.json"
MIN_TEST_DOCUMENTS = 10
SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """The parts of a built corpus.

    Attributes:
        train_file: JSON lines of ``query``, ``positive``, ``negative``.
        eval_dir: one folder a task, of test modules.
        dev_dir: the retrieval task of dev modules, for choosing settings.
        info: versions, counts, content hash and leakage, as in ``corpus.json``.
    """

    train_file: Path
    eval_dir: Path
    dev_dir: Path
    info: dict[str, Any]


def build_corpus(
    output_dir: Path,
    packages: Sequence[str] = CORE_PACKAGES,
    *,
    roots: dict[str, Path] | None = None,
    pool: int = 600,
    workers: int = 2,
    seed: int = 0,
    progress: bool = False,
) -> Corpus:
    """Build the corpus, or return the one in ``output_dir`` when it was made from the same versions and settings.

    The folder is built aside and renamed, so it is either whole or not there.

    Args:
        output_dir: folder that is made; an older corpus in it is replaced, anything else is left alone and refused.
        packages: top-level packages, ``"python"`` for the standard library; missing ones are left out.
        roots: where packages lie (folder that holds them), instead of the running interpreter's.
        pool: documents of the retrieval tasks at most.
        workers: processes that parse sources; the result does not depend on it.
        seed: of the choice of negatives and of samples.
        progress: print a line for each stage.

    Raises:
        LeakageError: held-out text stands in train above the stated thresholds.
        FileExistsError: ``output_dir`` holds something that is no corpus.
        ValueError: too few docstrings for the tasks.
    """
    if roots is None:
        roots = find_roots(packages)
    key = {"format": FORMAT, "versions": package_versions(list(roots)), "pool": pool, "seed": seed}
    cached = _read_info(output_dir)
    if cached is not None and cached["key"] == key and cached["roots"] == _paths(roots):
        return _corpus(output_dir, cached)
    if cached is None and output_dir.exists() and any(output_dir.iterdir()):
        raise FileExistsError(
            f"{output_dir} holds files but no {INFO_FILE}, so it is no corpus and is not overwritten. "
            "Give another --output_dir, or empty this one."
        )
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
    try:
        _build(partial, key, roots, pool, workers, seed, progress)
        if output_dir.exists():
            shutil.rmtree(output_dir)
        partial.chmod(0o755)
        partial.replace(output_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    info = _read_info(output_dir)
    assert info is not None
    return _corpus(output_dir, info)


def _build(
    folder: Path, key: dict[str, Any], roots: dict[str, Path], pool: int, workers: int, seed: int, progress: bool
) -> None:
    """Write a whole corpus into an empty folder."""
    began = time.monotonic()

    def say(message: str) -> None:
        if progress:
            print(f"[corpus {time.monotonic() - began:4.0f} s] {message}", flush=True)

    said = began

    def on_files(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES and done < total:
            said = time.monotonic()
            say(f"{done} of {total} files read ...")

    say(f"reading docstrings of {', '.join(roots)} ...")
    raw = read_packages(roots, workers, on_files=on_files)
    docs = []
    for package, of_package in raw.items():
        say(f"{len(of_package)} docstrings of {package} ...")
        docs += clean_all(of_package)
    say(f"{len(docs)} docstrings; removing copies ...")
    before = by_split(docs)
    kept, counts = deduplicate(held_out_first(docs))
    parts = by_split(kept)
    leakage = measure_leakage(parts["train"], [*parts["test"], *parts["dev"]])
    require_apart(leakage)
    say(f"{len(kept)} left; {leakage.ngram_overlap:.1%} of held-out 8-grams stand in train; writing tasks ...")
    triplets = make_triplets(parts["train"], seed)
    _write_rows(folder / "train.jsonl", triplets)
    tasks = make_tasks(parts["test"], pool, seed)
    dev = retrieval_task(parts["dev"], "DocstringDevRetrieval", pool, seed)
    if len(dev.files["corpus"]) < MIN_TEST_DOCUMENTS or len(tasks[0].files["corpus"]) < MIN_TEST_DOCUMENTS:
        raise ValueError(
            f"Only {len(tasks[0].files['corpus'])} test and {len(dev.files['corpus'])} dev documents in "
            f"{', '.join(roots)}: at least {MIN_TEST_DOCUMENTS} of each are needed. Read more packages (--packages)."
        )
    rows = {task.name: _write_task(folder / "eval", task) for task in tasks}
    rows[dev.name] = _write_task(folder / "dev", dev)
    info = {
        "key": key,
        "roots": _paths(roots),
        "content_hash": _content_hash(folder),
        "triplets": len(triplets),
        "tasks": rows,
        "deduplication": asdict(counts),
        "docstrings": {name: len(part) for name, part in parts.items()},
        "docstrings_by_package": dict(Counter(doc.package for doc in kept)),
        "leakage_before_deduplication": asdict(measure_leakage(before["train"], [*before["test"], *before["dev"]])),
        "leakage": asdict(leakage),
        "seconds": round(time.monotonic() - began, 1),
    }
    (folder / INFO_FILE).write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    say(f"{len(triplets)} triplets, {len(tasks)} tasks")


def by_split(docs: Iterable[Docstring]) -> dict[Split, list[Docstring]]:
    """Return the docstrings of each split, in their order."""
    parts: dict[Split, list[Docstring]] = {"train": [], "dev": [], "test": []}
    for doc in docs:
        parts[split_of(doc.module)].append(doc)
    return parts


def make_tasks(docs: Sequence[Docstring], pool: int, seed: int) -> list[TaskFiles]:
    """Return the evaluation tasks of held-out docstrings, retrieval first; another task without items is left out."""
    tasks = [
        retrieval_task(docs, "DocstringRetrieval", pool, seed),
        reranking_task(docs, size=80, negatives=6, seed=seed),
        pair_task(docs, size=200, seed=seed),
        classification_task(docs, per_label=32, seed=seed),
        clustering_task(docs, per_label=24, seed=seed),
    ]
    return [task for task in tasks if task is tasks[0] or all(task.files.values())]


def _write_rows(file: Path, rows: Iterable[object]) -> None:
    """Write JSON lines; gzip has no time stamp, so that equal rows make equal files."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if file.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    file.write_bytes(data)


def _write_task(parent: Path, task: TaskFiles) -> dict[str, int]:
    """Write a task folder; return the number of rows of each file."""
    folder = parent / task.name
    folder.mkdir(parents=True)
    for name, rows in task.files.items():
        _write_rows(folder / f"{name}.jsonl.gz", rows)
    description = {
        "name": task.name,
        "type": task.kind,
        "main_score": task.main_score,
        "description": task.description,
    }
    (folder / "task.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return {name: len(rows) for name, rows in task.files.items()}


def _paths(roots: dict[str, Path]) -> dict[str, str]:
    return {package: str(root) for package, root in roots.items()}


def _content_hash(folder: Path) -> str:
    """Return the SHA-256 of all files' names and uncompressed contents."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            data = file.read_bytes()
            if file.suffix == ".gz":
                data = gzip.decompress(data)
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(data)
    return digest.hexdigest()


def _read_info(folder: Path) -> dict[str, Any] | None:
    file = folder / INFO_FILE
    if not file.is_file():
        return None
    try:
        info: dict[str, Any] = read_json(file)
    except UserError as error:
        raise UserError(f"{error}, or delete the folder {folder}: it is made again") from error
    if not {"key", "roots"} <= info.keys():
        raise UserError(f"{file} describes no corpus: delete the folder {folder}, and it is made again")
    return info


def _corpus(folder: Path, info: dict[str, Any]) -> Corpus:
    return Corpus(folder / "train.jsonl", folder / "eval", folder / "dev", info)


def main() -> None:
    """Parse the arguments, build, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--packages", nargs="+", default=list(CORE_PACKAGES), help='"python" is the standard library')
    parser.add_argument("--pool", type=int, default=600, help="documents of the retrieval tasks at most")
    parser.add_argument("--workers", type=int, default=2, help="processes that parse sources")
    arguments = parser.parse_args()
    corpus = build_corpus(
        arguments.output_dir, arguments.packages, pool=arguments.pool, workers=arguments.workers, progress=True
    )
    print(json.dumps({name: corpus.info[name] for name in ("content_hash", "triplets", "tasks", "leakage")}, indent=1))


if __name__ == "__main__":
    main()
