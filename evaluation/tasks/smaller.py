"""Make smaller copies of task folders: fewer rows, queries and documents, for scores that cost less.

Command::

    python -m evaluation.tasks.smaller TASKS OUT --rows 700 --queries 300 [--examples 16]

Each folder in TASKS becomes a folder of the same name in OUT. Rows are drawn by a hash of their content, so that equal folders
have equal copies, wherever they are made. Scores on a copy are not those of the task: with fewer documents retrieval is
easier. A copy has other content and so another revision in results, and is never compared with the whole task as the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from common.errors import UserError, exit_status
from common.files import new_folder
from evaluation.tasks.local_files import iter_rows, stem, write_rows
from evaluation.tasks.local_folder import SETTINGS_FILE, LocalFolder, list_folder
from evaluation.tasks.schemas import DOCUMENT, JUDGEMENT, QUERY, SPLITS, TRAIN, Layout, TaskRow

Keep = Callable[[TaskRow], bool]


def make_smaller(source: Path, target: Path, rows: int, queries: int, examples: int | None = None) -> None:
    """Copy a task folder with fewer rows.

    Args:
        source: the task folder.
        target: a new folder.
        rows: of a file at most; of a corpus, the documents that answer a query that is kept, and others up to so many.
        queries: of a retrieval task at most.
        examples: of each label in ``train`` at most; all of them without a number. Of ten classifiers each draws eight of a
            label, so that few examples are embedded once for several of them.

    Raises:
        UserError: ``source`` holds no task, or ``target`` exists and is not empty.
    """
    folder = list_folder(source)
    with new_folder(target) as aside:
        if folder.schema.layout is Layout.CORPUS:
            _shrink_retrieval(folder, aside, rows, queries)
        else:
            for path in folder.files:
                listed = iter_rows(path, folder.schema.columns)
                kept = drawn_by_label(listed, examples) if TRAIN in stem(path).split(".") else drawn(listed, rows)
                write_rows(_packed(aside / path.relative_to(source)), kept)
        if folder.path / SETTINGS_FILE in folder.content:
            (aside / SETTINGS_FILE).write_bytes((source / SETTINGS_FILE).read_bytes())


def drawn(rows: Iterable[TaskRow], most: int | None, first: Keep | None = None) -> list[TaskRow]:
    """Return at most so many rows in their order, chosen by a hash of their content; those of ``first`` are always kept."""
    listed = list(rows)
    if most is None or len(listed) <= most:
        return listed
    ranked = []
    for place, row in enumerate(listed):
        is_later = first is None or not first(row)
        ranked.append((is_later, _hash(row), place))
    ranked.sort()
    always = sum(not is_later for is_later, _, _ in ranked)
    kept = sorted(place for _, _, place in ranked[: max(most, always)])
    return [listed[place] for place in kept]


def drawn_by_label(rows: Iterable[TaskRow], most: int | None) -> list[TaskRow]:
    """Return at most so many rows of each label in their order, chosen by a hash of their content; no label is one, too."""
    listed = list(rows)
    by_label: dict[object, list[int]] = {}
    for place, row in enumerate(listed):
        by_label.setdefault(row.get("label"), []).append(place)
    kept = []
    for places in by_label.values():
        kept += sorted(places, key=lambda place: _hash(listed[place]))[:most]
    return [listed[place] for place in sorted(kept)]


def _hash(row: TaskRow) -> bytes:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest()


def _shrink_retrieval(folder: LocalFolder, target: Path, rows: int, queries: int) -> None:
    """Keep queries that have judgements, their judgements, and the documents that answer them, beside others."""
    judgements = [path for path in folder.files if "qrels" in path.relative_to(folder.path).as_posix()]
    judgements = [path for path in judgements if TRAIN not in stem(path).split(".")]
    judged = [row for path in judgements for row in iter_rows(path, JUDGEMENT)]
    answered = {row["query-id"] for row in judged if float(row["score"]) > 0}
    kept: set[str] = set()
    for path in folder.files:
        words = stem(path).split(".")
        if words[0] == "queries" and TRAIN not in words:
            asked = [row for row in iter_rows(path, QUERY) if row["id"] in answered]
            chosen = drawn(asked, queries)
            kept.update(row["id"] for row in chosen)
            write_rows(_packed(target / path.relative_to(folder.path)), chosen)
    of_kept = [row for row in judged if row["query-id"] in kept]
    answers = {row["corpus-id"] for row in of_kept if float(row["score"]) > 0}
    documents = drawn(iter_rows(folder.file("corpus"), DOCUMENT), rows, lambda row: row["id"] in answers)
    present = {row["id"] for row in documents}
    write_rows(target / "corpus.jsonl.gz", documents)
    for path in judgements:
        split = next(word for word in stem(path).split(".") if word in SPLITS)
        of_file = [row for row in iter_rows(path, JUDGEMENT) if row["query-id"] in kept and row["corpus-id"] in present]
        write_rows(target / f"qrels.{split}.jsonl.gz", of_file)


def _packed(path: Path) -> Path:
    """Return the path of a data file's compressed copy."""
    return path.with_name(f"{stem(path)}.jsonl.gz")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and copy every task folder; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", type=Path, help="folder of task folders")
    parser.add_argument("out", type=Path, help="gets the copies")
    parser.add_argument("--rows", type=int, default=1000, help="of a file or corpus at most (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=300, help="of a retrieval task at most (default: %(default)s)")
    parser.add_argument("--examples", type=int, help="of each label to train a classifier by (default: all)")
    args = parser.parse_args(argv)
    return exit_status(lambda: _copy_all(args.tasks, args.out, args.rows, args.queries, args.examples))


def _copy_all(tasks: Path, out: Path, rows: int, queries: int, examples: int | None) -> None:
    if min(rows, queries, 1 if examples is None else examples) < 1:
        raise UserError("--rows, --queries and --examples must be at least 1")
    folders = sorted(path for path in tasks.glob("*/") if list_folder(path).files)
    if not folders:
        raise UserError(f"{tasks} has no task folders")
    for folder in folders:
        make_smaller(folder, out / folder.name, rows, queries, examples)
        print(f"{out / folder.name}")


if __name__ == "__main__":
    sys.exit(main())
