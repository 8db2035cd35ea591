"""What users get wrong: one line that says what, where and what to do, before anything is computed where that is possible."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from common.locks import InUseError, locked
from evaluation.cli import main
from evaluation.tasks.local_files import iter_rows
from model_loaders import load
from model_loaders.saving import save
from tests.evaluation.conftest import BagOfWords, write
from tests.tiny import ROOT, new_model, write_base


class Loader:
    """Gives a stub; counts how often."""

    def __init__(self) -> None:
        self.encoder = BagOfWords()
        self.encoder.design_name, self.encoder.version = "bow", "1"
        self.calls = 0

    def __call__(self, **options):
        self.calls += 1
        return self.encoder


def call(*words: object, loader=None, **constants) -> int:
    arguments = [str(word) for word in words]
    return main("", loader=loader or Loader(), paper_tasks=["SciFact"], defaults=constants, arguments=arguments)


def usage_error(capsys, *words: object, **options) -> str:
    """Return the message of a command that must end as wrong usage."""
    with pytest.raises(SystemExit) as stop:
        call(*words, **options)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_a_task_that_measures_nothing_is_told_and_leaves_no_score(data_dir, tmp_path, capsys):
    path = data_dir / "TinySTS/test.jsonl"
    write(path, [{**row, "score": 1} for row in iter_rows(path)])
    flags = ["--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out", "--tasks", "TinySTS", "TinyPair"]
    assert call(*flags) == 1
    assert "is not a number: all its gold scores" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/results/*/*/TinySTS.json"))
    assert call(*flags) == 1  # and it is not taken for a result that is there
    assert "FAILED" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--batch_tokens", "0"], "no whole number above 0"),
        (["--batch_tokens", "-5"], "no whole number above 0"),
        (["--batch_size", "1.5"], "no whole number above 0"),
        (["--batch_size", "many"], "no whole number above 0"),
        (["--max_length", "0"], "no whole number above"),
        (["--max_length", "1"], "at least 2"),
        (["--max_length", "1e3"], "no whole number"),
        (["--dtype", "fp16"], "invalid choice"),
        (["--save_embedings"], "did you mean '--save_embeddings'"),
        (["--output_dir", "{file}"], "give another --output_dir"),
        (["--output_dir", "{file}/below"], "give another --output_dir"),
        (["--save_embeddings", "{file}"], "--save_embeddings"),
        (["--embedding_cache", "{file}"], "--embedding_cache"),
        (["--data_dir", "{file}"], "is no folder"),
        (["--prompts", "{tab}"], "no valid YAML"),
        (["--prompts", "{list}"], "must map task names"),
        (["--prompts", "{number}"], "must be a string"),
        (["--prompts", "{data}"], "cannot be read"),
        (["--prompts", "{latin}"], "is not UTF-8"),
        (["--prompts", "{empty}"], "must map task names"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "gpu"], "gpu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_flags_are_known_before_anything_is_loaded(flags, message, data_dir, tmp_path, capsys):
    contents = {
        "file": b"x", "tab": b"STS:\n\tquery: x\n", "list": b"- STS\n", "number": b"STS: 3\n",
        "latin": b"STS: \xe4\n", "empty": b"",
    }  # fmt: skip
    places = {name: tmp_path / name for name in contents}
    for name, content in contents.items():
        places[name].write_bytes(content)
    words = [word.format(**places, data=data_dir) for word in flags]
    loader = Loader()
    given = ["--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out", "--tasks", "TinySTS"]
    assert message in usage_error(capsys, *given, *words, loader=loader)
    assert not loader.calls


def of_adapter(tmp_path: Path, data_dir: Path) -> list[object]:
    places = {
        "--adapter_path": tmp_path / "adapter",
        "--data_dir": data_dir,
        "--output_dir": tmp_path / "out",
        "--device": "cpu",
    }
    return [word for flag in places.items() for word in flag]


def test_an_adapter_of_another_base(base, data_dir, tmp_path, capsys):
    save(new_model("model1", base), tmp_path / "adapter")
    other = write_base(tmp_path / "other", seed=5)
    flags = of_adapter(tmp_path, data_dir)
    assert "has other weights" in usage_error(capsys, *flags, "--base_model", other, loader=load)
    wide = write_base(tmp_path / "wide", hidden_size=64)
    assert "hidden_size 32" in usage_error(capsys, *flags, "--base_model", wide, loader=load)
    weights = tmp_path / "adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    assert "no readable safetensors" in usage_error(capsys, *flags, loader=load)


def test_a_model_that_does_not_load_stops_at_once(base, data_dir, tmp_path, capsys):
    """It is loaded when the first text must be encoded; then no task can be scored, and one line says why."""
    save(new_model("model1", base), tmp_path / "adapter")
    manifest = json.loads((tmp_path / "adapter/embedder.json").read_text())
    manifest["fingerprints"][0] = [-value for value in manifest["fingerprints"][0]]
    (tmp_path / "adapter/embedder.json").write_text(json.dumps(manifest))
    flags = of_adapter(tmp_path, data_dir)
    error = usage_error(capsys, *flags, loader=load)
    assert "does not give the vectors that it gave" in error and error.count("FAILED") == 0


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/file.json")


@pytest.mark.parametrize(
    "where",
    [
        "mteb.cache.ResultCache.save_to_cache",
        "evaluation.results.record.Record.write",
        "evaluation.results.item_scores._replace",
    ],
)
def test_a_full_disk_is_one_error_and_what_is_done_is_kept(where, data_dir, tmp_path, capsys, monkeypatch):
    flags = ["--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out"]
    assert call(*flags, "--tasks", "TinySTS") == 0
    loader = Loader()
    with monkeypatch.context() as context:
        context.setattr(where, full)
        error = usage_error(capsys, *flags, "--tasks", "TinySTS", "TinyPair", "TinyRetrieval", loader=loader)
        assert "cannot write (/full/file.json): No space left on device" in error and "the same command goes on" in error
        assert "TinyRetrieval" not in error  # no further task is encoded for a result that cannot be written
    assert call(*flags, "--tasks", "TinySTS", "TinyPair") == 0
    out = capsys.readouterr().out
    assert out.count("already there") == 1


def test_scores_are_shown_though_the_csv_cannot_be_written(data_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evaluation.score_adapter.write_csv", full)
    flags = ["--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out", "--tasks", "TinySTS"]
    with pytest.raises(SystemExit) as stop:
        call(*flags)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and "TinySTS" in out and "No space left" in err


def test_results_on_a_disk_that_cannot_be_written_are_shown(data_dir, tmp_path, capsys, read_only):
    flags = ["--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out", "--tasks", "TinySTS", "TinyPair"]
    assert call(*flags) == 0
    for damaged in tmp_path.glob("out/results/*/*/model_meta.json"):
        damaged.write_text("{")
    capsys.readouterr()
    read_only(tmp_path / "out")
    assert call(*flags) == 0
    out, err = capsys.readouterr()
    assert out.count("already there") == 2
    assert f"scores.csv is left as it was: cannot write to the directory {tmp_path / 'out'}: Read-only file system" in err


def test_what_cannot_be_written_is_not_encoded(data_dir, tmp_path, capsys, read_only):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("default: {query: '', document: ''}\n")  # as none, but of another revision
    flags = ["--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out"]
    assert call(*flags, "--tasks", "TinySTS", "--prompts", prompts) == 0
    assert call(*flags, "--tasks", "TinyClustering", "TinyPair", "--prompts", "none") == 0
    (broken,) = tmp_path.glob("out/results/*/*/TinyClustering.json")
    broken.write_text("{")
    capsys.readouterr()
    loader = Loader()
    read_only(tmp_path / "out")
    names = ["--tasks", "TinySTS", "TinyClustering", "TinyPair", "TinyRetrieval", "--prompts", "none"]
    assert call(*flags, *names, loader=loader) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert not loader.encoder.calls and out.count("already there") == 1 and "3 of 4 tasks failed" in out
    assert "cannot write to the directory" in out and "Read-only file system; give another --output_dir" in out
    read_only(tmp_path / "new")
    assert "Read-only file system; give another --output_dir" in usage_error(
        capsys, "--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "new", loader=loader
    )
    assert loader.calls == 1  # of the first call: now it is known before


HOLD = """
import sys, time
from pathlib import Path
from common.locks import locked
with locked(Path(sys.argv[1]), "it", patience=0):
    print("held", flush=True)
    time.sleep(300)
