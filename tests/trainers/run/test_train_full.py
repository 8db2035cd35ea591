"""`--train full`: the base LLM's own weights are trained, and the run's folder is a checkpoint that is its own base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

import model_loaders
from common.errors import UserError
from evaluation.cli import main as score
from model_loaders.backbone.load import train_weights
from model_loaders.create import create
from model_loaders.export.run import Order, export
from model_loaders.layouts.merged_base import merge_adapter
from model_loaders.loading import plan_loading
from model_loaders.options import LoadOptions
from tests.tiny import write_base
from tests.trainers.conftest import Command
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")
FLAGS = {"train": "full", "lora_dropout": None, "learning_rate": 0.001}
PLAIN = {**FLAGS, "pooling_latents": None, "pooling_heads": None, "pooling_head_dim": None}
TEXTS = ["word1 word2 word3", "word4", " ".join(f"word{number}" for number in range(40))]
CPU = LoadOptions(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def full_run(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of bidirectional_mean; not to be changed."""
    output = tmp_path_factory.mktemp("full") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.run.build.fit_memory", lambda *_: "not planned")
        patch.setattr("trainers.run.banner.plan_or_reason", lambda *_: "not planned")
        assert main(command(output, **PLAIN), design="bidirectional_mean") == 0
    return output


def test_the_checkpoint_is_its_own_base(full_run: Path, base: Path, tmp_path: Path) -> None:
    """It loads with no other folder, in another place, and every weight has moved."""
    moved = shutil.copytree(full_run, tmp_path / "moved")
    model = model_loaders.load(moved, device="cpu")
    assert (moved / "config.json").is_file() and not (moved / "adapter_config.json").exists()
    assert np.abs(model.encode(TEXTS) - model_loaders.load(full_run, device="cpu").encode(TEXTS)).max() == 0.0
    plain = create("bidirectional_mean", base, lora=None, options=CPU)
    before, after = plain.backbone.state_dict(), load_file(moved / "model.safetensors")
    assert before.keys() == after.keys()
    assert [name for name in after if torch.equal(before[name], after[name])] == []
    result = json.loads((moved / "train_result.json").read_text())
    assert result["trainable_parameters"] == sum(tensor.numel() for tensor in after.values())
    manifest = json.loads((moved / "embedder.json").read_text())
    assert manifest["lora"] is False and manifest["begun_on"]["weights"] == plain.base_model.weights
    assert str(full_run) not in (moved / "embedder.json").read_text()
    with pytest.raises(UserError, match="leave base_model="):
        model_loaders.load(moved, base, device="cpu")


def test_transformers_reads_it(full_run: Path) -> None:
    """Also its attention: the mean of AutoModel's states is the vector."""
    plain = AutoModel.from_pretrained(full_run)
    model = model_loaders.load(full_run, device="cpu")
    ids = torch.tensor([[*model.tokenizer.tokenizer(TEXTS[0])["input_ids"], model.tokenizer.end_token_id]])
    state = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
    vector = torch.nn.functional.normalize(state.mean(dim=0), dim=0).detach().numpy()
    assert np.abs(vector - model.encode(TEXTS[:1])[0]).max() <= 1e-6


