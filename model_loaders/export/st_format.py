"""A folder for sentence-transformers: its own modules where they say the design, one module file beside them where not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from common.files import write_json
from model_loaders.embed_model import EmbedModel
from model_loaders.export import trainable_pooling
from model_loaders.export.limits import (
    BIDIRECTIONAL_FROM,
    STOCK_POOLINGS,
    is_bidirectional,
    prefix_of,
    refused_model,
    refused_pooling,
    refused_recipe,
)
from model_loaders.export.peft_format import base_of, relinked, write_adapter
from model_loaders.export.request import Check, Format, Request
from model_loaders.export.tokenizer_files import write_tokenizer
from model_loaders.export.weights import write_merged, write_pooling
from model_loaders.layouts.exported import OWN_POOLING, TRAINED_DIMENSIONS
from model_loaders.layouts.st_modules import MODULES, OLD_POOLINGS, SETTINGS, TRANSFORMER_SETTINGS

OWN_FOLDER = "1_TrainablePooling"
# Mteb's types of tasks whose texts have no side; there the toolkit's evaluation gives the prompt of queries.
TASKS_WITHOUT_SIDES = (
    "BitextMining",
    "Classification",
    "Clustering",
    "MultilabelClassification",
    "PairClassification",
    "Regression",
    "STS",
    "Summarization",
)
STOCK = "sentence_transformers.models"  # the names of old versions, which new ones and servers know too


def refuses(request: Request) -> list[str]:
    """Return the reasons why sentence-transformers cannot hold the model."""
    model = request.model
    reasons = refused_recipe(model) + refused_pooling(model) + refused_model(model)
    if request.lora == "unmerged":
        if not model.has_lora:
            reasons.append("it has no LoRA that could stay unmerged")
        if is_bidirectional(model):
            reasons.append(
                "its attention is bidirectional, which sentence-transformers drops silently from a base LLM that is read by "
                "its name: merge LoRA (--lora merged)"
            )
    return reasons


def write(request: Request, folder: Path, notes: list[str]) -> Check:
    """Write the folder; returns how it is verified."""
    model = request.model
    relink = None
    if request.lora == "merged":
        write_merged(request, folder)
    else:
        write_adapter(request, folder)
        relink = relinked(request, folder)
        name, commit = base_of(request)
        if commit:
            notes.append(
                f"LoRA belongs to {name} at commit {commit}: this toolkit and peft take that one, sentence-transformers "
                "takes the newest. Merge LoRA (--lora merged) unless you know that the weights there are the same"
            )
    write_tokenizer(model.tokenizer, folder, model.recipe.max_length)
    write_json(transformer_settings(request), folder / TRANSFORMER_SETTINGS[0])
    write_json(modules_of(model), folder / MODULES)
    write_json(settings_of(model), folder / SETTINGS)
    if model.pooling is None:
        (folder / "1_Pooling").mkdir()
        write_json(stock_pooling(model), folder / "1_Pooling" / "config.json")
    else:
        write_pooling(model, folder / OWN_FOLDER)
        shutil.copyfile(trainable_pooling.__file__, folder / Path(trainable_pooling.__file__).name)
        notes.append(
            f"the pooling has weights: the folder holds code ({Path(trainable_pooling.__file__).name}), and is loaded with "
            "trust_remote_code=True"
        )
    (folder / "2_Normalize").mkdir()
    write_json({}, folder / "2_Normalize" / "config.json")
    if model.recipe.dimensions:
        notes.append(
            f"vectors are cut to {model.recipe.dimensions} numbers and not made unit again by sentence-transformers: compare "
            "them by cosine, or encode with normalize_embeddings=True"
        )
    if model.recipe.query_max_length not in (None, model.recipe.max_length):
        notes.append("queries have a maximum length of their own, which encode_query keeps and encode does not")
    return Check("sentence_vectors", trust=model.pooling is not None, relinked=relink)


def transformer_settings(request: Request) -> dict[str, Any]:
    """Return the settings of the module that holds the decoder."""
    recipe = request.model.recipe
    settings: dict[str, Any] = {"max_seq_length": recipe.max_length, "do_lower_case": False}
    if recipe.query_max_length not in (None, recipe.max_length):
        settings["query_length"] = recipe.query_max_length
    if request.lora == "unmerged":
        settings["model_kwargs"] = {"dtype": request.dtype}
        if request.model.design.layers == "all":
            settings["config_kwargs"] = {"output_hidden_states": True}
    return settings


def modules_of(model: EmbedModel) -> list[dict[str, Any]]:
    """Return the modules in their order."""
    pooling = ("1_Pooling", f"{STOCK}.Pooling") if model.pooling is None else (OWN_FOLDER, OWN_POOLING)
    places = [("", f"{STOCK}.Transformer"), pooling, ("2_Normalize", f"{STOCK}.Normalize")]
    return [{"idx": index, "name": str(index), "path": path, "type": kind} for index, (path, kind) in enumerate(places)]


def settings_of(model: EmbedModel) -> dict[str, Any]:
    """Return prompts by name, dimensions and the similarity."""
    prompts = {"query": prefix_of(model, "query"), "document": prefix_of(model, "document")}
    if prompts["query"] and model.recipe.evaluation_prompts == "own":
        prompts |= dict.fromkeys(TASKS_WITHOUT_SIDES, prompts["query"])
    settings: dict[str, Any] = {
        "prompts": prompts,
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    if is_bidirectional(model):  # checked by versions from 6 on
        reason = "Older versions read this bidirectional model as a causal one."
        settings["requirements"] = {"transformers": {"specifier": f">={BIDIRECTIONAL_FROM}", "reason": reason}}
    if model.recipe.dimensions:
        settings["truncate_dim"] = model.recipe.dimensions
    if model.trained_dimensions:
        settings[TRAINED_DIMENSIONS] = list(model.trained_dimensions)  # read by this toolkit alone
    return settings


def stock_pooling(model: EmbedModel) -> dict[str, Any]:
    """Return the config of a pooling without weights, as new versions and old ones read it."""
    mode = STOCK_POOLINGS[model.design.tokens]
    old = {key: name == mode for key, name in OLD_POOLINGS.items()}
    return {"embedding_dimension": model.base_model.hidden_size, "pooling_mode": mode, "include_prompt": True} | old


FORMAT = Format(
    "sentence-transformers",
    "a folder that SentenceTransformer(OUT) loads",
    {
        "sentence-transformers": "tried (6.2)",
        "vLLM": "documented: designs without trainable pooling",
        "TEI": "documented: designs without trainable pooling, families by its list",
        "llama.cpp": "documented: after its converter, designs without trainable pooling",
    },
    refuses,
    write,
)
