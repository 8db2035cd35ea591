"""Folders of sentence-transformers whose model is a decoder: modules.json, the pooling's config, prompts, normalisation.

Read are the formats of sentence-transformers 6 and the older ones; the vectors are those of its ``encode``, made unit. A
folder with a module or a setting that a recipe and a design cannot say is refused with what was found in it.

Three differences are on purpose:

- LoRA on a base LLM whose commit is said (`revision` in adapter_config.json) is loaded on that one, as peft does it, where
  sentence-transformers takes the newest;
- a prompt that the pooling leaves out is told apart by the characters of the text, not by the number of tokens that the
  prompt has alone, which is off by one where a tokenizer joins the prompt's end with the text's first word;
- vectors cut to ``truncate_dim`` numbers are made unit again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from model_loaders.backbone.base_config import load_config, states_own_code
from model_loaders.designs import design_name, get_design
from model_loaders.hub import resolve
from model_loaders.layouts.exported import read_exported_pooling, trained_dimensions
from model_loaders.layouts.known_models import known_name
from model_loaders.layouts.source import Asked, Layout, Lora, Source, base_named, read_lora
from model_loaders.layouts.st_modules import (
    MODULES,
    POOLINGS,
    SETTINGS,
    TRANSFORMER_SETTINGS,
    Folder,
    read_modules,
    read_pooling,
    refuse_messages,
    transformer_settings,
)
from model_loaders.layouts.tensors import LORA_CONFIG
from model_loaders.layouts.whole import check_decoder
from model_loaders.text.recipe import NONE, TOKENIZER, Recipe
from model_loaders.text.special_tokens import appended
from model_loaders.text.tokenizer import load_tokenizer

DECODER_PREFIXES = ("model.", "")  # of the names of the decoder's tensors: with a language-model head, and without
SAID: set[str] = set()  # lines that this process has printed
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # names of the prompt of documents; the first that is there is used


def recognise(directory: Path) -> bool:
    """Whether the folder lists modules of sentence-transformers."""
    return (directory / MODULES).is_file()


def read(directory: Path, asked: Asked) -> Source:
    """Read a sentence-transformers folder of a decoder, or of a LoRA adapter on one.

    Raises:
        UserError: a file is missing or broken, or the folder has a module or setting that cannot be expressed here.
    """
    folder = read_modules(directory)
    if known_name(asked.name) is None:  # the recipe of a published model says what stands around its texts
        refuse_messages(folder.transformer)
    lora, base = None, str(folder.transformer)
    if (folder.transformer / LORA_CONFIG).is_file():
        lora = read_lora(folder.transformer)
        base = str(asked.base_model or base_named(lora[0]))
        if not base:
            raise UserError(f"{folder.transformer / LORA_CONFIG} names no base model: give base_model")
    elif asked.base_model is not None:
        raise UserError(f"{directory} holds all weights of its model: leave base_model={asked.base_model} out")
    else:
        check_decoder(folder.transformer, DECODER_PREFIXES)
    base_directory = resolve(base, what="base model", cache_dir=asked.cache_dir, needs="config.json")
    if folder.exported:
        return exported_source(folder, base, base_directory, lora, asked)
    mode, leaves_out_prompt = read_pooling(folder)
    recipe = read_recipe(folder, base_directory, mode, leaves_out_prompt)
    check_window(folder, base_directory, recipe)
    return Source(
        directory=directory,
        design_name=design_of(folder, base_directory, mode, asked.design),
        base_model=base,
        recipe=recipe,
        lora=lora,
        tokenizer=folder.transformer,
        trained_dimensions=trained_dimensions(folder.directory / SETTINGS, settings_of_model(folder)),
    )


def exported_source(folder: Folder, base: str, base_directory: Path, lora: Lora | None, asked: Asked) -> Source:
    """Return what a folder with this toolkit's trainable pooling says; the code in it is not run.

    Raises:
        UserError: the pooling cannot be read, or another design is asked for.
    """
    pooling = read_exported_pooling(folder.pooling)
    name = pooling.design(attention_of(base_directory))
    if asked.design not in (None, name):
        raise UserError(f"{folder.directory} holds a {name} model, not {asked.design}: leave the design out")
    recipe = read_recipe(folder, base_directory, "lasttoken" if pooling.tokens == "last" else pooling.tokens, False)
    return Source(
        directory=folder.directory,
        design_name=name,
        base_model=base,
        recipe=replace(recipe, unpooled_token_ids=pooling.unpooled_token_ids),
        lora=lora,
        pooling=(pooling.sizes, pooling.tensors),
        pooling_file=pooling.file,
        tokenizer=folder.transformer,
        trained_dimensions=trained_dimensions(folder.directory / SETTINGS, settings_of_model(folder)),
    )


def attention_of(base_directory: Path) -> str:
    """Return the attention that a config says.

    Raises:
        UserError: it is not said by ``is_causal`` alone. Families whose code does not read ``use_bidirectional_attention`` may
            have it beside ``is_causal``, for servers that know that name.
    """
    config = load_config(base_directory)
    causal = getattr(config, "is_causal", True) is not False
    if getattr(config, "use_bidirectional_attention", None) and (causal or config.model_type.startswith("gemma")):
        raise UserError(
            f"{base_directory / 'config.json'} has use_bidirectional_attention, which also changes the attention window; "
            "models with is_causal can be loaded here"
        )
    return "causal" if causal else "bidirectional"


def check_window(folder: Folder, base_directory: Path, recipe: Recipe) -> None:
    """Raise a UserError where texts are longer than the attention window of a bidirectional model.

    Here bidirectional attention has no window. Exports of this toolkit have none that is shorter than their texts.
    """
    config = load_config(base_directory)
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    longest = max(recipe.max_length, recipe.query_max_length or 0)
    if attention_of(base_directory) == "causal" or not window or window >= longest:
        return
    if kinds is None or "sliding_attention" in kinds:
        raise UserError(
            f"{base_directory / 'config.json'}: attention is bidirectional (is_causal false) within a window of {window} "
            f"tokens, and texts have up to {longest}: here bidirectional attention has no window, so longer texts would have "
            f"other vectors. If texts of {window} tokens are enough, write max_seq_length {window} into "
            f"{TRANSFORMER_SETTINGS[0]} in {folder.transformer}; else this model cannot be loaded"
        )


def design_of(folder: Folder, base_directory: Path, mode: str, asked: str | None) -> str:
    """Return the row of the table of designs.

    Raises:
        UserError: ``asked`` has another pooling, or the attention is not said by ``is_causal`` alone.
    """
    name = design_name(f"{attention_of(base_directory)}_{POOLINGS[mode]}")
    if asked is None:
        if states_own_code(base_directory):
            say_once(
                f"{base_directory / 'config.json'} names code of its own, which is not run: it is read as {name}. If that code "
                "has another attention, as bidirectional variants of decoders have, say the design (--loader)"
            )
        return name
    design, row = get_design(asked), get_design(name)
    if (design.layers, design.tokens, design.pooling) != (row.layers, row.tokens, row.pooling):
        raise UserError(
            f"{folder.pooling / 'config.json'} has the pooling {mode} ({name}), which {asked} has not: leave it out"
        )
    return asked


def read_recipe(folder: Folder, base_directory: Path, mode: str, leaves_out_prompt: bool) -> Recipe:
    """Return how texts become vectors: tokens as the folder's tokenizer has them, prompts, length, dimensions."""
    settings = transformer_settings(folder.transformer)
    whole = settings_of_model(folder)
    prompts = whole.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise UserError(f"{folder.directory / SETTINGS}: prompts are {prompts!r}, not an object")
    say_unused(folder.directory, prompts, whole.get("default_prompt_name"))
    dimensions = whole.get("truncate_dim")
    check_similarity(folder, whole.get("similarity_fn_name"), dimensions)
    query, document = prompts_of_sides(prompts, whole.get("default_prompt_name"))
    appends_end = bool(appended(load_tokenizer(folder.transformer))[1])
    if not appends_end and tokenizer_settings(folder.transformer).get("add_eos_token"):
        say_once(
            f"{folder.transformer}: tokenizer_config.json says add_eos_token, but the tokenizer appends nothing, so texts have "
            "no end token, as in sentence-transformers on transformers 5. If the model was trained with one, name its recipe "
            "(--recipe, or the folder OWNER/NAME of a published model)"
        )
    return Recipe(
        query_prompt=as_prefix(query),
        document_prompt=as_prefix(document),
        max_length=max_length(folder, settings, base_directory),
        query_max_length=settings.get("query_length"),
        end_token=TOKENIZER if appends_end else NONE,
        pooled="after_prompt" if leaves_out_prompt and mode != "lasttoken" else "all",
        dimensions=dimensions,
    )


