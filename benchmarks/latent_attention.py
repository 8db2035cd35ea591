"""Latent attention (NV-Embed) against its plain formula, literally computed, on the same weights.

    python benchmarks/latent_attention.py [--texts 16] [--tokens 128] [--pairs 5] [--threads 1] [--backward]

The default sizes are the published proportions at hidden size 1024: 8 heads as wide as the hidden size, 512 latents. Outputs
are compared (with ``--backward`` gradients too), then runs alternate, so that a busy machine slows all. The plain formula is
computed in two ways: as the published code does it, with keys and values of every text, and with keys and values once. Ours is
timed alone, and after these rounds inside of ``kept_work``, as it runs while texts are encoded. The last lines are the ratios
of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clock import clock
from pooling.latent_attention import LatentAttentionConfig, LatentAttentionPooling, folds

Forward = Callable[[Tensor, Tensor], Tensor]


def plain(pooling: LatentAttentionPooling, states: Tensor, mask: Tensor, *, every_text: bool = False) -> Tensor:
    """Compute the formula step by step: every token through every map, the mean at the end.

    Args:
        pooling: its weights.
        states: ``(batch, tokens, hidden)``.
        mask: ``(batch, tokens)``.
        every_text: project keys and values of the latents for every text, as the published code does.
    """
    heads, head_dim = pooling.config.heads, pooling.config.head_dim
    latents = pooling.latents.expand(len(states), -1, -1) if every_text else pooling.latents
    query = pooling.to_q(pooling.norm_states(states))
    key, value = pooling.to_kv(pooling.norm_latents(latents)).chunk(2, dim=-1)
    query, key, value = (x.unflatten(-1, (heads, head_dim)).transpose(-2, -3) for x in (query, key, value))
    chances = (query @ key.transpose(-1, -2) * head_dim**-0.5).softmax(dim=-1)  # (batch, heads, tokens, latents)
    attended = pooling.to_out((chances @ value).transpose(1, 2).flatten(2)) + states
    inner, gate = pooling.ff_in(pooling.norm_ff(attended)).chunk(2, dim=-1)
    tokens = pooling.ff_out(inner * F.gelu(gate)) + attended
    kept = mask[:, :, None].to(tokens.dtype)
    return (tokens * kept).sum(dim=1) / kept.sum(dim=1)


def seconds_of_pass(forward: Forward, pooling: LatentAttentionPooling, states: Tensor, mask: Tensor, backward: bool) -> float:
    """Return the seconds of one pass."""
    pooling.zero_grad(set_to_none=True)
    states.grad = None
    begin = clock()
    with torch.set_grad_enabled(backward):
        vectors = forward(states, mask)
        if backward:
            vectors.square().sum().backward()
    return clock() - begin


def off(actual: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, relative to the expected."""
    return float((actual - expected).norm() / expected.norm().clamp(min=1e-12))


def agree(pooling: LatentAttentionPooling, states: Tensor, mask: Tensor, backward: bool) -> None:
    """Compare outputs, and with ``backward`` gradients; exits where they are too far apart."""
    with torch.no_grad():
        outputs = off(pooling(states, mask), plain(pooling, states, mask))
    print(f"outputs differ by {outputs:.1e} (relative norm)")
    assert outputs <= 1e-5
    if not backward:
        return
    gradients = []
    for forward in (partial(plain, pooling), pooling):
        pooling.zero_grad(set_to_none=True)
        states.grad = None
        forward(states, mask).square().sum().backward()
        gradients.append({name: tensor.grad for name, tensor in pooling.named_parameters()} | {"states": states.grad})
    worst = max(off(gradients[1][name], exact) for name, exact in gradients[0].items())
    print(f"gradients differ by {worst:.1e}")
    assert worst <= 1e-4


def main() -> None:
    """Compare and time; prints both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=16, help="texts of the batch")
    parser.add_argument("--tokens", type=int, default=128, help="pooled tokens of each text")
    parser.add_argument("--hidden_size", type=int, default=1024, help="also the width of each head")
    parser.add_argument("--latents", type=int, default=512, help="trainable keys and values")
    parser.add_argument("--heads", type=int, default=8, help="attention heads")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs")
    parser.add_argument("--backward", action="store_true", help="forward and backward instead of forward alone")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="1 where others use the machine")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = LatentAttentionConfig(args.hidden_size, latents=args.latents, heads=args.heads, head_dim=args.hidden_size)
    pooling = LatentAttentionPooling(config)
    states = torch.randn(args.texts, args.tokens, args.hidden_size, requires_grad=True)
    mask = torch.ones(args.texts, args.tokens)
    folded = folds(config, args.texts * args.tokens, torch.float32)
    print(f"{args.texts * args.tokens:,} tokens: keys and values {'folded' if folded else 'not folded'}")
    agree(pooling, states, mask, args.backward)
    passes: dict[str, Forward] = {
        "published, keys and values of every text": partial(plain, pooling, every_text=True),
        "plain, keys and values once": partial(plain, pooling),
        "ours": pooling,
    }
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    while_encoding = []
    for _ in range(args.pairs):
        for name, forward in passes.items():
            seconds[name].append(seconds_of_pass(forward, pooling, states, mask, args.backward))
    if not args.backward:
        with pooling.kept_work():
            seconds_of_pass(pooling, pooling, states, mask, False)  # makes what is kept
            while_encoding = [seconds_of_pass(pooling, pooling, states, mask, False) for _ in range(args.pairs)]
    report(seconds, while_encoding, f"{'forward+backward' if args.backward else 'forward'}, {args.tokens} tokens a text")


def report(seconds: dict[str, list[float]], while_encoding: list[float], what: str) -> None:
    """Print the medians and their ratios."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    if while_encoding:
        medians["ours, while texts are encoded"] = statistics.median(while_encoding)
    for name, value in medians.items():
        print(f"{value:.2f} s {name}")
    *theirs, _ = seconds
    for formula in theirs:
        for ours in [name for name in medians if name.startswith("ours")]:
            print(f"{medians[formula] / medians[ours]:.2f} x {what}: {ours}, over {formula}")


if __name__ == "__main__":
    main()
