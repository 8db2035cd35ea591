"""Make a bundle: fetch, hash, and put it into its place."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from huggingface_hub import constants

from common.build import build
from common.errors import UserError
from common.file_hashes import file_hash
from common.files import new_folder, read_json, write_json
from common.words import gigabytes
from model_loaders.bundle.check import Bundle, Entry, listed_files
from model_loaders.layouts.manifest import library_versions

ROOT = Path(__file__).resolve().parents[2]
# Caches that would go before HF_HOME.
OTHER_CACHES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "TRANSFORMERS_CACHE", "HF_ASSETS_CACHE")


def make_bundle(args: argparse.Namespace) -> int:
    """Make the bundle that the flags ask for, whole or not at all.

    Raises:
        UserError: something cannot be had, or the folder is not empty.
    """
    with new_folder(args.bundle) as folder:
        entries = fetched(args, folder.absolute())
        hashes: dict[Path, str] = {}  # a file of the hub's cache is there twice, by its name and by its content
        files = {}
        for path in listed_files(folder):
            content = path.resolve()
            if content not in hashes:
                hashes[content] = file_hash(content)
            files[path.relative_to(folder).as_posix()] = hashes[content]
        size = sum(path.stat().st_size for path in hashes)
        Bundle(entries, files, library_versions()).write(folder)
    print(f"wrote {args.bundle}: {len(files)} files, {gigabytes(size)}")
    home = shlex.quote(str(args.bundle.absolute()))
    print(f"without a network: HF_HOME={home} HF_HUB_OFFLINE=1 before a command, and the names above in it")
    copies = sorted({entry.path.split("/")[0] for entry in entries if entry.path == entry.name})
    if copies:
        print(f"copies of local files are paths below {args.bundle.absolute()}: {', '.join(copies)}")
    return 0


def fetched(args: argparse.Namespace, folder: Path) -> tuple[Entry, ...]:
    """Fetch in a process of its own, whose caches are in the folder; returns the entries."""
    order = {"folder": str(folder), "models": args.models, "data": args.data, "tasks": args.tasks}
    order["data_dir"] = None if args.data_dir is None else str(args.data_dir)
    environment = {name: value for name, value in os.environ.items() if name not in OTHER_CACHES}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"HF_HOME": str(folder), "HF_TOKEN_PATH": constants.HF_TOKEN_PATH, "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as scratch:
        asked, answer = Path(scratch) / "order.json", Path(scratch) / "answer.json"
        write_json(order, asked)
        command = [sys.executable, "-m", "study.prefetch.fetch", str(asked), str(answer)]
        done = subprocess.run(command, env=environment)
        if not answer.is_file():
            raise UserError(f"fetching ended with status {done.returncode}: see above")
        content = read_json(answer)
    if "error" in content:
        raise UserError(content["error"])
    return tuple(build(Entry, entry, "entry") for entry in content["entries"])
