"""Several processes encode together: the same vectors, no hang, and every trouble has its reason."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from evaluation.encode.distributed import split_texts
from evaluation.encode.rank import Rank, first_process, launched
from model_loaders.saving import save
from tests.evaluation.conftest import write
from tests.tiny import ROOT, WORDS, new_model

PAIR = Path(__file__).with_name("pair.py")


CASES = ["calls", "agree version", "agree trouble 0", "agree trouble 1", "1 die", "0 die", "scoring fails", "0 stop", "wait"]


@pytest.fixture(scope="module")
def pair() -> Callable[[str], tuple[object, object]]:
    """Tells what the first and the second process found in a case, None for one that is gone."""
    done = subprocess.run([sys.executable, str(PAIR), *CASES], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = {(case, rank): what for case, rank, what in map(json.loads, done.stdout.splitlines())}
    return lambda case: (found.get((case, 0)), found.get((case, 1)))


def test_shares_are_as_many_and_as_long():
    texts = ["w" * (n * n % 97) for n in range(50)]
    hands = split_texts(texts, 4)
    assert sorted(row for rows in hands for row in rows) == list(range(50))
    lengths = [sum(len(texts[row]) for row in rows) for rows in hands]
    assert max(map(len, hands)) - min(map(len, hands)) <= 1 and max(lengths) - min(lengths) <= 97
    hands = split_texts(["w" * n for n in range(80)], 4)
    assert len({sum(rows) for rows in hands}) == 1  # there and back again: nobody has the longer one of each round
    assert split_texts(["a"], 3) == [[0], [], []]


def test_one_process_needs_no_launcher():
    assert launched({}) == launched({"WORLD_SIZE": "1", "RANK": "0"}) == Rank() and first_process({})
    assert Rank().device(None, {}) is None and Rank().device(None, {"ACCELERATE_USE_CPU": "true"}) == "cpu"
    assert Rank().device("cuda:3") == "cuda:3"


def test_the_place_is_the_launchers(monkeypatch):
    environment = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}
    place = launched(environment)
    assert place == Rank(3, 4, 1) and not first_process(environment)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    chosen = []
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    assert place.device(None, {}) == place.device("cuda", {}) == "cuda:1" and chosen == [1, 1]
    assert place.device("cuda:0") == "cuda:0" and place.device("cpu") == "cpu"
    assert place.device(None, {"ACCELERATE_USE_CPU": "true"}) == "cpu"
    with pytest.raises(UserError, match="as many processes as GPUs"):
        Rank(2, 4, 2).device(None, {})
    with pytest.raises(UserError, match="holds a whole model"):
        launched(environment | {"ACCELERATE_USE_FSDP": "true"})


def test_vectors_come_back_in_order_and_a_failure_is_that_calls_alone(pair):
    first, second = pair("calls")
    assert first == [
        "right",
        "right",
        "RuntimeError: process 1: MemoryError: not enough",
        "RuntimeError: process 1: ValueError: the encoder gave (1, 3) values for 1 texts, or some are not finite",
        "UserError: no room",
        "UserError: process 1: no room",
        "RuntimeError: MemoryError: not enough",
        "right",
    ]
    assert second == "let go"


def test_processes_with_other_models_or_without_do_not_begin(pair):
    assert all("process 1 has loaded another model" in found for found in pair("agree version"))
    assert pair("agree trouble 1") == ("UserError: process 1: cannot load",) * 2
    assert pair("agree trouble 0") == ("UserError: cannot load",) * 2


def test_a_process_that_is_gone_ends_the_run(pair):
    first, second = pair("1 die")
    assert "process of this run is gone" in first and second is None
    first, second = pair("0 die")
    assert first is None and "process of this run is gone" in second


def test_the_end_of_the_first_process_lets_the_others_go(pair):
    assert pair("scoring fails") == ("ValueError: wrong score", "let go")
    first, second = pair("0 stop")  # in the middle of a shard
    assert first.startswith("KeyboardInterrupt") and "is gone" in second
    assert pair("wait") == ("right", "let go")  # however long the first one scores


# --- the whole way, through the launcher ---


@pytest.fixture(scope="module")
def material(base, tmp_path_factory) -> Path:
    """An adapter, small tasks with words that the model knows, and a corpus that takes a while."""
    folder = tmp_path_factory.mktemp("material")
    save(new_model("model3", base), folder / "adapter")
    rng = np.random.default_rng(0)

    def text(words: int) -> str:
        return " ".join(rng.choice(WORDS, words))

    for name, documents in (("Small", 300), ("Big", 4_000)):
        task = folder / name.lower() / name
        write(
            task / "corpus.jsonl", [{"id": f"d{n}", "title": "", "text": text(rng.integers(1, 99))} for n in range(documents)]
        )
        write(task / "queries.jsonl", [{"id": f"q{n}", "text": text(6)} for n in range(40)])
        qrels = [{"query-id": f"q{n % 40}", "corpus-id": f"d{n % 250}", "score": 1} for n in range(200)]
        write(task / "qrels.test.jsonl", [*map(dict, dict.fromkeys(tuple(row.items()) for row in qrels))])
    pairs = [(text(5), text(5), float(n % 7)) for n in range(60)]
    write(folder / "small/Pairs/test.jsonl", [{"sentence1": a, "sentence2": b, "score": c} for a, b, c in pairs])
    return folder


def command(material: Path, data: str, out: Path, *more: object, two: bool = True) -> list[str]:
    launcher = [str(Path(sys.executable).with_name("accelerate")), "launch", "--main_process_port", "0"]
    launcher += ["--config_file", str(ROOT / "configs/accelerate/cpu.yaml")]
    script = [str(ROOT / "run_mteb.py"), "--adapter_path", str(material / "adapter"), "--data_dir", str(material / data)]
    script += ["--output_dir", str(out), "--device", "cpu", "--name", "m", *map(str, more)]
    return (launcher if two else [sys.executable]) + script


def results(out: Path) -> dict[str, object]:
    """Return all scores and items under an output directory."""
    found = {}
    for path in sorted((out / "results").glob("*/*/*.json")):
        content = json.loads(path.read_text())
        if "scores" in content:
            found[path.stem] = content["scores"]
            items = path.parent / "items" / f"{path.stem}.jsonl.gz"
            found[f"{path.stem} items"] = items.read_bytes() if items.exists() else None
    return found


@pytest.mark.slow
def test_two_processes_have_the_vectors_and_scores_of_one(material, tmp_path):
    from evaluation.results.item_scores import read_items

    for two in (False, True):
        out = tmp_path / f"{two}"
        more = ["--embedding_cache", tmp_path / f"cache {two}"]
        done = subprocess.run(command(material, "small", out, *more, two=two), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("results:") == 1 and done.stderr.count("[1/2]") == 2, done.stderr  # one process speaks
    files = [sorted((tmp_path / f"cache {two}").rglob("*.npz")) for two in (False, True)]
    assert [path.name for path in files[0]] == [path.name for path in files[1]] and len(files[0]) >= 4
    for one, other in zip(*files, strict=True):
        with np.load(one) as alone, np.load(other) as together:
            assert np.abs(alone["vectors"] - together["vectors"]).max() <= 1e-6
            assert np.array_equal(alone["tokens"], together["tokens"]) and np.array_equal(alone["cut"], together["cut"])
    scores = [{k: v for k, v in results(tmp_path / f"{two}").items() if "items" not in k} for two in (False, True)]
    assert scores[0] == scores[1] and len(scores[0]) == 2
    items = [next((tmp_path / f"{two}").rglob("items/Small.jsonl.gz")) for two in (False, True)]
    assert read_items(items[0]) == read_items(items[1])


@pytest.mark.slow
def test_exit_codes_are_those_of_one_process(material, tmp_path):
    broken = tmp_path / "data/Broken"
    write(broken / "test.jsonl", [{"left": "a"}])
    done = subprocess.run(
        command(material, "x", tmp_path / "out", "--data_dir", tmp_path / "data"), capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout.count("1 of 1 tasks failed") == 1, done.stderr
    done = subprocess.run(command(material, "x", tmp_path / "out"), capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr.count("does not exist") == 1, done.stderr
    gone = ["--adapter_path", tmp_path / "gone"]
    done = subprocess.run(command(material, "small", tmp_path / "out", *gone), capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr.count("there is no adapter directory") == 1, done.stderr


def rank_of(pid: int) -> str | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((value[5:].decode() for value in variables if value.startswith(b"RANK=")), None)


def wait_for(condition, seconds: float = 90) -> object:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def children(pid: int) -> dict[str, int]:
    """Return the process of each rank below a launcher."""
    below = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True).stdout.split()
    return {rank: int(child) for child in below if (rank := rank_of(int(child))) is not None}


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "number"), [("1", signal.SIGKILL), ("0", signal.SIGTERM), ("0", signal.SIGINT)])
def test_a_run_that_loses_a_process_ends_and_goes_on_later(rank, number, material, tmp_path):
    line = command(material, "big", tmp_path / "out", "--shard_texts", 200)
    with (tmp_path / "log").open("w") as log:
        launcher = subprocess.Popen(line, stdout=log, stderr=log, cwd=tmp_path)
        wait_for(lambda: list((tmp_path / "out/embeddings").rglob("*.npz")) or launcher.poll() is not None)
        ranks = children(launcher.pid)
        os.kill(ranks[rank], number)
        assert launcher.wait(timeout=60) != 0
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks.values()), 10)
    text = (tmp_path / "log").read_text()
    assert len(re.findall("the same command goes on after it", text)) == 1, text
    stored = len(list((tmp_path / "out/embeddings").rglob("*.npz")))
    line = command(material, "big", tmp_path / "out", "--shard_texts", 200, two=False)
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads(next((tmp_path / "out").rglob("recipes/Big.json")).read_text())
    assert record["sides"]["document"]["reused"] + record["sides"]["query"]["reused"] >= 40 + 200 * (stored - 1)
    assert record["encoded_again"] <= 200
    assert not (tmp_path / "out/embeddings").exists()
