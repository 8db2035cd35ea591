from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time

import numpy as np
import pytest

from common.words import duration, short
from evaluation.evaluate import evaluate
from evaluation.progress import Progress
from evaluation.tasks.find import find_tasks
from evaluation.tasks.workload import estimate, expected_characters
from model_loaders.encoding import Encoded
from tests.evaluation.conftest import BagOfWords, write
from tests.tiny import ROOT


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def started(sizes, **options):
    clock, lines = Clock(), []
    progress = Progress(sizes, lines.append, clock=clock, **options)
    progress._stop.set()  # no thread between the assertions
    return progress, clock, lines


def encode(progress, clock, *, texts, characters, seconds, tokens=None, reused=0):
    """One call: `reused` of its texts come from the store, the others are encoded in `seconds`."""
    progress.begin_call("texts", texts, characters)
    if reused:
        progress.settle(reused, characters * reused / texts, reused=True)
    clock.now += seconds
    progress.settle(texts - reused, characters * (texts - reused) / texts, tokens)
    progress.end_call()


def test_speed_and_time_left_are_of_what_is_encoded_now():
    progress, clock, _ = started([1000, 1000, 2000])
    progress.start(0, "A")
    assert progress.work.seconds_left() is None
    encode(progress, clock, texts=100, characters=1000, seconds=10.0, tokens=300)
    assert progress.work.speed() == (10.0, 30.0)
    progress.end(0, "A", "0.5", computed=True)
    assert progress.work.seconds_left() == pytest.approx(30.0)
    progress.start(1, "B")
    progress.end(1, "B", "there", computed=False)  # no time, no speed: what is left gets shorter by its share
    assert progress.work.seconds_left() == pytest.approx(20.0)
    progress.start(2, "C")
    encode(progress, clock, texts=200, characters=2000, seconds=5.0, tokens=150, reused=150)
    assert progress.work.speed() == (10.0, 30.0)  # the 150 of the store count for nothing
    assert progress.work.seconds_left() == pytest.approx(0.0)


def test_what_was_expected_is_corrected_by_what_was_found():
    progress, clock, _ = started([1000, 1000])
    progress.start(0, "A")
    encode(progress, clock, texts=100, characters=500, seconds=5.0)  # half of what its file's bytes promised
    progress.end(0, "A", "", computed=True)
    assert progress.work.seconds_left() == pytest.approx(5.0)


def test_scoring_has_its_own_time_and_name():
    progress, clock, _ = started([1000, 1000])
    progress.start(0, "A")
    encode(progress, clock, texts=10, characters=1000, seconds=10.0)
    clock.now += 30
    assert "[1/2] A: scoring for 30 s" in progress.state()
    assert progress.work.speed()[0] == 1.0  # scoring does not slow encoding down
    progress.end(0, "A", "", computed=True)
    assert progress.work.seconds_left() == pytest.approx(10 + 30)
    progress.start(1, "B")
    encode(progress, clock, texts=10, characters=1000, seconds=10.0)
    clock.now += 20
    assert progress.work.seconds_left() == pytest.approx(10)


def test_loading_the_model_is_no_time_of_a_task():
    progress, clock, _ = started([1000, 1000])
    progress.start(0, "A")
    with progress.once("loading the model"):
        clock.now += 100
        assert progress.state() == "[1/2] A: loading the model"
    assert "loading for 0.0 s" in progress.state()
    encode(progress, clock, texts=10, characters=1000, seconds=10.0)
    progress.end(0, "A", "", computed=True)
    assert progress.work.seconds_left() == pytest.approx(10)


def test_batches_count_before_their_shard_is_whole_and_once():
    progress, clock, _ = started([1000], processes=2)
    progress.start(0, "A")
    progress.begin_call("documents", 100, 1000)
    clock.now += 2.0
    progress.on_batch(10, 50)
    assert progress.work.speed() == (10.0, 50.0)  # two processes
    assert "encoding documents 20/100" in progress.state()
    clock.now += 2.0
    progress.settle(40, 400, 200)
    assert progress.work.speed() == (10.0, 50.0)
    assert "40/100" in progress.state()
    clock.now += 6.0
    progress.end_call()  # nobody settled the rest
    assert progress.work.speed()[0] == 10.0


def test_a_failed_task_leaves_nothing_behind():
    progress, clock, _ = started([1000, 1000])
    progress.start(0, "A")
    progress.begin_call("texts", 10, 1000)
    clock.now += 1
    progress.end(0, "A", "FAILED", computed=False)
    progress.start(1, "B")
    assert "loading" in progress.state()
    encode(progress, clock, texts=10, characters=1000, seconds=1.0)
    assert progress.work.speed()[0] == 10