"""


def test_a_second_run_of_a_task_says_who_is_at_it_until_that_is_killed(data_dir, tmp_path, capsys):
    class Tries(BagOfWords):
        """Encodes, and asks for the lock meanwhile, as another process would."""

        def encode(self, *arguments, **options):
            (path,) = tmp_path.glob("out/.locks/*.TinyPair")
            with pytest.raises(InUseError, match=f"TinyPair is in use by another process .process {os.getpid()} on .* since 2"):
                locked(path, "TinyPair", patience=0).__enter__()
            self.tried = True
            return super().encode(*arguments, **options)

    loader = Loader()
    loader.encoder = Tries()
    loader.encoder.design_name, loader.encoder.version = "bow", "1"
    flags = ["--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out"]
    assert call(*flags, "--tasks", "TinyPair", loader=loader) == 0 and loader.encoder.tried
    (path,) = tmp_path.glob("out/.locks/*.TinyPair")
    lock = path.with_name(path.name.replace("TinyPair", "TinySTS"))
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        loader = Loader()
        error = usage_error(capsys, *flags, "--tasks", "TinyPair", "TinySTS", "TinyClustering", loader=loader)
        who = f"process {holder.pid} on {socket.gethostname()} since 2"
        assert f"TinySTS in {tmp_path / 'out'} is in use by another process ({who}" in error
        assert "TinyPair: max_ap 1.0000, already there" in error and not loader.encoder.calls
        assert call(*flags, "--tasks", "TinyPair", "TinyClustering") == 0  # of another task
        holder.kill()
    assert call(*flags, "--tasks", "TinySTS") == 0
