"""The cost of a training step: a simple model of its time, memory and communication, and measured curves beside it.

    python benchmarks/cost.py --shape mistral-7b --design model3 --triplets 64 --tokens 512 --rate 700e12 --efficiency 0.5
    python benchmarks/cost.py --measure        # benchmarks/cost_curves.py: curves on this CPU beside what the model says

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
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.gpu import batch_of
from benchmarks.operations import counted_operations
from benchmarks.random_models import SHAPES, random_model
from trainers.memory.fake_masks import masks_of_real_batches
from trainers.memory.live_bytes import LiveBytes
from trainers.memory.plan_config import give_device
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import SingleProcessEngine


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
        masks_of_real_batches(),
        LiveBytes(held) as live,
        counted_operations() as counted,
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


def measure() -> int:
    """Print curves on this CPU beside the model; returns the exit status."""
    return subprocess.run([sys.executable, str(Path(__file__).with_name("cost_curves.py"))]).returncode


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
    parser.add_argument("--threads", type=int, default=1, help="for the plan; curves are measured with one")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.measure:
        raise SystemExit(measure())
    plan(args)


if __name__ == "__main__":
    main()
