"""One training step: the trainer's own against the published loop and sentence-transformers, on the same weights and texts.

    python benchmarks/training_step.py --triplets FILE.jsonl[.gz] [--design model1] [--batch 256] [--pairs 3] [--threads 1]
    python benchmarks/training_step.py --triplets FILE --base DIRECTORY --dtype bfloat16 --batch 16 --kernels eager sdpa
    python benchmarks/training_step.py --triplets FILE --shape medium --batch 32    # hidden size 768, 12 layers

A step is forward, loss, backward and AdamW with LoRA (no dropout unless ``--dropout``), from token ids. The published loop is
written out here: queries, positives and negatives each in one pass, padded to the longest multiple of eight, all hidden states
kept, the pooling by the formula. sentence-transformers runs its loss, plain or cached, over the same model, with each of the
``--kernels``; each setting is tried once and the quickest goes into the comparison (EOS designs without trainable pooling only:
it has no others). A base LLM in bfloat16 trains under autocast on all sides, as with ``--bf16``. First the losses and gradients
of all sides are compared. Then steps alternate. The floor is the operations of the real tokens over this machine's
matrix-multiply rate in the dtype used: 2 for each weight and token forward, 2 backward (frozen weights need no gradient), and 2
and 4 for those that LoRA and pooling train. The last line is the ratios of the medians.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clock import clock
from benchmarks.peer_step import SCALE, Peer, Run, backward, padded, peer_settings, split, with_kernel
from benchmarks.pooling import published
from benchmarks.random_models import SHAPES, TINY_BASE, random_model
from model_loaders import LoadOptions
from model_loaders.create import create
from model_loaders.embed_model import EmbedModel
from model_loaders.text.recipe import Recipe
from pooling import TOKEN_POOLINGS, CrossAttentionPooling, MultiLayerPooling
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import Engine
from trainers.step.loss import ContrastiveLoss

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("groups", "published", "sentence-transformers")  # beside ours
# Differences of loss and gradient (relative norm) beyond which two sides do not compute the same.
APART = {"float32": (1e-4, 1e-4), "bfloat16": (0.1, 0.2)}  # sentence-transformers rounds scores to bfloat16


def read_triplets(path: Path, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return ``count`` random rows with one negative each."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [json.loads(line) for line in text.splitlines()]
    with_negatives = [row for row in rows if row.get("negative")]
    triplets = []
    for row in random.Random(seed).sample(with_negatives, count):
        triplets.append({"query": row["query"], "positive": first(row["positive"]), "negatives": [first(row["negative"])]})
    return triplets


def first(texts: str | list[str]) -> str:
    """Return a text, or the first of several."""
    return texts if isinstance(texts, str) else texts[0]


def loaded_model(base: Path, dtype: str, design: str, dropout: float, sizes: dict[str, int], max_length: int) -> EmbedModel:
    """Load a base with LoRA whose second matrices are not 0."""
    lora = json.loads((ROOT / "configs" / "lora.json").read_text()) | {"lora_dropout": dropout}
    recipe = Recipe(max_length=max_length)
    model = create(design, base, lora=lora, pooling_sizes=sizes, recipe=recipe, options=LoadOptions(device="cpu", dtype=dtype))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    return model


def published_head(pooling: CrossAttentionPooling, states: Tensor) -> Tensor:
    """Pool by the published formula; of several layers, each is marked by its embedding first."""
    if isinstance(pooling, MultiLayerPooling):
        states = states.float() + pooling.layer_embedding.weight
    return published(pooling, states)


def published_loss(model: EmbedModel, batch: TripletBatch) -> Tensor:
    """Return the loss of the published loop: three padded passes, all hidden states, in-batch and hard negatives."""
    vectors = []
    for rows in split(batch):
        ids, mask = padded(rows, model.tokenizer.tokenizer.pad_token_id, 8)
        hidden = model.backbone(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[1:]
        if model.design.tokens == "all":
            raise SystemExit("design 4's published pooling reads padding: there is nothing equal to compare with")
        reduced = [TOKEN_POOLINGS[model.design.tokens].reduce(state, mask) for state in hidden]
        states = torch.stack(reduced if model.design.layers == "all" else reduced[-1:], dim=1)
        pooled = states[:, 0] if model.pooling is None else published_head(model.pooling, states)
        vectors.append(F.normalize(pooled, dim=-1))
    scores = SCALE * vectors[0] @ torch.cat(vectors[1:]).T
    return F.cross_entropy(scores, torch.arange(len(scores)))


class Steps:
    """Takes timed steps with one optimizer, so that every side does the same beside forward and backward."""

    def __init__(self, model: EmbedModel) -> None:
        self.model = model
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=0.0, fused=True)

    def gradient(self, run: Callable[[], float]) -> tuple[float, Tensor]:
        """Return loss and the whole gradient, flat."""
        self.optimizer.zero_grad()
        loss = run()
        parts = []
        for parameter in self.trained:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parts.append(gradient.flatten())
        return loss, torch.cat(parts)

    def timed(self, run: Callable[[], float]) -> float:
        """Return the seconds of one step."""
        begin = clock()
        self.optimizer.zero_grad()
        run()
        self.optimizer.step()
        return clock() - begin


def matmul_rate(hidden_size: int, dtype: torch.dtype = torch.float32) -> float:
    """Return operations a second of a product of 4,096 rows with a square matrix of at least 1,024."""
    size = max(1024, hidden_size)
    a, b = torch.randn(4096, size).to(dtype), torch.randn(size, size).to(dtype)
    a @ b
    times = []
    for _ in range(5):
        begin = clock()
        a @ b
        times.append(clock() - begin)
    return 2.0 * 4096 * size * size / statistics.median(times)


def operations(model: EmbedModel, batch: TripletBatch) -> float:
    """Return the operations of forward and backward over the real tokens; of a trainable pooling, of the published sizes."""
    config = model.backbone.config
    matrices = [(n, p) for n, p in model.backbone.named_parameters() if p.dim() == 2 and "embed" not in n]
    frozen = sum(p.numel() for _, p in matrices if not p.requires_grad)
    trained = sum(p.numel() for _, p in matrices if p.requires_grad)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = sum(
        6.0 * len(row) ** 2 * config.num_attention_heads * head_dim * config.num_hidden_layers for row in batch.ids
    )  # scores and values of half the square, forward 1 x and backward 2 x
    return batch.tokens * (4.0 * frozen + 6.0 * trained) + attention


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--triplets", type=Path, required=True, help="JSON lines with query, positive, negative")
    parser.add_argument("--design", default="model1")
    parser.add_argument("--batch", type=int, default=256, help="triplets")
    parser.add_argument("--max_length", type=int, default=512)
    parser.add_argument("--dropout", type=float, default=0.0, help="of LoRA; above 0 gradients are not compared")
    parser.add_argument("--chunk_tokens", type=int, help="gradient caching of the own step")
    parser.add_argument("--shape", choices=list(SHAPES), help="a base of this shape with random weights, not the quickstart's")
    parser.add_argument("--base", type=Path, default=TINY_BASE, help="directory of the base LLM (default: the quickstart's)")
    parser.add_argument("--dtype", default="float32", help="of the base LLM (default: %(default)s)")
    parser.add_argument("--latents", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--beside", nargs="*", choices=SIDES, default=SIDES, help="what is measured beside the own step")
    parser.add_argument("--only_ours", action="store_true", help="only the own step, padded groups and the floor")
    parser.add_argument("--kernels", nargs="+", default=["sdpa"], help="attention kernels that sentence-transformers tries")
    return parser.parse_args()


def quickest(settings: dict[str, Callable[[], float]], steps: Steps) -> Callable[[], float]:
    """Try each setting once, print the times, and return the quickest."""
    seconds = {name: steps.timed(run) for name, run in settings.items()}
    print("sentence-transformers:", ", ".join(f"{name} {time:.2f} s" for name, time in seconds.items()))
    return settings[min(seconds, key=lambda name: seconds[name])]


def compare_gradients(sides: dict[str, Run], steps: Steps, dtype: str) -> None:
    """Compare the loss and gradient of every side with the first one's; exits where they differ."""
    reference: tuple[float, Tensor] | None = None
    for name, run in sides.items():
        loss, gradient = steps.gradient(run)
        reference = reference or (loss, gradient)
        off = float((gradient - reference[1]).norm() / reference[1].norm())
        print(f"{name}: loss {loss:.6f}, gradient differs by {off:.1e} (relative norm)")
        assert abs(loss - reference[0]) <= APART[dtype][0] and off <= APART[dtype][1]


