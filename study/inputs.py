"""The inputs of a study: base models, training data and tasks, where they are, and hashes of their contents."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub

from common.errors import UserError, nearest
from common.file_hashes import FileHashes
from common.files import first_line
from common.hashes import digest
from common.locks import locked
from evaluation.tasks.find import find_tasks
from model_loaders.backbone.base_files import weight_files, weights_hash
from model_loaders.hub import HUB_TIMEOUT, looks_local, resolve, split_revision
from quickstart.corpus import build_corpus
from quickstart.docstrings.split import LeakageError
from study.config import StudyConfig, find_path
from study.input_keys import hash_mix, key_of_task
from study.published import content_key, find_published
from study.systems import System, find_systems

PROMPTS = ("own", "mteb", "none")
CORPUS = "corpus"  # the embedded one, below the study's folder


@dataclass(frozen=True)
class Inputs:
    """Where everything is, and what decides results.

    Attributes:
        bases: base model as the study file names it -> directory or hub name.
        base_keys: the same -> hash of its weights, or the hub name.
        train: name under ``recipes`` -> training file, or file of several data sets.
        train_keys: the same -> hash of the training data.
        train_files: training data as the study names them -> hash of content.
        eval_dir: folder of task folders, if any.
        tasks: name -> hash of its data, or ``mteb:<name>`` for a task that mteb brings itself.
        prompts: file of prompts for evaluation, if any.
        prompted: names of tasks that this file may name beside those in ``tasks``: of the study's search, or of its study.
        accelerate: file for ``accelerate launch``, if any.
        published: published models by their name in the study -> options of ``model_loaders.load``.
        published_keys: the same -> hash of their folders' content.
        systems: trainings of whole systems by their name in the study.
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
    published: dict[str, dict[str, str]] = field(default_factory=dict)
    published_keys: dict[str, str] = field(default_factory=dict)
    systems: dict[str, System] = field(default_factory=dict)
    prompted: tuple[str, ...] = ()


@dataclass
class TrainingData:
    """The training data of a study, by name under ``recipes`` and by file; the fields are those of `Inputs`."""

    train: dict[str, str] = field(default_factory=dict)
    train_keys: dict[str, str] = field(default_factory=dict)
    train_files: dict[str, str] = field(default_factory=dict)


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
    bases = {name: find_base(name, study_file) for name in config.base_models}
    out_of_reach: dict[str, str] = {}
    if look_up:
        out_of_reach = look_up_bases(bases, config.training.get("cache_dir"))
    hashes = FileHashes(output_dir / "hashes.json")
    base_keys = {name: base_key(place, hashes) for name, place in bases.items()}
    corpus_train: str | None = None
    eval_dir: str | None
    if config.corpus is None:
        eval_dir = find_eval_dir(config, study_file)
    else:
        corpus_train, eval_dir = make_corpus(output_dir)
    data = training_data(config, study_file, corpus_train, hashes)
    tasks = task_keys(config, eval_dir, hashes)
    hashes.save()
    prompts = None
    if config.eval_prompts not in PROMPTS:
        prompts = named_file("eval_prompts", config.eval_prompts, study_file)
    accelerate = named_file("accelerate_config", config.accelerate_config, study_file)
    published = find_published(config, study_file)
    return Inputs(
        bases,
        base_keys,
        data.train,
        data.train_keys,
        data.train_files,
        eval_dir,
        tasks,
        prompts,
        accelerate,
        out_of_reach,
        published,
        {name: content_key(options) for name, options in published.items()},
        find_systems(config, study_file),
    )


def find_base(name: str, study_file: Path) -> str:
    """Return a base model's directory, or the hub name that it must be.

    Raises:
        UserError: it can only be meant as a directory, and there is none, or one without a model.
    """
    place = find_path(name, study_file)
    if Path(place).exists() or looks_local(place):
        try:
            resolve(place, what="base model", needs="config.json")
        except UserError as error:
            raise UserError(f"base_model: {error}") from error
    return place


