"""A bundle holds everything for a machine without a network, and what is used of it is what it was made with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mteb.get_tasks import _TASKS_REGISTRY

from common.errors import UserError
from common.file_hashes import file_hash
from model_loaders import load
from model_loaders.bundle.check import BUNDLE, Bundle, Entry, bundle_above, check_bundled, listed_files
from model_loaders.hub import resolve
from model_loaders.saving import save
from study.prefetch import fetch
from study.prefetch.__main__ import main
from tests.evaluation.conftest import make_tasks
from tests.model_loaders.push.hub_server import Hub, hub
from tests.tiny import ROOT, new_model, triplets, without_network, write_base


def write_bundle(root: Path, base: Path) -> Path:
    """Write a bundle that holds one base model."""
    shutil.copytree(base, root / "models" / "base")
    files = {path.relative_to(root).as_posix(): "" for path in listed_files(root)}
    hashes = {name: file_hash(root / name) for name in files}
    Bundle((Entry("model", "models/base", "models/base"),), hashes).write(root)
    return root


def test_what_is_used_is_compared_with_the_list(base: Path, tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "bundle", base)
    folder = root / "models" / "base"
    assert bundle_above(folder / "config.json") == root and bundle_above(tmp_path) is None
    assert resolve(folder, what="base model", needs="config.json") == folder
    check_bundled(tmp_path)  # elsewhere nothing is compared
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(UserError, match=r"config\.json is not the file .* make the bundle again"):
        resolve(folder, what="base model", needs="config.json")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"lacks models/base/config\.json"):
        check_bundled(folder)
    shutil.copy(base / "config.json", folder / "config.json")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    check_bundled(folder)
    with pytest.raises(UserError, match="not in the list"):
        resolve(folder, what="base model", needs="config.json")


def test_a_damaged_list_is_an_error(base: Path, tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "bundle", base)
    content = json.loads((root / BUNDLE).read_text())
    (root / BUNDLE).write_text(json.dumps(content | {"files": ["x"]}))
    with pytest.raises(UserError, match=r"bundle\.json: files"):
        check_bundled(root / "models")
    (root / BUNDLE).write_text(json.dumps(content | {"format": "of another program"}))
    assert bundle_above(root / "models") is None


def test_nothing_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "bundle")])
    assert "--models" in capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    with hub(tmp_path / "hub") as running:
        yield running


def fill(server: Hub, tmp_path: Path) -> None:
    """Put a base model, an adapter on it, triplets and the data of one of mteb's tasks on the hub."""
    base = write_base(server.root / "me" / "base")
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    save(new_model("causal_mean", base), server.root / "me" / "adapter")
    manifest = server.root / "me" / "adapter" / "embedder.json"
    content = json.loads(manifest.read_text())
    content["base_model"] |= {"name_or_path": "me/base", "revision": server.keep("me/base")}
    manifest.write_text(json.dumps(content))
    server.keep("me/adapter")
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    server.keep("me/base")  # another commit, with the same weights
    lines = [json.dumps({"query": row["query"], "positive": row["positive"]}) for row in triplets(16)]
    (server.root / "datasets" / "me" / "triplets").mkdir(parents=True)
    (server.root / "datasets" / "me" / "triplets" / "train.jsonl").write_text("\n".join(lines))
    data = _TASKS_REGISTRY["STSBenchmark"].metadata.dataset
    rows = [{"sentence1": f"word{n} word1", "sentence2": f"word{n % 7}", "score": float(n % 5)} for n in range(20)]
    sts = server.root / "datasets" / data["path"]
    sts.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        (sts / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    server.keep(f"datasets/{data['path']}", data["revision"])
    make_tasks(tmp_path / "tasks")


def run(words: list[str], cwd: Path, *before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    names = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [*before, sys.executable, *words]
    return subprocess.run(command, cwd=cwd, env=inherited | names, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_everything_runs_from_a_bundle(server: Hub, tmp_path: Path) -> None:
    """Two steps of training, evaluation, comparison and export, where there is no network."""
    fill(server, tmp_path)
    bundle, work = tmp_path / "bundle", tmp_path / "work"
    work.mkdir()
    asked = ["--models", "me/base", "me/adapter", "--data", "me/triplets", "--tasks", "STSBenchmark", "TinyRetrieval"]
    words = ["-m", "study.prefetch", str(bundle), *asked, "--data_dir", str(tmp_path / "tasks")]
    made = run(words, tmp_path, HF_ENDPOINT=server.url, HF_HOME=str(tmp_path / "home"))
    assert made.returncode == 0, made.stdout + made.stderr
    about = {entry["name"]: entry for entry in json.loads((bundle / BUNDLE).read_text())["entries"]}
    pinned = server.commits("me/base")[0]
    assert sorted(about) == ["STSBenchmark", "me/adapter", "me/base", f"me/base@{pinned}", "me/triplets", "tasks/TinyRetrieval"]
    assert about["me/base"]["revision"] == server.commits("me/base")[1] and about["me/base"]["licence"] == "mit"
    assert about[f"me/base@{pinned}"]["licence"] == "apache-2.0"
    moved = tmp_path / "elsewhere"
    bundle.rename(moved)
    server.shutdown()

    network = without_network()
    offline = {"HF_HOME": str(moved), "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": server.url}
    flags = ["--model_name_or_path", "me/base", "--dataset_name", "me/triplets", "--max_steps", "2", "--use_cpu", "true"]
    flags += ["--per_device_train_batch_size", "4", "--output_dir", "trained", "--lora_r", "4", "--max_seq_length", "32"]
    scoring = [str(ROOT / "run_mteb.py"), "--tasks", "STSBenchmark", "TinyRetrieval", "--data_dir", str(moved / "tasks")]
    scoring += ["--output_dir", "scores", "--device", "cpu"]
    commands = [
        [str(ROOT / "trainers" / "train.py"), "--design", "causal_mean", *flags],
        [*scoring, "--adapter_path", "trained", "--name", "trained"],
        [*scoring, "--adapter_path", "me/adapter", "--name", "published"],
        ["-m", "comparison", "scores", "--output_dir", "compared"],
        ["-m", "model_loaders.export", "me/adapter", "exported", "--format", "merged", "--device", "cpu"],
    ]
    for words in commands:
        done = run(words, work, *network, **offline)
        assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert (work / "compared" / "report.html").is_file() and (work / "exported" / "config.json").is_file()
    record = json.loads(next(work.glob("scores/results/*published/*/recipes/STSBenchmark.json")).read_text())
    assert record["origin"]["adapter_path"] == f"me/adapter@{server.commits('me/adapter')[-1]}"
    assert record["encoder"]["base_model"]["revision"] == pinned
    assert json.loads((work / "trained" / "embedder.json").read_text())["base_model"]["name_or_path"] == "me/base"

    weights = next((moved / "hub").glob("models--me--base/snapshots/*/model.safetensors")).resolve()
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    done = run([*scoring, "--adapter_path", "me/adapter", "--output_dir", "again"], work, *network, **offline)
    assert done.returncode == 2 and "is not the file that the bundle was made with" in done.stderr
    prepared = next((moved / "datasets").glob("me___triplets/**/*.arrow"))
    prepared.write_bytes(b"")
    done = run([*commands[0], "--output_dir", "trained_again"], work, *network, **offline)
    assert done.returncode != 0 and "is not the file that the bundle was made with" in done.stderr


@pytest.mark.slow
def test_local_things_are_copied(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = write_base(tmp_path / "here" / "base")
    save(new_model("model4", base), tmp_path / "here" / "adapter")
    (tmp_path / "here" / "adapter" / "checkpoint-1").mkdir()
    (tmp_path / "own.jsonl").write_text(json.dumps({"query": "word1", "positive": "word2"}))
    words = ["--models", str(tmp_path / "here" / "adapter"), "--data", str(tmp_path / "own.jsonl")]
    assert main([str(tmp_path / "bundle"), *words]) == 0, capfd.readouterr().err
    expected = load(tmp_path / "here" / "adapter", device="cpu").encode(["word1"])
    shutil.rmtree(tmp_path / "here")
    names = {path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").glob("*/*")}
    assert {"models/adapter", "models/base", "data/own.jsonl"} <= names
    assert not (tmp_path / "bundle" / "models" / "adapter" / "checkpoint-1").exists()
    assert (load(tmp_path / "bundle" / "models" / "adapter", device="cpu").encode(["word1"]) == expected).all()
    assert main([str(tmp_path / "other"), *words]) == 1
    assert "adapter" in capfd.readouterr().err and not (tmp_path / "other").exists()


def test_a_file_that_cannot_be_copied_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "bundle").mkdir()
    asked, answer = tmp_path / "order.json", tmp_path / "answer.json"
    order = {"folder": str(tmp_path / "bundle"), "models": [], "data": [str(tmp_path / "data")], "tasks": [], "data_dir": None}
    asked.write_text(json.dumps(order))
    fetch.main(asked, answer)
    error = json.loads(answer.read_text())["error"]
    assert "gone.jsonl cannot be copied" in error and "No such file" in error
