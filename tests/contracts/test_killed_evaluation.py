"""``kill -9`` at random moments over a retrieval run of the command line: the same numbers, at most a shard a kill again."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evaluation.results.item_scores import read_items
from model_loaders.saving import save
from tests.evaluation.conftest import write
from tests.tiny import ROOT, WORDS, new_model

SHARD, DOCUMENTS, QUERIES, KILLS = 100, 8000, 60, 10


@pytest.fixture
def line(base, tmp_path) -> list[str]:
    """A command that scores an adapter on a corpus that takes it a while; the output directory is to be added."""
    save(new_model("model3", base), tmp_path / "adapter")
    rng = random.Random(0)

    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    task = tmp_path / "data/Killed"
    write(task / "corpus.jsonl", [{"id": f"d{n}", "title": "", "text": text(rng.randint(5, 99))} for n in range(DOCUMENTS)])
    write(task / "queries.jsonl", [{"id": f"q{n}", "text": text(6)} for n in range(QUERIES)])
    judged = {(n % QUERIES, rng.randrange(DOCUMENTS)) for n in range(20 * QUERIES)}
    write(task / "qrels.test.jsonl", [{"query-id": f"q{q}", "corpus-id": f"d{d}", "score": 1} for q, d in sorted(judged)])
    script = [
        sys.executable,
        str(ROOT / "run_mteb_retrieval.py"),
        "--adapter_path",
        str(tmp_path / "adapter"),
        "--device",
        "cpu",
    ]
    return [*script, "--data_dir", str(tmp_path / "data"), "--shard_texts", str(SHARD), "--output_dir"]


def found(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Return scores, items and record of the only result."""
    (result,) = out.glob("results/*/*/Killed.json")
    items = read_items(result.parent / "items/Killed.jsonl.gz")
    return json.loads(result.read_text())["scores"], items, json.loads((result.parent / "recipes/Killed.json").read_text())


def lost(out: Path, since: float) -> list[str]:
    """Return the shards that were begun since a time and are not whole on the disk."""
    stored = {path.stem for path in (out / "embeddings").rglob("*.npz")}
    begun = [path for path in (out / "embeddings").rglob("begun/*") if path.stat().st_mtime >= since]
    return [path.name for path in begun if path.name not in stored]


@pytest.mark.slow
def test_ten_kills_change_no_number(line, tmp_path):
    start = time.monotonic()
    whole = subprocess.run([*line, str(tmp_path / "whole")], capture_output=True, text=True)
    seconds = time.monotonic() - start
    assert whole.returncode == 0 and "second time" not in whole.stdout, whole.stderr
    out, rng, again, kills = tmp_path / "out", random.Random(), 0, 0
    deadline = time.monotonic() + 900
    while kills < KILLS:
        assert time.monotonic() < deadline
        known = len(list((out / "embeddings").rglob("*.npz")))
        began = time.time()
        run = subprocess.Popen([*line, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if kills % 5 != 4:  # most while texts are encoded, some wherever the run is then
            more = rng.randint(0, 5)
            while run.poll() is None and len(list((out / "embeddings").rglob("*.npz"))) <= known + more:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.1))
        else:
            time.sleep(rng.uniform(0, 0.4 * seconds))
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, "it was finished too soon"
        kills += 1
        gone = lost(out, began)
        assert len(gone) <= 1
        again += min(SHARD, QUERIES if known == 0 and not list((out / "embeddings").rglob("*.npz")) else SHARD) * len(gone)
    last = subprocess.run([*line, str(out)], capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    scores, items, record = found(out)
    assert (scores, items) == found(tmp_path / "whole")[:2]
    assert record["encoded_again"] == again <= KILLS * SHARD
    print(f"{kills} kills, {again} texts encoded a second time of {DOCUMENTS + QUERIES}")
    shown = re.findall(r"([\d,]+) texts were encoded a second time", last.stdout + last.stderr)
    assert (set(shown) == {f"{again:,}"} and len(shown) == 2) if again else not shown
    assert record["sides"]["document"]["reused"] > 0 and not (out / "embeddings").exists()