def settings_of_model(folder: Folder) -> dict[str, Any]:
    """Return the settings of the whole model, empty where there are none."""
    path = folder.directory / SETTINGS
    return read_json(path) if path.is_file() else {}


def tokenizer_settings(directory: Path) -> dict[str, Any]:
    """Return the tokenizer's settings, empty where there are none."""
    path = directory / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def prompts_of_sides(prompts: Mapping[str, Any], default: str | None) -> tuple[str, str]:
    """Return the prompts of queries and documents.

    Args:
        prompts: by name.
        default: name of the one that ``encode`` gives; it stands for a side without a prompt, unless it is that of the other.
    """
    # sentence-transformers writes empty prompts of both roles beside a default one; its plain ``encode`` gives the default.
    query = prompts.get("query") or ""
    documents = [str(prompts[name]) for name in DOCUMENT_PROMPTS if prompts.get(name)]
    document = documents[0] if documents else ""
    if default is None or default in ("query", *DOCUMENT_PROMPTS):
        return query, document
    return query or prompts.get(default, ""), document or prompts.get(default, "")


def say_unused(directory: Path, prompts: Mapping[str, Any], default: str | None) -> None:
    """Print the names of prompts that no role stands for; ``encode`` takes any prompt."""
    used = {prompts.get(name) for name in ("query", *DOCUMENT_PROMPTS, default or "")}
    names = [name for name, prompt in prompts.items() if prompt and prompt not in used]
    if names:
        say_once(f"{directory}: prompts that no role uses: {', '.join(names)}; encode(prompt=…) takes any")


