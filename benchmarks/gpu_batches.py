"""Find the sizes of batches that suit a device: ``batch_tokens`` in encoding, the grouping of texts in a training step.

    python benchmarks/gpu_batches.py [--shape mistral-7b] [--texts 1024] [--triplets 64]
    python benchmarks/gpu_batches.py --shape tiny --device cpu --texts 16 --triplets 4     # shows that it runs

Texts are random tokens; their lengths are drawn as those of docstrings (log-normal, median 30 tokens) and of abstracts (median
350), cut at 512. Encoding is design 1 in bf16 with LoRA merged; a step is the trainer's, design 1 and, padded tokens behind a
mask, design 5. Each figure is the median of ``--steps`` after one that is not counted; they set what
``model_loaders/backbone/launch_cost.py`` says.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.gpu import median_seconds
from benchmarks.random_models import SHAPES, random_model
from model_loaders.embed_model import EmbedModel
from trainers.step.batch import TripletBatch
from trainers.step.chunks import Grouping
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import SingleProcessEngine

LENGTHS = {"docstrings": (30.0, 0.75), "abstracts": (350.0, 0.35)}  # median, sigma of the logarithm
BUDGETS = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
GROUPINGS = [Grouping(tokens, overhead) for tokens in (2048, 4096, 8192, 16384) for overhead in (64, 256, 1024)]


def lengths_like(name: str, count: int) -> list[int]:
    """Draw lengths in tokens, 3 to 512; the same ones each time."""
    median, sigma = LENGTHS[name]
    drawn = np.random.default_rng(0).lognormal(np.log(median), sigma, count)
    return [int(length) for length in drawn.clip(3, 512)]


def encoding(model: EmbedModel, name: str, texts: int, steps: int) -> None:
    """Print texts a second by ``batch_tokens``, tokenising included."""
    words = [word for word in ("a", "the", "of", "and", "to", "in", "is", "for") if len(model.tokenizer.ids([word], 9)[0]) == 3]
    choose = np.random.default_rng(1)
    rows = [" ".join(choose.choice(words, max(1, length - 2))) for length in lengths_like(name, texts)]
    rates = {}
    for budget in BUDGETS:
        seconds = median_seconds(lambda: model.encode(rows, max_length=512, batch_tokens=budget), steps, model.device)  # noqa: B023
        rates[budget] = texts / seconds
    best = max(rates.values())
    shown = [f"{budget} {rate:.0f} ({rate / best:.2f})" for budget, rate in rates.items()]
    print(f"encoding, {name}: {', '.join(shown)}", flush=True)


def training(model: EmbedModel, name: str, triplets: int, steps: int) -> None:
    """Print the seconds of a step by grouping, without gradient caching."""
    lengths = lengths_like(name, 3 * triplets)
    choose = np.random.default_rng(2)
    batch = TripletBatch(
        [choose.integers(3, 8000, length).tolist() for length in lengths],
        triplets,
        torch.arange(3 * triplets),
        [""] * triplets,
        negatives=torch.ones(triplets, dtype=torch.long),
        in_batch=torch.ones(triplets, dtype=torch.bool),
    )
    kind = model.device.type

    def run(step: ContrastiveStep) -> None:
        model.zero_grad()
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
            step(model, batch)

    step = ContrastiveStep.of(model, SingleProcessEngine())
    for grouping in GROUPINGS:
        regrouped = replace(step, chunker=replace(step.chunker, grouping=grouping))
        groups = regrouped.groups(lengths)
        padded = sum(lengths[group[0]] * len(group) for group in groups)
        seconds = median_seconds(lambda: run(regrouped), steps, model.device)  # noqa: B023
        print(
            f"step of {model.design_name}, {name}: groups of {grouping.tokens:6d}, overhead {grouping.overhead:5d}: "
            f"{len(groups):3d} groups, {padded / sum(lengths):.2f} x the tokens, {seconds:.3f} s",
            flush=True,
        )


def main() -> None:
    """Print a line for each corpus that is encoded, and for each grouping of a training step."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=list(SHAPES), default="mistral-7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--texts", type=int, default=1024, help="texts to encode")
    parser.add_argument("--triplets", type=int, default=64)
    parser.add_argument("--designs", nargs="+", default=["model1", "model5"], help="to train")
    parser.add_argument("--corpora", nargs="+", choices=list(LENGTHS), default=list(LENGTHS))
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    dtype = torch.bfloat16 if args.device.startswith("cuda") else torch.float32
    for design in args.designs:
        sizes = {"latents": 64, "heads": 8, "head_dim": 64} if design != "model1" else {}  # only the base LLM matters
        model = random_model(design, args.shape, device=args.device, dtype=dtype, pooling_sizes=sizes)
        if design == args.designs[0]:
            for name in args.corpora:
                encoding(model, name, args.texts if name == "docstrings" else max(1, args.texts // 8), args.steps)
        model.train()
        for name in args.corpora:
            training(model, name, args.triplets if name == "docstrings" else max(1, args.triplets // 8), args.steps)
        del model


if __name__ == "__main__":
    main()
