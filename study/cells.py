"""The cells of a study: one trained design or baseline each, with a folder and a state."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError, nearest
from common.file_hashes import file_hash
from common.files import below, read_json_or_empty
from common.hashes import digest
from common.words import distinct
from model_loaders.designs import get_design
from model_loaders.text.named import named_recipe
from study.config import BASELINES, LEXICAL, StudyConfig, flags_of
from study.input_keys import launch_key, training_key
from study.inputs import Inputs
from study.systems import DECIDE_ROWS
from study.tuning.settings import COMMON
from trainers.checkpoints.run_files import DIVERGED_FILE, RESULT_FILE

# Flags that decide which texts a baseline sees.
OF_THE_TEXTS = ("query_prompt", "document_prompt", "max_seq_length", "query_max_length")
# Flags that decide how an untrained or published model computes; those given are in its key, so that older cells keep theirs.
OF_THE_COMPUTATION = ("torch_dtype", "attn_implementation")
State = Literal["done", "failed", "diverged", "unfinished"]


@dataclass(frozen=True)
class Cell:
    """One design or system trained with one seed, base model and set of flags, or one baseline.

    Attributes:
        number: its place in the study, from 0.
        name: such as ``model3-seed42``; unlike any other of the study.
        system: what it is compared as; cells of one system are its runs.
        kind: ``design``, ``system`` (trained by a file of its own) or ``baseline``.
        design: row of the table of designs, or the baseline's name.
        seed: of a trained design; None for a baseline.
        base: base model, as the study file names it.
        recipe: the name of its flags under ``recipes``, or of its setting under ``tune``; empty where it has neither.
        folder: where the cell keeps what it makes; its name holds a hash of everything that decides its weights, so that a
            changed setting makes a new cell and never mixes with an old one.
        evaluation_key: hash of tasks, data and lengths: scores under another key are not this study's.
        trained_system: name under ``systems``; empty for a design or a baseline.
        system_file: of the trainers' ``--config``; empty where the study file has a system's flags.
    """

    number: int
    name: str
    system: str
    kind: str
    design: str
    seed: int | None
    base: str
    recipe: str
    folder: Path
    evaluation_key: str
    trained_system: str = ""
    system_file: str = ""

    @property
    def trains(self) -> bool:
        """Whether the cell is trained: a design or a system."""
        return self.kind != "baseline"

    @property
    def script_design(self) -> str | None:
        """The design that its trainer's command line names; None for a system whose file does."""
        return None if self.system_file else self.design

    @property
    def adapter(self) -> Path:
        """The trained adapter's directory."""
        return self.folder / "adapter"

    @property
    def scores_file(self) -> Path:
        """The scores, written last: a cell that has them for the study's tasks is done."""
        return self.folder / "scores.json"

    @property
    def failure_file(self) -> Path:
        """The reason why the last attempt failed."""
        return self.folder / "failure.json"

    @property
    def log_file(self) -> Path:
        """The output of the cell's processes."""
        return self.folder / "log.txt"

    @property
    def training_log(self) -> Path:
        """The output of the last attempt to train it."""
        return self.folder / "training.log"

    @property
    def done(self) -> bool:
        """Whether the cell has all its scores."""
        return self.state == "done"

    @property
    def trained(self) -> bool:
        """Whether the cell's training has ended with an adapter."""
        return (self.adapter / RESULT_FILE).is_file()

    @property
    def state(self) -> State:
        """The cell's state, by what its folder holds."""
        if (self.adapter / DIVERGED_FILE).is_file():
            return "diverged"
        if self.failure_file.is_file():
            return "failed"
        try:
            scores = read_scores_file(self.scores_file)
        except UserError:  # half a file is no scores
            return "unfinished"
        return "done" if scores.get("evaluation") == self.evaluation_key else "unfinished"

    @property
    def reason(self) -> str:
        """The reason why the cell failed or diverged, or that its scores are damaged; empty otherwise."""
        if self.state == "diverged":
            return str(read_json_or_empty(self.adapter / DIVERGED_FILE).get("reason", "training diverged"))
        if self.state == "failed":
            return str(read_json_or_empty(self.failure_file).get("reason", ""))
        try:
            read_scores_file(self.scores_file)
        except UserError as error:
            return str(error)
        return ""


