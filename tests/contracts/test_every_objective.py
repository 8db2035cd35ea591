"""Every way of training: chunks, processes and kills change nothing, a dry run tries it, and its memory is planned."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from tests.contracts.gradients import gradients, relative
from tests.contracts.warm import Warm
from tests.tiny import triplets
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer
from trainers.step.chunks import Grouping
from trainers.train import main

pytestmark = pytest.mark.slow
GROUP = 24  # tokens of a chunk
WEIGHTS = ("adapter_model.safetensors", "pooling.safetensors", "model.safetensors")
NO_DROPOUT = 1e-9  # a share that drops nothing, where a run without any is refused
WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}


@dataclass(frozen=True)
class Way:
    """A way of training: its design, its flags, and the dropout that it may have."""

    design: str = "model1"
    flags: dict[str, Any] = field(default_factory=dict)
    lora: bool = True
    attention_dropout: bool = False
    mixed: bool = False

    @property
    def pooling(self) -> bool:
        """Whether the design has a pooling that is trained."""
        return self.design in ("model3", "model4")


TERMS = "query_query,document_query,document_document"
WAYS = {
    "contrastive": Way(),
    "both directions": Way("model3", {"both_directions": "true"}),
    "own negatives": Way(flags={"in_batch_negatives": "false"}),
    "more terms": Way("bidirectional_mean", {"extra_terms": TERMS}),
    "hardness": Way(flags={"hardness": 3, "hardness_of": "all"}),
    "matryoshka": Way("bidirectional_mean", {"matryoshka_dims": [32, 16, 8], "matryoshka_weights": [1, 0.3, 0.1]}),
    "divergence": Way(flags={"distillation": "kl", "teacher_temperature": 2}),
    "margins": Way("model4", {"distillation": "margin_mse"}),
    "half distilled": Way(flags={"distillation": "kl", "distillation_share": 0.5, "extra_terms": TERMS, "hardness": 2}),
    "cut margins": Way("bidirectional_mean", {"distillation": "margin_mse", "matryoshka_dims": [32, 8]}),
    "simcse": Way("bidirectional_mean", {"objective": "simcse"}, attention_dropout=True),
    "mntp": Way("bidirectional_mean", {"objective": "mntp", "mask_token": "word0"}),
    "mntp in blocks": Way("bidirectional_mean", {"objective": "mntp", "mask_token": "word0", "block_diagonal": "true"}),
    "full": Way("bidirectional_mean", {"train": "full"}, lora=False, attention_dropout=True),
    "full with pooling": Way("model3", {"train": "full"}, lora=False),
    "last layers": Way("model4", {"train": "full", "last_layers": 1}, lora=False),
    "full mntp": Way("bidirectional_mean", {"objective": "mntp", "mask_token": "word0", "train": "full"}, lora=False),
    "full simcse": Way("bidirectional_mean", {"objective": "simcse", "train": "full"}, lora=False, attention_dropout=True),
    "pooling": Way("model3", {"train": "pooling"}, lora=False),
    "within": Way("bidirectional_mean", {"batching": "within:0.5"}, mixed=True),
}
EVERY = pytest.mark.parametrize("name", WAYS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with two negatives and scores, and the same in two data sets."""
    folder = tmp_path_factory.mktemp("ways")
    lines = []
    for index, row in enumerate(triplets(24, negatives=2)):
        scores = [float((index * 7 + 3 * k) % 5) for k in range(3)]
        content = {"query": row["query"], "positive": row["positive"], "negative": row["negatives"], "scores": scores}
        lines.append(json.dumps(content) + "\n")
    (folder / "rows.jsonl").write_text("".join(lines))
    (folder / "first.jsonl").write_text("".join(lines[:16]))
    (folder / "second.jsonl").write_text("".join(lines[16:]))
    mix = [{"name": str(folder / name)} for name in ("first.jsonl", "second.jsonl")]
    (folder / "mix.yaml").write_text(yaml.safe_dump(mix))
    return folder


