"""Time and memory of a training step and of an exact search as they grow, on this CPU, with the prediction beside each point.

    python benchmarks/cost_curves.py [--only batch length] [--steps 3]

The model is random (hidden size 256, fp32). Every curve varies a size of the point that all share (`POINT`), and one number of
this machine serves all predictions of time: the rate of operations at that point. Those of memory are counted on tensors
without memory (`benchmarks.cost.cost`). Measured are processor seconds of one thread, the median of some steps, and the most
resident memory above what the process had before the step; it holds what kernels and the allocator use beside tensors. The
search takes vectors of a file that is mapped; its prediction is the operations of all inner products at the rate of a large
product, and no memory that grows with the corpus but the file, which the system takes back when others need it.

Processes share this machine's cores, so their steps are compared by processor seconds: nothing here says what several GPUs do.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clock import clock
from benchmarks.cost import Cost, cost
from benchmarks.gpu import batch_of
from benchmarks.long_texts import rate
from benchmarks.random_models import random_model
from benchmarks.search_memory import Peak
from model_loaders.embed_model import EmbedModel
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import Engine, SingleProcessEngine
from trainers.step.gather import ProcessGroup
from triplets.mining.search import SCORE_BYTES, best_matches

SHAPE = "small"
BLOCK = 2**16  # vectors that are made at once
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Point:
    """A training step.

    Attributes:
        design: row of the table of designs.
        triplets: of the batch, on each process.
        tokens: of every text.
        layers: of the base LLM.
        latents: of the trainable pooling.
        chunk_tokens: of gradient caching; None without it.
    """

    design: str = "model3"
    triplets: int = 8
    tokens: int = 64
    layers: int = 4
    latents: int = 64
    chunk_tokens: int | None = None

    @property
    def pooling_sizes(self) -> dict[str, int]:
        """Sizes of the pooling."""
        return {"latents": self.latents, "heads": 4, "head_dim": 32}

    def model(self) -> EmbedModel:
        """Make the model, ready for training."""
        torch.manual_seed(0)
        sizes = self.pooling_sizes
        model = random_model(self.design, SHAPE, pooling_sizes=sizes, max_length=self.tokens, num_hidden_layers=self.layers)
        return model.train()

    def predicted(self) -> Cost:
        """Count what a step costs."""
        return cost(
            self.design,
            SHAPE,
            self.triplets,
            self.tokens,
            pooling_sizes=self.pooling_sizes,
            chunk_tokens=self.chunk_tokens,
            dtype=torch.float32,
            num_hidden_layers=self.layers,
        )


POINT = Point()
LONG = Point("model1", triplets=1)
CACHED = Point("model1", tokens=4, chunk_tokens=8192)
CURVES: dict[str, list[Point]] = {
    "batch": [replace(CACHED, triplets=triplets) for triplets in (64, 1024, 16384)],
    "length": [replace(LONG, triplets=max(1, 128 // tokens), tokens=tokens) for tokens in (32, 512, 2048, 8192)],
    "layers": [replace(POINT, layers=layers) for layers in (4, 16)],
    "latents": [replace(POINT, latents=latents) for latents in (64, 1024)],
}
CORPUS = (1_000, 10_000, 100_000, 1_000_000)
PROCESSES = (1, 2, 4)


@dataclass(frozen=True)
class Taken:
    """What a run took.

    Attributes:
        seconds: of the processor.
        bytes: of resident memory, at the peak, above those before.
    """

    seconds: float
    bytes: int


def resident(name: str) -> int:
    """Return the bytes of a line of this process's status: ``VmRSS`` now, ``VmHWM`` the peak, ``RssAnon`` without files."""
    match = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert match is not None
    return 1024 * int(match.group(1))


