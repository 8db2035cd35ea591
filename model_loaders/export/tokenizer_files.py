"""The tokenizer of an exported folder: its own BOS and end token in its rules, no chat template, no path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.files import read_json, write_json
from model_loaders.text.special_tokens import appended
from model_loaders.text.tokenizer import TextTokenizer

CLASS = "PreTrainedTokenizerFast"  # tokenizer.json as it is written; transformers 4 and 5 know the name
# Settings by which family classes would build their own rules, and those that hold places of this machine or chats.
DROPPED = (
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "auto_map",
    "backend",
    "chat_template",
    "from_slow",
    "is_local",
    "legacy",
    "local_files_only",
    "name_or_path",
    "processor_class",
    "tokenizer_file",
    "use_default_system_prompt",
    "vocab_file",
)
CHAT_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


def write_tokenizer(tokenizer: TextTokenizer, folder: Path, max_length: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``; whoever loads them gets this toolkit's ids.

    The rule that adds special tokens is written anew where the tokenizer itself does not add what the recipe wants. A second
    rule behind the first would count the first one's tokens as text.
    """
    tokenizer.save(folder)
    for name in CHAT_FILES:
        remove(folder / name)
    rules = read_json(folder / "tokenizer.json") | {"truncation": None, "padding": None}
    own = appended(tokenizer.tokenizer)
    if own != (list(tokenizer.front), list(tokenizer.back)):
        rules["post_processor"] = with_template(rules.get("post_processor"), tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(rules, ensure_ascii=False) + "\n", encoding="utf-8")
    config = {key: value for key, value in read_json(folder / "tokenizer_config.json").items() if key not in DROPPED}
    config |= {
        "tokenizer_class": CLASS,
        "model_max_length": max_length,
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
    }
    if tokenizer.filler_id != tokenizer.tokenizer.pad_token_id:  # the pad token has no row in the embedding
        config["pad_token"] = tokenizer.tokenizer.convert_ids_to_tokens(tokenizer.filler_id)
    write_json(config, folder / "tokenizer_config.json")


def remove(path: Path) -> None:
    """Remove a file, or a folder of files; none is fine."""
    if path.is_dir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)


def with_template(rules: dict[str, Any] | None, tokenizer: TextTokenizer) -> dict[str, Any]:
    """Return the post-processor that puts BOS and end token around a text, in place of the template that is there."""
    template = template_of(tokenizer)
    steps = (rules or {}).get("processors", [rules]) if rules else []
    kept = [step for step in steps if step["type"] == "ByteLevel"]  # it moves offsets, no ids
    return {"type": "Sequence", "processors": [*kept, template]} if kept else template


def template_of(tokenizer: TextTokenizer) -> dict[str, Any]:
    """Return the rules ``front TEXT back`` in the format of ``tokenizer.json``."""
    names = {}
    for token_id in (*tokenizer.front, *tokenizer.back):
        token = str(tokenizer.tokenizer.convert_ids_to_tokens(token_id))
        names[token] = {"id": token, "ids": [token_id], "tokens": [token]}

    def special(ids: tuple[int, ...], kind: int) -> list[dict[str, Any]]:
        tokens = tokenizer.tokenizer.convert_ids_to_tokens(list(ids))
        return [{"SpecialToken": {"id": token, "type_id": kind}} for token in tokens]

    front, back = special(tokenizer.front, 0), special(tokenizer.back, 0)
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [*front, first, *back],
        "pair": [*front, first, *back, second, *special(tokenizer.back, 1)],
        "special_tokens": names,
    }
