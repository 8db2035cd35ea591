"""The attention of a multi-layer pooling over the layers, on real texts, averaged for a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.files import read_json_or_empty, write_json
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import LocalFolder
from evaluation.tasks.local_retrieval import corpus_file, judged_split, queries_file
from evaluation.tasks.schemas import Layout, TaskRow
from model_loaders.embed_model import EmbedModel
from model_loaders.text.prompts import ROLES, Role
from pooling import ShowsAttention
from study.cells import Cell
from study.study import Study, training_rows

FILE = "attention_mass.json"
TEXTS = 256  # of each task
MOST_ROWS = 50_000  # of a file: enough to choose from
MOST_LATENTS = 64  # more are too many rows to look at
Texts = list[tuple[Role, str]]


def attention_mass(model: EmbedModel, texts: Sequence[str], role: Role = "document") -> tuple[Tensor, Tensor]:
    """Encode texts and sum the attention of their pooling.

    Args:
        model: with a trainable multi-layer pooling.
        texts: real ones.
        role: whose prompt and length they get.

    Returns:
        Sums over the texts: ``(heads, layers)``, mean over latents; and ``(latents, layers)``, mean over heads.
    """
    assert model.pooling is not None
    by_head: list[Tensor] = []
    by_latent: list[Tensor] = []

    def look(pooling: ShowsAttention, arguments: tuple[Tensor, Tensor | None]) -> None:
        weights = pooling.attention(*arguments)  # (batch, heads, latents, layers)
        by_head.append(weights.mean(dim=2).sum(dim=0).double().cpu())
        by_latent.append(weights.mean(dim=1).sum(dim=0).double().cpu())

    hook = model.pooling.register_forward_pre_hook(look)  # of the very states that are pooled
    try:
        model.encode(list(texts), role)
    finally:
        hook.remove()
    return in_order(by_head), in_order(by_latent)


def in_order(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of the batches' parts, added one after the other."""
    total = torch.zeros_like(parts[0])
    for part in parts:
        total += part
    return total


def keep_attention(study: Study, cell: Cell, model: EmbedModel) -> None:
    """Write a cell's ``attention_mass.json``, if its pooling attends to several layers and the file is not there."""
    if model.design.layers == "last" or not isinstance(model.pooling, ShowsAttention):
        return
    if read_json_or_empty(cell.folder / FILE).get("evaluation") == cell.evaluation_key:
        return
    entries = []
    for name, texts in real_texts(study).items():
        by_head, by_latent = mean_attention(model, texts)
        entries.append(attention_entry(name, "head", by_head, len(texts)))
        if len(by_latent) <= MOST_LATENTS:
            entries.append(attention_entry(name, "latent", by_latent, len(texts)))
    write_json({"evaluation": cell.evaluation_key, "attention": entries}, cell.folder / FILE)


def mean_attention(model: EmbedModel, texts: Texts) -> tuple[Tensor, Tensor]:
    """Return the mean attention over texts of both sides, ``(heads, layers)`` and ``(latents, layers)``."""
    by_head: list[Tensor] = []
    by_latent: list[Tensor] = []
    for role in ROLES:
        of_role = [text for side, text in texts if side == role]
        if of_role:
            head_sums, latent_sums = attention_mass(model, of_role, role)
            by_head.append(head_sums)
            by_latent.append(latent_sums)
    return torch.stack(by_head).sum(dim=0) / len(texts), torch.stack(by_latent).sum(dim=0) / len(texts)


def attention_entry(texts: str, by: str, mass: Tensor, count: int) -> dict[str, Any]:
    """Return one table of attention as ``study.json`` holds it."""
    rows = []
    for row in mass:
        rows.append([round(float(value), 6) for value in row])
    return {"texts": texts, "by": by, "mass": rows, "count": count}


def real_texts(study: Study) -> dict[str, Texts]:
    """Return texts of the first local task of each type with their sides; without local tasks, of the training data."""
    texts: dict[str, Texts] = {}
    types: set[str] = set()
    for spec in find_tasks(study.config.tasks, study.inputs.eval_dir):
        if spec.local is None or spec.type in types:
            continue
        types.add(spec.type)
        of_task = task_texts(spec.local)
        if of_task:
            texts[spec.name] = of_task
    return texts or {"training data": training_texts(study)}


def task_texts(folder: LocalFolder) -> Texts:
    """Return evenly spaced texts of a local task; of retrieval, queries and documents in halves."""
    schema = folder.schema
    if schema.layout is Layout.CORPUS:
        queries = queries_file(folder, judged_split(folder))
        documents = corpus_file(folder)
        return spaced_texts(queries, "query", text_of, TEXTS // 2) + spaced_texts(documents, "document", text_of, TEXTS // 2)
    for files in folder.subsets("test").values():
        return spaced_texts(files["test"], "query", schema.texts, TEXTS)
    return []


def text_of(row: TaskRow) -> list[str]:
    """Return the text of a query or a document, without its title."""
    return [row["text"]] if row.get("text") else []


def spaced_texts(path: Path, role: Role, texts_of: Callable[[TaskRow], list[str]], count: int) -> Texts:
    """Return at most ``count`` texts of a file at equal distances."""
    texts: list[str] = []
    for row in islice(iter_rows(path), MOST_ROWS):
        texts += texts_of(row)
    step = max(1, len(texts) // count)
    return [(role, text) for text in texts[::step][:count]]


def training_texts(study: Study) -> Texts:
    """Return the first positives of the training data."""
    rows = training_rows(study, study.config.recipe_names[0])
    return [("document", str(rows[number]["positive"])) for number in range(min(TEXTS, len(rows)))]
