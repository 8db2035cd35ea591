"""Fetch what a bundle shall hold, in a process whose Hugging Face home (``HF_HOME``) is the bundle.

The libraries read that variable when they are imported, so this runs as a script of its own: its first argument is a JSON file
with what is asked for and the folder, its second one the file that gets the entries or the error.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import huggingface_hub

from common.disk import unwritable
from common.errors import UserError
from common.files import first_line, read_json, write_json
from evaluation.tasks.find import TaskSpec, find_tasks
from evaluation.tasks.mteb_tasks import data_path
from model_loaders.bundle.check import Entry
from model_loaders.bundle.prepared_data import prepared_folder
from model_loaders.hub import HUB_TIMEOUT, at_revision, looks_local, resolve, split_revision
from model_loaders.layouts.exported import ABOUT
from model_loaders.layouts.manifest import MANIFEST, read_manifest
from model_loaders.layouts.source import base_named
from model_loaders.layouts.st_modules import MODULES
from model_loaders.layouts.tensors import LORA_CONFIG
from triplets.data_sets import DataSet
from triplets.sources import locate

LEFT_OUT = ("checkpoint-*", ".*", "__pycache__", "runs")  # of folders that are copied: training state, logs, caches


class Fetcher:
    """Fetches into one folder.

    Attributes:
        folder: the bundle.
        entries: what is in it, by name.
        origins: where copies came from, by their places.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self.origins: dict[Path, Path] = {}

    def model(self, name: str) -> Path:
        """Fetch or copy a base model or adapter, and the base model of an adapter; returns its folder.

        Raises:
            UserError: it cannot be had, or is neither.
        """
        source = resolve(name, what="model or adapter")
        hub = self.folder / "hub"
        if source.absolute().is_relative_to(hub):
            repository, _ = split_revision(name)
            licence = licence_of(repository, source.name)
            self.add(Entry("model", name, self.below(source), source.name, licence))
            self.bases_of(source)
            return source
        if known := self.copied(source, "models"):
            return known
        if not ((source / "config.json").is_file() or adapter_base(source) or (source / "modules.json").is_file()):
            raise UserError(f"{name} is no model and no adapter: it has no config.json, {MANIFEST} or {LORA_CONFIG}")
        target = self.copy(source, "models", "model")
        self.bases_of(target, source)
        return target

    def bases_of(self, directory: Path, source: Path | None = None) -> None:
        """Fetch the base model that an adapter names; a folder is copied, and named by its place from the adapter."""
        base = adapter_base(source or directory)
        if not base:
            return
        if not (looks_local(base) or Path(base).exists()):
            if base not in self.entries:
                self.model(base)
            return
        place = self.model(base)
        if (directory / MANIFEST).is_file() and source is not None:
            content = read_json(directory / MANIFEST)
            content["base_model"]["name_or_path"] = f"./{place.name}"
            content["base_relative"] = f"../{place.name}"
            write_json(content, directory / MANIFEST)
        elif source is not None:
            print(f"note: {directory.name} names no base model of the bundle; give --base_model {self.below(place)} with it")

    def data(self, name: str) -> None:
        """Fetch or copy triplets."""
        path = Path(name).expanduser()
        if path.exists():
            self.copy(path, "data", "data")
            return
        repository, _, config = name.partition(":")
        try:
            locate(DataSet(repository, config_name=config or None), None)
        except UserError as error:
            written = f"; here it is written --data {repository}:CONFIGURATION" if "--dataset_config_name" in str(error) else ""
            raise UserError(f"{error}{written}") from error
        info = huggingface_hub.HfApi().dataset_info(repository, timeout=HUB_TIMEOUT)
        licence = card_licence(info.card_data)
        self.add(Entry("data", name, self.below(prepared_folder(repository)), str(info.sha or ""), licence))

    def task(self, spec: TaskSpec) -> None:
        """Fetch or copy a task's rows."""
        if spec.fault:
            raise UserError(spec.fault)
        if spec.folder is not None:
            self.copy(spec.folder, "tasks", "task")
            return
        task = spec.task()
        try:
            spec.load(task)
        except UserError:
            raise
        except Exception as error:  # of many kinds: HTTP status, connection, format
            raise UserError(f"the data of {spec.name} could not be had from the hub: {first_line(error)}") from error
        about, place = task.metadata.dataset, str(data_path(spec.name))
        self.add(Entry("task", spec.name, self.below(prepared_folder(place)), str(about.get("revision") or "")))

    def copy(self, source: Path, room: str, kind: str) -> Path:
        """Copy a file or folder into a room of the bundle; returns its place.

        Raises:
            UserError: another one has its name.
        """
        if known := self.copied(source, room):
            return known
        target = self.folder / room / source.resolve().name
        if target.exists():
            raise UserError(f"two things are named {target.name}, of which one is {source}: rename it")
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            shutil.copyfile(source, target)
        self.origins[target] = source.resolve()
        self.add(Entry(kind, self.below(target), self.below(target)))
        return target

    def copied(self, source: Path, room: str) -> Path | None:
        """Return the copy of a file or folder that was copied before."""
        target = self.folder / room / source.resolve().name
        return target if self.origins.get(target) == source.resolve() else None

    def below(self, path: Path) -> str:
        """Return a path from the bundle on."""
        return path.absolute().relative_to(self.folder).as_posix()

    def add(self, entry: Entry) -> None:
        """Note an entry, and say so."""
        self.entries[entry.name] = entry
        at = f" at {entry.revision}" if entry.revision else ""
        print(f"  {entry.kind:6}{entry.name}{at}", flush=True)


