"""Ratios that stand for the speed of the whole, against what they were: ``make bench`` names each that fell.

    python benchmarks/guard.py [--only dropout lora] [--rounds 5]     # ten minutes at most; exits 1 where a ratio fell
    python benchmarks/guard.py --write                                # measure, and keep it in benchmarks/expected.json
    python benchmarks/guard.py --only dropout --base FOLDER --dtype bfloat16 --triplets 16    # of another base LLM

Each ratio is the seconds of another way over those of ours (or of the dearer setting): more is better. Both sides run in turn
in one process, in processor seconds of one thread, so that a busy machine slows both; the value is the ratio of the medians.
Noise is counted twice: the scatter of the rounds' own ratios in this run, and the ``noise`` of the expected value, the share by
which ratios of whole runs differ. A ratio fell where even its upper end is below the expected value less its noise. The range
of commits is from the one that expected.json was measured at to the present one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clock import Measured, Run, measure
from benchmarks.peer_step import SCALE, backward
from benchmarks.random_models import ROOT, TINY_BASE
from benchmarks.training_step import Steps, published_loss
from common.files import read_json, write_json
from model_loaders import LoadOptions
from model_loaders.backbone.lora_training import torch_masks
from model_loaders.create import create
from model_loaders.embed_model import EmbedModel
from model_loaders.text.recipe import Recipe
from trainers.step import contrastive
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import SingleProcessEngine
from trainers.step.loss import ContrastiveLoss

EXPECTED = Path(__file__).with_name("expected.json")
NOISE = 0.08  # share by which ratios of whole runs differ on a busy machine
ERRORS = 3.0  # standard errors of a median
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


@dataclass(frozen=True)
class Expected:
    """A ratio as it was.

    Attributes:
        ratio: of the medians.
        noise: share of it by which runs differ.
    """

    ratio: float
    noise: float = NOISE


class Bench:
    """A model, a batch and its step.

    Args:
        settings: base LLM and size.
        dropout: of LoRA.
    """

    def __init__(self, settings: Settings, dropout: float = 0.0) -> None:
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
        self.contrastive = ContrastiveStep.of(self.model, SingleProcessEngine(), loss=loss)
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


CASES: dict[str, Callable[[Settings], tuple[Run, Run]]] = {
    "lora": lora_case, "dropout": dropout_case, "masks": masks_case, "loop": loop_case, "encoding": encoding_case,
    "bf16": dtype_case,
}  # fmt: skip
USUAL = ("lora", "dropout", "masks", "loop", "encoding")


def fallen(measured: Mapping[str, Measured], expected: Mapping[str, Expected]) -> list[str]:
    """Return the names of ratios that are below what was expected by more than noise."""
    names = []
    for name, now in measured.items():
        before = expected.get(name)
        if before is not None and now.ratio + ERRORS * now.error < before.ratio * (1.0 - before.noise):
            names.append(name)
    return names


def commit() -> str:
    """Return the present commit; empty where git or the repository is absent."""
    return git("rev-parse", "--short=10", "HEAD").strip()


def commits_since(begin: str) -> str:
    """Name the range of commits since ``begin``, with their number."""
    end = commit()
    if not begin or not end:
        return "a range of commits that is not known"
    listed = git("rev-list", f"{begin}..{end}").split()
    return f"{begin}..{end} ({len(listed)} commits)" if listed else f"no commit since {begin}: changes that are not committed"


def git(*words: str) -> str:
    """Return what git prints in this repository; empty where it fails."""
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor() -> str:
    """Name this machine's processor and torch's version: ratios of others need not be the same."""
    details: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return f"{details().get('cpu_name', 'unknown')}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside the block, so that processor seconds are those of the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=USUAL, help=f"default: {' '.join(USUAL)}")
    parser.add_argument("--rounds", type=int, default=5, help="of both sides")
    parser.add_argument("--base", type=Path, default=TINY_BASE, help="folder of a base LLM (default: the quickstart's)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--triplets", type=int, default=64, help="of a batch")
    parser.add_argument("--expected", type=Path, default=EXPECTED)
    parser.add_argument("--write", action="store_true", help="keep the ratios as the expected ones")
    return parser.parse_args()


def measure_all(names: Sequence[str], settings: Settings, rounds: int) -> dict[str, Measured]:
    """Measure ratios, and print each."""
    measured = {}
    for name in names:
        begin = time.perf_counter()
        now = measured[name] = measure(CASES[name](settings), rounds)
        about = str(CASES[name].__doc__).rstrip(".")
        print(f"{name:<10}{now.ratio:6.2f} ± {now.error:.2f}  {time.perf_counter() - begin:5.0f} s  {about}", flush=True)
    return measured


def write(measured: Mapping[str, Measured], path: Path) -> None:
    """Keep ratios as the expected ones, with where they were measured."""
    ratios = {name: {"ratio": round(now.ratio, 3), "noise": NOISE} for name, now in measured.items()}
    write_json({"commit": commit(), "processor": processor(), "ratios": ratios}, path)
    print(f"written to {path}")


def judge(measured: Mapping[str, Measured], path: Path) -> int:
    """Print which ratios fell since they were written down, and in which range of commits; returns the exit status."""
    kept = read_json(path)
    expected = {name: Expected(**values) for name, values in kept["ratios"].items()}
    if kept["processor"] != processor():
        print(f"note: expected were measured on {kept['processor']}; this is {processor()}: write your own with --write")
    for name in sorted(set(measured) - set(expected)):
        print(f"{name}: nothing is expected yet; --write keeps it")
    names = fallen(measured, expected)
    for name in names:
        now, before = measured[name], expected[name]
        lost = 1.0 - now.ratio / before.ratio
        print(f"{name} FELL by {lost:.0%}, from {before.ratio:.2f} to {now.ratio:.2f}, in {commits_since(kept['commit'])}")
    if not names:
        print(f"no ratio of {len(measured)} fell since {kept['commit'] or 'they were written down'}")
    return 1 if names else 0


def main() -> int:
    """Measure, and compare or write."""
    args = parse_arguments()
    settings = Settings(args.base, args.dtype, args.triplets)
    with one_thread():
        measured = measure_all(args.only, settings, args.rounds)
    if args.write:
        write(measured, args.expected)
        return 0
    if settings != Settings():
        return 0  # what is expected is of the usual settings
    return judge(measured, args.expected)


if __name__ == "__main__":
    sys.exit(main())