def test_lines_come_every_half_minute_also_while_nothing_is_heard(monkeypatch):
    monkeypatch.setattr("evaluation.progress.BAR_SECONDS", 0.01)
    clock, lines = Clock(), []
    progress = Progress([1000], lines.append, clock=clock)
    progress.start(0, "A")
    progress.begin_call("documents", 100, 1000)
    clock.now += 31
    deadline = time.monotonic() + 5
    while len(lines) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    progress.close()
    assert len(lines) == 2 and "encoding documents 0/100" in lines[1] and "(0 % of all text)" in lines[1]


def test_the_bar_is_one_and_says_speed_and_time_left(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setattr("evaluation.progress.BAR_SECONDS", 0.01)
    monkeypatch.setenv("COLUMNS", "200")
    clock = Clock()
    progress = Progress([1000, 1000], lambda line: print(line, file=out), bar=True, clock=clock)
    progress.start(0, "A")
    progress.begin_call("texts", 100, 1000)
    clock.now += 10
    progress.settle(50, 500, 100)
    time.sleep(0.2)
    progress.close()
    shown = out.getvalue()
    assert "[1/2] A …\n" in shown
    assert "25%|" in shown and "encoding texts 50/100, 5 texts/s, 10 tokens/s, about 30 s left" in shown


def test_the_bar_is_drawn_on_a_terminal_that_does_not_know_its_size():
    code = """
from evaluation.progress import Progress
import sys, time
progress = Progress([1000], lambda line: print(line, file=sys.stderr, flush=True), bar=True)
progress.start(0, "A")
progress.begin_call("texts", 10, 1000)
time.sleep(0.7)
progress.close()
"""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=theirs) as process:
        assert process.wait(timeout=60) == 0
    assert "encoding texts 0/10" in os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)


def test_the_whole_way_counts_every_text(tmp_path, data_dir, monkeypatch):
    seen = {}
    monkeypatch.setattr(Progress, "close", lambda self: (seen.update(progress=self), self._stop.set()))

    class Counting(BagOfWords):
        def encode_counted(self, texts, role="document", *, on_batch=None, **options):
            vectors = self.encode(texts, role, **options)
            time.sleep(0.001)
            if on_batch:
                on_batch(len(texts), 3 * len(texts))
            return Encoded(vectors, np.full(len(texts), 3, dtype=np.int32), np.zeros(len(texts), dtype=bool))

    specs = find_tasks((), data_dir)
    result = evaluate(Counting(), specs, tmp_path / "out", name="bow", version="1")
    assert not result.failures
    progress = seen["progress"]
    assert progress.work.fresh.tokens == 3 * progress.work.fresh.texts > 300
    assert progress.work.done() == pytest.approx(progress.work.total())
    ratios = sorted(expected / found for expected, found in progress.work.finished)
    assert ratios[0] > 0.6 and ratios[-2] < 1.7 and ratios[-1] > 4  # a candidate of many queries is encoded once
    evaluate(Counting(), specs, tmp_path / "out", name="bow", version="1")
    assert seen["progress"].work.fresh.texts == 0


def test_expected_characters_of_files_and_of_mtebs_tasks(tmp_path):
    rows = [{"_id": str(i), "title": "ab", "text": "c" * 98, "metadata": {"url": "x" * 50}} for i in range(3000)]
    for name in ("corpus.jsonl", "corpus.jsonl.gz"):
        write(tmp_path / name, rows)
        characters, count = estimate(tmp_path / name)
        assert characters == 100 and count == pytest.approx(3000, rel=0.01)
    (scifact, banking, sts, unknown) = find_tasks(["SciFact", "Banking77Classification", "STSBenchmark", "MindSmallReranking"])
    sizes = expected_characters([scifact, banking, sts, unknown])
    assert sizes[0] == 7_798_555 and sizes[2] == 147_886
    assert sizes[1] == pytest.approx(167_036 * (1 + 77 * 80 / 3080))  # train texts are sampled: 10 runs of 8 a label
    assert all(sizes)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/test.jsonl").write_text("{")
    assert expected_characters(find_tasks(["broken"], tmp_path)) == [0.0]


def test_words():
    assert [duration(s) for s in (0.04, 9.99, 61, 600, 6100, 400_000)] == [
        "0.0 s",
        "10 s",
        "61 s",
        "10 min",
        "1 h 42 min",
        "4 d 15 h",
    ]
    assert short("A" * 50).count("A") == 31 and len(short("A" * 50)) == 32 and short("abc") == "abc"
