"""Encoding of long texts: the share of the floor and the peak memory at each length.

    python benchmarks/long_texts.py [--design causal_mean] [--lengths 512 1024 2048 4096 8192] [--rounds 3]

The model is made here (``--shape small``: hidden size 256, 4 layers, heads of 64, random weights, LoRA of rank 16, fp32); texts
are cut at exactly so many tokens. The floor is the operations of the linear layers and of attention over the rate of a product
of 1,024-square matrices, which is measured before each run, since a busy machine slows both. Two parts are timed alone, on
tensors of the same shapes: attention's kernel, and the products of the linear layers; the rest is what neither of them is.
Peaks are bytes of tensors beside the weights, counted one by one, and the process's resident memory so far, which lengths that
rise let one read.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clock import clock
from benchmarks.encoding import attention_operations, operations
from benchmarks.random_models import SHAPES, random_model
from model_loaders.embed_model import EmbedModel
from trainers.memory.live_bytes import LiveBytes

TOKENS = 4096  # at least, of the texts of a run


def texts_of(length: int) -> list[str]:
    """Return texts of more than ``length`` tokens each, which are cut."""
    return ["river theory " * length] * max(1, TOKENS // length)


def rate() -> float:
    """Return the operations a second of a large product, the median of some."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2.0 * 1024**3 / statistics.median(seconds(lambda: a @ b) for _ in range(8))


def seconds(run: Callable[[], object]) -> float:
    """Return what a call takes."""
    begin = clock()
    run()
    return clock() - begin


def attention_alone(model: EmbedModel, length: int) -> Callable[[], None]:
    """Return a function that attends in every layer to one text of random states."""
    config = model.backbone.config
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    query, key, value = (torch.randn(1, count, length, config.head_dim) for count in (heads, groups, groups))
    causal = model.design.attention == "causal"

    @torch.inference_mode()
    def run() -> None:
        for _ in range(config.num_hidden_layers):
            F.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=True)

    return run


def products_alone(model: EmbedModel, tokens: int) -> Callable[[], None]:
    """Return a function that applies every linear layer, without LoRA, to so many random tokens."""
    names = dict(model.backbone.named_modules())
    layers = [module for name, module in names.items() if name.endswith("base_layer") and isinstance(module, nn.Linear)]
    states = {width: torch.randn(tokens, width) for width in {layer.in_features for layer in layers}}

    @torch.inference_mode()
    def run() -> None:
        for layer in layers:
            layer(states[layer.in_features])

    return run


def peak(model: EmbedModel, length: int) -> int:
    """Return the peak bytes of tensors beside the weights while one text is encoded."""
    with LiveBytes([*model.parameters(), *model.buffers()]) as live:
        encode(model, length, texts_of(length)[:1])
    return live.peak


def encode(model: EmbedModel, length: int, texts: list[str]) -> None:
    """Encode texts, cut at ``length`` tokens.

    Raises:
        SystemExit: a text is shorter.
    """
    tokens = model.encode_counted(texts, max_length=length).tokens
    if set(tokens.tolist()) != {length}:
        raise SystemExit(f"texts have {sorted(set(tokens.tolist()))} tokens instead of {length}")


def curve(model: EmbedModel, lengths: list[int], rounds: int) -> None:
    """Print a line for each length."""
    print("of time and of its floor: attention alone, products alone; peaks of tensors and of resident memory")
    print("tokens  texts  tokens/s  share of the floor       attention        products   rest    peak      RSS")
    for length in sorted(lengths):
        texts = texts_of(length)
        counts = np.full(len(texts), length)
        all_operations, of_attention = operations(model, counts), attention_operations(model, counts)
        attention, products = attention_alone(model, length), products_alone(model, min(length, 1024))
        size, shares, times = peak(model, length), [], []
        for _ in range(rounds):
            now = rate()
            spent = seconds(lambda: encode(model, length, texts))  # noqa: B023
            attended = len(texts) * seconds(attention)
            multiplied = len(texts) * length / min(length, 1024) * seconds(products)
            floors = [all_operations / now, of_attention / now, (all_operations - of_attention) / now]
            times.append((spent, attended, multiplied))
            shares.append([floor / part for floor, part in zip(floors, times[-1], strict=True)])
        spent, attended, multiplied = (statistics.median(column) for column in zip(*times, strict=True))
        whole, of_kernel, of_products = (statistics.median(column) for column in zip(*shares, strict=True))
        lowest, highest = (bound(share[0] for share in shares) for bound in (min, max))
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(
            f"{length:6} {len(texts):6} {len(texts) * length / spent:9.0f} {whole:8.0%} ({lowest:.0%} to {highest:.0%}) "
            f"{attended / spent:16.0%}, {of_kernel:4.0%} {multiplied / spent:28.0%}, {of_products:4.0%} "
            f"{1 - (attended + multiplied) / spent:6.0%} {size / 2**20:7.1f} {resident / 2**20:8.0f} MiB",
            flush=True,
        )


def main() -> None:
    """Measure one design."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--design", default="causal_mean", help="default: causal_mean; bidirectional_mean sees both ways")
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192], help="tokens a text")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = random_model(args.design, args.shape, max_length=max(args.lengths)).eval()
    curve(model, args.lengths, args.rounds)


if __name__ == "__main__":
    main()
