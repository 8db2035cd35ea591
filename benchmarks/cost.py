"""The cost of a training step: a simple model of its time, memory and communication, and measured curves beside it.

    python benchmarks/cost.py --shape mistral-7b --design model3 --triplets 64 --tokens 512 --rate 700e12 --efficiency 0.5
    python benchmarks/cost.py --measure [--threads 1]        # curves on this CPU, and what the model says of them

Operations and memory are counted by running the trainer's own step on tensors without memory. The model then says::

    time = operations / (rate * efficiency) + reduced bytes / link + gathered bytes / link

``rate`` is the device's measured matrix-multiply rate and ``efficiency`` the share of it that a step reaches (both are what
`benchmarks/gpu.py` prints); reduced are the fp32 gradients of LoRA and pooling, once a step, 2 (W - 1) / W times over the
slowest link of a ring of W processes; gathered are all vectors. Assumed are: compute and communication do not overlap (DDP
overlaps most of the reduction with the last chunk's backward pass, so this is an upper bound), every process has as many
texts, data are ready, and the slowest link is the network's as soon as there is more than one node.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.clock import clock
from benchmarks.gpu import batch_of
from benchmarks.random_models import SHAPES, random_model
from trainers.memory.live_bytes import LiveBytes
from trainers.memory.plan_config import give_device
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import Engine, SingleProcessEngine
from trainers.step.gather import ProcessGroup

TINY_POOLING = {"latents": 64, "heads": 4, "head_dim": 32}


@dataclass(frozen=True)
class Cost:
    """The work of one process in a step.

    Attributes:
        operations: of matrix products and attention, padding included.
        weights: bytes of the model.
        above: peak bytes above the model: gradients, activations, two fp32 values a trained parameter for Adam.
        trained: trained parameters.
        vectors: bytes of its texts' vectors.
    """

    operations: float
    weights: int
    above: int
    trained: int
    vectors: int

    def seconds(self, rate: float, processes: int = 1, link: float = math.inf) -> float:
        """Return the time of a step at a rate of operations that a step really reaches, over a link of bytes a second."""
        reduced = 4.0 * self.trained * 2 * (processes - 1) / processes
        gathered = float(self.vectors * (processes - 1))
        return self.operations / rate + (reduced + gathered) / link


def cost(
    design: str,
    shape: str,
    triplets: int,
    tokens: int,
    *,
    pooling_sizes: dict[str, int] | None = None,
    chunk_tokens: int | None = None,
    checkpointing: bool = False,
    dtype: torch.dtype = torch.bfloat16,
    **changed: Any,
) -> Cost:
    """Run a step on tensors without memory and count; ``changed`` are other values of the shape's config."""
    model = random_model(design, shape, device="meta", dtype=dtype, pooling_sizes=pooling_sizes, max_length=tokens, **changed)
    give_device(model)
    model.train()
    if checkpointing:
        model.activation_checkpointing_enable()
    batch = batch_of(triplets, tokens, model.backbone.config.vocab_size)
    held = [*model.parameters(), *model.buffers()]
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
    device = "cpu" if dtype == torch.float32 else "cuda"  # that the step would run on
    step = ContrastiveStep.of(model, SingleProcessEngine(), device, chunk_tokens=chunk_tokens)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        LiveBytes(held) as live,
        FlopCounterMode(display=False) as counted,
        autocast,
    ):
        step(model, batch)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in held)
    return Cost(counted.get_total_flops(), weights, live.peak + 8 * trained, trained, 4 * len(batch) * model.dim)


def plan(args: argparse.Namespace) -> None:
    """Print one line for each number of processes."""
    planned = cost(
        args.design,
        args.shape,
        args.triplets,
        args.tokens,
        chunk_tokens=args.chunk_tokens,
        checkpointing=args.checkpointing,
    )
    print(
        f"{args.design} on {args.shape}, {args.triplets} triplets of {args.tokens} tokens a text on each process: "
        f"{planned.operations / 1e12:.1f} T operations, {planned.trained / 1e6:.0f} M trained parameters"
    )
    gradients = 4 * planned.trained  # DDP's buckets
    print(
        f"memory {(planned.weights + planned.above) / 1e9:.1f} GB, of it weights {planned.weights / 1e9:.1f} GB; "
        f"with several processes {gradients / 1e9:.1f} GB of buckets more"
    )
    print("nodes  GPUs  s a step  of it communication  triplets/s  candidates")
    alone = planned.seconds(args.rate * args.efficiency)
    for nodes, gpus in [(1, 1), (1, 2), (1, 4), (1, 8), (2, 16), (4, 32), (8, 64)]:
        link = args.gpu_link if nodes == 1 else args.node_link
        seconds = planned.seconds(args.rate * args.efficiency, gpus, link)
        print(
            f"{nodes:5} {gpus:5} {seconds:9.2f} {(seconds - alone) / seconds:20.1%} {gpus * args.triplets / seconds:11.1f} "
            f"{2 * gpus * args.triplets:11,}"
        )


