"""What an export writes: poolings without the toolkit, tokenizers, limits; and the way back with ``model_loaders.load``."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from common.errors import UserError
from model_loaders import load
from model_loaders.export import onnx_format
from model_loaders.export.__main__ import main
from model_loaders.export.card import kept
from model_loaders.export.reader import module_at
from model_loaders.export.request import Request
from model_loaders.export.run import Order, export
from model_loaders.export.table import FORMATS, check_held, listed
from model_loaders.export.tokenizer_files import write_tokenizer
from model_loaders.export.trainable_pooling import StatePooling, TrainablePooling
from model_loaders.export.verify import compare
from model_loaders.export.verify.probes import probe_texts
from model_loaders.export.weights import pooling_config
from model_loaders.saving import save
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from tests.tiny import ROOT, WORDS, new_model
from tests.tiny import write_tokenizer as tiny_tokenizer

RECIPE = Recipe(query_prompt="word1 word2 ", document_prompt="word3 {text}", max_length=32, query_max_length=20)
TEXTS = ["word1", "word2 word3 word4", " ".join(WORDS), "", "word7 unheard word9"]
TRAINABLE = ["model2", "model3", "model4", "model5", "causal_latent_attention", "bidirectional_self_attention"]
STOCK = ["model1", "causal_mean", "bidirectional_eos", "bidirectional_weighted_mean", "causal_max", "bidirectional_first"]


def written(model: Any, format: str, folder: Path, **changes: Any) -> list[str]:
    """Write a format without verifying it; returns the notes."""
    notes: list[str] = []
    request = Request(model, format, base_name="owner/base", **changes)
    check_held(request)
    folder.mkdir()
    with torch.no_grad():
        FORMATS[format].write(request, folder, notes)
    return notes


@pytest.mark.parametrize("design", TRAINABLE)
def test_the_pooling_alone_is_the_pooling(base: Path, design: str) -> None:
    model = new_model(design, base)
    alone = StatePooling(**pooling_config(model)).eval()
    alone.block.load_state_dict(model.pooling.state_dict())
    layers = model.base_model.num_layers
    states = torch.randn(layers + 1, 3, 7, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6])
    items = {"all": states[1:], "last": states[-1:]}[model.design.layers]
    with torch.no_grad():
        if model.design.tokens == "all":
            expected = model.pooling(states[-1], mask)
        else:
            places = mask.sum(dim=1) - 1
            last = [state[torch.arange(3), places] for state in items]
            mean = [(state * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1)[:, None] for state in items]
            expected = model.pooling(torch.stack(last if model.design.tokens == "last" else mean, dim=1))
        got = alone(list(states), mask, torch.zeros_like(mask))
    assert torch.allclose(got, expected, atol=2e-5)


def test_tokens_that_are_not_pooled(base: Path) -> None:
    model = new_model("model5", base, recipe=replace(RECIPE, unpooled_token_ids=(3,)))
    alone = StatePooling(**pooling_config(model))
    mask, ids = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]), torch.tensor([[5, 3, 6, 3], [3, 3, 3, 3]])
    assert alone.pooled(mask, ids).tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]]


@pytest.mark.parametrize("design", [*STOCK, *TRAINABLE])
@pytest.mark.parametrize("format", ["sentence-transformers", "merged"])
def test_the_circle_closes(base: Path, tmp_path: Path, design: str, format: str) -> None:
    """An exported folder that is loaded again gives the adapter's vectors, without running its code."""
    model = new_model(design, base, recipe=RECIPE)
    expected = {role: model.encode(TEXTS, role) for role in ("query", "document")}
    written(model, format, tmp_path / "out")
    for code in (tmp_path / "out").glob("*.py"):
        code.write_text("raise SystemExit('ran')")
    again = load(tmp_path / "out", device="cpu")
    assert again.design_name == design
    for role, vectors in expected.items():
        assert np.abs(again.encode(TEXTS, role) - vectors).max() <= 2e-6


def test_lora_alone_closes_the_circle(base: Path, tmp_path: Path) -> None:
    model = new_model("causal_mean", base, recipe=RECIPE)
    expected = model.encode(TEXTS, "query")
    written(model, "peft", tmp_path / "peft")
    written(model, "sentence-transformers", tmp_path / "unmerged", lora="unmerged")
    for name in ("peft", "unmerged"):
        again = load(tmp_path / name, base, device="cpu")
        assert np.abs(again.encode(TEXTS, "query") - expected).max() <= 2e-6


def test_dimensions_are_kept(base: Path, tmp_path: Path) -> None:
    model = new_model("model3", base, recipe=replace(RECIPE, dimensions=12))
    expected = model.encode(TEXTS)
    notes = written(model, "sentence-transformers", tmp_path / "st")
    written(new_model("model3", base, recipe=replace(RECIPE, dimensions=12)), "merged", tmp_path / "merged")
    assert any("cut to 12 numbers" in note for note in notes)
    for name in ("st", "merged"):
        again = load(tmp_path / name, device="cpu")
        assert again.dim == 12 and np.abs(again.encode(TEXTS) - expected).max() <= 2e-6


