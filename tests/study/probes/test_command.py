"""The command on tiny models: its files, massive activations that are known, and what it refuses."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from common.errors import UserError
from evaluation.encode.rank import Rank
from model_loaders import LoadOptions
from model_loaders.saving import save
from study.probes import NAMES
from study.probes.__main__ import main
from study.probes.encoder import Probed
from study.probes.kinds.massive import massive
from study.probes.models import Asked, untrained
from study.probes.output import definition
from study.probes.result import Cost
from study.probes.run import OF_LAYERS, OF_VECTORS, Settings, corpus_for, lengths_note, read_layers, run, run_on
from study.probes.token_states import LayerReader, split
from tests.study.probes.encoders import encode_here
from tests.tiny import ROOT, WORDS, new_model, write_base

SENTENCE = 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty texts of eight short sentences."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    lines = []
    for _ in range(40):
        sentences = [" ".join(draw.sample(WORDS, SENTENCE)) + " ." for _ in range(8)]
        lines.append(json.dumps({"text": " ".join(sentences)}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A causal and a bidirectional design on a base that takes 512 tokens."""
    folder = tmp_path_factory.mktemp("adapters")
    base = write_base(folder / "base")
    saved = {}
    for design in ("model1", "model5"):
        saved[design] = folder / design
        save(new_model(design, base), saved[design])
    return saved


def test_the_table_and_the_names_are_the_same() -> None:
    assert [*OF_VECTORS, *OF_LAYERS] == list(NAMES)