def look_up_bases(bases: dict[str, str], cache_dir: str | None) -> dict[str, str]:
    """Return the base models that cannot be had, each with a sentence; print the sentences at once.

    A corpus, which takes minutes, is made after it.
    """
    out_of_reach = {}
    for name, place in bases.items():
        sentence = beyond_reach(place, cache_dir)
        if sentence:
            out_of_reach[name] = sentence
            print(f"warning: {sentence}", file=sys.stderr, flush=True)
    return out_of_reach


def beyond_reach(place: str, cache_dir: str | None = None) -> str:
    """Return why a base model cannot be had, as far as a look at the hub tells; empty for one that is here."""
    repository, revision = split_revision(place)
    if Path(place).exists():
        return ""
    if isinstance(huggingface_hub.try_to_load_from_cache(repository, "config.json", cache_dir, revision or None), str):
        return ""
    try:
        huggingface_hub.model_info(repository, revision=revision or None, timeout=HUB_TIMEOUT)
    except Exception as error:  # of many kinds: HTTP status, connection, offline mode, no valid name
        return (
            f"base_model: {place} is no directory, is not in the hub's cache here, and could not be looked up on the hub "
            f"({first_line(error)}): check the name and the network, or download it elsewhere and give the directory"
        )
    return ""


def base_key(place: str, hashes: FileHashes) -> str:
    """Return a hash of a base model's weights, or its hub name."""
    folder = Path(place)
    if not folder.is_dir():
        return place
    return weights_hash(folder) or digest([[file.name, hashes.hash_of(file)] for file in weight_files(folder)])


def make_corpus(output_dir: Path) -> tuple[str, str]:
    """Make the embedded corpus if it is not there; return its training file and its folder of tasks."""
    folder = output_dir / CORPUS
    with locked(output_dir / ".corpus.lock", str(folder), patience=600):
        try:
            corpus = build_corpus(folder, progress=True)
        except (OSError, ValueError, LeakageError) as error:
            raise UserError(f"the corpus could not be made in {folder}: {error}") from error
    return str(corpus.train_file), str(corpus.eval_dir)


def find_eval_dir(config: StudyConfig, study_file: Path) -> str | None:
    """Return the folder of task folders, if the study names one."""
    if config.eval_dir is None:
        return None
    eval_dir = find_path(config.eval_dir, study_file)
    if not Path(eval_dir).is_dir():
        raise UserError(f"eval_dir: there is no folder {eval_dir}")
    return eval_dir


def training_data(config: StudyConfig, study_file: Path, corpus_train: str | None, hashes: FileHashes) -> TrainingData:
    """Find and hash the training data of each name under ``recipes``; ``corpus_train`` is the embedded corpus's file."""
    data = TrainingData()
    for recipe in [*config.data_names, *config.settings]:
        mix = config.flags(recipe).get("dataset_config")
        place = corpus_train or find_path(mix or str(config.train_file), study_file)
        if mix:
            files, key = hash_mix(place, hashes)
        else:
            key = hashes.hash_of(Path(place))
            files = {place: key}
        data.train[recipe] = place
        data.train_keys[recipe] = key
        data.train_files |= files
    return data


def task_keys(config: StudyConfig, eval_dir: str | None, hashes: FileHashes) -> dict[str, str]:
    """Return the study's tasks, each with a hash of its data."""
    keys = {}
    for spec in find_tasks(config.tasks, eval_dir):
        keys[spec.name] = key_of_task(spec, hashes.hash_of)
    if config.headline is not None and config.headline not in keys:
        raise UserError(f"headline: {config.headline} is none of the tasks{nearest(config.headline, keys)}")
    return keys


def named_file(key: str, name: str | None, study_file: Path) -> str | None:
    """Return the path of a file that a key of the study names, if it names one."""
    if name is None:
        return None
    path = find_path(name, study_file)
    if not Path(path).is_file():
        raise UserError(f"{key}: there is no file {name}")
    return path
