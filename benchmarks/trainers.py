"""Whole trainings beside sentence-transformers' trainer: the score of a development task, and the processor time.

    python benchmarks/trainers.py --base DIRECTORY --triplets FILE.jsonl[.gz] --task FOLDER [--steps 40] [--seeds 1 2 3]

Both train LoRA of rank 16 on all layers of the same base LLM in bfloat16 with eager attention, on the same triplets with one
negative each, with the same loss (cosine similarities x 20, negatives of the whole batch), rates and steps. Each seed draws
LoRA and the triplets; both sides take the same ones in the same order, so that a seed's two scores are a pair. Texts end with
EOS. sentence-transformers is corrected in three points: its tokenizer appends EOS, has no chat template, and LoRA is in
float32. A training is a process of its own; its processor seconds include its start. Then the task is scored: ours by the
evaluation of this project, theirs by mteb itself.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

DESIGNS = {"model1": "lasttoken", "causal_mean": "mean"}  # those that sentence-transformers has: its name of the pooling
SCALE = 20.0


@dataclass(frozen=True)
class Outcome:
    """A training.

    Attributes:
        score: of the development task.
        seconds: of the processor, the start included.
    """

    score: float
    seconds: float


def run(command: Sequence[str]) -> float:
    """Run a process to its end; return its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train_ours(args: argparse.Namespace, seed: int, data: Path, folder: Path) -> float:
    """Train with this project's trainer on the triplets in order, into ``folder``; return the processor seconds."""
    flags = {
        "design": args.design,
        "model_name_or_path": args.base,
        "dataset_name": data,
        "output_dir": folder,
        "seed": seed,
        "torch_dtype": "bfloat16",
        "bf16": True,
        "attn_implementation": "eager",
        "lora_dropout": 0.0,
        "loss_scale": SCALE,
        "per_device_train_batch_size": args.batch,
        "max_steps": args.steps,
        "warmup_steps": args.steps // 10,
        "learning_rate": args.rate,
        "lr_scheduler_type": "linear",
        "train_sampling_strategy": "sequential",
        "query_max_length": args.max_length,
        "max_seq_length": args.max_length,
        "save_strategy": "no",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return run([str(ROOT / "trainers" / "train.py"), *words])


def score_ours(folder: Path, task: Path, aside: Path) -> float:
    """Return the main score of an adapter on a task folder."""
    from evaluation.evaluate import evaluate
    from evaluation.tasks.find import find_tasks
    from model_loaders import load

    model = load(folder, device="cpu", dtype="bfloat16", attn_implementation="eager")
    return evaluate(model, find_tasks([task.name], task.parent), aside).score(task.name)


def score_theirs(folder: Path, task: Path) -> float:
    """Return the main score of a sentence-transformers folder on a task folder, by mteb."""
    import mteb
    from sentence_transformers import SentenceTransformer

    from evaluation.tasks.find import find_tasks

    (spec,) = find_tasks([task.name], task.parent)
    mteb_task = spec.task()
    spec.load(mteb_task)
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "bfloat16", "attn_implementation": "eager"})
    result = mteb.evaluate(model, mteb_task, cache=None, co2_tracker=False, show_progress_bar=False)
    return float(result.task_results[0].get_score())


