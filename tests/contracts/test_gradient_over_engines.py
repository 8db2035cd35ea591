"""FSDP2 and DeepSpeed ZeRO-2, on two gloo processes, give the gradients and weights of one process.

accelerate offers both on GPUs only; `ranks.prepare` and `ranks.shard` make it honour them on the CPU, for these tests alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from model_loaders import load, load_design
from tests.contracts.gradients import relative
from tests.contracts.ranks import Case, job_of
from tests.contracts.test_gradient_over_processes import ADAM, EMPTY2, EVEN2, NOISE, RAGGED2, check, launch, reference
from tests.tiny import triplets

pytestmark = pytest.mark.slow

CASES = [
    Case(f"{design}-{name}-{chunk}", design, splits, chunk)
    for design in ("model1", "model3", "model5")
    for name, splits in (("even", EVEN2), ("ragged", RAGGED2), ("empty", EMPTY2))
    for chunk in (None, 24)
] + [
    Case("model2", "model2", RAGGED2, 24),
    Case("model4", "model4", RAGGED2, 24),
    Case("checkpointing", "model5", RAGGED2, 24, checkpointing=True),
    Case("adam", "model5", RAGGED2, 24, arguments=ADAM),
    Case("clipped", "model5", RAGGED2, 24, arguments={"max_grad_norm": 1.0}),
    Case("full", "bidirectional_mean", RAGGED2, 24, arguments={"learning_rate": 1e-3}, full=True),
    Case("full with pooling", "model3", RAGGED2, None, arguments={"learning_rate": 1e-3}, full=True),
    Case("local", "model1", RAGGED2, 24, options={"negatives_across_processes": False}),
]
ACCUMULATION = Case("accumulation", "model3", [*RAGGED2, [3, 4]], 24, arguments={"gradient_accumulation_steps": 2})
WRAPPERS = {"fsdp2": "FSDPEmbedModel", "zero2": "DeepSpeedEngine"}


@pytest.fixture(scope="module", params=["fsdp2", "zero2"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "zero2" and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed (pip install -e '.[deepspeed]')")
    return str(request.param)


@pytest.fixture(scope="module")
def found(engine: str, base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp(engine)
    cases = [*CASES, ACCUMULATION] if engine == "fsdp2" else CASES
    launch([job_of(2, engine, base, folder, cases)], folder)
    return {case.name: [torch.load(folder / f"{case.name}-{rank}.pt", weights_only=True) for rank in (0, 1)] for case in cases}


@pytest.mark.parametrize("case", [*CASES, ACCUMULATION], ids=lambda case: case.name)
def test_equals_one_process(engine: str, found: dict[str, list[dict[str, Any]]], base: Path, case: Case) -> None:
    if case.name not in found:
        pytest.skip("refused with this engine")
    ranks = found[case.name]
    assert [rank["world"] for rank in ranks] == [2, 2]
    assert {rank["wrapper"] for rank in ranks} == {WRAPPERS[engine]}
    if case.name == "local":  # another loss than one process's; what it is stands in test_gradient_over_processes.py, with DDP
        assert relative(ranks[0]["weights"], reference(case, base)["weights"]) > 100 * NOISE
        assert all(torch.equal(ranks[0]["weights"][name], weight) for name, weight in ranks[1]["weights"].items())
        return
    check(ranks, reference(case, base), 2e-4 if case.name == "adam" else 2e-6)


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_lora_on_experts_equals_one_process(make_base: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    """peft replaces the experts' tensor during a pass, while FSDP2 gathers and splits it."""
    base = make_base("mixtral", num_local_experts=4)
    cases = [Case("plain", "model1", RAGGED2, 24), Case("checkpointing", "model5", RAGGED2, 24, checkpointing=True)]
    launch([job_of(2, kind, base, tmp_path, cases)], tmp_path)
    for case in cases:
        ranks = [torch.load(tmp_path / f"{case.name}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        assert any("experts" in name for name in ranks[0]["weights"])
        check(ranks, reference(case, base), 1e-5)


LORA_FLAGS = ["--lora_dropout", "0.1"]
POOLING_FLAGS = [
    "--pooling_latents",
    "6",
    "--pooling_heads",
    "2",
    "--pooling_head_dim",
    "4",
    "--pooling_learning_rate",
    "0.002",
]
FULL_FLAGS = ["--train", "full", "--attention_dropout", "0.1"]
LORA_FILES, FULL_FILES, POOLING_FILES = ["adapter_model.safetensors"], ["model.safetensors"], ["pooling.safetensors"]
# design, flags, files of weights, and parts of the names of all tensors that are trained
RUNS: dict[str, tuple[str, list[str], list[str], tuple[str, ...]]] = {
    "lora": ("model1", LORA_FLAGS, LORA_FILES, ("lora_",)),
    "lora and pooling": ("model3", [*LORA_FLAGS, *POOLING_FLAGS], [*LORA_FILES, *POOLING_FILES], ("lora_", "pooling.")),
    "full": ("bidirectional_mean", FULL_FLAGS, FULL_FILES, ("backbone.",)),
    "full and pooling": (
        "model3",
        ["--train", "full", *POOLING_FLAGS],
        [*FULL_FILES, *POOLING_FILES],
        ("backbone.", "pooling."),
    ),
    "last layers": ("model1", [*FULL_FLAGS, "--last_layers", "1"], FULL_FILES, (".layers.2.", ".norm.")),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_to_the_same_weights(engine: str, base: Path, tmp_path: Path, name: str) -> None:
    """The command line of a trainer, from the checkpoint of step 2; the checkpoint holds no tensor that is frozen."""
    design, flags, files, trained = RUNS[name]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({**row, "negative": row.pop("negatives")}) + "\n" for row in triplets(20, negatives=2)))
    out = tmp_path / "out"
    argv = ["--model_name_or_path", str(base), "--dataset_name", str(rows), "--output_dir", str(out), "--max_steps", "5",
            "--per_device_train_batch_size", "3", "--save_steps", "2", "--learning_rate", "0.001", "--chunk_tokens", "24",
            "--warmup_steps", "2", "--cache_dir", str(tmp_path / "cache"), "--resume_from_checkpoint", "true",
            *flags]  # fmt: skip
    job = {"world": 2, "engine": engine, "argv": argv, "design": design}
    launch([job], tmp_path)
    written = [file for file in (*LORA_FILES, *FULL_FILES, *POOLING_FILES) if (out / file).is_file()]
    assert written == files
    undisturbed = {file: (out / file).read_bytes() for file in files}
    for path in out.iterdir():
        if path.is_file() and path.name not in ("train_config.json", "metrics.jsonl"):
            path.unlink()
        elif path.is_dir() and path.name != "checkpoint-2":
            shutil.rmtree(path)
    assert (out / "checkpoint-2").is_dir()
    launch([job], tmp_path)
    assert {file: (out / file).read_bytes() for file in files} == undisturbed
    for path in (out / "checkpoint-4").rglob("*_model_states.pt"):
        held = torch.load(path, weights_only=False)["module"]
        assert held and all(any(part in key for part in trained) for key in held)
    assert not list((out / "checkpoint-4").glob("pytorch_model*"))
    if files[:1] == LORA_FILES:
        load_design(design, base, out, device="cpu")  # with its fingerprints
    else:
        load(out, device="cpu")