def test_changed_weights_are_noticed(full_run: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(full_run, tmp_path / "changed")
    tensors = load_file(changed / "model.safetensors")
    tensors["norm.weight"] = -tensors["norm.weight"]
    save_file(tensors, changed / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="other weights"):
        model_loaders.load(changed, device="cpu")


def test_goes_on_to_the_same_weights(command: Command, full_run: Path, tmp_path: Path) -> None:
    """Also to the same pooling and optimizer; a checkpoint of LoRA is no such checkpoint."""
    killed = shutil.copytree(full_run, tmp_path / "killed")
    for name in ("train_result.json", "embedder.json", "model.safetensors", "config.json"):
        (killed / name).unlink()
    for name in ("checkpoint-3", "checkpoint-4"):
        shutil.rmtree(killed / name)
    assert main(command(killed, **PLAIN), design="bidirectional_mean") == 0
    assert (killed / "model.safetensors").read_bytes() == (full_run / "model.safetensors").read_bytes()
    assert main(command(killed, **{**PLAIN, "train": "lora"}), design="bidirectional_mean") == 1


@pytest.mark.parametrize("design", ["model1", "model3"])
def test_last_layers(command: Command, base: Path, tmp_path: Path, design: str) -> None:
    """The last layers, the norm behind them and the pooling have gradients; the rest stays to the bit."""
    flags = {**(PLAIN if design == "model1" else FLAGS), "last_layers": 1}
    trainer = build_trainer(parse(command(tmp_path / "built", resume_from_checkpoint=None, **flags), design=design))
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    parts = ("backbone.layers.2.", "backbone.norm.", "pooling.")
    assert trained == {name for name, _ in trainer.model.named_parameters() if name.startswith(parts)}
    assert main(command(tmp_path / "run", **flags), design=design) == 0
    before = create("causal_mean", base, lora=None, options=CPU).backbone.state_dict()
    after = load_file(tmp_path / "run" / "model.safetensors")
    same = {name for name in after if torch.equal(before[name], after[name])}
    assert same == {name for name in after if name.startswith(("embed_tokens.", "layers.0.", "layers.1."))}
    assert np.isfinite(model_loaders.load(tmp_path / "run", device="cpu").encode(TEXTS)).all()


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma3_text", "opt", "mixtral"])
@pytest.mark.slow
def test_families(family: str, tmp_path: Path) -> None:
    """The final norm is found, and the tensors come back, by whatever names a family has for them."""
    sizes: dict[str, Any] = {"without": ("head_dim",)} if family in ("gpt2", "opt", "gpt_neox") else {}
    base = write_base(tmp_path / "base", family, **sizes)
    model = create("causal_mean", base, lora=None, options=CPU)
    train_weights(model.backbone, 1)
    norms = [name for name, p in model.backbone.named_parameters() if p.requires_grad and ".2." not in name]
    assert norms and all("norm" in name or "ln_f" in name for name in norms)
    train_weights(model.backbone)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    from model_loaders.saving import save

    save(model.eval(), tmp_path / "saved")
    loaded = model_loaders.load(tmp_path / "saved", device="cpu")
    assert np.abs(loaded.encode(TEXTS) - model.encode(TEXTS)).max() <= 1e-6


def test_trained_further_and_begun_on(command: Command, full_run: Path, tmp_path: Path) -> None:
    """All weights go on with --train full; LoRA begins on the folder as on any base; one for the other is refused."""
    further = {**PLAIN, "model_name_or_path": None, "peft_model_name_or_path": full_run, "resume_from_checkpoint": None}
    assert main(command(tmp_path / "further", **further, max_steps=1), design="bidirectional_mean") == 0
    assert main(command(tmp_path / "no", **{**further, "train": "lora"}), design="bidirectional_mean") == 1
    on_top = {"model_name_or_path": full_run, "resume_from_checkpoint": None, "max_steps": 1}
    assert main(command(tmp_path / "lora", **on_top), design="model3") == 0
    assert np.isfinite(model_loaders.load(tmp_path / "lora", device="cpu").encode(TEXTS)).all()


def test_a_merged_stage_begins_on_it(full_run: Path, tmp_path: Path) -> None:
    merge_adapter(full_run, tmp_path / "base")
    assert not (tmp_path / "base" / "embedder.json").exists()
    again = create("bidirectional_mean", tmp_path / "base", lora=None, options=CPU).eval()
    assert np.abs(again.encode(TEXTS) - model_loaders.load(full_run, device="cpu").encode(TEXTS)).max() <= 1e-6


@pytest.mark.slow
def test_exported_and_evaluated(full_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The export is verified by itself; an evaluation knows the model by its weights, wherever it lies."""
    output = tmp_path / "exported"
    done = export(Order(str(full_run), output, "sentence-transformers", device="cpu"))
    assert done.likeness.cosine > 0.99999 and "The weights are those of the trained model" in (output / "README.md").read_text()
    plans = [plan_loading(None, None, folder, CPU) for folder in (full_run, shutil.copytree(full_run, tmp_path / "copy"))]
    versions = {plan.version() for plan in plans}
    assert versions == {model_loaders.load(full_run, device="cpu").version}
    with pytest.raises(UserError, match="has no LoRA"):
        export(Order(str(full_run), tmp_path / "peft", "peft", device="cpu"))


@pytest.mark.slow
def test_run_mteb_scores_a_checkpoint_as_its_copy(full_run: Path, tmp_path: Path) -> None:
    """A checkpoint with optimizer states is a model like the final one; where it lies does not matter."""
    rows = [{"sentence1": f"word{k} word{k + 1}", "sentence2": f"word{k + k % 4} word2", "score": k % 4} for k in range(12)]
    task = tmp_path / "tasks" / "Pairs"
    task.mkdir(parents=True)
    (task / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = []
    for number, folder in enumerate(
        (full_run / "checkpoint-2", shutil.copytree(full_run / "checkpoint-2", tmp_path / "moved"))
    ):
        output = tmp_path / f"results-{number}"
        words = ["--adapter_path", str(folder), "--data_dir", str(tmp_path / "tasks"), "--output_dir", str(output)]
        arguments = [*words, "--device", "cpu"]
        assert score("test", loader=model_loaders.load, paper_tasks=[], arguments=arguments) == 0
        (result,) = output.glob("results/*/*/Pairs.json")
        scores.append((result.parent.name, json.loads(result.read_text())["scores"]["test"][0]["main_score"]))
    assert scores[0] == scores[1] and np.isfinite(scores[0][1])


def test_dry_run(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "run", **FLAGS, dry_run="true"), design="model3") == 0
    assert "vectors equal within" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--lora_r", "4"], "--lora_r does nothing with --train full"),
        (["--torch_dtype", "bfloat16"], "--bf16 computes in bfloat16"),
        (["--train", "lora", "--last_layers", "2"], "--last_layers says which weights"),
    ],
)
def test_mistakes(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    with pytest.raises(SystemExit):
        parse([*command(tmp_path / "run", **PLAIN), *words], design="model1")
    assert told in capsys.readouterr().err
