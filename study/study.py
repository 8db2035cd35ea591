"""A study as it is run: its file, its keys, its inputs and its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from study.cells import Cell, make_cells, read_scores_file
from study.config import StudyConfig, flags_of, read_study_config
from study.inputs import CORPUS, Inputs, prepare
from study.tuning.choice import choose
from study.tuning.settings import TuneConfig, check_different
from trainers.flags.home import with_home
from trainers.flags.read_flags import DATA_FLAGS
from trainers.flags.stages import stage_entries, without_data
from triplets.arguments import DataArguments
from triplets.dataset import TripletRows
from triplets.read import read_triplets

# Flags of the trainers that say which triplets are trained on.
TRAINING_FLAGS = {field.name for field in fields(DataArguments)} - {
    "eval_dataset",
    "eval_dataset_config_name",
    "eval_dataset_split",
    "max_eval_samples",
}


@dataclass(frozen=True)
class Study:
    """Everything that decides what is trained, scored and compared.

    Attributes:
        file: the study file.
        config: its keys.
        inputs: base models, data and tasks, with hashes.
        cells: in the order of the study.
        overrides: keys that were given on the command line, which go before those of the file.
        tuning: the search of settings, a study of its own below ``tuning`` in the study's folder; None without ``tune``.
    """

    file: Path
    config: StudyConfig
    inputs: Inputs
    cells: list[Cell]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tuning: Study | None = None

    @property
    def output_dir(self) -> Path:
        """The folder that gets everything."""
        return Path(self.config.output_dir)

    @property
    def title(self) -> str:
        """The title of the report: by default the file's name."""
        return self.config.title or self.file.stem.replace("_", " ")


def read_study(file: Path, overrides: Mapping[str, Any] | None = None, *, look_up: bool = False) -> Study:
    """Read a study file, find and hash what it names, and list its cells.

    Args:
        file: the study file.
        overrides: keys that go before those in the file.
        look_up: ask the hub for base models that are not in its cache.

    Raises:
        UserError: the file has a mistake, or something that it names is missing.
    """
    overrides = overrides or {}
    config = read_study_config(file, overrides)
    inputs = prepare(config, file, look_up=look_up)
    tuning = None
    if config.tune is not None:
        tuning = tuning_study(config, config.tune, inputs, file)
        inputs = replace(inputs, prompted=tuple(tuning.inputs.tasks))
    return Study(file, config, inputs, make_cells(config, inputs, chosen_settings(tuning)), overrides, tuning)


def tuning_study(config: StudyConfig, tune: TuneConfig, inputs: Inputs, file: Path) -> Study:
    """Return the search of a study: every design with every setting, one seed, scored on the development tasks.

    Raises:
        UserError: two settings are the same for a design, or a development task is a test task or cannot be found.
    """
    recipes: dict[str, Any] = {}
    for name, flags in tune.tried.items():
        recipes[name] = {**tune.training, **flags}
    search = replace(
        config,
        output_dir=str(Path(config.output_dir) / "tuning"),
        title=None,
        seeds=[tune.seed],
        recipes=recipes,
        tune=None,
        corpus=None,
        train_file=None if "dataset_config" in config.training else inputs.train[config.recipe_names[0]],
        eval_dir=development_dir(config, tune),
        tasks=tune.tasks,
        headline=None,
        baselines=[],
        systems={},
        published={},
        comparison={},
    )
    for design in search.designs:
        check_different(design, {name: flags_of(search, name, design) for name in recipes})
    try:
        own = prepare(search, file)
    except UserError as error:
        raise UserError(f"tune: {error}") from error
    for name, key in own.tasks.items():
        for test, test_key in inputs.tasks.items():
            if name == test or key == test_key:
                raise UserError(f"tune: {name} is the study's test task {test}: settings must be chosen on other data")
    own = replace(own, prompted=tuple(inputs.tasks))
    return Study(file, search, own, make_cells(search, own))


