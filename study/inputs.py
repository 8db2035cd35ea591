"""What a study starts from: base models, training data, tasks; where they are, and hashes of what is in them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.file_hashes import FileHashes
from common.hashes import digest
from common.locks import locked
from study.config import StudyConfig, find_path

PROMPTS = ("own", "mteb", "none")


@dataclass(frozen=True)
class Inputs:
    """Where everything is, and what decides results.

    Attributes:
        bases: base model as the study file names it -> directory or hub name.
        base_keys: the same -> hash of its weights, or the hub name.
        train: recipe -> training file, or file of several data sets.
        train_keys: recipe -> hash of the training data.
        train_files: training data as the study names them -> hash of content.
        eval_dir: folder of task folders, if any.
        tasks: name -> hash of its data, or ``mteb:<name>`` for a task that mteb brings itself.
        prompts: file of prompts for evaluation, if any.
        accelerate: file for ``accelerate launch``, if any.
        out_of_reach: base models that are neither here nor on the hub, as far as that was looked up -> a sentence.
    """

    bases: dict[str, str]
    base_keys: dict[str, str]
    train: dict[str, str]
    train_keys: dict[str, str]
    train_files: dict[str, str]
    eval_dir: str | None
    tasks: dict[str, str]
    prompts: str | None
    accelerate: str | None
    out_of_reach: dict[str, str] = field(default_factory=dict)


def prepare(config: StudyConfig, study_file: Path, *, look_up: bool = False) -> Inputs:
    """Find what the study file names, make the embedded corpus if it asks for it, and hash what decides results.

    Safe to run in several processes at once.

    Args:
        config: of the study.
        study_file: where the configuration stands.
        look_up: ask the hub for base models that are not in its cache; one that cannot be had is printed at once.

    Raises:
        UserError: something is missing or cannot be made.
    """
    output_dir = Path(config.output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {output_dir} cannot be made: {error.strerror}; give another directory") from error
    hashes = FileHashes(output_dir / "hashes.json")
    bases = {name: find_base(name, study_file) for name in config.base_models}
    asked = {name: beyond_reach(place, config.training.get("cache_dir")) for name, place in bases.items() if look_up}
    out_of_reach = {name: said for name, said in asked.items() if said}
    for said in out_of_reach.values():  # before a corpus is made, which takes minutes
        print(f"warning: {said}", file=sys.stderr, flush=True)
    base_keys = {name: base_key(place) for name, place in bases.items()}
    corpus_train, eval_dir = None, config.eval_dir
    if config.corpus is not None:
        corpus_train, eval_dir = make_corpus(output_dir)
    elif eval_dir is not None:
        eval_dir = find_path(eval_dir, study_file)
        if not Path(eval_dir).is_dir():
            raise UserError(f"eval_dir: there is no folder {eval_dir}")
    train: dict[str, str] = {}
    train_keys: dict[str, str] = {}
    train_files: dict[str, str] = {}
    for recipe in config.recipe_names:
        mix = config.flags(recipe).get("dataset_config")
        place = corpus_train or find_path(mix or str(config.train_file), study_file)
        found, key = of_mix(place, hashes) if mix else ({place: hashes.hash_of(Path(place))}, hashes.hash_of(Path(place)))
        train[recipe], train_keys[recipe] = place, key
        train_files |= found
    inputs = Inputs(bases, base_keys, train, train_keys, train_files, eval_dir, task_keys(config, eval_dir, hashes),
                    None if config.eval_prompts in PROMPTS else named_file(config.eval_prompts, "eval_prompts", study_file),
                    named_file(config.accelerate_config, "accelerate_config", study_file), out_of_reach)  # fmt: skip
    hashes.save()
    return inputs


def find_base(name: str, study_file: Path) -> str:
    """Return a base model's directory, or the hub name that it must be.

    Raises:
        UserError: it can only be meant as a directory, and there is none, or one without a model.
    """
    from model_loaders.hub import looks_local, resolve

    place = find_path(name, study_file)
    if Path(place).exists() or looks_local(place):
        try:
            resolve(place, what="base model", needs="config.json")
        except UserError as error:
            raise UserError(f"base_model: {error}") from error
    return place


def beyond_reach(place: str, cache_dir: str | None = None) -> str:
    """Return why a base model cannot be had, as far as a look at the hub says it; empty for one that is here."""
    import huggingface_hub

    from common.files import first_line
    from model_loaders.hub import HUB_TIMEOUT

    if Path(place).exists() or isinstance(huggingface_hub.try_to_load_from_cache(place, "config.json", cache_dir), str):
        return ""
    try:
        huggingface_hub.model_info(place, timeout=HUB_TIMEOUT)
    except Exception as error:  # of many kinds: HTTP status, connection, offline mode, no valid name
        return (
            f"base_model: {place} is no directory, is not in the hub's cache here, and could not be looked up on the hub "
            f"({first_line(error)}): check the name and the network, or download it elsewhere and give the directory"
        )
    return ""


def base_key(place: str) -> str:
    """Return a hash of a base model's weights, or its hub name."""
    from model_loaders.backbone.load import weights_hash

    return weights_hash(Path(place)) if Path(place).is_dir() else place


def make_corpus(output_dir: Path) -> tuple[str, str]:
    """Make the embedded corpus if it is not there; returns its training file and its folder of tasks."""
    from quickstart.corpus import build_corpus
    from quickstart.docstrings.split import LeakageError

    folder = output_dir / "corpus"
    with locked(output_dir / ".corpus.lock", str(folder), patience=600):
        try:
            corpus = build_corpus(folder, progress=True)
        except (OSError, ValueError, LeakageError) as error:
            raise UserError(f"the corpus could not be made in {folder}: {error}") from error
    return str(corpus.train_file), str(corpus.eval_dir)


def of_mix(path: str, hashes: FileHashes) -> tuple[dict[str, str], str]:
    """Return the data sets behind ``dataset_config`` with their hashes, and a hash of how they are mixed and treated."""
    from triplets.arguments import DataArguments

    entries: Any = DataArguments(dataset_config=path).dataset_config
    found = {}
    for entry in entries:
        place = Path(entry["name"])
        if entry.get("file") and place.is_dir():
            place /= entry["file"]
        found[str(place)] = hashes.hash_of(place)
        entry["name"], entry["file"] = found[str(place)], entry.get("file") if not place.exists() else None
    return found, digest(entries)


def task_keys(config: StudyConfig, eval_dir: str | None, hashes: FileHashes) -> dict[str, str]:
    """Return the study's tasks, each with a hash of its data."""
    from evaluation.tasks.find import find_tasks

    keys = {}
    for spec in find_tasks(config.tasks, eval_dir):
        keys[spec.name] = f"mteb:{spec.name}"
        if spec.local is not None:
            keys[spec.name] = digest([[path.name, hashes.hash_of(path)] for path in spec.local.content])
    if config.headline is not None and config.headline not in keys:
        from common.errors import nearest

        raise UserError(f"headline: {config.headline} is none of the tasks{nearest(config.headline, keys)}")
    return keys


def named_file(name: str | None, key: str, study_file: Path) -> str | None:
    """Return the path of a file that the study names."""
    if name is None:
        return None
    path = find_path(name, study_file)
    if not Path(path).is_file():
        raise UserError(f"{key}: there is no file {name}")
    return path
