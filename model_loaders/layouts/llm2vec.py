"""LLM2Vec (arXiv 2404.05961): a base LLM that sees both ways, a first adapter (MNTP), and mostly a second one on top of it.

Three kinds of folders, told apart by their files::

    first    adapter_config.json, and config.json or no llm2vec_config.json    stands on the base LLM that it names
    second   adapter_config.json and llm2vec_config.json, no config.json       stands on a first adapter, which it does not name
    merged   config.json and weights                                           is whole

A second adapter is told its first one as ``base_model``: its folder or hub name, or that of a merged checkpoint. The tokenizer
is the first one's, as in the published code. Attention is bidirectional in every family, also where the published class stayed
causal (Qwen2). What is pooled goes by the text's characters, and a text that is cut keeps its end token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.build import build
from common.errors import UserError
from common.files import read_json
from model_loaders.backbone.base_config import load_config
from model_loaders.backbone.base_files import CONFIG
from model_loaders.hub import resolve
from model_loaders.layouts import own
from model_loaders.layouts.llm2vec_lower import BASE, CLASSES, check_one_base, family_of
from model_loaders.layouts.source import Asked, Layout, Lora, Source, read_lora
from model_loaders.layouts.stacked_lora import stacked
from model_loaders.layouts.tensors import LORA_CONFIG
from model_loaders.layouts.whole import check_decoder
from model_loaders.text.recipe import Pooled, Recipe
from model_loaders.text.tokenizer import load_tokenizer

SETTINGS = "llm2vec_config.json"
LIBRARY = "llm2vec"
# Published second adapters are called after their first one.
SECOND_NAME = re.compile(r"(?P<first>.+-mntp)-(supervised|unsup-simcse)")
DESIGNS = {
    "mean": "bidirectional_mean",
    "weighted_mean": "bidirectional_weighted_mean",
    "eos_token": "bidirectional_eos",
    "last_token": "bidirectional_eos",
    "bos_token": "bidirectional_first",
}
# What the published code puts around the texts of these base LLMs, by their exact name.
CHAT_TEMPLATES = {
    "meta-llama/Meta-Llama-3-8B-Instruct": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
    "mistralai/Mistral-7B-Instruct-v0.2": ("[INST] ", " [/INST]"),
    "meta-llama/Llama-2-7b-chat-hf": ("[INST] ", " [/INST]"),
    "google/gemma-2-9b-it": ("<bos><start_of_turn>user\n", "<end_of_turn>"),
    "Qwen/Qwen2-1.5B-Instruct": ("<|im_start|>user\n", "<|im_end|>"),
    "Qwen/Qwen2-7B-Instruct": ("<|im_start|>user\n", "<|im_end|>"),
}


@dataclass(frozen=True)
class Settings:
    """The content of ``llm2vec_config.json``; the defaults are the published ones.

    Attributes:
        pooling_mode: row of ``DESIGNS``.
        max_length: tokens of instruction and text at most.
        doc_max_length: tokens of the text alone at most.
        skip_instruction: whether the instruction's tokens are left out of a mean.
    """

    pooling_mode: str = "mean"
    max_length: int = 512
    doc_max_length: int = 400
    skip_instruction: bool = True

    def __post_init__(self) -> None:
        if self.pooling_mode not in DESIGNS:
            raise ValueError(f"pooling_mode is {self.pooling_mode!r}, not one of {', '.join(DESIGNS)}")


@dataclass(frozen=True)
class Lower:
    """What a second adapter stands on, or a first one and a merged checkpoint bring along themselves.

    Attributes:
        base_model: hub name or directory of the base LLM.
        lora: of the first adapter; ``None`` where it is merged.
        directory: of the first adapter or merged checkpoint.
        name: under which the published code knows a chat template for the base LLM.
    """

    base_model: str | Path
    lora: Lora | None
    directory: Path
    name: str


def recognise(directory: Path) -> bool:
    """Whether the folder is one of LLM2Vec, of any of the three kinds."""
    if (directory / SETTINGS).is_file():
        return True
    if (directory / LORA_CONFIG).is_file():
        mapping = read_json(directory / LORA_CONFIG).get("auto_mapping")
        if isinstance(mapping, dict) and str(mapping.get("parent_library")).split(".")[0] == LIBRARY:
            return True
    if not (directory / CONFIG).is_file():
        return False
    classes = read_json(directory / CONFIG).get("architectures")
    return isinstance(classes, list) and any(CLASSES.fullmatch(str(name)) for name in classes)


def is_second(directory: Path, name: str | Path) -> bool:
    """Whether a folder of LLM2Vec is a second adapter."""
    if not (directory / LORA_CONFIG).is_file() or (directory / CONFIG).is_file():
        return False
    return (directory / SETTINGS).is_file() or SECOND_NAME.fullmatch(Path(name).name) is not None


def is_first(directory: Path) -> bool:
    """Whether a folder is surely a first adapter; one that cannot be read is none."""
    try:
        return (directory / LORA_CONFIG).is_file() and recognise(directory) and not is_second(directory, directory)
    except (UserError, OSError):
        return False


def read(directory: Path, asked: Asked) -> Source:
    """Read a folder of LLM2Vec, and the first adapter that a second one stands on.

    Raises:
        UserError: a file or tensor is missing, broken, not finite or unknown, the first adapter is missing, or not as asked.
    """
    settings = read_settings(directory)
    if is_second(directory, asked.name):
        lower = first_of(directory, asked)
        lora: Lora | None = read_lora(directory)
        if lower.lora is not None and lora is not None:
            lora = stacked(lower.lora, lora, lower.directory, directory)
    else:
        lower = lower_of(directory, asked)
        lora = lower.lora
    settings = with_design(settings, asked.design, directory)
    return Source(
        directory=directory,
        design_name=DESIGNS[settings.pooling_mode],
        base_model=lower.base_model,
        recipe=recipe_of(settings, lower, asked),
        lora=lora,
        tokenizer=tokenizer_of(lower.directory),
    )


def read_settings(directory: Path) -> Settings:
    """Read ``llm2vec_config.json``; where it is missing the published defaults hold."""
    path = directory / SETTINGS
    return build(Settings, read_json(path), str(path)) if path.is_file() else Settings()


def with_design(settings: Settings, design: str | None, directory: Path) -> Settings:
    """Return the settings with the pooling of ``design``, if one is asked for, as the published code takes it too."""
    if design in (None, DESIGNS[settings.pooling_mode]):
        return settings
    for mode, name in DESIGNS.items():
        if name == design:
            return replace(settings, pooling_mode=mode)
    names = ", ".join(dict.fromkeys(DESIGNS.values()))
    raise UserError(f"{directory} holds an LLM2Vec model, whose designs are {names}, not {design}: use one of those loaders")


def lower_of(directory: Path, asked: Asked) -> Lower:
    """Read a first adapter or a merged checkpoint."""
    if not (directory / LORA_CONFIG).is_file():
        if asked.base_model is not None:
            raise UserError(f"{directory} holds a merged LLM2Vec model, its base LLM too: leave base_model out")
        check_decoder(directory, ("model.", ""))
        return Lower(asked.whole, None, directory, str(read_json(directory / CONFIG).get("_name_or_path", "")))
    lora = read_lora(directory)
    base = asked.base_model or named_base(directory, lora[0])
    check_family(directory, lora[0], base, asked.cache_dir)
    stated = read_json(directory / CONFIG).get("_name_or_path") if (directory / CONFIG).is_file() else None
    return Lower(base, lora, directory, str(stated) if stated in CHAT_TEMPLATES else str(base))


def check_family(directory: Path, config: dict[str, Any], base: str | Path, cache_dir: str | Path | None) -> None:
    """Raise a UserError if an adapter's classes are those of another family than its base LLM."""
    family = family_of(config)
    place = resolve(base, what="base model", cache_dir=cache_dir, needs=CONFIG)
    if family and (present := load_config(place).model_type) != family.lower():
        raise UserError(
            f"the LLM2Vec adapter {directory} is for a {family} model, and {base} is of the type {present}: give the base LLM "
            "that it was trained on"
        )


