"""The ratios that the guard of speed measures: each is another way, or a dearer setting, and ours, on models made here."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks.clock import Run
from benchmarks.encoding import sentence_transformer
from benchmarks.peer_step import SCALE, Peer, backward
from benchmarks.pooling import published
from benchmarks.random_models import ROOT, TINY_BASE
from benchmarks.training_step import Steps, published_loss
from model_loaders import LoadOptions
from model_loaders.backbone.lora_training import torch_masks
from model_loaders.create import create
from model_loaders.embed_model import EmbedModel
from model_loaders.text.recipe import Recipe
from pooling import PoolingConfig, build_pooling
from trainers.step import contrastive
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import SingleProcessEngine
from trainers.step.loss import ContrastiveLoss

WORDS = ("the", "of", "river", "theory", "light", "city", "measure", "early", "cell", "number", "house", "village", "species")


@dataclass(frozen=True)
class Settings:
    """What all ratios are measured on.

    Attributes:
        base: folder of a base LLM.
        dtype: of its weights; bfloat16 trains under autocast.
        triplets: of a batch.
    """

    base: Path = TINY_BASE
    dtype: str = "float32"
    triplets: int = 64


class Bench:
    """A model, a batch and its step.

    Args:
        settings: base LLM and size.
        dropout: of LoRA.
        packing: whether texts are computed without padding.
    """

    def __init__(self, settings: Settings, dropout: float = 0.0, packing: bool = False) -> None:
        lora = json.loads((ROOT / "configs" / "lora.json").read_text()) | {"lora_dropout": dropout}
        options = LoadOptions(device="cpu", dtype=settings.dtype)
        torch.manual_seed(0)
        self.model = create(
            "model1", settings.base, lora=lora, pooling_sizes={}, recipe=Recipe(max_length=512), options=options
        ).train()
        for name, parameter in self.model.named_parameters():
            if "lora_B" in name:  # it starts at 0, and half of all gradients with it
                torch.nn.init.normal_(parameter, std=0.01)
        self.rows = texts(settings.triplets)
        self.batch: TripletBatch = TripletCollator(self.model.tokenizer, self.model.recipe)(self.rows)
        loss = ContrastiveLoss(scale=SCALE, mask_duplicates=False)
        self.contrastive = ContrastiveStep.of(self.model, SingleProcessEngine(), loss=loss, packing=packing)
        self.steps = Steps(self.model)
        self.autocast = settings.dtype == "bfloat16"

    def step(self) -> float:
        """Make one step of training."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            return self.steps.timed(lambda: float(self.contrastive(self.model, self.batch).loss))

    def without_dropout(self) -> float:
        """Make one step in which nothing is dropped."""
        dropouts = [module for module in self.model.modules() if isinstance(module, nn.Dropout)]
        for module in dropouts:
            module.eval()
        seconds = self.step()
        for module in dropouts:
            module.train()
        return seconds


def texts(count: int) -> list[dict[str, Any]]:
    """Make triplets of random words, with lengths like those of SQuAD's questions and sentences; the same each time."""
    numbers = random.Random(0)

    def words(median: float) -> str:
        length = max(3, round(numbers.lognormvariate(math.log(median), 0.5)))
        return " ".join(numbers.choices(WORDS, k=length))

    rows = []
    for _ in range(count):
        rows.append({"query": words(11), "positive": words(24), "negatives": [words(24)]})
    return rows


def lora_case(settings: Settings) -> tuple[Run, Run]:
    """A step with LoRA as peft computes it, and with ours."""
    bench = Bench(settings)

    def pefts() -> float:
        with mock.patch.object(contrastive, "trained_lora", lambda _: nullcontext()):
            return bench.step()

    return pefts, bench.step


def dropout_case(settings: Settings) -> tuple[Run, Run]:
    """A step without LoRA's dropout, and with 0.1: 1 where dropout costs nothing."""
    bench = Bench(settings, dropout=0.1)
    return bench.without_dropout, bench.step