def say_once(line: str) -> None:
    """Print a line, once a process."""
    if line not in SAID:
        SAID.add(line)
        print(f"note: {line}", file=sys.stderr, flush=True)


def as_prefix(prompt: str) -> str:
    """Return a prompt of sentence-transformers, which is put in front of the text whatever is in it, as ``render`` takes it.

    Raises:
        UserError: it holds the placeholder of templates, which sentence-transformers takes literally.
    """
    if "{text}" in prompt:
        raise UserError(
            f"the prompt {prompt!r} holds {{text}}, which sentence-transformers takes as it stands: it cannot be loaded here"
        )
    return prompt


def check_similarity(folder: Folder, similarity: str | None, dimensions: int | None) -> None:
    """Raise a UserError where scores depend on the vectors' lengths: vectors are unit here."""
    unit = folder.normalised and dimensions is None
    if similarity in (None, "cosine") or (unit and similarity in ("dot", "euclidean")):
        return
    raise UserError(
        f"{folder.directory / SETTINGS} scores by {similarity}, and its vectors are not unit; here vectors are unit and scores "
        "are cosines"
    )


def max_length(folder: Folder, settings: Mapping[str, Any], base_directory: Path) -> int:
    """Return the tokens of a text at most: the module's setting, else the tokenizer's within the model's positions."""
    stated = settings.get("max_seq_length")
    if isinstance(stated, int):
        return stated
    place = folder.transformer / "tokenizer_config.json"
    limits = [read_json(place).get("model_max_length") if place.is_file() else None]
    limits.append(getattr(load_config(base_directory), "max_position_embeddings", None))
    lengths = [int(limit) for limit in limits if isinstance(limit, int | float)]
    if not lengths:
        raise UserError(f"{folder.directory} says no maximum length (max_seq_length in {TRANSFORMER_SETTINGS[0]})")
    return min(lengths)


ST_FOLDER = Layout("sentence-transformers folder", MODULES, recognise, read)
