"""All designs on one GPU, on a base LLM of Mistral-7B's shape with random weights: training step and encoding.

    python benchmarks/gpu.py                                  # Mistral-7B's shape, all designs, 512 tokens a text
    python benchmarks/gpu.py --shape qwen2-0.5b --designs model1 model3 --attn flash_attention_2 --compile
    python benchmarks/gpu.py --shape tiny --device cpu --triplets 2 --tokens 16     # shows that it runs

bf16 base, LoRA and pooling in fp32 under autocast, as the trainer has them. A step is forward, loss, backward and AdamW on
triplets of texts of exactly ``--tokens`` tokens; with ``--chunk_tokens`` gradients are cached. Printed for each design:
step time, tokens/s, the share of the measured matrix-multiply rate that the backbone's operations reach, peak memory, texts/s
of encoding, and the step time against design 1's. ``--peers`` adds sentence-transformers (design 1) and the published head on
the same backbone (designs 2, 3 and 5). Every time is the median of ``--steps`` after one that is not counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peer_step import Peer
from benchmarks.random_models import SHAPES, random_model
from benchmarks.training_step import operations, published_head
from model_loaders.backbone.states import read_states
from model_loaders.embed_model import EmbedModel
from trainers.step.batch import TripletBatch
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import SingleProcessEngine

DESIGNS = ["model1", "model2", "model3", "model4", "model5"]


def median_seconds(run: Callable[[], Any], steps: int, device: torch.device) -> float:
    """Return the median time of a run; one goes before that is not counted."""
    times = []
    for _ in range(steps + 1):
        wait(device)
        begin = time.perf_counter()
        run()
        wait(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def wait(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return operations a second of a large square product."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2.0 * size**3 / median_seconds(lambda: a @ b, 10, device)


def batch_of(triplets: int, tokens: int, vocabulary: int) -> TripletBatch:
    """Make triplets of random ids, each text of exactly that many tokens and no two alike."""
    ids = torch.randint(3, min(vocabulary, 8000), (3 * triplets, tokens)).tolist()
    return TripletBatch(
        ids,
        triplets,
        torch.arange(3 * triplets),
        [""] * triplets,
        negatives=torch.ones(triplets, dtype=torch.long),
        in_batch=torch.ones(triplets, dtype=torch.bool),
    )


class Bench:
    """One design: its model, optimizer and batch."""

    def __init__(self, design: str, args: argparse.Namespace) -> None:
        self.device, self.args = torch.device(args.device), args
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        sizes = {"latents": args.latents, "heads": args.heads, "head_dim": args.head_dim}
        self.model: EmbedModel = random_model(
            design,
            args.shape,
            device=args.device,
            dtype=self.dtype,
            dropout=args.dropout,
            pooling_sizes={name: size for name, size in sizes.items() if size},
            max_length=args.tokens,
            attn_implementation=args.attn,
        ).train()
        if args.checkpointing:
            self.model.activation_checkpointing_enable()
        if args.compile:
            self.model.backbone.compile(dynamic=True)
        self.batch = batch_of(args.triplets, args.tokens, self.model.backbone.config.vocab_size)
        self.step = ContrastiveStep.of(self.model, SingleProcessEngine(), chunk_tokens=args.chunk_tokens)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0, fused=True)

    def autocast(self) -> torch.autocast:
        """Make the trainer's mixed precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda")

    def train(self) -> float:
        """Take one step; returns the loss."""
        self.optimizer.zero_grad()
        with self.autocast():
            result = self.step(self.model, self.batch)
        self.optimizer.step()
        return float(result.loss)

    def train_published_head(self) -> float:
        """Take one step in which the pooling is the published formula; returns the loss."""
        self.optimizer.zero_grad()
        with self.autocast():
            n, vectors = self.batch.queries, []
            ids = torch.tensor(self.batch.ids, device=self.device)
            for part in ids.split(n):
                mask = torch.ones_like(part)
                states, _ = read_states(self.model.backbone, self.model.design, part, mask, mask)
                assert self.model.pooling is not None
                vectors.append(F.normalize(published_head(self.model.pooling, states).float(), dim=-1))
            scores: Tensor = 20.0 * vectors[0] @ torch.cat(vectors[1:]).T
            loss = F.cross_entropy(scores, torch.arange(n, device=self.device))
            loss.backward()
        self.optimizer.step()
        return float(loss)

    def peer(self) -> Callable[[], float]:
        """Return a step of sentence-transformers, cached with as many tokens a mini-batch where we cache."""
        settings = Peer(self.model).losses(self.batch)
        loss = settings["plain" if self.args.chunk_tokens is None else "cached, 8192 tokens"]

        def run() -> float:
            self.optimizer.zero_grad()
            with self.autocast():
                value = loss()
                value.backward()
            self.optimizer.step()
            return float(value)

        return run

    def to_encode(self) -> Callable[[], None]:
        """Return a function that encodes a batch of texts, cut at ``--tokens``; the model can then no longer train."""
        model = self.model.to(self.dtype).eval()  # LoRA and pooling too, as a loaded adapter is
        texts = [f"{number} " + "the " * self.args.tokens for number in range(len(self.batch))]

        def run() -> None:
            model.encode(texts, max_length=self.args.tokens)

        return run


