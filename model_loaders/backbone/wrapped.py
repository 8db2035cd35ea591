"""Base LLMs that are a part of another model's folder: their config stands in its config, their weights under a prefix.

Such models need code of their own elsewhere. Here the part is loaded as the decoder that it is, and nothing of the folder runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import read_json
from model_loaders.backbone.base_files import CONFIG

# What of a part's config names classes and files of the whole model, or where it came from.
OF_THE_WHOLE = ("model_type", "architectures", "auto_map", "_name_or_path", "transformers_version", "torch_dtype", "dtype")


@dataclass(frozen=True)
class Wrapped:
    """Where the decoder is in a model of one type.

    Attributes:
        config: key of its config in the whole config.
        model_type: the decoder's own type, which transformers knows.
        prefix: what stands before the names of its tensors.
        beside: what stands before the names of the other part's tensors, which its layout reads.
    """

    config: str
    model_type: str
    prefix: str
    beside: str

    @property
    def key_mapping(self) -> dict[str, str]:
        """Return how transformers renames the decoder's tensors when it loads them."""
        return {f"^{re.escape(self.prefix)}": ""}


# By the model type of the whole.
WRAPPED = {"nvembed": Wrapped("text_config", "mistral", "embedding_model.", "latent_attention_model.")}


def wrapped_in(directory: Path) -> Wrapped | None:
    """Return where the decoder is in a folder's model; ``None`` where the folder is that of a decoder itself."""
    config = directory / CONFIG
    return WRAPPED.get(str(read_json(config).get("model_type"))) if config.is_file() else None


def part_of(content: dict[str, Any], wrapped: Wrapped) -> dict[str, Any]:
    """Return the decoder's config, as ``config.json`` of its own would hold it, out of the content of a whole one."""
    part = content.get(wrapped.config)
    if not isinstance(part, dict):
        raise ValueError(f"it has no {wrapped.config!r}, the config of its decoder")
    return {key: value for key, value in part.items() if key not in OF_THE_WHOLE}