def given(flags: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return those of some flags that have a value."""
    return {name: flags[name] for name in names if flags.get(name) is not None}


def read_scores_file(path: Path) -> dict[str, Any]:
    """Read a cell's ``scores.json``, empty where it is missing.

    Raises:
        UserError: it is damaged, or names a file outside of the cell's folder: another cell's scores are not its own.
    """
    content = read_json_or_empty(path)
    if "results" in content:
        below(path.parent, content["results"], path)
    for key in ("scores", "untrained"):
        entries = content.get(key, {})
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise UserError(f"{path}: {key} holds no scores by task; delete the file, and what it holds is made again")
        for task, entry in entries.items():
            below(path.parent, f"recipes/{task}.json", path)
            if entry.get("items"):
                below(path.parent, entry["items"], path)
    return content


class CellMaker:
    """Makes the cells of a study one after the other."""

    def __init__(self, config: StudyConfig, inputs: Inputs) -> None:
        self.config = config
        self.inputs = inputs
        self.cells: list[Cell] = []
        self.base_names = short_base_names(config)
        self.launch = launch_key(inputs.accelerate)
        self.evaluation_key = evaluation_key(config, inputs)

    def add_baseline(self, design: str, base: str) -> None:
        """Add a baseline; its key has the flags that decide which texts it sees and how it computes."""
        first = self.config.recipe_names[0]
        flags = self.config.flags(first)
        key: dict[str, Any] = {"baseline": design}
        if design in BASELINES:
            key["texts"] = {flag: flags.get(flag) for flag in OF_THE_TEXTS}
        else:
            named = named_recipe(design)
            key["recipe"] = [named.design, named.recipe.facts()]
        if design in LEXICAL:
            key["data"] = self.inputs.train_keys[first]
            key |= given(flags, DECIDE_ROWS)
        else:
            key |= given(flags, OF_THE_COMPUTATION)
        if design != "tfidf":
            key["base"] = self.inputs.base_keys[base]
        self._add("baseline", design, design, base, "", None, key)

    def add_published(self, name: str) -> None:
        """Add a published model; its key is the content of its folders, and how it computes."""
        key = {"published": self.inputs.published_keys[name]}
        flags = self.config.flags(self.config.recipe_names[0])
        self._add("baseline", name, name, "", "", None, {**key, **given(flags, OF_THE_COMPUTATION)})

    def add_design(self, design: str, base: str, recipe: str, seed: int) -> None:
        """Add a design that is trained; its key has everything that decides its weights."""
        key = {
            "base": self.inputs.base_keys[base],
            "data": self.inputs.train_keys[recipe],
            "training": training_key(flags_of(self.config, recipe, design)),
            "design": asdict(get_design(design)),
            "seed": seed,
            "launch": self.launch,
        }
        self._add("design", design, design, base, recipe, seed, key)

    def add_system(self, name: str, base: str, seed: int) -> None:
        """Add a system that is trained; its key has everything that decides its weights."""
        system = self.inputs.systems[name]
        key = {
            "base": self.inputs.base_keys[base],
            "data": self.inputs.train_keys[""],
            "training": training_key(dict(system.flags)),
            "design": asdict(get_design(system.design)),
            "seed": seed,
            "launch": self.launch,
        }
        self._add("system", name, system.design, base, "", seed, key)

    def _shown_base(self, base: str, design: str) -> str:
        """Return the name that tells a cell's base model from the study's others; empty where that says nothing."""
        if not base or design == "tfidf" or len(self.base_names) < 2:
            return ""
        return self.base_names[base]

    def _add(self, kind: str, name: str, design: str, base: str, recipe: str, seed: int | None, key: dict[str, Any]) -> None:
        run = "" if seed is None else f"-seed{seed}"
        base_name = self._shown_base(base, design)
        system = name
        if base_name:
            system += f" on {base_name}"
        if recipe in self.config.settings:
            system += ", tuned"
        elif recipe:
            system += f", {recipe}"
        cell = Cell(
            number=len(self.cells),
            name="-".join(filter(None, [name, base_name, recipe])) + run,
            system=system,
            kind=kind,
            design=design,
            seed=seed,
            base=base,
            recipe=recipe,
            folder=Path(self.config.output_dir) / "cells" / f"{name}{run}-{digest(key, 8)}",
            evaluation_key=self.evaluation_key,
            trained_system=name if kind == "system" else "",
            system_file=self.inputs.systems[name].file if kind == "system" else "",
        )
        self.cells.append(cell)


def short_base_names(config: StudyConfig) -> dict[str, str]:
    """Return a short name of each base model, no two alike."""
    names = distinct([Path(name).name for name in config.base_models])
    return dict(zip(config.base_models, names, strict=True))


def make_cells(config: StudyConfig, inputs: Inputs, choices: Mapping[tuple[str, str], str] | None = None) -> list[Cell]:
    """Return the study's cells: baselines first, then all designs of the first seed, of the second, and so on; then systems.

    Args:
        config: of the study.
        inputs: of the study.
        choices: the setting that was chosen for each base model and design; those that are not the common one get cells of
            their own, behind all others, so that numbers of cells stay.

    Raises:
        UserError: the comparison's baseline is none of the systems.
    """
    maker = CellMaker(config, inputs)
    for name in config.baselines:
        bases = config.base_models[:1] if name == "tfidf" else config.base_models
        for base in bases:
            maker.add_baseline(name, base)
    for name in config.published:
        maker.add_published(name)
    for seed, base, recipe, design in itertools.product(config.seeds, config.base_models, config.recipe_names, config.designs):
        maker.add_design(design, base, recipe, seed)
    for seed, base, name in itertools.product(config.seeds, config.base_models, config.systems):
        maker.add_system(name, base, seed)
    for seed, base, design in itertools.product(config.seeds, config.base_models, config.designs):
        setting = (choices or {}).get((base, design), COMMON)
        if setting != COMMON:
            maker.add_design(design, base, setting, seed)
    check_names(maker.cells)
    systems = list(dict.fromkeys(cell.system for cell in maker.cells))
    baseline = config.comparison.get("baseline")
    if baseline is not None and baseline not in systems:
        hint = nearest(baseline, systems)
        raise UserError(f"comparison: baseline: there is no {baseline!r}{hint}; there are {', '.join(systems)}")
    return maker.cells


def check_names(cells: Sequence[Cell]) -> None:
    """Raise a UserError where two cells have one name: one of them could not be run by its name."""
    kinds: dict[str, Cell] = {}
    for cell in cells:
        other = kinds.setdefault(cell.name, cell)
        if other is not cell:
            systems = f"{other.system} and of {cell.system}"
            raise UserError(f"two cells are called {cell.name}, of {systems}: give the system another name")


def evaluation_key(config: StudyConfig, inputs: Inputs) -> str:
    """Return a hash of everything that decides the scores of given weights."""
    prompts = config.eval_prompts if inputs.prompts is None else file_hash(Path(inputs.prompts))
    facts = {
        "tasks": inputs.tasks,
        "headline": config.headline,
        "max_length": config.max_length,
        "prompts": prompts,
    }
    return digest(facts, 16)
