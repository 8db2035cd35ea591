"""Ratios that stand for the speed of the whole, against what they were: ``make bench`` names each that fell.

    python benchmarks/guard.py [--only dropout lora] [--rounds 5]     # some two minutes; exits 1 where a ratio fell
    python benchmarks/guard.py --write                                # measure, and keep it in benchmarks/expected.json
    python benchmarks/guard.py --only dropout --base FOLDER --dtype bfloat16 --triplets 16    # of another base LLM

Each ratio is the seconds of another way over those of ours (or of the dearer setting): more is better. Both sides run in turn
in one process, in processor seconds of one thread, so that a busy machine slows both; the value is the ratio of the medians.
Noise is counted twice: the scatter of the rounds' own ratios in this run, and the ``noise`` of the expected value, the share by
which ratios of whole runs differ. A ratio fell where even its upper end is below the expected value less its noise. The range
of commits is from the one that the expected value was measured at to the present one. A ratio without an expected value is
printed and not judged.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clock import Measured, measure
from benchmarks.guard_cases import CASES, USUAL, Settings
from benchmarks.random_models import ROOT, TINY_BASE
from common.files import read_json, read_json_or_empty, write_json

EXPECTED = Path(__file__).with_name("expected.json")
NOISE = 0.08  # share by which ratios of whole runs differ on a busy machine
ERRORS = 3.0  # standard errors of a median


@dataclass(frozen=True)
class Expected:
    """A ratio as it was.

    Attributes:
        ratio: of the medians.
        noise: share of it by which runs differ.
        commit: that it was measured at; empty where that is not known.
    """

    ratio: float
    noise: float = NOISE
    commit: str = ""


def fallen(measured: Mapping[str, Measured], expected: Mapping[str, Expected]) -> list[str]:
    """Return the names of ratios that are below what was expected by more than noise."""
    names = []
    for name, now in measured.items():
        before = expected.get(name)
        if before is not None and now.ratio + ERRORS * now.error < before.ratio * (1.0 - before.noise):
            names.append(name)
    return names


def commit() -> str:
    """Return the present commit; empty where git or the repository is absent."""
    return git("rev-parse", "--short=10", "HEAD").strip()


def commits_since(begin: str) -> str:
    """Name the range of commits since ``begin``, with their number."""
    end = commit()
    if not begin or not end:
        return "a range of commits that is not known"
    listed = git("rev-list", f"{begin}..{end}").split()
    return f"{begin}..{end} ({len(listed)} commits)" if listed else f"no commit since {begin}: changes that are not committed"


def git(*words: str) -> str:
    """Return what git prints in this repository; empty where it fails."""
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor() -> str:
    """Name this machine's processor and torch's version: ratios of others need not be the same."""
    details: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return f"{details().get('cpu_name', 'unknown')}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside the block, so that processor seconds are those of the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=USUAL, help=f"default: {' '.join(USUAL)}")
    parser.add_argument("--rounds", type=int, default=5, help="of both sides")
    parser.add_argument("--base", type=Path, default=TINY_BASE, help="folder of a base LLM (default: the quickstart's)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--triplets", type=int, default=64, help="of a batch")
    parser.add_argument("--expected", type=Path, default=EXPECTED)
    parser.add_argument("--write", action="store_true", help="keep the ratios as the expected ones")
    return parser.parse_args()


def measure_all(names: Sequence[str], settings: Settings, rounds: int) -> dict[str, Measured]:
    """Measure ratios, and print each."""
    measured = {}
    for name in names:
        begin = time.perf_counter()
        now = measured[name] = measure(CASES[name](settings), rounds)
        about = str(CASES[name].__doc__).rstrip(".")
        print(f"{name:<10}{now.ratio:6.2f} ± {now.error:.2f}  {time.perf_counter() - begin:5.0f} s  {about}", flush=True)
    return measured


def write(measured: Mapping[str, Measured], path: Path) -> None:
    """Keep ratios as the expected ones; others of the same processor stay as they are."""
    kept: Mapping[str, Any] = read_json_or_empty(path)
    ratios = dict(kept["ratios"]) if kept.get("processor") == processor() else {}
    for name, now in measured.items():
        ratios[name] = {"ratio": round(now.ratio, 3), "noise": NOISE, "commit": commit()}
    write_json({"processor": processor(), "ratios": ratios}, path)
    print(f"written to {path}")


def judge(measured: Mapping[str, Measured], path: Path) -> int:
    """Print which ratios fell since they were written down, and in which range of commits; returns the exit status."""
    kept = read_json(path)
    expected = {name: Expected(**values) for name, values in kept["ratios"].items()}
    if kept["processor"] != processor():
        print(f"note: expected were measured on {kept['processor']}; this is {processor()}: write your own with --write")
    for name in sorted(set(measured) - set(expected)):
        print(f"{name}: not judged, nothing is expected yet; --write keeps it")
    names, judged = fallen(measured, expected), len(set(measured) & set(expected))
    for name in names:
        now, before = measured[name], expected[name]
        lost = 1.0 - now.ratio / before.ratio
        print(f"{name} FELL by {lost:.0%}, from {before.ratio:.2f} to {now.ratio:.2f}, in {commits_since(before.commit)}")
    if not names:
        print(f"no ratio fell, of {judged} that were judged; {len(measured) - judged} were not")
    return 1 if names else 0


def main() -> int:
    """Measure, and compare or write."""
    args = parse_arguments()
    settings = Settings(args.base, args.dtype, args.triplets)
    with one_thread():
        measured = measure_all(args.only, settings, args.rounds)
    if args.write:
        write(measured, args.expected)
        return 0
    if settings != Settings():
        return 0  # what is expected is of the usual settings
    return judge(measured, args.expected)


if __name__ == "__main__":
    sys.exit(main())
