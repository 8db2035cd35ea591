"""Folders of sentence-transformers whose model is a decoder: modules.json, the pooling's config, prompts, normalisation.

Read are the formats of sentence-transformers 6 and the older ones; the vectors are those of its ``encode``, made unit. A
folder with a module or a setting that a recipe and a design cannot say is refused with what was found in it.

Two differences are on purpose:

- a prompt that the pooling leaves out is told apart by the characters of the text, not by the number of tokens that the
  prompt has alone, which is off by one where a tokenizer joins the prompt's end with the text's first word;
- vectors cut to ``truncate_dim`` numbers are made unit again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import listing, read_json
from common.json_text import parse_json
from common.lines import read_bytes
from model_loaders.backbone.base_config import load_config
from model_loaders.designs import design_name, get_design
from model_loaders.hub import resolve
from model_loaders.layouts.source import Asked, Layout, Source, read_lora
from model_loaders.layouts.tensors import LORA_CONFIG
from model_loaders.text.recipe import NONE, TOKENIZER, Recipe
from model_loaders.text.special_tokens import appended
from model_loaders.text.tokenizer import load_tokenizer

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
# Of the transformer module; the others are names that versions before 2 gave it by the family of the model.
TRANSFORMER_SETTINGS = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlm-roberta_config.json")
# Name in the pooling's config: second half of the design's name. A mean and the same sum over the root of the count have one
# direction.
POOLINGS = {
    "lasttoken": "eos",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean",
    "weightedmean": "weighted_mean",
    "max": "max",
    "cls": "first",
}
# Before version 6 each mode was a key of its own, true or false.
OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # names of the prompt of documents; the first that is there is used
# Settings of the transformer module that change no vector here, or that are read.
KNOWN_SETTINGS = {"max_seq_length", "unpad_inputs", "modality_config"}
# Settings that are fine with these values alone.
FIXED_SETTINGS = {"do_lower_case": False, "transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
# Groups of options for transformers, and the options in them that change no vector here.
OPTION_GROUPS = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
HARMLESS_OPTIONS = {
    "attn_implementation",
    "cache_dir",
    "device_map",
    "dtype",
    "local_files_only",
    "padding_side",
    "revision",
    "torch_dtype",
    "trust_remote_code",
    "use_cache",
}


@dataclass(frozen=True)
class Folder:
    """The modules of a sentence-transformers folder.

    Attributes:
        directory: the folder.
        transformer: folder of the decoder or its adapter.
        pooling: folder of the pooling.
        normalised: whether a module makes vectors unit.
    """

    directory: Path
    transformer: Path
    pooling: Path
    normalised: bool


def recognise(directory: Path) -> bool:
    """Whether the folder lists modules of sentence-transformers."""
    return (directory / MODULES).is_file()


def read(directory: Path, asked: Asked) -> Source:
    """Read a sentence-transformers folder of a decoder, or of a LoRA adapter on one.

    Raises:
        UserError: a file is missing or broken, or the folder has a module or setting that cannot be expressed here.
    """
    folder = read_modules(directory)
    lora, base = None, str(folder.transformer)
    if (folder.transformer / LORA_CONFIG).is_file():
        lora = read_lora(folder.transformer)
        base = str(asked.base_model or lora[0].get("base_model_name_or_path") or "")
        if not base:
            raise UserError(f"{folder.transformer / LORA_CONFIG} names no base model: give base_model")
    elif asked.base_model is not None:
        raise UserError(f"{directory} holds all weights of its model: leave base_model={asked.base_model} out")
    base_directory = resolve(base, what="base model", cache_dir=asked.cache_dir, needs="config.json")
    mode, leaves_out_prompt = read_pooling(folder)
    return Source(
        directory=directory,
        design_name=design_of(folder, base_directory, mode, asked.design),
        base_model=base,
        recipe=read_recipe(folder, base_directory, mode, leaves_out_prompt),
        lora=lora,
        tokenizer=folder.transformer,
    )


def read_modules(directory: Path) -> Folder:
    """Read ``modules.json``.

    Raises:
        UserError: other modules than a transformer, a pooling and a normalisation, in this order.
    """
    place = directory / MODULES
    try:
        content = parse_json(read_bytes(place))
    except (OSError, ValueError) as error:
        raise UserError(f"{place} is no valid JSON; take a fresh copy") from error
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(f"{place} holds no list of modules")
    kinds = [str(entry.get("type", "")) for entry in content]
    names = [kind.rsplit(".", 1)[-1] for kind in kinds]
    ours = all(kind.startswith("sentence_transformers.") for kind in kinds)
    if not ours or names[:2] != ["Transformer", "Pooling"] or names[2:] not in ([], ["Normalize"]):
        raise UserError(
            f"{place} lists the modules {', '.join(kinds) or 'none'}; a transformer, a pooling and a normalisation of "
            "sentence-transformers can be loaded here, in this order and nothing else"
        )
    if len(content) == 3:
        check_normalisation(directory / str(content[2].get("path", "")))
    transformer, pooling = (inside(directory, str(entry.get("path", ""))) for entry in content[:2])
    return Folder(directory, transformer, pooling, len(content) == 3)


def inside(directory: Path, path: str) -> Path:
    """Return the folder of a module.

    Raises:
        UserError: it is none, or lies elsewhere.
    """
    place = directory / path
    if not place.is_dir() or Path(path).is_absolute() or ".." in Path(path).parts:
        raise UserError(f"{directory / MODULES} names the folder {path!r}, which is not in {directory}: {listing(directory)}")
    return place


def check_normalisation(directory: Path) -> None:
    """Raise a UserError if the normalisation is of something else than the text's vector."""
    config = read_json(directory / "config.json") if (directory / "config.json").is_file() else {}
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise UserError(
                f"{directory / 'config.json'}: {key} is {config[key]!r}; only sentence_embedding can be loaded here"
            )