def named_base(directory: Path, config: dict[str, Any]) -> str | Path:
    """Return the base LLM that an adapter names: a folder beside the adapter's, or a hub name or path."""
    name = config.get(BASE)
    if not isinstance(name, str) or not name:
        raise UserError(f"{directory / LORA_CONFIG} does not name the base LLM: give base_model")
    beside = directory.resolve().parent / name
    return beside if (beside / CONFIG).is_file() else name


def first_of(directory: Path, asked: Asked) -> Lower:
    """Read what a second adapter stands on.

    Raises:
        UserError: it is not said, or what is said is no first adapter or one of another base LLM: the vectors would be
            unrelated to the model's.
    """
    name = asked.base_model
    published = SECOND_NAME.fullmatch(str(asked.name))
    if name is None and published is not None and not Path(asked.name).exists():
        name = published["first"]
    if name is None:
        raise UserError(
            f"{directory} is an LLM2Vec second adapter, and the first one (MNTP) is missing. {how_to_say(directory)}"
        )
    place = resolve(name, what="first adapter", cache_dir=asked.cache_dir)
    below = replace(asked, name=name, base_model=None, design=None, revision="")
    config = read_json(directory / LORA_CONFIG)
    if own.recognise(place):
        source = own.read(place, below)
        check_one_base(directory, config, name, {BASE: str(source.base_model)})
        return Lower(source.base_model, source.lora, place, str(source.base_model))
    if not recognise(place) or is_second(place, name):
        what = "is a second adapter too" if recognise(place) else "is neither an LLM2Vec adapter nor a merged checkpoint"
        raise UserError(
            f"{directory} is an LLM2Vec second adapter, which is right on its first one (MNTP) alone, and {name} {what}. "
            f"{how_to_say(directory)} A merged checkpoint is known by the classes in its config.json or by {SETTINGS}."
        )
    check_one_base(directory, config, name, read_json(place / (LORA_CONFIG if (place / LORA_CONFIG).is_file() else CONFIG)))
    return lower_of(place, below)


