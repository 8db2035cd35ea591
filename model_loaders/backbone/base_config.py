"""A base LLM's config, read without running code of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import first_line
from common.json_text import parse_json
from common.lines import read_bytes
from model_loaders.backbone.base_files import CONFIG
from model_loaders.backbone.wrapped import WRAPPED, part_of
from model_loaders.hub import OWN_CODE, needs_own_code, split_revision


def load_config(directory: Path) -> Any:
    """Read a base model's config (its text part, for a model of several modalities)."""
    return text_config(read_config(directory))


def read_config(name: str | Path, cache_dir: str | Path | None = None) -> Any:
    """Read the whole config of a directory, or of a hub name, from which nothing else is fetched.

    Raises:
        UserError: it cannot be read, needs code of its own, or is no decoder's.
    """
    from transformers import AutoConfig, PreTrainedConfig

    repository, revision = split_revision(name)
    place = {"cache_dir": cache_dir, "revision": revision or "main"}
    try:
        content, _ = PreTrainedConfig.get_config_dict(repository, **place)
        wrapped = WRAPPED.get(str(content.get("model_type")))
        if wrapped is None:
            config = AutoConfig.from_pretrained(repository, trust_remote_code=False, **place)
        else:
            config = AutoConfig.for_model(wrapped.model_type, **part_of(content, wrapped))
    except Exception as error:  # the config classes raise whatever an odd value leads to
        shown = Path(name) / CONFIG if Path(name).is_dir() else name
        if needs_own_code(error) or states_own_code(Path(name)):
            raise UserError(f"the base model {name} cannot be loaded: {OWN_CODE}") from error
        what = "describes no model that transformers knows" if Path(name).is_dir() else "has no config that can be read"
        raise UserError(f"{shown} {what}: {first_line(error)}") from error
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"the base model {name} ({config.model_type!r}) has an encoder and a decoder; the designs need a model that is a "
            "decoder alone"
        )
    refuse_hub_kernels(config, name)
    return config


def text_config(config: Any) -> Any:
    """Return the config of the text decoder: ``config`` itself unless it is of a model of several modalities."""
    return config.get_text_config(decoder=True)


def states_own_code(directory: Path) -> bool:
    """Whether a config names classes in Python files of its own folder."""
    try:
        content = parse_json(read_bytes(directory / CONFIG))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "auto_map" in content


def refuse_hub_kernels(config: Any, name: str | Path) -> None:
    """Raise a UserError if a config names an attention kernel of the hub, which is code that would be fetched and run."""
    for part in (config, text_config(config)):
        for key in ("_attn_implementation", "_experts_implementation"):
            kernel = getattr(part, key, None)
            if isinstance(kernel, str) and "/" in kernel:
                raise UserError(f"the config of {name} asks for the kernel {kernel!r} of the hub: {OWN_CODE}")
