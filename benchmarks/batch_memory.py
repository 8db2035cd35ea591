"""Peak memory of a training step by batch size, at a fixed chunk: it grows with the vectors and not with the batch.

    python benchmarks/batch_memory.py [--batches 64 4096] [--chunk_tokens 1024] [--design model1]

Each step runs in a process of its own, on the quickstart's base LLM, with short triplets. Two peaks are printed: bytes of
tensors above the loaded model, counted one by one, and what the operating system gave the process above what it had before the
step. The last line is the ratio of the tensors' peaks, and how many times the vectors their difference is, one block of scores
apart. Both batches must fill a chunk, or the difference would be that of their chunks: a smaller one is refused.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def short_triplets(count: int) -> list[dict[str, Any]]:
    """Make triplets of distinct short texts."""
    return [
        {"query": f"what is number {k}", "positive": f"it is number {k} of them all", "negatives": [f"another, {k}, is not"]}
        for k in range(count)
    ]


def measure(design: str, batch_size: int, chunk_tokens: int) -> dict[str, float]:
    """Run one step; returns MiB of its peaks, of the vectors, and of one block of scores."""
    import torch
    from accelerate import Accelerator

    from model_loaders import LoadOptions
    from model_loaders.create import create
    from trainers.memory.live_bytes import LiveBytes
    from trainers.step.batch import TripletCollator
    from trainers.step.contrastive import ContrastiveStep
    from trainers.step.engines import Engine
    from trainers.step.loss import ContrastiveLoss

    lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": "all-linear"}
    sizes = {"latents": 64, "heads": 4, "head_dim": 32}
    model = create(
        design, ROOT / "quickstart" / "base", lora=lora, pooling_sizes=sizes, options=LoadOptions(device="cpu", dtype="float32")
    ).train()
    collate = TripletCollator(model.tokenizer, model.recipe)
    step = ContrastiveStep.of(model, Engine(Accelerator(cpu=True)), chunk_tokens=chunk_tokens)
    step(model, collate(short_triplets(8)))  # what the first step alone allocates
    batch = collate(short_triplets(batch_size))
    before = resident()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    with LiveBytes([*model.parameters(), *model.buffers(), *gradients]) as live:
        result = step(model, batch)
    assert torch.isfinite(result.loss)
    rows = max(1, ContrastiveLoss().block_scores // (2 * batch_size))
    mib = 2.0**20
    return {
        "tensors": live.peak / mib,
        "resident": resident() - before,
        "vectors": len(batch) * model.dim * 4 / mib,
        "block": min(rows, batch_size) * 2 * batch_size * 4 / mib,
        "tokens": batch.tokens,
        "chunks": len(step.groups([len(row) for row in batch.ids])),
    }


def filling(size: int, tokens: float, chunk_tokens: int) -> int:
    """Return how many triplets fill two chunks, at ``tokens`` for ``size`` of them."""
    return math.ceil(2 * chunk_tokens * size / tokens)


def resident() -> float:
    """Return the most memory that this process had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure each batch size in its own process and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 4096], help="triplets of a batch")
    parser.add_argument("--chunk_tokens", type=int, default=1024, help="padded tokens of a chunk")
    parser.add_argument("--design", default="model1", help="row of the table of designs")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.design, args.one, args.chunk_tokens)))
        return
    peaks = {}
    print("triplets  tokens  tensors MiB  resident MiB  vectors MiB  block of scores MiB")
    for size in sorted(args.batches):
        command = [sys.executable, __file__, "--one", str(size), "--design", args.design]
        command += ["--chunk_tokens", str(args.chunk_tokens)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[size] = peak = json.loads(done.stdout.splitlines()[-1])
        if peak["chunks"] < 2:
            least = filling(size, peak["tokens"], args.chunk_tokens)
            raise SystemExit(
                f"error: {size} triplets are one chunk that is not full, and until it is, memory grows with the batch: "
                f"give --batches of at least {least}, or a smaller --chunk_tokens"
            )
        print(
            f"{size:8d} {peak['tokens']:7.0f} {peak['tensors']:12.1f} {peak['resident']:13.1f} {peak['vectors']:12.1f} "
            f"{peak['block']:20.1f}"
        )
    small, large = peaks[min(peaks)], peaks[max(peaks)]
    times = (large["tensors"] - small["tensors"] - large["block"]) / large["vectors"]
    print(
        f"{large['tensors'] / small['tensors']:.2f} x the memory for {max(peaks) / min(peaks):.0f} x the batch; "
        f"the difference is one block of scores and {times:.1f} x the vectors"
    )


if __name__ == "__main__":
    main()
