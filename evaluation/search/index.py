"""The documents of a corpus file and their vectors, searched exactly."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.errors import UserError
from common.files import read_json_or_empty, replacing, write_json
from common.hashes import digest
from common.lines import DAMAGED, iter_lines, json_rows
from model_loaders.embed_model import EmbedModel
from model_loaders.version import content_hash

NOTES = ".base_hashes"  # in the folder of vectors: hashes of base LLMs' files


@dataclass(frozen=True)
class Document:
    """A document of the corpus.

    Attributes:
        id: its own, else the number of its row.
        title: may be empty.
        text: without the title.
    """

    id: str
    title: str
    text: str

    @property
    def whole(self) -> str:
        """Title and text, as mteb joins them."""
        return f"{self.title} {self.text}".strip() if self.title else self.text


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        document: number of its row.
        score: cosine.
    """

    document: int
    score: float


class Products(Protocol):
    """Finds the vectors with the largest products."""

    def search(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows, each ``(queries, top)``, best first."""
        ...


class ExactProducts:
    """All products, computed by numpy."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def search(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows, best first; equal scores in the order of the rows."""
        scores = queries @ self.vectors.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :top]
        return np.take_along_axis(scores, rows, axis=1), rows


def products_of(vectors: np.ndarray) -> Products:
    """Return an exact index: FAISS's where it is installed, else numpy's."""
    if importlib.util.find_spec("faiss") is None:
        return ExactProducts(vectors)
    faiss: Any = importlib.import_module("faiss")
    index: Products = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)  # type: ignore[attr-defined]
    return index


class Index:
    """The documents of a corpus with the vectors of one model.

    Attributes:
        model: encodes queries.
        name: of the model, for people.
        documents: of the corpus.
    """

    def __init__(self, model: EmbedModel, name: str, documents: Sequence[Document], vectors: np.ndarray) -> None:
        self.model, self.name, self.documents = model, name, documents
        self._products = products_of(vectors)

    def find(self, query: str, top: int) -> list[Hit]:
        """Return the best documents of a query, best first."""
        scores, rows = self._products.search(self.model.encode([query], "query"), min(top, len(self.documents)))
        return [Hit(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True)]


def build(model: EmbedModel, name: str, documents: Sequence[Document], folder: Path | None, *, bar: bool) -> Index:
    """Encode the documents, or take their vectors from ``folder`` where this model has left them there."""
    texts = [document.whole for document in documents]
    key = "" if folder is None else key_of(model, texts, folder)
    place = None if folder is None else folder / f"{key}.npy"
    if place is not None and read_json_or_empty(place.with_suffix(".json")).get("key") == key:
        kept = kept_vectors(place, (len(texts), model.dim))
        if kept is not None:
            return Index(model, name, documents, kept)
    vectors = model.encode(texts, "document", show_progress=bar)
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as part, part.open("wb") as file:
            np.save(file, vectors)
        write_json({"key": key, "model": name, "documents": len(texts)}, place.with_suffix(".json"))  # last: it is whole
    return Index(model, name, documents, vectors)


def key_of(model: EmbedModel, texts: Sequence[str], folder: Path) -> str:
    """Return a hash of all that decides the vectors: of a base LLM in a folder also its config and every byte of its weights.

    A base LLM of the hub is told by its commit, which is in the version.
    """
    base = Path(model.base_model.name_or_path).expanduser()
    content = [content_hash(base, folder / NOTES)] if base.is_dir() else []
    return digest([model.version, *content, texts], digits=16)


def kept_vectors(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Read vectors that an earlier start left; ``None`` where the file is missing, damaged, or of another shape."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = isinstance(vectors, np.ndarray) and vectors.shape == shape and vectors.dtype == np.float32
    return vectors if whole and np.isfinite(vectors).all() else None


def read_corpus(path: Path) -> list[Document]:
    """Read the documents of a file.

    Raises:
        UserError: it cannot be read or has no document, or a row has no text; the message names its line.
    """
    documents: list[Document] = []
    if path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        for place, row in json_rows(path):
            documents.append(document_of(row, place, len(documents)))
    else:
        try:
            for _, line in iter_lines(path):
                if line.strip():
                    documents.append(Document(str(len(documents)), "", line.strip()))
        except DAMAGED as error:
            raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not documents:
        raise UserError(f"{path}: the file has no documents")
    return documents


def document_of(row: dict[str, Any], place: str, number: int) -> Document:
    """Return the document of a row."""
    text, title = row.get("text"), row.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise UserError(f"{place}: a document has a text under the key 'text', and may have a title; found {', '.join(row)}")
    try:
        (title + text).encode()
    except UnicodeEncodeError:
        raise UserError(f"{place}: the document has half a character (a lone surrogate)") from None
    own = [row[key] for key in ("id", "_id") if row.get(key) is not None]
    return Document(str(own[0] if own else number), title, text)
