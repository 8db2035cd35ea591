"""Write small data of one's own: triplets, held-out triplets, a retrieval task and a corpus, from Python's own docstrings.

    python examples/make_data.py runs/example/data

A query is the name of a function in words, and its positive is the first paragraph of its docstring.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

MODULES = (
    "argparse", "ast", "asyncio", "calendar", "collections", "configparser", "csv", "datetime", "decimal", "difflib", "email",
    "fractions", "functools", "gzip", "heapq", "inspect", "io", "ipaddress", "itertools", "json", "logging", "math", "os",
    "pathlib", "pickle", "random", "re", "shutil", "socket", "statistics", "string", "subprocess", "tarfile", "tempfile",
    "textwrap", "threading", "tokenize", "traceback", "types", "unittest", "urllib.parse", "uuid", "zipfile",
)  # fmt: skip
HELD_OUT = 40  # of these pairs every n-th one goes to the task


def pairs() -> list[tuple[str, str]]:
    """Return pairs of a name in words and the first paragraph of its docstring, each paragraph once."""
    found: dict[str, str] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        members = [(name, module), *inspect.getmembers(module)]
        for member, value in members:
            if not member.startswith("_") and (inspect.isclass(value) or callable(value)):
                add(found, f"{name} {member}", value)
                if inspect.isclass(value):
                    for method, function in inspect.getmembers(value, callable):
                        if not method.startswith("_"):
                            add(found, f"{name} {member} {method}", function)
    return [(query, text) for text, query in found.items()]


def add(found: dict[str, str], name: str, value: Any) -> None:
    """Note a documented thing under its first paragraph."""
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    if len(text.split()) >= 5:
        found.setdefault(text, name.replace("_", " ").replace(".", " "))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder that gets the files")
    out = parser.parse_args().out
    known = pairs()
    step = max(2, len(known) // HELD_OUT)
    asked = [number for number in range(len(known)) if number % step == 0]
    rows = [{"query": query, "positive": text} for query, text in known]
    write(out / "triplets.jsonl", [row for number, row in enumerate(rows) if number % step])
    write(out / "corpus.jsonl", [{"id": f"d{number}", "text": text} for number, (_, text) in enumerate(known)])
    task = out / "tasks" / "NamesRetrieval"
    write(task / "corpus.jsonl", [{"id": f"d{number}", "title": "", "text": text} for number, (_, text) in enumerate(known)])
    write(task / "queries.jsonl", [{"id": f"q{number}", "text": known[number][0]} for number in asked])
    write(task / "qrels.test.jsonl", [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in asked])
    print(f"{len(rows) - len(asked)} triplets, {len(known)} documents, {len(asked)} queries of a task in {out}")


if __name__ == "__main__":
    main()