def adapter_base(directory: Path) -> str:
    """Return the base model that an adapter names, with the commit where it knows it; empty for what is no adapter."""
    if (directory / MANIFEST).is_file():
        manifest = read_manifest(directory)
        if manifest.begun_on is not None:  # it is its own base
            return ""
        base = manifest.base_model
        return at_revision(base.name_or_path, base.revision)
    if (directory / LORA_CONFIG).is_file():
        config = read_json(directory / LORA_CONFIG)
        at_commit = any((directory / name).is_file() for name in (ABOUT, MODULES))  # such folders are loaded on that commit
        return base_named(config if at_commit else config | {"revision": None})
    return ""


def licence_of(repository: str, commit: str) -> str:
    """Return the licence that a model's card on the hub states; empty where it states none, or cannot be asked."""
    try:
        return card_licence(huggingface_hub.model_info(repository, revision=commit, timeout=HUB_TIMEOUT).card_data)
    except (OSError, huggingface_hub.errors.HTTPError):
        return ""


def card_licence(card: Any) -> str:
    """Return the licence in the data of a card."""
    licence = None if card is None else card.get("license")
    return str(licence) if licence else ""


def fetch(order: dict[str, Any]) -> Iterator[Entry]:
    """Fetch everything; yields the entries.

    Raises:
        UserError: something cannot be had.
    """
    fetcher = Fetcher(Path(order["folder"]))
    for name in order["models"]:
        fetcher.model(name)
    for name in order["data"]:
        fetcher.data(name)
    if order["tasks"] or order["data_dir"]:
        for spec in find_tasks(order["tasks"], order["data_dir"]):
            fetcher.task(spec)
    yield from fetcher.entries.values()


def main(order: Path, answer: Path) -> None:
    """Fetch what ``order`` says, and write the entries or the error into ``answer``."""
    try:
        content: dict[str, Any] = {"entries": [asdict(entry) for entry in fetch(read_json(order))]}
    except shutil.Error as error:  # of copying a folder: each file with its reason
        file, _, why = error.args[0][0]
        content = {"error": f"{file} cannot be copied: {why}"}
    except (UserError, OSError) as error:
        content = {"error": unwritable(error, [Path(read_json(order)["folder"])]) or str(error)}
    write_json(content, answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