# The values of each curve; the first of each is the point that all curves share.
POINT: dict[str, Any] = {"design": "model3", "triplets": 8, "tokens": 64, "num_hidden_layers": 4, "latents": 64}
CURVES: dict[str, list[Any]] = {
    "triplets": [8, 16, 32],
    "tokens": [64, 128, 256],
    "num_hidden_layers": [4, 8, 16],
    "latents": [64, 256, 1024],
    "design": ["model3", "model1", "model2", "model4", "model5"],
}


def measured_seconds(point: dict[str, Any], steps: int = 3) -> float:
    """Return the median time of a step on the CPU, in processor seconds where there is one thread."""
    torch.manual_seed(0)
    sizes = TINY_POOLING | {"latents": point["latents"]}
    model = random_model(point["design"], "small", pooling_sizes=sizes, num_hidden_layers=point["num_hidden_layers"]).train()
    batch = batch_of(point["triplets"], point["tokens"], 8192)
    step = ContrastiveStep.of(model, SingleProcessEngine())
    times = []
    for _ in range(steps + 1):
        model.zero_grad()
        begin = clock()
        step(model, batch)
        times.append(clock() - begin)
    return statistics.median(times[1:])


def predicted_cost(point: dict[str, Any]) -> Cost:
    """Count what a point of the curves costs."""
    sizes, layers = TINY_POOLING | {"latents": point["latents"]}, point["num_hidden_layers"]
    return cost(
        point["design"],
        "small",
        point["triplets"],
        point["tokens"],
        pooling_sizes=sizes,
        dtype=torch.float32,
        num_hidden_layers=layers,
    )


def measure() -> None:
    """Print curves beside the model, whose only number from this machine is the rate at the point that all curves share."""
    rate = predicted_cost(POINT).operations / measured_seconds(POINT)
    print(f"{rate / 1e9:.0f} G operations/s at {POINT}")
    print("varied             value    measured   predicted   measured / predicted")
    for name, values in CURVES.items():
        for value in values:
            point = POINT | {name: value}
            seconds, predicted = measured_seconds(point), predicted_cost(point).seconds(rate)
            print(f"{name:18} {value!s:>6} {seconds:10.3f} s {predicted:9.3f} s {seconds / predicted:10.2f}", flush=True)


def processes(count: int) -> None:
    """Time steps of this many gloo processes, each with the batch of the shared point, in a second launch of this script."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}", __file__, "--worker"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    print(done.stdout, end="")
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])


def worker() -> None:
    """Be one of several processes; the first prints the time of a step, and of a reduction of its gradients alone."""
    accelerator = Accelerator(cpu=True)
    torch.set_num_threads(1)
    sizes = TINY_POOLING | {"latents": POINT["latents"]}
    model = random_model(POINT["design"], "small", pooling_sizes=sizes, num_hidden_layers=POINT["num_hidden_layers"]).train()
    batch = batch_of(POINT["triplets"], POINT["tokens"], 8192)
    several = accelerator.num_processes > 1
    wrapped = DistributedDataParallel(model) if several else model
    step = ContrastiveStep.of(
        model,
        Engine(accelerator),
        processes=ProcessGroup(accelerator.num_processes, accelerator.process_index),
    )
    flat = torch.zeros(sum(p.numel() for p in model.parameters() if p.requires_grad))
    times, reductions = [], []
    for _ in range(6):
        model.zero_grad()
        begin = time.perf_counter()
        step(wrapped, batch)
        times.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        if several:
            dist.all_reduce(flat)
        reductions.append(time.perf_counter() - begin)
    if accelerator.is_main_process:
        print(
            f"{accelerator.num_processes} processes: {statistics.median(times[1:]):.3f} s a step by the clock, "
            f"a reduction of {4 * len(flat) / 1e6:.1f} MB alone {statistics.median(reductions[1:]):.3f} s"
        )
    accelerator.end_training()


def main() -> None:
    """Plan, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=list(SHAPES), default="mistral-7b")
    parser.add_argument("--design", default="model1")
    parser.add_argument("--triplets", type=int, default=16, help="on each process")
    parser.add_argument("--tokens", type=int, default=512, help="of each text")
    parser.add_argument("--chunk_tokens", type=int, help="gradient caching")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations")
    parser.add_argument("--rate", type=float, default=700e12, help="measured operations/s of matrix products (700e12)")
    parser.add_argument("--efficiency", type=float, default=0.5, help="share of the rate that a step reaches (0.5)")
    parser.add_argument("--gpu_link", type=float, default=200e9, help="bytes/s between the GPUs of a node (200e9)")
    parser.add_argument("--node_link", type=float, default=20e9, help="bytes/s of a node's network, for each ring (20e9)")
    parser.add_argument("--measure", action="store_true", help="curves on this CPU beside the model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.worker:
        worker()
    elif args.measure:
        measure()
        processes(1)
        processes(2)
    else:
        plan(args)


if __name__ == "__main__":
    main()
