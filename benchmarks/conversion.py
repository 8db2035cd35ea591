"""Time and peak memory of `triplets.convert` and `triplets.filter` on made-up files of many rows.

    python benchmarks/conversion.py --rows 1000000

Texts have 60 to 120 characters. Classes: 77 labels, seven negatives. Entailment: three rows a premise. Filter: one negative a
row, every tenth row twice, and its input is prepared first. Each command is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


WORDS = [f"word{number}" for number in range(5000)]
COMMANDS = {
    "classes": ["triplets.convert", "classes"],
    "labels": ["triplets.convert", "classes", "--by", "label"],
    "nli": ["triplets.convert", "nli"],
    "filter": ["triplets.filter"],
}


def rows_of(kind: str, count: int) -> Iterator[dict[str, object]]:
    """Yield the rows of a file."""
    draw = random.Random(0)

    def text(number: int) -> str:
        return f"{' '.join(draw.choices(WORDS, k=draw.randint(8, 15)))} {number}"

    for number in range(count):
        if kind in ("classes", "labels"):
            yield {"text": text(number), "label": f"label {draw.randrange(77)}"}
        elif kind == "nli":
            yield {
                "premise": f"premise {number // 3} {WORDS[number // 3 % 5000]}",
                "hypothesis": text(number),
                "label": number % 3,
            }
        else:
            place = number - 1 if number % 10 == 9 else number
            yield {"query": f"query {place} {WORDS[place % 5000]}", "positive": f"answer {place}", "negative": [text(number)]}


def measured(words: list[str]) -> tuple[float, float]:
    """Run a command; returns its seconds of CPU and its peak of resident memory in MiB."""
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    args = parser.parse_args()
    for kind in args.kinds:
        for count in args.rows:
            with tempfile.TemporaryDirectory() as folder:
                source, output = Path(folder) / "rows.jsonl", Path(folder) / "out.jsonl"
                with source.open("w", encoding="utf-8") as file:
                    for row in rows_of(kind, count):
                        file.write(json.dumps(row) + "\n")
                words = [*COMMANDS[kind], str(source), str(output)]
                if kind == "filter":
                    words += ["--cache_dir", str(Path(folder) / "cache")]
                seconds, peak = measured(words)
                size = source.stat().st_size / 2**20
                print(f"{kind:8s} {count:9,} rows, {size:6.0f} MiB: {seconds:6.1f} s, peak {peak:5.0f} MiB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