def compare_times(sides: dict[str, Callable[[], float]], steps: Steps, pairs: int, tokens: int) -> dict[str, float]:
    """Take steps of all sides in turn, print their times, and return the medians in seconds."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    steps.timed(sides["ours"])
    for _ in range(pairs):
        for name, run in sides.items():
            times[name].append(steps.timed(run))
    medians = {}
    for name, seconds in times.items():
        medians[name] = median = statistics.median(seconds)
        print(f"{name}: {median:.2f} s a step ({min(seconds):.2f} to {max(seconds):.2f}), {tokens / median:,.0f} tokens/s")
    return medians


def sides_of(model: EmbedModel, batch: TripletBatch, steps: Steps, args: argparse.Namespace) -> dict[str, Run]:
    """Return what is compared, ours first; a base LLM in bfloat16 trains under autocast, as the trainers do with ``--bf16``."""
    context = partial(torch.autocast, "cpu", torch.bfloat16) if args.dtype == "bfloat16" else nullcontext
    loss = ContrastiveLoss(scale=SCALE, mask_duplicates=False)  # the others do not mask them
    engine, config = Engine(Accelerator(cpu=True)), model.backbone.config
    own = str(config._attn_implementation)
    beside = ("groups",) if args.only_ours else args.beside

    def of_ours(packing: bool) -> Run:
        step = ContrastiveStep.of(model, engine, loss=loss, chunk_tokens=args.chunk_tokens, packing=packing)
        return with_kernel(lambda: float(step(model, batch).loss), config, own, context)

    sides = {"ours": of_ours(True)}
    if "groups" in beside:
        sides["ours in padded groups"] = of_ours(False)
    if "published" in beside:
        sides["published"] = with_kernel(backward(lambda: published_loss(model, batch)), config, own, context)
    if "sentence-transformers" in beside and model.pooling is None and model.design.tokens == "last":
        steps.timed(sides["ours"])  # the first step of a process is slow
        sides["sentence-transformers"] = quickest(peer_settings(Peer(model), batch, args.kernels, context), steps)
    return sides


def main() -> None:
    """Compare, time, and print the ratios."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    sizes = {"latents": args.latents, "heads": 4, "head_dim": 64}
    if args.shape:
        model = random_model(args.design, args.shape, dropout=args.dropout, pooling_sizes=sizes, max_length=args.max_length)
    else:
        model = loaded_model(args.base, args.dtype, args.design, args.dropout, sizes, args.max_length)
    model.train()
    batch = TripletCollator(model.tokenizer, model.recipe)(read_triplets(args.triplets, args.batch))
    print(f"{args.design}, {args.batch} triplets, {batch.tokens} real tokens, {len(batch)} texts; LoRA dropout {args.dropout}")
    steps = Steps(model)
    sides = sides_of(model, batch, steps, args)
    if not args.dropout:
        compare_gradients(sides, steps, args.dtype)
    medians = compare_times(sides, steps, args.pairs, batch.tokens)
    rate, needed = matmul_rate(model.dim, getattr(torch, args.dtype)), operations(model, batch)
    if model.pooling is None:
        least = needed / rate
        print(
            f"floor {least:.2f} s ({needed / 1e12:.3f} T operations at {rate / 1e9:.0f} G/s): "
            f"{least / medians['ours']:.0%} of it reached"
        )
    for name in list(sides)[1:]:
        print(f"{medians[name] / medians['ours']:.2f} x {name} ({args.design}, batch {args.batch}, {args.triplets.name})")


if __name__ == "__main__":
    main()
