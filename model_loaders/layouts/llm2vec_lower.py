"""Compare an LLM2Vec second adapter with what it shall stand on: both must name one base LLM.

A second adapter fits on any first one of the same sizes, and on a foreign one its vectors are unrelated to the model's. Its
``adapter_config.json`` names the class of the base LLM and the base LLM, or the folder of the first adapter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError

# Names of the classes in config.json: of published first adapters, of merged checkpoints.
CLASSES = re.compile(r"(?P<family>Mistral|Llama|Gemma|Qwen2)(EncoderModel|BiModel|BiForMNTP)")
CACHE_PREFIX = "models--"  # of the folders in the hub's cache
BASE = "base_model_name_or_path"


def check_one_base(second: Path, config: Mapping[str, Any], first: str | Path, below: Mapping[str, Any]) -> None:
    """Raise a UserError if a second adapter and what it shall stand on name two base LLMs.

    Args:
        second: folder of the second adapter, for the message.
        config: its ``adapter_config.json``.
        first: name or folder of what it shall stand on.
        below: ``adapter_config.json`` of a first adapter, or ``config.json`` of a merged checkpoint.
    """
    wanted, present = family_of(config), family_of(below)
    if wanted and present and wanted != present:
        raise UserError(foreign(second, first, f"one for a {wanted} model, the other for a {present} model"))
    base, lower_base = (said.get(BASE) for said in (config, below))
    if not isinstance(base, str) or not isinstance(lower_base, str) or not base or not lower_base:
        return
    if last_name(base) not in (last_name(lower_base), last_name(first)):
        raise UserError(foreign(second, first, f"one for the base LLM {base}, the other for {lower_base}"))


def foreign(second: Path, first: str | Path, difference: str) -> str:
    """Say that two adapters do not belong together."""
    return (
        f"the LLM2Vec second adapter {second} does not belong on {first}: {difference}. Give its own first adapter (MNTP) as "
        f"the base model. Where both names mean one base LLM, write the same {BASE} into both adapter_config.json."
    )


def family_of(config: Mapping[str, Any]) -> str:
    """Return the family of the base LLM that the classes of an adapter's or a checkpoint's config name; empty for none."""
    mapping, classes = config.get("auto_mapping"), config.get("architectures")
    names = [mapping.get("base_model_class")] if isinstance(mapping, dict) else classes if isinstance(classes, list) else []
    for name in names:
        match = CLASSES.fullmatch(str(name))
        if match is not None:
            return match["family"]
    return ""


def last_name(name: str | Path) -> str:
    """Return a model's name without its owner, of a hub name, a folder and a folder of the hub's cache.

    >>> last_name("mistralai/Mistral-7B-v0.1") == last_name("/cache/models--mistralai--Mistral-7B-v0.1/snapshots/0a1b")
    True
    """
    parts = Path(str(name).rstrip("/\\")).parts or ("",)
    for part in parts:
        if part.startswith(CACHE_PREFIX):
            return part.rsplit("--", 1)[-1].casefold()
    return parts[-1].casefold()