def masks_case(settings: Settings) -> tuple[Run, Run]:
    """A step with 0.1 of LoRA's dropout in masks of torch, and in ours."""
    bench = Bench(settings, dropout=0.1)

    def torchs() -> float:
        with torch_masks():
            return bench.step()

    return torchs, bench.step


def loop_case(settings: Settings) -> tuple[Run, Run]:
    """A step of the published loop, and ours."""
    bench = Bench(settings)
    run = backward(lambda: published_loss(bench.model, bench.batch))
    return lambda: bench.steps.timed(run), bench.step


def encoding_case(settings: Settings) -> tuple[Run, Run]:
    """Encoding in batches of 64 in the given order with LoRA by peft, as the published evaluation does, and ours."""
    bench = Bench(dataclasses.replace(settings, triplets=6 * settings.triplets))
    model = bench.model.eval()
    documents = [row["positive"] for row in bench.rows]
    return lambda: published_encoding(model, documents), lambda: model.encode(documents)


@torch.inference_mode()
def published_encoding(model: EmbedModel, documents: Sequence[str]) -> None:
    """Encode in batches of 64 texts, padded to the longest, with a mask."""
    for start in range(0, len(documents), 64):
        batch = model.tokenizer.pad(model.tokenizer.ids(list(documents[start : start + 64]), 512))
        model.backbone(input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True)


def dtype_case(settings: Settings) -> tuple[Run, Run]:
    """A step in fp32, and in bf16 under autocast."""
    wide, narrow = (Bench(dataclasses.replace(settings, dtype=dtype)) for dtype in ("float32", "bfloat16"))
    return wide.step, narrow.step


def step_peer_case(settings: Settings) -> tuple[Run, Run]:
    """A step of sentence-transformers with its plain loss, and ours."""
    bench = Bench(settings)
    run = backward(Peer(bench.model).losses(bench.batch)["plain"])

    def peers() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bench.autocast):
            return bench.steps.timed(run)

    return peers, bench.step


def encoding_peer_case(settings: Settings) -> tuple[Run, Run]:
    """Encoding by sentence-transformers in batches of 32 with LoRA merged beforehand, and ours."""
    bench = Bench(dataclasses.replace(settings, triplets=6 * settings.triplets))
    model = bench.model.eval()
    documents = [row["positive"] for row in bench.rows]
    peer = sentence_transformer(model, 512, merged=True)
    return lambda: peer.encode(documents, batch_size=32), lambda: model.encode(documents)


def packing_case(settings: Settings) -> tuple[Run, Run]:
    """A step of few texts in padded groups, and without padding."""
    few = dataclasses.replace(settings, triplets=max(2, settings.triplets // 8))
    return Bench(few).step, Bench(few, packing=True).step


def pooling_case(settings: Settings) -> tuple[Run, Run]:
    """The published formula of the trainable pooling, and ours: 96 latents that read 24 states a text."""
    torch.manual_seed(0)
    pooling = build_pooling(PoolingConfig(256, latents=96, heads=8, head_dim=128)).eval()
    states = torch.randn(settings.triplets, 24, 256)

    def run(forward: Callable[[torch.Tensor], torch.Tensor]) -> Run:
        return torch.inference_mode()(lambda: forward(states))

    return run(lambda some: published(pooling, some)), run(pooling)


CASES: dict[str, Callable[[Settings], tuple[Run, Run]]] = {
    "lora": lora_case, "dropout": dropout_case, "masks": masks_case, "loop": loop_case, "encoding": encoding_case,
    "step_peer": step_peer_case, "encoding_peer": encoding_peer_case, "packing": packing_case, "pooling": pooling_case,
    "bf16": dtype_case,
}  # fmt: skip
USUAL = tuple(name for name in CASES if name != "bf16")  # bf16 is no faster where the processor lacks it