def train_theirs(args: argparse.Namespace, folder: Path) -> None:
    """Train with sentence-transformers' trainer on the triplets in order; save the model, LoRA merged, to ``folder``."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from torch.utils.data import BatchSampler, SequentialSampler
    from transformers import set_seed

    class InOrder(SentenceTransformerTrainer):
        def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> BatchSampler:
            return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)

    set_seed(args.seed)
    with tempfile.TemporaryDirectory() as aside:
        tokenizer_with_eos(args.base, Path(aside))
        transformer = Transformer(
            str(args.base),
            tokenizer_name_or_path=aside,
            max_seq_length=args.max_length,
            model_kwargs={"dtype": torch.bfloat16, "attn_implementation": "eager"},
        )
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=DESIGNS[args.design])
    model = SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
    lora: dict[str, Any] = json.loads((ROOT / "configs" / "lora.json").read_text())
    model.add_adapter(LoraConfig(**{**lora, "lora_dropout": 0.0}))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=args.batch,
        max_steps=args.steps,
        warmup_steps=args.steps // 10,
        learning_rate=args.rate,
        lr_scheduler_type="linear",
        bf16=True,
        seed=args.seed,
        save_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
    )
    loss = MultipleNegativesRankingLoss(model, scale=SCALE)
    rows = [json.loads(line) for line in args.triplets.read_text(encoding="utf-8").splitlines()]
    data = Dataset.from_list(rows)
    InOrder(model=model, args=arguments, train_dataset=data, loss=loss).train()
    merge(model)
    model.save(str(folder))


def merge(model: Any) -> None:
    """Add LoRA to the weights of a sentence-transformers model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    backbone = model[0].model
    for name, module in list(backbone.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            backbone.set_submodule(name, module.get_base_layer())
    backbone._hf_peft_config_loaded = False


def tokenizer_with_eos(base: Path, folder: Path) -> None:
    """Save the base's tokenizer so that it ends texts with EOS and has no chat template."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base))
    eos = tokenizer.eos_token
    ending = TemplateProcessing(single=f"$A {eos}", special_tokens=[(eos, tokenizer.eos_token_id)])
    tokenizer.backend_tokenizer.post_processor = ending
    tokenizer.chat_template = None
    tokenizer.pad_token = tokenizer.pad_token or eos
    tokenizer.save_pretrained(str(folder))


def draw(path: Path, count: int, seed: int, file: Path) -> Path:
    """Write ``count`` triplets of a file, drawn with ``seed``, to another file; return that."""
    rows = random.Random(seed).sample(triplets(path), count)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def triplets(path: Path) -> list[dict[str, str]]:
    """Read the rows that have a negative; of several positives and negatives the first."""
    opener = gzip.open if path.suffix == ".gz" else open
    rows = []
    with opener(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            negative = first(row.get("negative") or "")
            if negative:
                rows.append({"query": row["query"], "positive": first(row["positive"]), "negative": negative})
    return rows


def first(texts: str | list[str]) -> str:
    """Return a text, or the first of several."""
    return texts if isinstance(texts, str) else texts[0]


def show(name: str, outcomes: Sequence[Outcome]) -> None:
    """Print a side's scores and times."""
    scores, seconds = [outcome.score for outcome in outcomes], [outcome.seconds for outcome in outcomes]
    spread = f", standard deviation {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
    values = ", ".join(f"{score:.4f}" for score in scores)
    print(f"{name:22} score {statistics.mean(scores):.4f} ({values}{spread}), {statistics.median(seconds):.0f} s a training")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", type=Path, required=True, help="directory of the base LLM")
    parser.add_argument("--triplets", type=Path, required=True, help="JSON lines with query, positive, negative")
    parser.add_argument("--task", type=Path, required=True, help="folder of the development task")
    parser.add_argument("--design", choices=list(DESIGNS), default="causal_mean")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16, help="triplets")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--max_length", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)  # of a training of theirs
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)  # where a process of its own saves it
    return parser.parse_args()


def main() -> None:
    """Train and score both sides, seed by seed in turn."""
    args = parse_arguments()
    if args.theirs:
        train_theirs(args, args.theirs)
        return
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as aside:
        for seed in args.seeds:
            data = draw(args.triplets, args.steps * args.batch, seed, Path(aside) / f"triplets-{seed}.jsonl")
            folder = Path(aside) / f"ours-{seed}"
            seconds = train_ours(args, seed, data, folder)
            ours.append(Outcome(score_ours(folder, args.task, Path(aside) / f"results-{seed}"), seconds))
            folder = Path(aside) / f"theirs-{seed}"
            seconds = run([__file__, *sys.argv[1:], "--triplets", str(data), "--seed", str(seed), "--theirs", str(folder)])
            theirs.append(Outcome(score_theirs(folder, args.task), seconds))
            print(f"seed {seed}: ours {ours[-1]}, sentence-transformers {theirs[-1]}", flush=True)
    show("ours", ours)
    show("sentence-transformers", theirs)
    differences = [one.score - other.score for one, other in zip(ours, theirs, strict=True)]
    print("ours - sentence-transformers, by seed:", ", ".join(f"{difference:+.4f}" for difference in differences))


if __name__ == "__main__":
    main()