def taken(run: Callable[[], object], times: int) -> Taken:
    """Run some times; returns the median seconds and the peak of memory, which begins anew before the first run."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system, or it would serve the run unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before, seconds = resident("VmRSS"), []
    for _ in range(times):
        begin = clock()
        run()
        seconds.append(clock() - begin)
    return Taken(statistics.median(seconds), resident("VmHWM") - before)


def measured_step(point: Point, steps: int) -> Taken:
    """Train some steps on one batch, after a small one that does not count."""
    model = point.model()
    step = ContrastiveStep.of(model, SingleProcessEngine(), chunk_tokens=point.chunk_tokens)
    step(model, batch_of(2, 4, 8192))
    model.zero_grad()
    batch = batch_of(point.triplets, point.tokens, 8192)
    return taken(lambda: (model.zero_grad(), step(model, batch)), steps)


def step_curves(names: list[str], steps: int) -> None:
    """Print the curves of a step."""
    reached = POINT.predicted().operations / measured_step(POINT, max(steps, 3)).seconds
    print(f"{reached / 1e9:.1f} G operations/s at {POINT}, and of a large product {rate() / 1e9:.1f}")
    print("curve       value   measured   predicted  ratio    memory  predicted  ratio")
    for name in names:
        for point in CURVES[name]:
            now, planned = measured_step(point, 1 if point.triplets > 4096 else steps), point.predicted()
            value = {"batch": point.triplets, "length": point.tokens, "layers": point.layers, "latents": point.latents}[name]
            tensors = planned.above - 8 * planned.trained  # no optimizer here
            print_line(name, value, now, Taken(planned.seconds(reached), tensors))


def print_line(name: str, value: int, now: Taken, predicted: Taken) -> None:
    """Print a point with its prediction."""
    print(
        f"{name:9} {value:8,} {now.seconds:8.3f} s {predicted.seconds:9.3f} s {now.seconds / predicted.seconds:6.2f} "
        f"{now.bytes / 2**20:6.0f} MiB {predicted.bytes / 2**20:6.0f} MiB {now.bytes / max(predicted.bytes, 1):6.2f}",
        flush=True,
    )


def corpus_curve(sizes: tuple[int, ...], queries: int = 512, dim: int = 64, count: int = 100) -> None:
    """Print the curve of the exact search; the memory is the process's own, without the mapped file."""
    print(f"corpus: exact search of {queries} queries in vectors of {dim}, the best {count}; memory without the mapped file")
    rng = np.random.default_rng(0)
    wanted = rng.standard_normal((queries, dim), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        for size in sizes:
            vectors = np.lib.format.open_memmap(path, "w+", np.float32, (size, dim))
            for first in range(0, size, BLOCK):
                vectors[first : first + BLOCK] = rng.standard_normal((min(BLOCK, size - first), dim), dtype=np.float32)
            reached, before, peak = rate(), resident("RssAnon"), Peak()
            begin = clock()
            best_matches(wanted, vectors, count)
            seconds = clock() - begin
            peak.stop()
            scores = 4 * queries * min(size, SCORE_BYTES // (4 * queries))
            now = Taken(seconds, max(0, peak.anonymous - before))
            print_line("corpus", size, now, Taken(2.0 * queries * size * dim / reached, scores))


def process_curve(counts: tuple[int, ...], steps: int) -> None:
    """Print a line for each number of gloo processes, each with the batch of the shared point."""
    reached = 0.0
    for count in counts:
        words = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}", __file__, "--worker"]
        words += ["--steps", str(max(steps, 2))]
        done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        now = Taken(**json.loads(done.stdout.splitlines()[-1]))
        planned = POINT.predicted()
        reached = reached or planned.operations / now.seconds  # of the first number, in a process like the others
        buckets = 4 * planned.trained if count > 1 else 0
        gathered = planned.vectors * (count - 1)
        predicted = Taken(planned.seconds(reached), planned.above - 8 * planned.trained + buckets + gathered)
        print_line("processes", count, now, predicted)


def worker(steps: int) -> None:
    """Be one of several processes; the first prints what its steps took."""
    accelerator = Accelerator(cpu=True)
    count = accelerator.num_processes
    model = POINT.model()
    wrapped = DistributedDataParallel(model) if count > 1 else model
    step = ContrastiveStep.of(model, Engine(accelerator), processes=ProcessGroup(count, accelerator.process_index))
    step(wrapped, batch_of(2, 4, 8192))
    batch = batch_of(POINT.triplets, POINT.tokens, 8192)
    now = taken(lambda: (model.zero_grad(), step(wrapped, batch)), steps)
    if accelerator.is_main_process:
        print(json.dumps({"seconds": now.seconds, "bytes": now.bytes}), flush=True)
    if count > 1:
        dist.barrier()
    accelerator.end_training()


def main() -> None:
    """Measure the curves that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*CURVES, "processes", "corpus"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="curves (default: all)")
    parser.add_argument("--steps", type=int, default=3, help="of each point; the largest batch makes one")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.worker:
        worker(args.steps)
        return
    of_steps = [name for name in CURVES if name in args.only]
    if of_steps:
        step_curves(of_steps, args.steps)
    if "processes" in args.only:
        process_curve(PROCESSES, args.steps)
    if "corpus" in args.only:
        corpus_curve(CORPUS)


if __name__ == "__main__":
    main()