def read_pooling(folder: Folder) -> tuple[str, bool]:
    """Return the mode of the pooling, and whether it leaves the prompt out.

    Raises:
        UserError: several modes at once, or one that is not in ``POOLINGS``.
    """
    place = folder.pooling / "config.json"
    config = read_json(place)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in OLD_POOLINGS.items() if config.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise UserError(
            f"{place}: the pooling {' + '.join(map(str, modes))} cannot be loaded here; one of {', '.join(POOLINGS)} can"
        )
    leaves_out = config.get("include_prompt") is False
    if leaves_out and modes[0] == "weightedmean":
        raise UserError(
            f"{place}: weightedmean with include_prompt false counts its weights from the prompt on; here they begin with the "
            "first pooled token, so it cannot be loaded"
        )
    return modes[0], leaves_out


def design_of(folder: Folder, base_directory: Path, mode: str, asked: str | None) -> str:
    """Return the row of the table of designs.

    Raises:
        UserError: ``asked`` has another pooling, or the attention is not said by ``is_causal`` alone.
    """
    config = load_config(base_directory)
    if getattr(config, "use_bidirectional_attention", None):
        raise UserError(
            f"{base_directory / 'config.json'} has use_bidirectional_attention, which also changes the attention window; "
            "models with is_causal can be loaded here"
        )
    attention = "bidirectional" if getattr(config, "is_causal", True) is False else "causal"
    name = design_name(f"{attention}_{POOLINGS[mode]}")
    if asked is None:
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
    whole = read_json(folder.directory / SETTINGS) if (folder.directory / SETTINGS).is_file() else {}
    prompts = whole.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise UserError(f"{folder.directory / SETTINGS}: prompts are {prompts!r}, not an object")
    dimensions = whole.get("truncate_dim")
    check_similarity(folder, whole.get("similarity_fn_name"), dimensions)
    query, document = prompts_of_sides(prompts, whole.get("default_prompt_name"))
    return Recipe(
        query_prompt=as_prefix(query),
        document_prompt=as_prefix(document),
        max_length=max_length(folder, settings, base_directory),
        end_token=TOKENIZER if appended(load_tokenizer(folder.transformer))[1] else NONE,
        pooled="after_prompt" if leaves_out_prompt and mode != "lasttoken" else "all",
        dimensions=dimensions,
    )


def prompts_of_sides(prompts: Mapping[str, Any], default: str | None) -> tuple[str, str]:
    """Return the prompts of queries and documents.

    Args:
        prompts: by name.
        default: name of the one that ``encode`` gives; it stands for a side without a prompt, unless it is that of the other.
    """
    query = prompts.get("query") or ""
    documents = [str(prompts[name]) for name in DOCUMENT_PROMPTS if prompts.get(name)]
    document = documents[0] if documents else ""
    if default is None or default in ("query", *DOCUMENT_PROMPTS):
        return query, document
    return query or prompts.get(default, ""), document or prompts.get(default, "")


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


def transformer_settings(directory: Path) -> dict[str, Any]:
    """Read the settings of the transformer module.

    Raises:
        UserError: one of them would change the vectors, and cannot be expressed here.
    """
    place = next((directory / name for name in TRANSFORMER_SETTINGS if (directory / name).is_file()), None)
    settings = {} if place is None else read_json(place)
    for key, value in settings.items():
        if key in OPTION_GROUPS:
            other = sorted(set(value or {}) - HARMLESS_OPTIONS)
            if other:
                raise UserError(f"{place}: {key} has {other[0]}, which cannot be expressed here")
        elif key in FIXED_SETTINGS:
            if value not in (None, FIXED_SETTINGS[key]):
                raise UserError(f"{place}: {key} is {value!r}, which cannot be expressed here")
        elif key not in KNOWN_SETTINGS and value not in (None, {}, []):
            raise UserError(f"{place}: {key} is {value!r}, which cannot be expressed here")
    modality = settings.get("modality_config")
    if modality and (modality.get("text") or {}).get("method_output_name") != "last_hidden_state":
        raise UserError(f"{place}: modality_config reads {modality}; the last hidden state of texts can be read here")
    return settings


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
