"""Scores of compressed vectors: each text is encoded once, and the scores are those of the compressed vectors."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluation.compressed import CompressedEncoder, Memory, Setting
from evaluation.compression import main
from model_loaders.saving import save
from model_loaders.vectors.compress import compress
from tests.tiny import WORDS, new_model


def test_a_table_and_a_plot(base: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(new_model("causal_mean", base), tmp_path / "adapter")
    out, flags = (
        tmp_path / "out",
        ["--tasks", "TinySTS", "TinyRetrieval", "--dimensions", "8", "--prompts", "own", "--device", "cpu"],
    )
    assert main([str(tmp_path / "adapter"), "--data_dir", str(data_dir), "--output_dir", str(out), *flags]) == 0
    rows = list(csv.DictReader((out / "compression.csv").open()))
    assert [(row["dimensions"], row["precision"], row["bytes"]) for row in rows] == [
        ("32", "float32", "128"), ("32", "int8", "32"), ("32", "binary", "4"),
        ("8", "float32", "32"), ("8", "int8", "8"), ("8", "binary", "1"),
    ]  # fmt: skip
    for row in rows:
        assert abs(float(row["mean"]) - np.mean([float(row["TinySTS"]), float(row["TinyRetrieval"])])) < 1e-5
    assert abs(float(rows[0]["mean"]) - float(rows[1]["mean"])) < 0.02 < abs(float(rows[0]["mean"]) - float(rows[5]["mean"]))
    assert b"</svg>" in (out / "compression.svg").read_bytes()
    assert "mean score" in capsys.readouterr().out
    sources = {json.loads(path.read_text())["recipe"]["prompts"]["source"] for path in out.rglob("recipes/*.json")}
    assert sources == {"own"}, "no task's own prompt, which the adapter has not seen"


@pytest.fixture
def whole(base: Path, data_dir: Path, tmp_path: Path) -> list[str]:
    """The words of a command that has run once, into ``tmp_path / "out"``."""
    save(new_model("causal_mean", base), tmp_path / "adapter")
    words = [str(tmp_path / "adapter"), "--data_dir", str(data_dir), "--tasks", "TinySTS", "TinyRetrieval"]
    words += ["--dimensions", "8", "--precisions", "int8", "--prompts", "own", "--device", "cpu", "--output_dir"]
    assert main([*words, str(tmp_path / "out")]) == 0
    return words


def test_the_same_command_again_encodes_nothing(whole: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (tmp_path / "out/compression.csv").read_bytes()
    with monkeypatch.context() as forbidden:
        forbidden.setattr(Memory, "encode", lambda *_: pytest.fail("a text is encoded again"))
        assert main([*whole, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/compression.csv").read_bytes() == before
    (damaged, *others) = (tmp_path / "out/ranges").iterdir()
    damaged.write_bytes(b"")
    for path in others:  # as of a run before ranges were kept
        path.unlink()
    assert main([*whole, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/compression.csv").read_bytes() == before
    assert len(list(tmp_path.glob("out/results/*int8/*"))) == 2, "the ranges are the same, and no result is another"


def test_a_run_that_was_stopped_has_the_ranges_of_one_that_was_not(whole: list[str], tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    words = [word for word in whole if word != "TinySTS"]
    assert main([*words, str(stopped)]) == 0
    for path in [*stopped.glob("results/*int8*"), stopped / "ranges"]:
        shutil.rmtree(path)  # so far a run of both tasks had come
    assert main([*whole, str(stopped)]) == 0
    unbroken, resumed = (
        {path.name: np.load(path) for path in (tmp_path / name).glob("ranges/*")} for name in ("out", "stopped")
    )
    assert unbroken.keys() == resumed.keys() and len(unbroken) == 2
    for name, ranges in unbroken.items():
        assert np.allclose(ranges, resumed[name], atol=1e-6)


def test_a_task_that_fails_is_named(
    whole: list[str], data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_dir / "TinySTS/test.jsonl").write_text('{"sentence1": "a"}\n')
    assert main([*whole, str(tmp_path / "other")]) == 1
    assert "TinySTS has no score with causal_mean_32_float32: " in (error := capsys.readouterr().err) and "test.jsonl" in error


def test_each_text_is_encoded_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model("causal_mean", base)
    memory, counted = Memory(model), []
    plain = model.encode
    monkeypatch.setattr(
        model, "encode", lambda texts, *rest, **options: counted.extend(texts) or plain(texts, *rest, **options)
    )
    for precision in ("float32", "int8", "binary"):
        CompressedEncoder(memory, Setting(32, "float32")).encode([*WORDS, *WORDS])
        vectors = CompressedEncoder(memory, Setting(16, precision)).encode(WORDS)
        assert vectors.shape == (50, 16) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert counted == WORDS
    signs = compress(plain(WORDS)[:, :16], "binary")
    assert np.array_equal(compress(vectors, "binary"), signs)


def test_what_makes_no_sense(base: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(new_model("causal_mean", base), tmp_path / "adapter")
    command = [str(tmp_path / "adapter"), "--data_dir", str(data_dir), "--device", "cpu", "--output_dir", str(tmp_path / "out")]
    assert main([*command, "--dimensions", "64"]) == 1
    assert "have 32 numbers" in capsys.readouterr().err
    assert main([*command, "--dimensions", "8", "--name", "cut-{dimensions}"]) == 1
    assert "the same for two settings" in capsys.readouterr().err
    assert main([*command, "--precisions", "int4"]) == 1
    assert "precision" in capsys.readouterr().err
