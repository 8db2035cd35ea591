"""The tiny Mistral before training: a network that starts as its co-occurrence embeddings.

The hidden state has three parts, ``[LSA 0..127 | constant 128 | free 129..191]``:

* *LSA*: the token's unit LSA vector times its inverse document frequency. Blocks do not write there except through the
  wired attention below, so what a token means survives the language model's training up to the last layer.
* *constant*: the same number in every token. RMSNorm divides by the norm of the whole state; a large common part makes
  that nearly the same number for every token, so frequent words stay short, as in tf-idf, instead of being blown up.
* *free*: where blocks write. Output projections start at zero there, so training starts from the embeddings.

Every layer's values are a slice of the LSA part, written back to the same slice: near-uniform attention at the start
makes that the mean of the context, which gives the last token the text's topic and the LM its first useful feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import MistralConfig, MistralForCausalLM

from quickstart.base_model.lsa import FloatArray

LSA_DIMENSIONS = 128
CONSTANT = LSA_DIMENSIONS
CONSTANT_VALUE = 2.0
CONTEXT_GAIN = 0.5
FREE_STD = 0.03
CONSTANT_NORM_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class BaseSize:
    """Sizes of the base model; the defaults have 4.4 million parameters."""

    vocabulary: int = 8192
    hidden: int = 192
    intermediate: int = 384
    layers: int = 4
    heads: int = 6
    key_value_heads: int = 2
    max_positions: int = 512


def make_config(size: BaseSize, *, pad_id: int, bos_id: int, eos_id: int) -> MistralConfig:
    """Return a Mistral configuration without a sliding window, untied output embeddings, eager-free defaults."""
    return MistralConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        head_dim=size.hidden // size.heads,
        max_position_embeddings=size.max_positions,
        sliding_window=None,
        tie_word_embeddings=False,
        rms_norm_eps=1e-5,
        pad_token_id=pad_id,
        bos_token_id=bos_id,
        eos_token_id=eos_id,
    )


@torch.no_grad()
def build_model(config: MistralConfig, lsa: FloatArray, idf: FloatArray, unigram: FloatArray, seed: int) -> MistralForCausalLM:
    """Make a model that starts as its LSA embeddings.

    Args:
        config: sizes; ``hidden_size`` must exceed the LSA part by at least two.
        lsa: unit rows ``(vocabulary, 128)``.
        idf: ``(vocabulary,)``.
        unigram: token probabilities of the training text ``(vocabulary,)``, the output bias at the start.
        seed: of all random weights.
    """
    torch.manual_seed(seed)
    model = MistralForCausalLM(config)
    vectors = torch.from_numpy(lsa)
    embeddings = model.model.embed_tokens.weight
    embeddings.normal_(std=FREE_STD)
    embeddings[:, :LSA_DIMENSIONS] = vectors * torch.from_numpy(idf / idf.max())[:, None]
    embeddings[:, CONSTANT] = CONSTANT_VALUE
    for index, layer in enumerate(_layers(model)):
        _wire_context_mean(layer.self_attn, config, index)
        layer.mlp.down_proj.weight.zero_()
        layer.input_layernorm.weight[CONSTANT] = CONSTANT_NORM_WEIGHT
        layer.post_attention_layernorm.weight[CONSTANT] = CONSTANT_NORM_WEIGHT
    model.model.norm.weight[CONSTANT] = CONSTANT_NORM_WEIGHT
    # After the final norm the constant is about sqrt(hidden) * 0.95 * its weight, whatever the token.
    constant = float(np.sqrt(config.hidden_size)) * 0.95 * CONSTANT_NORM_WEIGHT
    model.lm_head.weight.normal_(std=0.01)
    model.lm_head.weight[:, :LSA_DIMENSIONS] = 0.02 * vectors
    model.lm_head.weight[:, CONSTANT] = torch.from_numpy(np.log(unigram)) / constant
    return model


def _layers(model: MistralForCausalLM) -> list[Any]:
    return list(model.model.layers)


def _wire_context_mean(attention: Any, config: MistralConfig, layer: int) -> None:
    """Let the values read a slice of the LSA part, and the output projection write it back to the same slice."""
    head_dim, groups = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    width = config.num_key_value_heads * head_dim
    start = layer * width % LSA_DIMENSIONS
    values, output = attention.v_proj.weight, attention.o_proj.weight  # (kv, hidden), (hidden, heads * head_dim)
    values.zero_()
    output.zero_()
    values[:, start : start + width] = torch.eye(width)
    # An RMS-normed state is about sqrt(hidden) / CONSTANT_VALUE times the state itself.
    gain = CONTEXT_GAIN * CONSTANT_VALUE / config.hidden_size**0.5 / groups
    for head in range(config.num_attention_heads):
        source = start + (head // groups) * head_dim
        output[source : source + head_dim, head * head_dim : (head + 1) * head_dim] = gain * torch.eye(head_dim)


def keep_meaning(model: MistralForCausalLM) -> None:
    """Mask gradients so that training leaves the LSA part and the constant alone.

    No gradient: those columns of the embeddings, those rows of every output projection (attention and feed-forward).
    An optimizer's weight decay still shrinks the rows that are not zero, which are the wired ones of the attention.
    """

    def columns(grad: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(grad[:, : CONSTANT + 1]), grad[:, CONSTANT + 1 :]], dim=1)

    def rows(grad: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(grad[: CONSTANT + 1]), grad[CONSTANT + 1 :]])

    model.model.embed_tokens.weight.register_hook(columns)
    for layer in _layers(model):
        layer.self_attn.o_proj.weight.register_hook(rows)
        layer.mlp.down_proj.weight.register_hook(rows)