def argv_of(way: Way, base: Path, data: Path, output: Path, *, dropout: float, **flags: Any) -> list[str]:
    """Return the command line of a run of three steps with a checkpoint after each."""
    values: dict[str, Any] = {
        "model_name_or_path": base, "output_dir": output, "use_cpu": "true", "disable_tqdm": "true", "optim": "sgd",
        "per_device_train_batch_size": 4, "max_seq_length": 16, "learning_rate": 0.02, "logging_steps": 1, "save_steps": 1,
        "max_steps": 3, "chunk_tokens": "none", "cache_dir": data / "cache", **way.flags, **flags,
    }  # fmt: skip
    values |= {"dataset_config": data / "mix.yaml"} if way.mixed else {"dataset_name": data / "rows.jsonl"}
    if way.lora:
        values |= {"lora_r": 4, "lora_dropout": dropout if dropout > NO_DROPOUT else 0}
    if way.attention_dropout:
        values["attention_dropout"] = dropout
    if way.pooling:
        values |= {"pooling_latents": 6, "pooling_heads": 2, "pooling_head_dim": 4}
    words = []
    for key, value in values.items():
        words += [f"--{key}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return words


def weights_of(run: Path) -> dict[str, Tensor]:
    """Return the trained tensors of a run by name."""
    return {name: tensor for file in WEIGHTS if (run / file).is_file() for name, tensor in load_file(run / file).items()}


@EVERY
@pytest.mark.usefixtures("unplanned")
def test_chunks_give_the_gradient_of_the_whole_batch(base: Path, data: Path, tmp_path: Path, name: str) -> None:
    """The groups of the whole batch are the chunks, each a row of its own, so that both draw the same dropout."""
    way, found = WAYS[name], []
    dropout = 0.2 if way.attention_dropout else NO_DROPOUT
    for chunk_tokens in ("none", GROUP):
        argv = argv_of(way, base, data, tmp_path / str(chunk_tokens), dropout=dropout, chunk_tokens=chunk_tokens)
        trainer = build_trainer(parse(argv, design=way.design))
        trainer.model.train()
        grouping = Grouping(GROUP, overhead=128)
        chunker = replace(trainer.contrastive_step.chunker, grouping=grouping, row_tokens=0)  # a row for each group
        step = replace(trainer.contrastive_step, chunker=chunker)
        torch.manual_seed(1)
        loss = float(step(trainer.model, next(iter(trainer.get_train_dataloader()))).loss)
        found.append((loss, gradients(trainer.model)))
    (loss, whole), (chunked_loss, chunked) = found
    assert chunked_loss == pytest.approx(loss, rel=1e-5) and len(whole) > 0
    assert relative(chunked, whole) <= 1e-5


@pytest.fixture
def unplanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the memory plan out: it takes longer than a tiny run."""
    monkeypatch.setattr("trainers.run.banner.plan_or_reason", lambda *_: "not planned")
    monkeypatch.setattr("trainers.run.build.fit_memory", lambda *_: "not planned")


@EVERY
@pytest.mark.usefixtures("unplanned")
def test_two_processes_train_as_one(base: Path, data: Path, tmp_path: Path, warm: Warm, name: str) -> None:
    way = WAYS[name]
    two = argv_of(way, base, data, tmp_path / "two", dropout=NO_DROPOUT)
    pids = warm.start_two(two, tmp_path / "log", design=way.design)
    one = argv_of(way, base, data, tmp_path / "one", dropout=NO_DROPOUT, per_device_train_batch_size=8)
    assert main(one, design=way.design) == 0
    for pid in pids:
        assert warm.wait(pid) == 0, (tmp_path / "log.0").read_text()[-3000:]
    first, last = weights_of(tmp_path / "one" / "checkpoint-1"), weights_of(tmp_path / "one")
    moved = max(float((last[key] - first[key]).abs().max()) for key in last)
    ours = weights_of(tmp_path / "two")
    assert ours.keys() == last.keys() and moved > 1e-5
    for key, tensor in ours.items():
        assert float((tensor - last[key]).abs().max()) <= 1e-3 * moved, key


@EVERY
@pytest.mark.usefixtures("unplanned")
def test_killed_and_resumed_to_the_same_bits(base: Path, data: Path, tmp_path: Path, name: str) -> None:
    way, whole, killed = WAYS[name], tmp_path / "whole", tmp_path / "killed"
    argv = [argv_of(way, base, data, run, dropout=0.2, optim="adamw_torch", chunk_tokens=GROUP) for run in (whole, killed)]
    assert main(argv[0], design=way.design) == 0
    shutil.copytree(whole, killed)
    for path in killed.iterdir():
        if path.name in ("checkpoint-2", "checkpoint-3"):
            shutil.rmtree(path)
        elif path.is_file() and path.name not in ("train_config.json", "metrics.jsonl"):
            path.unlink()
    assert main([*argv[1], "--resume_from_checkpoint", "true"], design=way.design) == 0
    files = [file for file in WEIGHTS if (whole / file).is_file()]
    assert files and [file for file in WEIGHTS if (killed / file).is_file()] == files
    for file in files:
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file


@EVERY
@pytest.mark.parametrize("chunk_tokens", ["none", 64])
def test_a_dry_run_and_its_memory(
    make_base: Callable[..., Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, chunk_tokens: Any
) -> None:
    way, base = WAYS[name], make_base(**WIDE)
    argv = argv_of(way, base, data, tmp_path / "run", dropout=0.2, optim="adamw_torch_fused", chunk_tokens=chunk_tokens)
    assert main([*argv, "--per_device_train_batch_size", "12", "--dry_run"], design=way.design) == 0
    report = capsys.readouterr().out
    assert "vectors equal within" in report and not (tmp_path / "run").exists()
    memory = re.search(r"memory +peak (\S+) MB measured \(tensors alive\); planned (\S+) MB", report)
    assert memory, report
    measured, planned = float(memory[1]), float(memory[2])
    print(f"PLAN {name}, {chunk_tokens}: {planned} / {measured} = {planned / measured:.3f}")
    assert planned == pytest.approx(measured, rel=0.15)
