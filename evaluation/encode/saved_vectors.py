"""`--save_embeddings`: the vectors of a task on disk, to be looked at.

`DIR/<Task>/` (DIR is `embeddings` in the results folder unless it is given) holds for each subset, split and side

- `<subset>.<split>.<side>.npy`: float32, one row a text, unit length;
- `<subset>.<split>.<side>.jsonl.gz`: in the order of the rows `{"id", "text"}`: the id of the query or document, else the
  row's number, and the text without prompt;
- and `index.json`, written last: the files with their rows, and the model, data and revision of the vectors.

Sides are `query`, `document`, and `text` where a task has none; a task that encodes two lists of them (pairs: first and
second sentences) has `text` and `text2`. Vectors are written as they come, so that a corpus is held no more than once.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from common.errors import UserError
from common.files import is_below, write_whole
from common.json_text import parse_json
from common.lines import read_bytes

INDEX = "index.json"


class _SideFiles:
    """One `.npy` and its `.jsonl.gz`, growing under names that end in `.part`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.rows = self.dim = 0
        self._vectors: BinaryIO = (folder / f"{name}.npy.part").open("wb")
        self._texts: TextIO = gzip.open(folder / f"{name}.jsonl.gz.part", "wt", encoding="utf-8")  # noqa: SIM115

    def add(self, ids: Sequence[Any] | None, texts: Sequence[str], vectors: np.ndarray) -> None:
        if not self.rows:
            self.dim = vectors.shape[1]
            self._vectors.write(_header(0, self.dim))
        self._vectors.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        row_ids = range(self.rows, self.rows + len(texts)) if ids is None else ids
        for row_id, text in zip(row_ids, texts, strict=True):
            self._texts.write(json.dumps({"id": str(row_id), "text": text}, ensure_ascii=False) + "\n")
        self.rows += len(texts)

    def finish(self) -> dict[str, Any]:
        """Write the number of rows into the header, and give the files their names."""
        self._vectors.seek(0)
        self._vectors.write(_header(self.rows, self.dim))
        self.close()
        for suffix in (".npy", ".jsonl.gz"):
            (self.folder / f"{self.name}{suffix}.part").replace(self.folder / f"{self.name}{suffix}")
        return {"file": f"{self.name}.npy", "texts": f"{self.name}.jsonl.gz", "rows": self.rows, "dim": self.dim}

    def close(self) -> None:
        try:
            self._vectors.close()
        finally:
            self._texts.close()


def _header(rows: int, dim: int) -> bytes:
    """Return a `.npy` header; numpy pads it so that it is as long for any number of rows."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)})
    return stream.getvalue()


def _size(rows: int, dim: int) -> int:
    """Return the bytes of a `.npy`."""
    return len(_header(rows, dim)) + 4 * rows * dim


class EmbeddingFiles:
    """Writes the vectors of one task; nothing of it counts before `finish`.

    Args:
        folder: of the task.
        stamp: model, revision and data of the vectors.
    """

    def __init__(self, folder: Path, stamp: Mapping[str, Any]) -> None:
        self.folder = folder
        self.stamp = dict(stamp)
        self._parts: dict[str, _SideFiles] = {}
        self._begun = False

    def whole(self) -> bool:
        """Return whether all files of this stamp are there."""
        try:
            index = parse_json(read_bytes(self.folder / INDEX))
            for side in index["sides"]:
                if not (is_below(side["texts"]) and is_below(side["file"])):
                    return False
                (self.folder / side["texts"]).stat()
                if (self.folder / side["file"]).stat().st_size != _size(side["rows"], side["dim"]):
                    return False
        except (OSError, ValueError, KeyError, TypeError):  # no file, or another shape of it
            return False
        return bool(index["of"] == self.stamp)

    def add(
        self, subset: str, split: str, side: str, ids: Sequence[Any] | None, texts: Sequence[str], vectors: np.ndarray
    ) -> None:
        """Add the vectors of one call; a corpus and queries may come in several, each list of `text` comes in one."""
        if not self._begun:
            self._clear()
        name = f"{subset}.{split}.{side}"
        if side == "text" and name in self._parts:
            number = 2
            while f"{name}{number}" in self._parts:
                number += 1
            name = f"{name}{number}"
        if name not in self._parts:
            self._parts[name] = _SideFiles(self.folder, name)
        self._parts[name].add(ids, texts, vectors)

    def finish(self) -> None:
        """Give the files their names and write the index."""
        index = {"of": self.stamp, "sides": [part.finish() for part in self._parts.values()]}
        write_whole(self.folder / INDEX, json.dumps(index, indent=2, ensure_ascii=False, default=str) + "\n")
        self._parts.clear()

    def abandon(self) -> None:
        """Close the files of a task that failed, and remove what was written."""
        for part in self._parts.values():
            with contextlib.suppress(OSError):  # the disk is full, maybe: that is why
                part.close()
        for name in self._parts:
            for suffix in (".npy", ".jsonl.gz"):
                (self.folder / f"{name}{suffix}.part").unlink(missing_ok=True)
        self._parts.clear()

    def _clear(self) -> None:
        """Remove the files that the index of an earlier run names, which may be of other vectors, and no others.

        Raises:
            UserError: an `index.json` of something else lies there, which would be lost.
        """
        self._begun = True
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / INDEX
        if not path.exists():
            return
        names = _names_in(path)
        if names is None:
            raise UserError(f"{path} is of something else than saved vectors and would be lost: give another --save_embeddings")
        for name in names:
            if is_below(name):
                (self.folder / name).unlink(missing_ok=True)
        path.unlink()  # last: files without it are never removed


def _names_in(path: Path) -> list[str] | None:
    """Return the files that an `index.json` names; None where this module did not write it."""
    try:
        index = parse_json(read_bytes(path))
        names = [str(side[key]) for side in index["sides"] for key in ("file", "texts")]
    except (OSError, ValueError, KeyError, TypeError):  # another shape
        return None
    return names if "of" in index else None


def check_apart_from_data(folder: Path, data: Iterable[Path]) -> None:
    """Refuse a folder for vectors in which data of tasks lie, or which lies among them.

    Raises:
        UserError: it equals, holds or lies in one of the folders of data.
    """
    place = folder.resolve()
    for path in data:
        of_task = path.resolve()
        if place.is_relative_to(of_task) or of_task.is_relative_to(place):
            raise UserError(
                f"--save_embeddings {folder}: the data of a task are in {path}, and vectors do not belong among them: "
                "give another folder"
            )