def test_one_probe_of_trained_and_untrained(
    adapters: dict[str, Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(adapters["model5"]), "--corpus", str(corpus), "--untrained", "--texts", "20", "--device", "cpu"]
    assert main([*words, "--output_dir", str(tmp_path), "--probes", "word_order"]) == 0
    shown = capsys.readouterr().out
    assert "texts/s" in shown and "| model5 | model5, untrained |" in shown
    content = json.loads((tmp_path / "probes.json").read_text())
    trained, untrained = (content["models"][name]["word_order"]["figures"] for name in content["models"])
    assert trained != untrained
    assert sorted(path.name for path in tmp_path.iterdir()) == ["probes.json", "probes.md", "word_order.png", "word_order.svg"]


@pytest.mark.slow
def test_every_probe_of_trained_and_untrained(
    adapters: dict[str, Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(adapters["model5"]), "--corpus", str(corpus), "--untrained", "--texts", "20", "--device", "cpu"]
    assert main([*words, "--output_dir", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "texts/s" in shown.out and "| model5 | model5, untrained |" in shown.out
    content = json.loads((tmp_path / "probes.json").read_text())
    assert list(content["models"]) == ["model5", "model5, untrained"]
    for of_model in content["models"].values():
        for name in NAMES:
            assert (tmp_path / f"{name}.svg").is_file() and (tmp_path / f"{name}.png").is_file(), name
            assert of_model[name]["figures"] and of_model[name]["cost"]["texts"], name
    layers = content["models"]["model5"]["layers"]
    assert [panel["title"] for panel in layers["panels"]][-1] == "The pooling's attention"
    shares = [estimate[0] for estimate in layers["panels"][-1]["curves"][0]["estimates"]]
    assert sum(shares) == pytest.approx(1.0, abs=1e-4)
    trained, untrained = (content["models"][name]["position"]["figures"] for name in content["models"])
    assert trained != untrained


def test_layer_states_are_those_of_the_designs(adapters: dict[str, Path]) -> None:
    """The last layer's mean and last state, made unit, are the vectors of the designs that read them; batches do not matter."""
    base = adapters["model1"].parent / "base"
    texts = ["word1 word2 word3", "word4", "word5 word6 word7 word8 word9"]
    for design, name in (("causal_mean", "mean"), ("model1", "last")):
        model = new_model(design, base)
        flat = LayerReader(model).encode_counted(texts).vectors
        states = split(flat, model.base_model.num_layers, False).states[name][:, -1]
        vectors = states / np.linalg.norm(states, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, model.encode(texts), atol=2e-5)


def test_a_massive_token_is_seen_and_a_normalised_mean_undoes_it(tmp_path: Path) -> None:
    """The first token has an embedding a thousand times as large, which the residual stream carries through all layers."""
    base = write_base(tmp_path / "base")
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.get_input_embeddings().weight[1] *= 1000  # <s>
    model.save_pretrained(base)
    probed = new_model("causal_mean", base, lora=None)
    draw = random.Random(0)
    texts = [" ".join(draw.sample(WORDS, 10)) for _ in range(30)]
    result = massive(read_layers(Probed(encode_here(LayerReader(probed))), probed, texts), 1)
    figures = {figure.name: figure.estimate for figure in result.figures}
    assert figures["largest token, multiple of the median one"].low > 50
    assert figures["similarity of different texts there, mean"].low > 0.99
    assert figures["similarity there, states of one size"].high < 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--probes", "positon"], "did you mean 'position'"),
        (["--key", "body"], "name the key of the texts with --key"),
        (["--texts", "20", "--max_length", "8", "--probes", "position"], "no probe could be made"),
    ],
)
def test_what_cannot_be_probed_is_said(
    words: list[str], message: str, adapters: dict[str, Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(adapters["model1"]), "--corpus", str(corpus), "--output_dir", str(out), "--device", "cpu", *words]) == 1
    assert message in capsys.readouterr().err
    assert not (out / "probes.json").exists()


def test_every_probe_has_its_heading_in_the_docs() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "probes.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for name in NAMES:
        assert definition(name).split("#")[1].split()[0] in anchors


def test_a_model_that_cannot_be_loaded_stops_no_other(adapters: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    labels, folders = ["gone", "model5"], [str(tmp_path / "gone"), str(adapters["model5"])]
    asked = Asked(folders, [], None, 42, LoadOptions(device="cpu"), labels)
    outcomes = run(asked, corpus_for(corpus, "text", 20), Settings(["word_order"], 20, 42, None), Rank())
    assert [outcome.model for outcome in outcomes] == labels
    assert outcomes[0].result is None and "gone" in outcomes[0].failure
    assert outcomes[1].result is not None


def test_a_run_that_was_stopped_is_gone_on_with(
    adapters: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second model's probes are stopped; the next run takes the first one's from its file, and finds the same."""
    words = [str(adapters["model1"]), str(adapters["model5"]), "--corpus", str(corpus), "--texts", "20", "--device", "cpu"]
    words += ["--probes", "word_order", "layers", "massive"]
    assert main([*words, "--output_dir", str(tmp_path / "whole")]) == 0
    calls: list[str] = []

    def stopped(model: Any, name: str, *rest: Any) -> Any:
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_on(model, name, *rest)

    monkeypatch.setattr("study.probes.run.run_on", stopped)
    out = tmp_path / "stopped"
    assert main([*words, "--output_dir", str(out)]) == 130
    assert len(list((out / "unfinished").iterdir())) == 1 and not (out / "probes.json").exists()
    assert main([*words, "--output_dir", str(out)]) == 0
    assert calls == ["model1", "model5", "model5"] and not (out / "unfinished").exists()
    found = [json.loads((folder / "probes.json").read_text()) for folder in (tmp_path / "whole", out)]
    for content in found:
        for of_model in content["models"].values():
            for of_probe in of_model.values():
                del of_probe["cost"]["seconds"]
    assert found[0] == found[1]
    assert main([*words, "--output_dir", str(out), "--seed", "1"]) == 0 and calls[3:] == ["model1", "model5"]


def test_untrained_is_refused_where_an_earlier_stage_was_merged(adapters: dict[str, Path], tmp_path: Path) -> None:
    later = tmp_path / "later"
    shutil.copytree(adapters["model5"], later)
    content = json.loads((later / "embedder.json").read_text())
    content["merged"] = [{"adapter": "mntp", "weights": "0", "base": "0"}]
    (later / "embedder.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="of an earlier stage"):
        untrained(str(later), Asked([str(later)], [str(later)], None, 42, LoadOptions(device="cpu")))


def test_texts_longer_than_the_adapter_reads_are_said(adapters: dict[str, Path]) -> None:
    model = new_model("model5", adapters["model5"].parent / "base")
    (note,) = lengths_note(Cost(texts=4, tokens=4000, longest=9000), model)
    assert note.startswith("texts have up to 9,000 tokens, 1,000 on average")
    assert not lengths_note(Cost(texts=4, tokens=20, longest=5), model)


def test_help_is_light() -> None:
    script = "import sys, study.probes.__main__ as command; command.make_parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.slow
def test_figures_are_the_same_on_two_processes(adapters: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    two = [str(Path(sys.executable).with_name("accelerate")), "launch", "--main_process_port", "0"]
    two += ["--config_file", str(ROOT / "configs" / "accelerate" / "cpu.yaml"), "--module"]
    contents = []
    for name, launcher in (("one", [sys.executable, "-m"]), ("two", two)):
        out = tmp_path / name
        command = [*launcher, "study.probes", str(adapters["model5"]), "--corpus", str(corpus)]
        command += ["--output_dir", str(out), "--texts", "20", "--device", "cpu", "--untrained"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        contents.append(json.loads((out / "probes.json").read_text()))
    for name in contents[0]["models"]:
        for probe in NAMES:
            first, second = (content["models"][name][probe] for content in contents)
            for left, right in zip(first["figures"], second["figures"], strict=True):
                assert left["name"] == right["name"]
                assert left["estimate"] == pytest.approx(right["estimate"], abs=2e-5, nan_ok=True), (probe, left["name"])
            assert first["cost"]["tokens"] == second["cost"]["tokens"]
