"""Parameters and operations of each trainable pooling at its published sizes, beside those of its base LLM.

    python benchmarks/pooling_cost.py                      # hidden 4096, 32 layers, texts of 512 tokens
    python benchmarks/pooling_cost.py --dtype bfloat16     # in half precision fewer products are folded

Operations are counted by torch while two and three texts are pooled on the CPU; a multiplication and an addition are two.
The difference is what a text costs, the rest is done once a batch. The base LLM's are two a weight and token, of Mistral-7B's
7.11 billion weights without its language-model head.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.utils.flop_counter import FlopCounterMode

from model_loaders.create import fresh_pooling
from model_loaders.designs import get_design
from model_loaders.layouts.manifest import BaseModel

BASE_WEIGHTS = 7.11e9
DESIGNS = ("model2", "model3", "model4", "model5", "bidirectional_latent_attention", "bidirectional_self_attention")


def cost(design_name: str, hidden: int, layers: int, tokens: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """Return the parameters of a design's pooling, its operations for each text, and those for each batch beside them."""
    design = get_design(design_name)
    pooling = fresh_pooling(design, BaseModel("", "mistral", hidden, layers), {})
    assert pooling is not None
    pooling = pooling.to(torch.device("cpu"), dtype)
    items = tokens if design.tokens == "all" else 1
    if design.layers == "all":
        items = layers
    counts = []
    for texts in (2, 3):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            pooling(torch.randn(texts, items, hidden, dtype=dtype), torch.ones(texts, items))
        counts.append(counter.get_total_flops())
    each = counts[1] - counts[0]
    return sum(parameter.numel() for parameter in pooling.parameters()), each, counts[0] - 2 * each


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--designs", nargs="+", default=DESIGNS)
    args = parser.parse_args()
    base = 2 * BASE_WEIGHTS * args.tokens
    print(f"{'design':32} {'parameters':>14} {'GFLOP a text':>13} {'a token':>8} {'of the base':>11} {'a batch':>8}")
    for design in args.designs:
        parameters, text, batch = cost(design, args.hidden, args.layers, args.tokens, getattr(torch, args.dtype))
        numbers = f"{text / 1e9:13.1f} {text / args.tokens / 1e9:8.3f} {text / base:11.1%} {batch / 1e9:8.1f}"
        print(f"{design:32} {parameters:14,} {numbers}", flush=True)


if __name__ == "__main__":
    main()