@pytest.mark.parametrize("design", ["bidirectional_mean", "model4", "causal_mean"])
def test_old_transformers_read_no_bidirectional_model(
    base: Path, tmp_path: Path, design: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would take it for a causal one: sentence-transformers, the script and the trainable pooling look."""
    for format in ("sentence-transformers", "merged"):
        written(new_model(design, base, recipe=RECIPE), format, tmp_path / format)
    settings = json.loads((tmp_path / "sentence-transformers" / "config_sentence_transformers.json").read_text())
    monkeypatch.syspath_prepend(tmp_path / "merged")  # as for a script that is run
    module_at(tmp_path / "merged")
    monkeypatch.delitem(sys.modules, "trainable_pooling", raising=False)
    monkeypatch.setattr("transformers.__version__", "5.1.0")
    if design == "causal_mean":
        assert "requirements" not in settings
        module_at(tmp_path / "merged")
        return
    assert settings["requirements"]["transformers"]["specifier"] == ">=5.2"
    with pytest.raises(ImportError, match="as a causal one"):
        module_at(tmp_path / "merged")
    if design == "model4":
        with pytest.raises(ImportError, match=r"5\.1\.0 reads .* as a causal one.*5\.2"):
            TrainablePooling.load(str(tmp_path / "sentence-transformers"), "1_TrainablePooling")


def test_trained_widths_are_kept(base: Path, tmp_path: Path) -> None:
    """Folder and card say the widths of Matryoshka training."""
    for format in ("sentence-transformers", "merged", "peft"):
        model = new_model("causal_mean", base, recipe=RECIPE)
        model.trained_dimensions = (16, 8)
        assert "first 16, 8 numbers" in kept(model)
        written(model, format, tmp_path / format)
        again = load(tmp_path / format, base if format == "peft" else None, device="cpu")
        assert again.trained_dimensions == (16, 8), format
    about = tmp_path / "merged" / "embedding.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "trained_dimensions": ["x"]}))
    with pytest.raises(UserError, match="not a list of widths"):
        load(tmp_path / "merged", device="cpu")


@pytest.mark.parametrize("appends_eos", [False, True])
@pytest.mark.parametrize(("end", "bos"), [("eos", "tokenizer"), ("word49", "tokenizer"), ("eos", "none"), ("none", "word48")])
def test_tokenizers_give_the_same_ids(tmp_path: Path, appends_eos: bool, end: str, bos: str) -> None:
    tiny_tokenizer(tmp_path / "own", appends_eos=appends_eos)
    recipe = Recipe(end_token=end, bos_token=bos)
    own = TextTokenizer.of(load_tokenizer(tmp_path / "own"), recipe)
    (tmp_path / "out").mkdir()
    write_tokenizer(own, tmp_path / "out", 9)
    again = load_tokenizer(tmp_path / "out")
    for text in TEXTS:
        inner = own.with_offsets([text])[0][0]
        room = 9 - len(own.front) - len(own.back)
        expected = [*own.front, *inner[:room], *own.back]
        assert again(text, truncation=True)["input_ids"] == expected


def test_no_chat_template_and_no_path(base: Path, tmp_path: Path) -> None:
    model = new_model("model1", base, recipe=RECIPE)
    model.tokenizer.tokenizer.chat_template = "{{ messages }}"
    written(model, "sentence-transformers", tmp_path / "out")
    assert not list((tmp_path / "out").glob("chat_template*"))
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"{{ messages }}" not in content and str(tmp_path.parent).encode() not in content, path
            assert str(base).encode() not in content, path


@pytest.mark.parametrize(
    ("changes", "format", "message"),
    [
        ({"query_prompt": "{text} means"}, "sentence-transformers", "more than words before the text"),
        ({"pooled": "text"}, "merged", "only some tokens are pooled"),
        ({"text_edits": ("strip",)}, "sentence-transformers", "edited first"),
        ({"unpooled_token_ids": (3,)}, "sentence-transformers", "unpooled_token_ids"),
        ({"end_token": "none", "bos_token": "none"}, "merged", "no token at all"),
        ({"text_max_length": 9}, "peft", "text_max_length"),
    ],
)
def test_recipes_that_no_folder_holds(base: Path, changes: dict[str, Any], format: str, message: str) -> None:
    request = Request(new_model("causal_mean", base, recipe=replace(RECIPE, **changes)), format)
    with pytest.raises(UserError, match=rf"{message}.*model_loaders\.load reads the adapter"):
        check_held(request)


def test_formats_that_can_are_named(base: Path) -> None:
    with pytest.raises(UserError, match=r"bidirectional.*These formats can: sentence-transformers, merged"):
        check_held(Request(new_model("bidirectional_mean", base, recipe=RECIPE), "peft"))
    with pytest.raises(UserError, match="no LoRA"):
        check_held(Request(new_model("model1", base, recipe=RECIPE, lora=None), "peft"))
    with pytest.raises(UserError, match="drops silently"):
        check_held(Request(new_model("bidirectional_eos", base), "sentence-transformers", lora="unmerged"))


def test_a_base_of_this_machine_needs_a_name(base: Path, tmp_path: Path) -> None:
    request = Request(new_model("model1", base, recipe=RECIPE), "peft")
    with pytest.raises(UserError, match="--base_name"):
        FORMATS["peft"].write(request, tmp_path, [])


def test_onnx_says_what_is_missing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_format, "NEEDED", ("no_such_package",))
    with pytest.raises(UserError, match=r"no_such_package: pip install -e '\.\[onnx\]'"):
        FORMATS["onnx"].write(Request(new_model("model1", base, recipe=RECIPE), "onnx"), tmp_path, [])


def test_no_traceback_in_a_graph() -> None:
    """Nodes of a graph and of the graphs in it, as onnx has them."""

    def node(*inner: Any) -> Any:
        props = [
            SimpleNamespace(key="pkg.torch.onnx.stack_trace", value='File "/home"'),
            SimpleNamespace(key="namespace", value=""),
        ]
        attribute = SimpleNamespace(g=SimpleNamespace(node=list(inner)), graphs=[])
        return SimpleNamespace(metadata_props=props, attribute=[attribute])

    inside = node()
    outside = node(inside)
    onnx_format.drop_traces([outside])
    for each in (outside, inside):
        assert [entry.key for entry in each.metadata_props] == ["namespace"]


def test_other_vectors_are_an_error(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model("model1", base, recipe=RECIPE)
    request, reference = Request(model, "merged"), compare.reference_of(model)
    same = {"query": reference.queries, "document": reference.documents}
    check = FORMATS["merged"].write

    def answer(vectors: dict[str, np.ndarray]) -> None:
        monkeypatch.setattr(compare, "read_afresh", lambda *arguments: dict(vectors))
        compare.verify(request, None, tmp_path, reference)  # type: ignore[arg-type]

    assert check is not None
    answer(same)
    with pytest.raises(UserError, match="cosine"):
        answer({**same, "query": np.roll(reference.queries, 1, axis=0)})
    with pytest.raises(UserError, match="cosine"):
        answer({**same, "query": np.full_like(reference.queries, np.nan)})
    with pytest.raises(UserError, match="vectors"):
        answer({**same, "query": reference.queries[:, :4]})


def test_a_full_disk_is_said_in_a_line(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """safetensors raises an error of its own, with the system's number in its text."""
    save(new_model("causal_mean", base), tmp_path / "adapter")

    def refuse(*args: object, **kwargs: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", refuse)
    with pytest.raises(UserError, match=r"cannot write.*No space left on device; nothing was left"):
        export(Order(str(tmp_path / "adapter"), tmp_path / "out", "merged", device="cpu"))
    assert {path.name for path in tmp_path.iterdir()} == {"adapter"}


def test_the_ranking_is_compared() -> None:
    own = {"query": np.eye(3, dtype=np.float32), "document": np.eye(3, dtype=np.float32)}
    compare.check_ranking(own, own, 1e-5)
    with pytest.raises(UserError, match="ranks other documents"):
        compare.check_ranking(own, {**own, "document": np.eye(3, dtype=np.float32)[[1, 0, 2]]}, 1e-5)


def test_probe_texts_reach_the_limits() -> None:
    for length in (2, 32, 512, 40_000):
        texts = probe_texts(length)
        assert len(texts) == 64 and "" in texts and max(map(len, texts)) >= 3000


def test_the_command_line(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", "list"]) == 0
    assert capsys.readouterr().out.strip() == listed()
    save(new_model("model4", base, recipe=RECIPE), tmp_path / "adapter")
    adapter, out = str(tmp_path / "adapter"), str(tmp_path / "out")
    assert main([adapter, out, "--format", "peft", "--device", "cpu"]) == 1
    assert "peft cannot hold this model" in capsys.readouterr().err
    assert main([adapter, out, "--format", "merge"]) == 1
    assert "did you mean 'merged'" in capsys.readouterr().err
    assert main([adapter, adapter, "--format", "merged"]) == 1
    assert "not empty" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]
    with pytest.raises(SystemExit):
        main([adapter, "--format", "merged"])


def test_the_script_refuses_the_project(tmp_path: Path) -> None:
    """A folder whose code imports this project fails, also where the project is on the path."""
    (tmp_path / "read_model.py").write_text("import model_loaders\n")
    job = {"folder": str(tmp_path), "reader": "reader_vectors", "texts": [], "device": "cpu", "trust": False}
    job |= {"rooms": list(compare.ROOMS), "site_packages": [*compare.site_packages(), str(ROOT)], "output": "x.npz"}
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-I", "-S", "-B", compare.fresh_process.__file__, str(tmp_path / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "belongs to the project" in done.stderr
