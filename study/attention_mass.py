"""What a multi-layer pooling looks at: its attention over the layers, on real texts, averaged for a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.files import read_json_or_empty, write_json
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import LocalFolder
from evaluation.tasks.local_retrieval import corpus_file, judged_split, queries_file
from evaluation.tasks.schemas import Layout, TaskRow
from model_loaders.embed_model import EmbedModel
from model_loaders.text.prompts import Role
from pooling import ShowsAttention
from study.cells import Cell
from study.config import StudyConfig
from study.inputs import Inputs

FILE = "attention_mass.json"
TEXTS = 256  # of each task
MOST_ROWS = 50_000  # of a file: enough to choose from
MOST_LATENTS = 64  # more are too many rows to look at
Texts = list[tuple[Role, str]]


def attention_mass(model: EmbedModel, texts: Sequence[str], role: Role = "document") -> tuple[Tensor, Tensor]:
    """Encode texts and average where the pooling looks.

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


def keep_attention(model: EmbedModel, cell: Cell, config: StudyConfig, inputs: Inputs) -> None:
    """Write a cell's ``attention_mass.json``, if its pooling attends to several layers and the file is not there."""
    if model.design.layers == "last" or not isinstance(model.pooling, ShowsAttention):
        return
    if read_json_or_empty(cell.folder / FILE).get("evaluation") == cell.evaluation_key:
        return
    entries = []
    for name, texts in real_texts(config, inputs).items():
        parts = [attention_mass(model, [text for side, text in texts if side == role], role)
                 for role in ("query", "document") if any(side == role for side, _ in texts)]  # fmt: skip
        for by, at in (("head", 0), ("latent", 1)):
            mass = torch.stack([part[at] for part in parts]).sum(dim=0) / len(texts)
            if by == "head" or len(mass) <= MOST_LATENTS:
                rows = [[round(float(value), 6) for value in row] for row in mass]
                entries.append({"texts": name, "by": by, "mass": rows, "count": len(texts)})
    write_json({"evaluation": cell.evaluation_key, "attention": entries}, cell.folder / FILE)


def real_texts(config: StudyConfig, inputs: Inputs) -> dict[str, Texts]:
    """Return texts of the first local task of each type with their sides; without local tasks, of the training data."""
    from evaluation.tasks.find import find_tasks

    found: dict[str, Texts] = {}
    types: set[str] = set()
    for spec in find_tasks(config.tasks, inputs.eval_dir):
        if spec.local is None or spec.type in types:
            continue
        types.add(spec.type)
        found[spec.name] = task_texts(spec.local)
    return {name: texts for name, texts in found.items() if texts} or {"training data": training_texts(config, inputs)}


def task_texts(folder: LocalFolder) -> Texts:
    """Return evenly spaced texts of a local task; of retrieval, queries and documents in halves."""
    schema = folder.schema
    if schema.layout is Layout.CORPUS:
        queries = _spaced_texts(queries_file(folder, judged_split(folder)), _text, TEXTS // 2)
        documents = _spaced_texts(corpus_file(folder), _text, TEXTS // 2)
        return [*(("query", text) for text in queries), *(("document", text) for text in documents)]
    for files in folder.subsets("test").values():
        return [("query", text) for text in _spaced_texts(files["test"], schema.texts, TEXTS)]
    return []


def _text(row: TaskRow) -> list[str]:
    return [row["text"]] if row.get("text") else []


def _spaced_texts(path: Path, texts_of: Callable[[TaskRow], list[str]], count: int) -> list[str]:
    texts: list[str] = []
    for row in islice(iter_rows(path), MOST_ROWS):
        texts += texts_of(row)
    step = max(1, len(texts) // count)
    return texts[::step][:count]


def training_texts(config: StudyConfig, inputs: Inputs) -> Texts:
    """Return the first positives of the training data."""
    from triplets.arguments import DataArguments
    from triplets.read import read_triplets

    recipe = config.recipe_names[0]
    given: dict[str, Any] = {
        "dataset_config" if "dataset_config" in config.flags(recipe) else "dataset_name": inputs.train[recipe]
    }
    rows = read_triplets(DataArguments(**given), cache_dir=config.flags(recipe).get("cache_dir"))
    return [("document", str(rows[number]["positive"])) for number in range(min(TEXTS, len(rows)))]