def peak(run: Callable[[], Any], device: torch.device) -> str:
    """Return the peak memory of a run in GiB; of a GPU only."""
    if device.type != "cuda":
        return "-"
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f}"


def timed_alike(bench: Bench, run: Callable[[], float]) -> float:
    """Return the median time of another side's step, whose loss must be ours (the learning rate is 0; in bf16 within 5 %)."""
    ours, theirs = bench.train(), run()
    if abs(ours - theirs) > 0.05 * max(abs(ours), 0.1):
        raise SystemExit(f"not the same computation: our loss is {ours:.4f}, the other side's {theirs:.4f}")
    return median_seconds(run, bench.args.steps, bench.device)


def measure(design: str, args: argparse.Namespace, rate: float, first: float | None) -> float:
    """Measure one design and print its line; returns its step time."""
    bench = Bench(design, args)
    seconds = median_seconds(bench.train, args.steps, bench.device)
    share = operations(bench.model, bench.batch) / seconds / rate
    memory = peak(bench.train, bench.device)
    against = f"{seconds / first:6.2f}" if first else "  1.00"
    tokens = bench.batch.tokens / seconds
    line = f"{design:8} {seconds:9.3f} {tokens:10,.0f} {share:8.0%} {memory:>9} {against:>9}"
    others = []
    if args.peers and bench.model.pooling is not None and bench.model.design.tokens != "all":
        other = timed_alike(bench, bench.train_published_head)
        others.append(f"  with the published head {other:.3f} s, {other / seconds:.2f} x")
    if args.peers and design == "model1":
        other = timed_alike(bench, bench.peer())
        others.append(f"  sentence-transformers {other:.3f} s, {other / seconds:.2f} x")
    bench.optimizer.state.clear()
    encoding = len(bench.batch) / median_seconds(bench.to_encode(), args.steps, bench.device)
    print("\n".join([f"{line} {encoding:10.1f}", *others]), flush=True)
    return seconds


def main() -> None:
    """Print one line a design, the rates, and what the device is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=list(SHAPES), default="mistral-7b")
    parser.add_argument("--designs", nargs="+", default=DESIGNS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--triplets", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=512, help="of each text")
    parser.add_argument("--chunk_tokens", type=int, help="gradient caching")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations")
    parser.add_argument("--dropout", type=float, default=0.0, help="of LoRA")
    parser.add_argument("--attn", default="sdpa", help="sdpa, eager, flash_attention_2, flex_attention")
    parser.add_argument("--compile", action="store_true", help="torch.compile the backbone")
    parser.add_argument("--peers", action="store_true", help="also sentence-transformers and the published head")
    parser.add_argument("--steps", type=int, default=5)
    for size in ("latents", "heads", "head_dim"):
        parser.add_argument(f"--{size}", type=int, help="of the pooling; default: the published size")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU here; --shape tiny --device cpu shows that the benchmark runs")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    rate = matmul_rate(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    installed = [kernel for kernel in ("flash_attn", "flash_attn_interface") if importlib.util.find_spec(kernel)]
    print(
        f"{name}, torch {torch.__version__}, {rate / 1e12:.1f} T operations/s; {args.attn}; compiled: {args.compile}; "
        f"installed beside it: {', '.join(installed) or 'no flash attention'}"
    )
    print(f"{args.shape}, {args.triplets} triplets of {args.tokens} tokens a text")
    print("design    s a step   tokens/s    share  peak GiB  x model1  texts/s encoded")
    first: float | None = None
    for design in args.designs:
        try:
            seconds = measure(design, args, rate, first)
        except torch.OutOfMemoryError:
            print(f"{design:8} does not fit: fewer --triplets, --chunk_tokens or --checkpointing")
        else:
            first = first or seconds
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
