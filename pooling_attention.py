"""The command ``pooling-attention``: the toolkit's scripts by one name, from any working directory.

    pooling-attention train --design model3 --model_name_or_path BASE --dataset_name triplets.jsonl --output_dir runs/model3
    pooling-attention evaluate --adapter_path runs/model3 --data_dir my_tasks --output_dir runs/model3-mteb
    pooling-attention study configs/quickstart.yaml

Files that come with the toolkit (``configs/…``, ``quickstart/base``) are taken from the installation where the working
directory has none of that name. On several GPUs: ``accelerate launch --module pooling_attention train …``.
"""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "pooling-and-attention"
PROGRAM = "pooling-attention"
PROJECT = Path(__file__).resolve().parent
SHIPPED = ("configs/", "quickstart/base", "comparison/families")  # beginnings of names of files that come with the toolkit
USAGE = 2


@dataclass(frozen=True)
class Command:
    """A subcommand: the module that is run as a script, and a line about it."""

    module: str
    about: str


COMMANDS = {
    "train": Command("trainers.train", "train a design on triplets: LoRA and pooling → an adapter directory"),
    "encode": Command("evaluation.encode_file", "encode the texts of a file → vectors in a .npy file"),
    "evaluate": Command("run_mteb", "score an adapter on MTEB tasks or local task folders"),
    "compare": Command("comparison.__main__", "compare studies and results in mteb's layout → a report"),
    "study": Command("run_study", "train, score and compare what a study file names"),
    "export": Command("model_loaders.export.__main__", "turn an adapter into a folder that other programs load"),
    "search": Command("evaluation.search.__main__", "search a file of texts, on the terminal or in a page"),
    "push": Command("model_loaders.push.__main__", "send an adapter, or an export of it, to a hub"),
    "prefetch": Command("study.prefetch.__main__", "put models, data and tasks into a folder for a machine without a network"),
    "convert": Command("model_loaders.convert", "turn an adapter in the published layout into ours"),
}


def usage() -> str:
    """Return the help text."""
    lines = [f"usage: {PROGRAM} COMMAND …", "", (__doc__ or "").strip(), "", "commands:"]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:10}{command.about}")
    lines += ["", f"{PROGRAM} COMMAND --help shows a command's flags; {PROGRAM} --version the version."]
    return "\n".join(lines)


def shipped(word: str) -> str:
    """Return a word of the command line; the name of a file that comes with the toolkit becomes its place.

    A flag's value may stand in the same word, as in ``--config=configs/mistral-7b.yaml``.
    """
    flag, equals, name = word.rpartition("=") if word.startswith("--") else ("", "", word)
    if name.startswith(SHIPPED) and not Path(name).exists() and (PROJECT / name).exists():
        return f"{flag}{equals}{PROJECT / name}"
    return word


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand as its script would run; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else USAGE
    if words[0] == "--version":
        print(f"{PROGRAM} {version()}")
        return 0
    name, *rest = words
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        print(f"{PROGRAM}: error: there is no command {name!r}{hint}; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return USAGE
    sys.argv = [f"{PROGRAM} {name}", *map(shipped, rest)]
    try:
        runpy.run_module(COMMANDS[name].module, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    return 0


def version() -> str:
    """Return the version of the installation; a clone that is not installed has none."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
