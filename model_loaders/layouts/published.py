"""The published layout: ``adapter_config.json``, ``adapter_model.safetensors``, ``attn_pool.pt``, tokenizer files.

It has no manifest: the sizes come from the tensors' shapes, and the number of heads, which no shape tells, is 32 unless
given. In the published state dict the names of two norms are swapped ("norm" acts on the states, "norm_context" on the
latents); the table below says which is which here.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from common.errors import UserError
from common.files import listing
from model_loaders.designs import Design, get_design
from model_loaders.layouts.manifest import MANIFEST
from model_loaders.layouts.own import refuse_pooling
from model_loaders.layouts.source import Asked, Layout, Source, read_lora
from model_loaders.layouts.tensors import LORA_CONFIG, PUBLISHED_POOLING, read_pickled_tensors
from model_loaders.text.recipe import Recipe
from pooling import PoolingConfig

PUBLISHED_HEADS = 32
ATTENTION, FEED_FORWARD = "cross_attend_blocks.0", "cross_attend_blocks.1"
# published name: ours
NAMES = {
    "latents": "latents",
    "pos_emb.weight": "layer_embedding.weight",
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


def recognise(directory: Path) -> bool:
    """Whether the folder holds a LoRA adapter."""
    return (directory / LORA_CONFIG).is_file()


def read(directory: Path, asked: Asked) -> Source:
    """Read an adapter directory in the published layout, whose design and base LLM the caller must say.

    Its recipe is that of the published code: no prompts, 512 tokens, and a mean over tokens that skips the pad token's id.

    Raises:
        UserError: neither is said, or a file is missing, broken, not finite, or of another design.
    """
    if asked.design is None:
        raise UserError(
            f"{directory} has no {MANIFEST}, so it does not say its design: load it by design (for example with "
            f"model_loaders.model3, --loader model3) or convert it once: python -m model_loaders.convert {directory} OUT "
            "--design model3 --base_model BASE"
        )
    design = get_design(asked.design)
    lora = read_lora(directory)
    pooling, file = None, None
    if design.pooling == "none":
        refuse_pooling(directory, asked.design)
    else:
        sizes, tensors, file = read_published_pooling(directory, design, asked.num_heads)
        pooling = sizes, tensors
    if asked.base_model is None:
        raise UserError(f"{directory} is in the published layout, which does not name its base model: give base_model")
    return Source(
        directory=directory,
        design_name=asked.design,
        base_model=asked.base_model,
        recipe=Recipe(),
        lora=lora,
        pooling=pooling,
        pooling_file=file,
        tokenizer=directory if (directory / "tokenizer_config.json").is_file() else None,
        skips_pad=design.layers == "all" and design.tokens == "mean",
    )


def read_published_pooling(
    directory: Path, design: Design, num_heads: int | None
) -> tuple[PoolingConfig, dict[str, Tensor], Path]:
    """Read ``attn_pool.pt`` from an adapter directory in the published layout.

    The published trainers wrote ``<dir>attn_pool.pt`` beside the directory instead of into it; that place is looked at
    too.

    Returns:
        The pooling's sizes, its tensors under our names, and the file.

    Raises:
        UserError: no such file, or one that does not hold the pooling of ``design``.
    """
    inside, beside = directory / PUBLISHED_POOLING, directory.with_name(directory.name + PUBLISHED_POOLING)
    path = inside if inside.is_file() else beside
    if not path.is_file():
        raise UserError(
            f"{directory} has no {PUBLISHED_POOLING} (nor is there {beside.name} beside it), which a design with a trainable "
            f"pooling needs; it holds: {listing(directory)}. For EOS pooling take model1."
        )
    state = read_pickled_tensors(path)
    wanted = {name for name in NAMES if name != "pos_emb.weight" or design.layers == "all"}
    if set(state) != wanted:
        missing, unused = sorted(wanted - set(state)), sorted(set(state) - wanted)
        kind = "Multi-Layers" if "pos_emb.weight" in state else "Last-Layer"
        raise UserError(
            f"{path} does not hold the pooling of this design: missing {missing[:3]}, unused {unused[:3]}"
            + (f". It is a {kind} Trainable Pooling: choose a design that has one." if "latents" in state else "")
        )
    tensors = {NAMES[name]: tensor for name, tensor in state.items()}
    return pooling_config(tensors, num_heads, path), tensors, path


def pooling_config(tensors: dict[str, Tensor], num_heads: int | None, path: Path) -> PoolingConfig:
    """Derive the pooling's sizes from its tensors' shapes and the number of heads."""
    for name in ("latents", "to_q.weight", "ff_out.weight", "layer_embedding.weight"):
        if name in tensors and (tensors[name].dim() != 2 or 0 in tensors[name].shape):
            raise UserError(f"{path}: {name} has the shape {tuple(tensors[name].shape)}; expected a matrix")
    heads = PUBLISHED_HEADS if num_heads is None else num_heads
    latents, hidden = tensors["latents"].shape
    inner = tensors["to_q.weight"].shape[0]
    if heads < 1 or inner % heads:
        raise UserError(
            f"{path}: an inner width of {inner} does not divide into {heads} heads; say how many it was trained with "
            "(num_heads, --num_heads)"
        )
    layers = tensors.get("layer_embedding.weight")
    return PoolingConfig(
        hidden_size=hidden,
        latents=latents,
        heads=heads,
        head_dim=inner // heads,
        layers=None if layers is None else len(layers),
        feed_forward_multiple=tensors["ff_out.weight"].shape[1] // hidden,
    )


PUBLISHED = Layout("adapter of the published code", LORA_CONFIG, recognise, read)
