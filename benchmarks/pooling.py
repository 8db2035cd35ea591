"""The trainable pooling against the published formula, literally computed, on the same weights.

    python benchmarks/pooling.py [--keys 24] [--texts 16] [--pairs 5] [--threads 1] [--backward]
    python benchmarks/pooling.py --full_size     # the published head, 1.28 B parameters, one text in bf16, ours alone

The default sizes are the published proportions at hidden size 1024. Outputs are compared (with ``--backward`` gradients and
peak memory too), then runs alternate, the reference and ours, so that a busy machine slows both. The last line is the ratio of
the medians. Peak memory is bytes of tensors above weights and inputs, gradients included, counted one by one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clock import clock
from pooling import CrossAttentionPooling, PoolingConfig, build_pooling
from pooling.cross_attention import plan
from trainers.memory.live_bytes import LiveBytes


def published(pooling: CrossAttentionPooling, states: Tensor) -> Tensor:
    """Compute the published formula step by step: every projection of every text, the feed-forward of all latents, the mean."""
    heads, head_dim = pooling.config.heads, pooling.config.head_dim
    latents = pooling.latents.expand(len(states), -1, -1)  # (batch, latents, hidden)
    query = pooling.to_q(pooling.norm_latents(latents))
    key, value = pooling.to_kv(pooling.norm_states(states)).chunk(2, dim=-1)
    query, key, value = (x.unflatten(-1, (heads, head_dim)).transpose(1, 2) for x in (query, key, value))
    chances = (query @ key.transpose(2, 3) * head_dim**-0.5).softmax(dim=-1)  # (batch, heads, latents, items)
    attended = pooling.to_out((chances @ value).transpose(1, 2).flatten(2)) + latents
    inner, gate = pooling.ff_in(pooling.norm_ff(attended)).chunk(2, dim=-1)
    return (pooling.ff_out(inner * torch.nn.functional.gelu(gate)) + attended).mean(dim=1)


def floor(config: PoolingConfig, texts: int) -> float:
    """Return the operations of the feed-forward's first map over all latents of all texts."""
    return 4.0 * texts * config.latents * config.feed_forward_multiple * config.hidden_size**2


def seconds_of_pass(
    forward: Callable[[Tensor], Tensor], pooling: CrossAttentionPooling, states: Tensor, backward: bool
) -> float:
    """Return the seconds of one pass."""
    pooling.zero_grad(set_to_none=True)
    states.grad = None
    begin = clock()
    with torch.set_grad_enabled(backward):
        vectors = forward(states)
        if backward:
            vectors.square().sum().backward()
    return clock() - begin


def off(actual: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, relative to the expected."""
    return float((actual - expected).norm() / expected.norm().clamp(min=1e-12))


def agree(pooling: CrossAttentionPooling, states: Tensor, backward: bool) -> None:
    """Compare outputs, and with ``backward`` gradients and peak memory; exits where they are too far apart."""
    with torch.no_grad():
        outputs = off(pooling(states), published(pooling, states))
    print(f"outputs differ by {outputs:.1e} (relative norm)")
    assert outputs <= 1e-5
    if not backward:
        return
    gradients, peaks = [], []
    for forward in (lambda x: published(pooling, x), pooling):
        pooling.zero_grad(set_to_none=True)
        states.grad = None
        with LiveBytes([*pooling.parameters(), states]) as live:
            forward(states).square().sum().backward()
        peaks.append(live.peak / 2**20)
        gradients.append({name: tensor.grad for name, tensor in pooling.named_parameters()} | {"states": states.grad})
    # Where the exact gradient is zero (queries and keys of one key), the reference has rounding: compare with the largest.
    largest = max(float(gradient.norm()) for gradient in gradients[0].values())
    worst = max(
        float((gradients[1][name] - exact).norm()) / max(float(exact.norm()), 1e-6 * largest)
        for name, exact in gradients[0].items()
    )
    print(f"gradients differ by {worst:.1e}; peak memory {peaks[0]:.0f} -> {peaks[1]:.0f} MiB, {peaks[1] / peaks[0]:.2f} x")
    assert worst <= 1e-4


def full_size() -> None:
    """Run the published head once, on one text, in bf16."""
    config = PoolingConfig(hidden_size=4096, layers=None)
    torch.set_default_dtype(torch.bfloat16)
    pooling = build_pooling(config)
    torch.set_default_dtype(torch.float32)
    states = torch.randn(1, 24, 4096).bfloat16()
    with LiveBytes([*pooling.parameters(), states]) as live, torch.no_grad():
        begin = clock()
        vectors = pooling(states)
        seconds = clock() - begin
    assert torch.isfinite(vectors).all()
    parameters = sum(parameter.numel() for parameter in pooling.parameters())
    print(f"{parameters:,} parameters, one text: {seconds:.1f} s, {live.peak / 2**20:.0f} MiB above weights")


def main() -> None:
    """Compare and time; prints both medians, the distance from the floor, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=24, help="states that the latents read in each text")
    parser.add_argument("--texts", type=int, default=16, help="texts of the batch")
    parser.add_argument("--hidden_size", type=int, default=1024, help="the head's width is half of it")
    parser.add_argument("--latents", type=int, default=768, help="trainable queries")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs")
    parser.add_argument("--backward", action="store_true", help="forward and backward instead of forward alone")
    parser.add_argument("--full_size", action="store_true", help="run the published head in bf16 on one text and stop")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="1 where others use the machine")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.full_size:
        full_size()
        return
    config = PoolingConfig(args.hidden_size, latents=args.latents, head_dim=args.hidden_size // 2)
    pooling = build_pooling(config)
    states = torch.randn(args.texts, args.keys, args.hidden_size, requires_grad=True)
    fold_value, fold_query = plan(config, args.texts, args.keys, torch.float32)
    words = {True: "folded", False: "not folded"}
    print(f"{args.keys} keys: values {words[bool(fold_value)]}, queries {words[bool(fold_query)]}")
    agree(pooling, states, args.backward)
    pairs = []
    for _ in range(args.pairs):
        reference_seconds = seconds_of_pass(lambda x: published(pooling, x), pooling, states, args.backward)
        pairs.append((reference_seconds, seconds_of_pass(pooling, pooling, states, args.backward)))
    reference, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    a, b = torch.randn(config.latents, config.hidden_size), torch.randn(8 * config.hidden_size, config.hidden_size)
    begin = clock()
    for _ in range(args.texts):
        a @ b.T
    least = clock() - begin
    print(f"published {reference:.2f} s, ours {ours:.2f} s, per pair {ratios[0]:.2f} to {ratios[-1]:.2f}")
    if not args.backward:
        print(
            f"the feed-forward's first map alone, {floor(config, args.texts) / 1e12:.2f} T operations, takes {least:.2f} s: "
            f"ours is {ours / least:.2f} x that"
        )
    passes = "forward+backward" if args.backward else "forward"
    print(f"{reference / ours:.2f} x {passes}, {args.keys} keys")


if __name__ == "__main__":
    main()
