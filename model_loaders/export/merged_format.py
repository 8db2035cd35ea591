"""A plain checkpoint of transformers with LoRA merged into it, the pooling beside it, and a script that reads both."""

from __future__ import annotations

import shutil
from pathlib import Path

from model_loaders.export import trainable_pooling
from model_loaders.export.limits import refused_model, refused_pooling, refused_recipe
from model_loaders.export.reader import READER, write_about
from model_loaders.export.request import Check, Format, Request
from model_loaders.export.tokenizer_files import write_tokenizer
from model_loaders.export.weights import write_merged, write_pooling
from model_loaders.layouts.exported import POOLING_FOLDER


def refuses(request: Request) -> list[str]:
    """Return the reasons why such a folder cannot hold the model."""
    reasons = refused_recipe(request.model) + refused_pooling(request.model) + refused_model(request.model)
    if request.lora == "unmerged":
        reasons.append("it holds merged weights: leave --lora unmerged out")
    return reasons


def write(request: Request, folder: Path, notes: list[str]) -> Check:
    """Write the folder; returns how it is verified."""
    model = request.model
    longest = max(model.recipe.length("query"), model.recipe.length("document"))
    write_merged(request, folder)
    write_tokenizer(model.tokenizer, folder, longest)
    if model.pooling is not None:
        write_pooling(model, folder / POOLING_FOLDER)
        shutil.copyfile(trainable_pooling.__file__, folder / Path(trainable_pooling.__file__).name)
    write_about(request, folder)
    notes.append(
        f"AutoModel.from_pretrained gives states, not vectors: {READER} pools them, and embedding.json has the prompts"
    )
    return Check("reader_vectors")


FORMAT = Format(
    "merged",
    "a plain transformers checkpoint (AutoModel), with the pooling and a script that reads both",
    {"transformers": "tried", "vLLM": "documented: designs that pool the last token", "llama.cpp": "documented: its converter"},
    refuses,
    write,
)