def development_dir(config: StudyConfig, tune: TuneConfig) -> str | None:
    """Return the folder of development tasks, by default that of the embedded corpus; None for tasks of mteb."""
    if tune.eval_dir is None and not tune.tasks and config.corpus is not None:
        return str(Path(config.output_dir).resolve() / CORPUS / "dev")
    return tune.eval_dir


def tuned_scores(tuning: Study) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Return the main scores by base model and design, setting and development task; a diverged run has none.

    A setting whose run has not ended is left out.
    """
    table: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for cell in tuning.cells:
        of_settings = table.setdefault((cell.base, cell.design), {})
        if cell.state == "diverged":
            of_settings[cell.recipe] = {}
        elif cell.done:
            scores = read_scores_file(cell.scores_file)["scores"]
            of_settings[cell.recipe] = {task: float(entry["score"]) for task, entry in scores.items()}
    return table


def chosen_settings(tuning: Study | None) -> dict[tuple[str, str], str]:
    """Return the best setting by base model and design; nothing before all runs of the search have ended."""
    if tuning is None or any(cell.state not in ("done", "diverged") for cell in tuning.cells):
        return {}
    return {key: choose(of_settings) for key, of_settings in tuned_scores(tuning).items()}


def training_rows(study: Study, recipe: str) -> TripletRows:
    """Return the triplets that the designs are trained on with a name under ``recipes``, read as training reads them.

    Raises:
        UserError: they cannot be read, as training would say.
    """
    return read_rows(study.config.flags(recipe), study.inputs.train[recipe])


def staged_trainings(study: Study) -> list[tuple[str, dict[str, Any]]]:
    """Return the flags of each training in stages, with the name under which its data are kept."""
    return [(name, flags) for name, flags in trainings(study) if flags.get("stages")]


def trainings(study: Study) -> list[tuple[str, dict[str, Any]]]:
    """Return the flags of each recipe, setting and system, with the name under which its data are kept."""
    found = [(name, study.config.flags(name)) for name in study.inputs.train]
    of_study = {name: value for name, value in study.config.training.items() if name == "dataset_config"}
    return found + [("", {**system.flags, **of_study}) for system in study.inputs.systems.values()]


def rows_of_trainings(study: Study) -> Iterator[TripletRows]:
    """Yield the triplets of each recipe, setting and system; those that read the same rows, once.

    Raises:
        UserError: they cannot be read.
    """
    seen: list[tuple[str, dict[str, Any]]] = []
    for name, flags in trainings(study):
        asked = (study.inputs.train[name], data_flags(flags))
        if asked not in seen:
            seen.append(asked)
            yield read_rows(flags, study.inputs.train[name])


def data_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return those flags that say which rows are read, and how."""
    return {name: flags[name] for name in sorted(flags) if name in TRAINING_FLAGS}


def rows_of_stages(study: Study) -> Iterator[TripletRows]:
    """Yield the triplets of each stage that has flags of its own on data, of recipes and of systems.

    Raises:
        UserError: they cannot be read.
    """
    for recipe, flags in staged_trainings(study):
        for entry in stage_entries(flags["stages"])[1]:
            own = {name: with_home(value) for name, value in entry.items() if name in TRAINING_FLAGS}
            if any(name in own for name in DATA_FLAGS):
                yield read_rows({**without_data(flags, own), **own})
            elif own:
                yield read_rows({**flags, **own}, study.inputs.train[recipe])


def read_rows(flags: Mapping[str, Any], place: str | None = None) -> TripletRows:
    """Return the triplets that a training with these flags reads; of ``place``, the study's data, unless it is None."""
    arguments = {name: value for name, value in flags.items() if name in TRAINING_FLAGS and value not in (None, [])}
    if place is not None:
        arguments["dataset_config" if "dataset_config" in arguments else "dataset_name"] = place
    return read_triplets(DataArguments(**arguments), cache_dir=flags.get("cache_dir"))
