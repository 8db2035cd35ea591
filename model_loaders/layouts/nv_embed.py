"""NV-Embed v1 and v2 (arXiv 2405.17428): a whole checkpoint, ``embedding_model.*`` and ``latent_attention_model.*``.

The first part is a Mistral decoder, which sees both ways here; the second one is the latent attention of
``pooling/latent_attention.py``. The code that lies in such a folder is not run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from common.errors import UserError
from common.files import listing, read_json
from model_loaders.backbone.base_files import CONFIG, weight_files
from model_loaders.backbone.wrapped import WRAPPED
from model_loaders.layouts.own import check_sizes
from model_loaders.layouts.source import Asked, Layout, Source
from model_loaders.layouts.tensors import check_finite, check_kinds
from model_loaders.layouts.whole import check_decoder
from model_loaders.text.recipe import Recipe
from pooling.latent_attention import LatentAttentionConfig

MODEL_TYPE = "nvembed"
DESIGN = "bidirectional_latent_attention"
POOLING_PREFIX = WRAPPED[MODEL_TYPE].beside
LENGTHS = "sentence_bert_config.json"
MAX_LENGTH = 4096  # of the published encode()
ATTENTION, FEED_FORWARD = "cross_attend_blocks.0", "cross_attend_blocks.1"
# Published name: ours. Here "norm" is really the tokens' and "norm_context" the latents'.
NAMES = {
    "latents": "latents",
    f"{ATTENTION}.norm.weight": "norm_states.weight",
    f"{ATTENTION}.norm.bias": "norm_states.bias",
    f"{ATTENTION}.norm_context.weight": "norm_latents.weight",
    f"{ATTENTION}.norm_context.bias": "norm_latents.bias",
    f"{ATTENTION}.fn.to_q.weight": "to_q.weight",
    f"{ATTENTION}.fn.to_kv.weight": "to_kv.weight",
    f"{ATTENTION}.fn.to_out.weight": "to_out.weight",
    f"{FEED_FORWARD}.norm.weight": "norm_ff.weight",
    f"{FEED_FORWARD}.norm.bias": "norm_ff.bias",
    f"{FEED_FORWARD}.fn.net.0.weight": "ff_in.weight",
    f"{FEED_FORWARD}.fn.net.0.bias": "ff_in.bias",
    f"{FEED_FORWARD}.fn.net.2.weight": "ff_out.weight",
    f"{FEED_FORWARD}.fn.net.2.bias": "ff_out.bias",
}
# Keys that equal these may be missing in config.json.
SIZES = {"num_latents_value": 512, "num_cross_heads": 8, "cross_dim_head": 4096, "latent_dim": 4096, "hidden_dim": 4096}


def recognise(directory: Path) -> bool:
    """Whether the folder's config is one of NV-Embed."""
    config = directory / CONFIG
    return config.is_file() and read_json(config).get("model_type") == MODEL_TYPE


def read(directory: Path, asked: Asked) -> Source:
    """Read a folder of NV-Embed.

    Raises:
        UserError: a file or tensor is missing, broken, not finite, of another shape or unknown, or not as asked.
    """
    if asked.design not in (None, DESIGN):
        raise UserError(f"{directory} holds an NV-Embed model, whose design is {DESIGN}, not {asked.design}: use that loader")
    if asked.base_model is not None and Path(asked.base_model).expanduser().resolve() != directory.resolve():
        raise UserError(f"{directory} holds an NV-Embed model whole, its base LLM too: leave base_model out")
    content = read_json(directory / CONFIG)
    if content.get("mask_type", "b") != "b":
        raise UserError(f"{directory / CONFIG}: mask_type is {content['mask_type']!r}; NV-Embed's is 'b' (bidirectional)")
    if not isinstance(content.get(WRAPPED[MODEL_TYPE].config), dict):
        raise UserError(f"{directory / CONFIG} has no 'text_config', the config of its base LLM; take a fresh copy")
    sizes = pooling_sizes(content, directory / CONFIG)
    if asked.num_heads not in (None, sizes.heads):
        raise UserError(f"{directory / CONFIG} says {sizes.heads} heads; leave num_heads={asked.num_heads} out")
    prefix = WRAPPED[MODEL_TYPE].prefix
    check_decoder(directory, (prefix,), (POOLING_PREFIX,))
    tensors, path = read_pooling(directory)
    check_sizes(sizes, tensors, path, directory / CONFIG)
    return Source(
        directory=directory,
        design_name=DESIGN,
        base_model=asked.whole,
        recipe=recipe_of(directory, content),
        pooling=(sizes, tensors),
        pooling_file=path,
        tokenizer=directory,
    )


def pooling_sizes(content: dict[str, Any], path: Path) -> LatentAttentionConfig:
    """Return the sizes of the latent attention out of a ``config.json``."""
    given = content.get("latent_attention_config", {})
    if not isinstance(given, dict):
        raise UserError(f"{path}: latent_attention_config is no object")
    sizes = SIZES | {name: value for name, value in given.items() if name in SIZES}
    if sizes["latent_dim"] != sizes["hidden_dim"]:
        raise UserError(
            f"{path}: latents of width {sizes['latent_dim']} cannot be read by states of width {sizes['hidden_dim']}"
        )
    try:
        return LatentAttentionConfig(
            hidden_size=sizes["hidden_dim"],
            latents=sizes["num_latents_value"],
            heads=sizes["num_cross_heads"],
            head_dim=sizes["cross_dim_head"],
        )
    except ValueError as error:
        raise UserError(f"{path}: latent_attention_config: {error}") from error


def read_pooling(directory: Path) -> tuple[dict[str, Tensor], Path]:
    """Read the tensors of the latent attention, under our names, and return them with the file that most of them are in."""
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    places: list[Path] = []
    for file in weight_files(directory):
        if file.suffix != ".safetensors":
            continue
        with safe_open(file, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118 (no dictionary)
                if name.startswith(POOLING_PREFIX):
                    published = name.removeprefix(POOLING_PREFIX)
                    tensors[NAMES.get(published, published)] = stream.get_tensor(name)
                    places.append(file)
    if not tensors:
        raise UserError(f"{directory} has no safetensors file with {POOLING_PREFIX}*; it holds: {listing(directory)}")
    path = max(places, key=places.count)
    check_kinds(tensors, path)
    check_finite(tensors, path)
    return tensors, path


def recipe_of(directory: Path, content: dict[str, Any]) -> Recipe:
    """Return the recipe: instructions for queries alone, and their tokens hidden from the mean unless the config says no."""
    lengths = directory / LENGTHS
    length = read_json(lengths).get("max_seq_length") if lengths.is_file() else None
    hides = content.get("is_mask_instruction", True)
    return Recipe(
        prompt_template="instruct",
        max_length=length if isinstance(length, int) else MAX_LENGTH,
        instruct_documents=False,
        pooled="after_prompt" if hides else "all",
    )


NV_EMBED = Layout("NV-Embed", f"{CONFIG} of the type {MODEL_TYPE}", recognise, read)
