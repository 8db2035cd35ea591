"""Texts of items, from the task folders that results were made with: `<Task>/test.jsonl.gz`, or queries and judgements.

A folder may not be the one that a result was made with. So a row is taken as an item's only where the file has as many rows as
the task has items, and of pairs the same gold; a query is found by its own id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import is_below
from common.json_text import parse_json
from common.lines import DAMAGED, iter_lines
from comparison.disagreements.items import ItemApart

Row = dict[str, Any]
ENDINGS = (".jsonl.gz", ".jsonl", ".tsv")
LARGEST_CORPUS = 1 << 28  # bytes of a file of documents that is read for the text of some of them
COLUMNS = (("sentence1", "sentence2"), ("query",), ("text",), ("sentence",))
PRECISION = 1e-6  # of gold


Texts = dict[tuple[str, str, str], list[str]]  # task, subset, id -> texts


def read_texts(items: Iterable[ItemApart], folders: Iterable[Path], notes: list[str]) -> Texts:
    """Return the texts of items by task, subset and id; those that no folder has are absent.

    Args:
        items: the items.
        folders: with a folder for each task.
        notes: gets a sentence for each task folder that cannot be read, and on tasks whose texts are absent or others.
    """
    wanted: dict[tuple[str, str, str], list[ItemApart]] = {}
    for item in items:
        wanted.setdefault((item.task, item.split, item.subset), []).append(item)
    texts: Texts = {}
    places = list(folders)
    absent, other = dict[str, None](), dict[str, None]()
    for (task, split, subset), of_task in wanted.items():
        folder = _folder(task, places)
        if folder is None:
            absent[task] = None
            continue
        by_name = {item.item: item for item in of_task}
        try:
            by_id = _of_task(folder, split, subset, by_name)
        except (UserError, *DAMAGED, ValueError, TypeError, KeyError) as error:
            notes.append(f"{folder}: its texts cannot be read, so items of {task} stand with their ids ({error})")
            continue
        for name, parts in by_id.items():
            texts[task, subset, name] = parts
        if len(by_id) < len(by_name):
            other[task] = None
    if places and absent:
        notes.append(f"--texts has no folder of these tasks, so their items stand with their ids: {', '.join(absent)}")
    if other:
        notes.append(
            "--texts has other texts of these tasks (another number of rows, other ids or other gold), so items of them stand "
            f"with their ids: {', '.join(other)}"
        )
    return texts


def _folder(task: str, folders: Iterable[Path]) -> Path | None:
    """Return the first folder of a task's name."""
    if not is_below(task) or "/" in task:
        return None
    for folder in folders:
        if (folder / task).is_dir():
            return folder / task
    return None


def _of_task(folder: Path, split: str, subset: str, wanted: Mapping[str, ItemApart]) -> dict[str, list[str]]:
    queries = _file(folder, ["queries"])
    if queries is not None:
        return _of_queries(folder, split, queries, wanted)
    rows = _file(folder, _names(split, subset))
    if rows is None:
        return {}
    return _of_rows(rows, wanted)


def _names(split: str, subset: str) -> list[str]:
    """Return the names that a file of a split and subset may have, the one that scores are made with first."""
    if subset == "default":
        return [f"{split}.mteb_tok", split]
    return [f"{subset}.{split}.mteb_tok", f"{split}.{subset}.mteb_tok", f"{subset}.{split}", f"{split}.{subset}"]


def _file(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the first file of these names; None where there is none."""
    for name in names:
        for ending in ENDINGS:
            path = folder / f"{name}{ending}"
            if path.is_file():
                return path
    return None


def _rows(path: Path) -> Iterator[Row]:
    """Yield the rows of JSON lines, or of a table that begins with the names of its columns."""
    names: list[str] = []
    for _, line in iter_lines(path):
        if not line.strip():
            continue
        if path.suffix != ".tsv":
            yield parse_json(line)
        elif not names:
            names = line.rstrip("\n").split("\t")
        else:
            yield dict(zip(names, line.rstrip("\n").split("\t"), strict=False))


def _id(row: Row, name: str = "id") -> str:
    value = row.get(name, row.get(f"_{name}", ""))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _of_rows(path: Path, wanted: Mapping[str, ItemApart]) -> dict[str, list[str]]:
    """Return the texts of rows by their numbers; none where the file has another number of rows than the task has items."""
    texts: dict[str, list[str]] = {}
    count = 0
    for number, row in enumerate(_rows(path)):
        count += "negative" not in row or bool(row["positive"] and row["negative"])  # mteb passes others over
        name = str(number if row.get("id") is None or "query" not in row else row["id"])
        if name in wanted and _same_gold(row, wanted[name]):
            texts[name] = _texts_of(row)
    return {name: parts for name, parts in texts.items() if parts and wanted[name].of == count}


def _same_gold(row: Row, item: ItemApart) -> bool:
    """Return whether a row of a pair has the item's gold; True for other items."""
    if item.gold is None:
        return True
    gold = row.get("score", row.get("label"))
    return gold is not None and abs(float(gold) - item.gold) <= PRECISION


def _texts_of(row: Row) -> list[str]:
    for names in COLUMNS:
        if all(name in row for name in names):
            texts = [str(row[name]) for name in names]
            positive = row.get("positive")
            if isinstance(positive, list) and positive:
                texts.append(str(positive[0]))
            return texts
    return []


def _of_queries(folder: Path, split: str, path: Path, wanted: Mapping[str, ItemApart]) -> dict[str, list[str]]:
    """Return the text of queries, each with a document that is relevant to it where that is at hand."""
    texts: dict[str, list[str]] = {}
    for row in _rows(path):
        if _id(row) in wanted:
            texts[_id(row)] = [str(row["text"])]
    relevant = _relevant(folder, split, texts)
    corpus = _file(folder, ["corpus"])
    if corpus is None or not relevant or corpus.stat().st_size > LARGEST_CORPUS:
        return texts
    documents = set(relevant.values())
    document_texts: dict[str, str] = {}
    for row in _rows(corpus):
        if _id(row) in documents:
            title = row.get("title") or ""
            document_texts[_id(row)] = f"{title} {row['text']}".strip()
    for query, document in relevant.items():
        if document in document_texts:
            texts[query].append(document_texts[document])
    return texts


def _relevant(folder: Path, split: str, queries: Mapping[str, object]) -> dict[str, str]:
    """Return for each query the document with the highest grade, the first of equals."""
    path = _file(folder, [f"qrels.{split}", f"qrels/{split}"])
    best: dict[str, tuple[float, str]] = {}
    if path is None:
        return {}
    for row in _rows(path):
        query, grade = _id(row, "query-id"), float(row["score"])
        if query in queries and grade > 0 and grade > best.get(query, (0.0, ""))[0]:
            best[query] = grade, _id(row, "corpus-id")
    return {query: document for query, (_, document) in best.items()}
