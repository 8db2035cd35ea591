"""The study file: its keys, their defaults, and checks of what can be known without data or models."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.build import build
from common.errors import UserError, nearest
from common.yaml_files import read_yaml
from model_loaders.designs import DESIGNS, GRID, PUBLISHED_SIZES, design_name, get_design
from model_loaders.text.named import recipe_names
from study.probes.settings import Probing
from study.tuning.settings import TuneConfig

ROOT = Path(__file__).resolve().parents[1]
SYSTEM_NAME = re.compile(r"[\w.-]+")  # it becomes part of a folder's name
LEXICAL = ("tfidf", "static_bag")  # fitted on the training texts
BASELINES = ("mean_pooling", *LEXICAL)
# Flags of the trainers that a study sets itself.
OF_THE_CELL = ("model_name_or_path", "dataset_name", "dataset_file_path", "output_dir", "seed", "resume_from_checkpoint")
COMPARISON = {
    "baseline": str,
    "all_pairs": bool,
    "margin": float,
    "families": str,
    "same_revision": bool,
    "unrelated": bool,
    "texts": bool,
    "seed": int,
}


@dataclass(frozen=True)
class StudyConfig:
    """A study file; each key is a field.

    Attributes:
        output_dir: where everything goes; a relative path counts from the working directory.
        designs: rows of the table of designs; the word ``grid`` for causal and bidirectional attention, each with EOS, mean,
            last-layer trainable and multi-layer trainable pooling.
        base_model: hub name or directory; a relative path counts from the study file's folder, then from the repository.
        base_models: several of them, instead.
        title: of the report; empty for the file's name.
        seeds: one training run of each design a seed.
        corpus: ``docstrings`` for the embedded corpus; without it ``train_file``, ``eval_dir`` and ``tasks`` say where data is.
        train_file: triplets, as ``--dataset_name`` of the trainers takes them.
        eval_dir: local task folders.
        tasks: names of folders in ``eval_dir``, or of mteb's tasks; empty for all folders.
        headline: the task that untrained models are scored on too, and whose scores are compared query by query.
        baselines: any of ``mean_pooling`` (of the untrained base), ``tfidf``, ``static_bag`` (a trained embedding table), and
            names in ``configs/recipes``: the untrained base read with that recipe and the prompts that it says.
        systems: trainings beside the designs, by the name that the report shows: files as in ``configs/systems``, each with its
            own flags, design and stages; or a design with flags over ``training`` (see ``study/systems.py``).
        published: models that are loaded and scored, not trained, by the name that the report shows: a hub name or folder, or a
            mapping with ``adapter_path``, ``base_model``, ``design`` (see ``study/published.py``).
        training: flags of the trainers; a ``dataset_config`` in it stands instead of ``train_file``.
        recipes: by name, flags that go before those in ``training``: each design is trained once with each.
        accelerate_config: file for ``accelerate launch`` of each training run; empty for one process.
        max_length: tokens a text at most in evaluation; empty for the training's lengths.
        eval_batch_size: texts of one forward pass at most; empty for what memory allows.
        eval_prompts: ``own`` for the prompts of training (default), ``mteb``, ``none``, or a YAML file of prompts by task, as
            ``run_mteb.py --prompts`` takes it.
        jobs: cells at a time, at least one; empty for one on each share of the GPUs, and two on a CPU of at least two cores.
        tune: settings that each design tries on development tasks first; it is trained with its best one too
            (`study.tuning.settings`).
        probes: what vectors notice, on the first run of each system, when all cells have ended (`study.probes.settings`).
        comparison: options of ``python -m comparison``: baseline, all_pairs, margin, families, same_revision, unrelated, seed;
            ``texts: false`` leaves the texts of tasks out of the report.
    """

    output_dir: str
    designs: list[str]
    base_model: str | None = None
    base_models: list[str] = field(default_factory=list)
    title: str | None = None
    seeds: list[int] = field(default_factory=lambda: [42])
    corpus: str | None = None
    train_file: str | None = None
    eval_dir: str | None = None
    tasks: list[str] = field(default_factory=list)
    headline: str | None = None
    baselines: list[str] = field(default_factory=list)
    systems: dict[str, Any] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    recipes: dict[str, Any] = field(default_factory=dict)
    accelerate_config: str | None = None
    max_length: int | None = None
    eval_batch_size: int | None = None
    eval_prompts: str = "own"
    jobs: int | None = None
    tune: TuneConfig | None = None
    probes: Probing | None = None
    comparison: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be known without touching data or models.

        Raises:
            UserError: naming the key.
        """
        if self.base_model is not None and self.base_models in ([], [self.base_model]):
            object.__setattr__(self, "base_models", [self.base_model])
        elif self.base_model is not None or not self.base_models:
            raise UserError("base_model (one) or base_models (a list): give one of them")
        object.__setattr__(self, "designs", [design_name(name) for name in self.designs])
        if not (self.designs or self.systems) or not self.seeds:
            raise UserError("designs and seeds: give at least one of each; with systems, designs may be []")
        for key in ("designs", "seeds", "base_models", "baselines", "tasks"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise UserError(f"{key}: one of {getattr(self, key)} stands there twice; a repeated run says nothing new")
        if self.jobs is not None and self.jobs < 1:
            raise UserError(f"jobs: at least 1, not {self.jobs}")
        if self.headline and self.tasks and self.headline not in self.tasks:
            raise UserError(f"headline: {self.headline} is none of the tasks{nearest(self.headline, self.tasks)}")
        self._check_flags("training", self.training)
        for name, flags in self.recipes.items():
            self._check_flags(f"recipes, {name}", flags)
        self._check_tuning()
        self._check_data()
        self._check_comparison()

    def _check_flags(self, key: str, flags: object) -> None:
        if not isinstance(flags, dict):
            raise UserError(f"{key}: expected flags of the trainers and their values, found {flags!r}")
        for flag in OF_THE_CELL:
            if flag in flags:
                raise UserError(f"{key}: {flag} is set by the study for each cell; leave it out")
        mix = flags.get("dataset_config")
        if mix is not None and not isinstance(mix, str):
            raise UserError(f"{key}: dataset_config takes the path of a file, not {mix!r}")
        if mix is not None and (self.train_file or self.corpus):
            raise UserError(f"{key}: dataset_config names the training data: leave train_file and corpus out")

    def _check_tuning(self) -> None:
        if self.tune is None:
            return
        if self.recipes:
            raise UserError("tune: leave recipes out: each design is trained with the common setting and with its best one")
        if self.corpus is None and not (self.tune.tasks or self.tune.eval_dir):
            raise UserError("tune: give eval_dir (a folder of development tasks) or tasks (names of mteb's tasks)")
        self._check_flags("tune: training", self.tune.training)
        for name, flags in self.tune.settings.items():
            self._check_flags(f"tune: settings, {name}", flags)
        for task in self.tune.tasks:
            if task in self.tasks:
                raise UserError(f"tune: {task} is a test task of the study: settings must be chosen on other data")

    def _check_data(self) -> None:
        if self.corpus not in (None, "docstrings"):
            raise UserError(f"corpus: {self.corpus!r} is unknown; docstrings is the embedded one")
        mixes = [self.flags(name).get("dataset_config") for name in self.data_names]
        if self.corpus is None and not (self.train_file or all(mixes)):
            raise UserError("give train_file (or dataset_config in training), or corpus: docstrings")
        if self.corpus is None and not (self.eval_dir or self.tasks):
            raise UserError("give eval_dir (a folder of task folders), tasks (names of mteb's tasks), or corpus: docstrings")
        for name in self.baselines:
            _check_choice("baselines", name, [*BASELINES, *recipe_names()])
        for name in self.published:
            _check_system_name(name)
        for name in self.systems:
            _check_trained_name(name, [*self.baselines, *self.published])
        lexical = [name for name in self.baselines if name in LEXICAL]
        train_file = self.train_file or mixes[0]
        if lexical and train_file is not None and not train_file.endswith((".jsonl", ".jsonl.gz")):
            raise UserError(f"baselines: {', '.join(lexical)} need train_file to be a .jsonl file, not {train_file!r}")

    def _check_comparison(self) -> None:
        for key, value in self.comparison.items():
            _check_choice("comparison", key, COMPARISON)
            kind = COMPARISON[key]
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise UserError(f"comparison: {key}: expected {kind.__name__}, found {value!r}")
        if not 0 < self.comparison.get("margin", 0.01) < 1:
            raise UserError("comparison: margin: scores are between 0 and 1, so give a fraction such as 0.01 for one point")
        if self.comparison.get("all_pairs") and "baseline" in self.comparison:
            raise UserError("comparison: all_pairs compares everybody with everybody: leave baseline out, or all_pairs")

    @property
    def recipe_names(self) -> list[str]:
        """The names under ``recipes``; one empty name where the file has none."""
        return list(self.recipes) or [""]

    @property
    def data_names(self) -> list[str]:
        """The names under which training data is kept: those of recipes, and the empty one where systems are trained."""
        return list(dict.fromkeys([*self.recipe_names, *([""] if self.systems else [])]))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that ``tune`` names; none without it."""
        return {} if self.tune is None else self.tune.settings

    def flags(self, recipe: str) -> dict[str, Any]:
        """Return the trainers' flags under a name in ``recipes`` or of a setting, those of ``training`` included."""
        return {**self.training, **self.recipes.get(recipe, self.settings.get(recipe, {}))}


def _check_system_name(name: str) -> None:
    """Raise a UserError unless a published model can have ``name`` in the report."""
    example = "for example published: {KaLM-mini-v2: HIT-TMG/KaLM-embedding-multilingual-mini-instruct-v2}"
    for kind, taken in (("baseline", BASELINES), ("recipe", recipe_names()), ("design", DESIGNS)):
        if name in taken:
            raise UserError(
                f"published: {name!r} is the name of a {kind} already, and the report would show two systems of one name. Give "
                f"the model another name, {example}"
            )
    if not SYSTEM_NAME.fullmatch(name):
        raise UserError(
            f"published: {name!r} is no name for the report: it takes letters, digits, '.', '_' and '-'. Write the name before "
            f"the model, {example}"
        )


def _check_trained_name(name: str, others: Collection[str]) -> None:
    """Raise a UserError unless a system that the study trains can have ``name`` in the report."""
    if not isinstance(name, str) or not SYSTEM_NAME.fullmatch(name):
        raise UserError(f"systems: {name!r} is no name for the report: it takes letters, digits, '.', '_' and '-'")
    for kind, taken in (("baseline", BASELINES), ("design", DESIGNS), ("baseline or published model of the study", others)):
        if name in taken:
            raise UserError(f"systems: {name!r} is the name of a {kind} already: give the system another name")


def _check_choice(key: str, name: str, choices: Collection[str]) -> None:
    if name not in choices:
        raise UserError(f"{key}: there is no {name!r}{nearest(str(name), choices)}; choose from {', '.join(choices)}")


def read_study_config(path: Path, overrides: Mapping[str, Any]) -> StudyConfig:
    """Read a study file; ``overrides`` are keys and values that go before those in the file.

    Raises:
        UserError: no such file, no valid YAML, an unknown or a missing key, or a value that no key takes.
    """
    if not path.is_file():
        raise UserError(f"no study file can be read at {path}; try configs/quickstart.yaml")
    content = read_yaml(path, "the study file")
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no keys; see configs/quickstart.yaml")
    if content.get("designs") == "grid":
        content["designs"] = list(GRID)
    recipes = content.get("recipes")
    for flags in (content.get("training"), *(recipes.values() if isinstance(recipes, dict) else ())):
        if isinstance(flags, dict) and isinstance(flags.get("stages"), str):
            flags["stages"] = find_path(flags["stages"], path)
    return build(StudyConfig, {**content, **overrides}, str(path))


def flags_of(config: StudyConfig, recipe: str, design: str) -> dict[str, Any]:
    """Return the trainers' flags for a design, without those of the pooling that it does not have."""
    return flags_for(design, config.flags(recipe))


def flags_for(design: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return flags without those of a pooling that a design does not have."""
    pooling = get_design(design).pooling
    if pooling == "none":
        return {name: value for name, value in flags.items() if not name.startswith("pooling_")}
    if "latents" not in PUBLISHED_SIZES[pooling]:
        return {name: value for name, value in flags.items() if name != "pooling_latents"}
    return dict(flags)


def find_path(name: str, study_file: Path) -> str:
    """Return a local path beside the study file, in the working directory or in the repository; else ``name`` itself."""
    for start in (study_file.resolve().parent, Path.cwd(), ROOT):
        place = start / Path(name).expanduser()  # an absolute path stands for itself
        if place.exists():
            return str(place.resolve())
    return name