def how_to_say(directory: Path) -> str:
    """Say how a second adapter is told its first one, with what lies beside it."""
    beside = [str(folder) for folder in sorted(directory.resolve().parent.iterdir()) if is_first(folder)]
    published = SECOND_NAME.fullmatch(directory.name)
    known = published["first"] if published else "FIRST_ADAPTER"
    named = [folder for folder in beside if Path(folder).name == known]
    known = (named or ([] if published else beside) or [known])[0]
    lies = ", which lies beside it" if known in beside else ""
    return f"Give its folder or hub name as the base model (base_model=, --base_model): {known}{lies}."


def tokenizer_of(directory: Path) -> Path | None:
    """Return the folder of the tokenizer: that of the first adapter or merged checkpoint, if it has one."""
    return directory if (directory / "tokenizer_config.json").is_file() else None


def recipe_of(settings: Settings, lower: Lower, asked: Asked) -> Recipe:
    """Return the published recipe: the instruction, a space, the text, and the end token for ``eos_token`` alone."""
    before, after = CHAT_TEMPLATES.get(lower.name, ("", ""))
    mean = settings.pooling_mode in ("mean", "weighted_mean")
    pooled: Pooled = "all" if not mean or not settings.skip_instruction else "after_prompt" if after else "text"
    ends = settings.pooling_mode == "eos_token"
    if ends and ends_after_a_space(lower, asked):
        after += " "
    around = f"{before}{{text}}{after}" if before or after else ""
    return Recipe(
        query_prompt=around,
        document_prompt=around,
        prompt_template=f"{before}{{prompt|strip}} {{text}}{after}",
        max_length=settings.max_length,
        instruct_documents=False,
        end_token="eos" if ends else "none",
        pooled=pooled,
        truncation="text",
        text_max_length=settings.doc_max_length,
        text_edits=("no_separator", "strip_end") if ends or after else ("no_separator",),
    )


def ends_after_a_space(lower: Lower, asked: Asked) -> bool:
    """Whether the published code writes a space before the end token: for Mistral and Llama, where it writes ``</s>``.

    With a Llama 3 tokenizer that is four ordinary tokens; here such a text ends with the tokenizer's own end token.
    """
    base = resolve(lower.base_model, what="base model", cache_dir=asked.cache_dir, needs=CONFIG)
    if load_config(base).model_type not in ("mistral", "llama"):
        return False
    return bool(load_tokenizer(tokenizer_of(lower.directory) or base).eos_token == "</s>")


LLM2VEC = Layout("LLM2Vec", f"{SETTINGS}, or adapter_config.json or config.json with its classes", recognise, read)
