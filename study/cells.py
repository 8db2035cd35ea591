"""The cells of a study: what each one is, where it keeps what it makes, and how far it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from common.errors import UserError, nearest
from common.files import read_json_or_empty
from common.hashes import digest
from model_loaders.designs import get_design
from study.config import ROOT, StudyConfig
from study.inputs import Inputs

# Flags that decide which texts a baseline sees.
OF_THE_TEXTS = ("query_prompt", "document_prompt", "max_seq_length", "query_max_length")
# Flags that decide how the mean-pooled base LLM computes; only those given are in its key, so that older cells keep theirs.
OF_THE_COMPUTATION = ("torch_dtype", "attn_implementation")
# Flags that change how often a run says or saves something, and not what comes out.
WITHOUT_EFFECT = ("save_", "logging_", "log_", "dataloader_", "report_to", "run_name", "disable_tqdm", "cache_dir")
State = Literal["done", "failed", "diverged", "unfinished"]


@dataclass(frozen=True)
class Cell:
    """One design trained with one seed, recipe and base model, or one baseline.

    Attributes:
        index: its number in the study, from 0.
        name: such as ``model3-seed42``; unlike any other of the study.
        system: what it is compared as; cells of one system are its runs.
        kind: ``design`` or ``baseline``.
        design: row of the table of designs, or the baseline's name.
        seed: of a trained design; None for a baseline.
        base: base model, as the study file names it.
        recipe: training recipe; empty where the study has one without a name.
        folder: where the cell keeps what it makes; its name holds a hash of everything that decides its weights, so that a
            changed setting makes a new cell and never mixes with an old one.
        evaluation_key: hash of tasks, data and lengths: scores under another key are not this study's.
    """

    index: int
    name: str
    system: str
    kind: str
    design: str
    seed: int | None
    base: str
    recipe: str
    folder: Path
    evaluation_key: str

    @property
    def adapter(self) -> Path:
        """The trained adapter's directory."""
        return self.folder / "adapter"

    @property
    def scores_file(self) -> Path:
        """Written last: a cell with it, for the study's tasks, is done."""
        return self.folder / "scores.json"

    @property
    def failure_file(self) -> Path:
        """Why the cell's last attempt failed."""
        return self.folder / "failure.json"

    @property
    def log_file(self) -> Path:
        """What the cell's processes printed."""
        return self.folder / "log.txt"

    @property
    def training_log(self) -> Path:
        """What the last attempt to train it printed."""
        return self.folder / "training.log"

    @property
    def done(self) -> bool:
        """Whether the cell has all its scores."""
        return self.state == "done"

    @property
    def trained(self) -> bool:
        """Whether the cell's training has ended with an adapter."""
        from trainers.checkpoints.run_files import RESULT_FILE

        return (self.adapter / RESULT_FILE).is_file()

    @property
    def state(self) -> State:
        """How the cell stands, from what its folder holds."""
        from trainers.checkpoints.run_files import DIVERGED_FILE

        if (self.adapter / DIVERGED_FILE).is_file():
            return "diverged"
        if self.failure_file.is_file():
            return "failed"
        try:
            scores = read_json_or_empty(self.scores_file)
        except UserError:  # half a file is no scores
            return "unfinished"
        return "done" if scores.get("evaluation") == self.evaluation_key else "unfinished"

    @property
    def reason(self) -> str:
        """Why the cell failed or diverged, or that its scores are damaged; empty otherwise."""
        from trainers.checkpoints.run_files import DIVERGED_FILE

        if self.state == "diverged":
            return str(read_json_or_empty(self.adapter / DIVERGED_FILE).get("reason", "training diverged"))
        if self.state == "failed":
            return str(read_json_or_empty(self.failure_file).get("reason", ""))
        try:
            read_json_or_empty(self.scores_file)
        except UserError as error:
            return str(error)
        return ""


def make_cells(config: StudyConfig, inputs: Inputs) -> list[Cell]:
    """Return the study's cells: baselines first, then all designs of the first seed, of the second, and so on."""
    root = Path(config.output_dir) / "cells"
    prompts = hash_of_file(inputs.prompts) or config.eval_prompts
    about: dict[str, Any] = {
        "tasks": inputs.tasks,
        "headline": config.headline,
        "max_length": config.max_length,
        "prompts": prompts,
    }
    evaluation = digest(about)[:16]
    bases, recipes = distinct([Path(name).name for name in config.base_models]), config.recipe_names
    cells: list[Cell] = []

    def add(kind: str, design: str, base: int, recipe: str, seed: int | None, key: dict[str, Any]) -> None:
        of_base = bases[base] if len(bases) > 1 and design != "tfidf" else ""
        named = [part for part in (of_base, recipe if kind == "design" else "") if part]
        run = "" if seed is None else f"-seed{seed}"
        folder = root / f"{design}{run}-{digest(key)[:8]}"
        system = design + (f" on {of_base}" if of_base else "") + (f", {recipe}" if recipe and kind == "design" else "")
        cells.append(Cell(len(cells), "-".join([design, *named]) + run, system, kind, design, seed,
                          config.base_models[base], recipe, folder, evaluation))  # fmt: skip

    for name in config.baselines:
        first = config.flags(recipes[0])
        key: dict[str, Any] = {"baseline": name, "texts": {flag: first.get(flag) for flag in OF_THE_TEXTS}}
        if name == "mean_pooling":
            key |= {flag: first[flag] for flag in OF_THE_COMPUTATION if first.get(flag) is not None}
        else:
            key["data"] = inputs.train_keys[recipes[0]]
        for number, base in enumerate(config.base_models[:1] if name == "tfidf" else config.base_models):
            add("baseline", name, number, "", None, key if name == "tfidf" else {**key, "base": inputs.base_keys[base]})
    launch = launch_key(inputs.accelerate)
    for seed in config.seeds:
        for number, base in enumerate(config.base_models):
            for recipe in recipes:
                for design in config.designs:
                    training = training_key(flags_of(config, recipe, design))
                    key = {"base": inputs.base_keys[base], "data": inputs.train_keys[recipe], "training": training,
                           "design": asdict(get_design(design)), "seed": seed, "launch": launch}  # fmt: skip
                    add("design", design, number, recipe, seed, key)
    systems = list(dict.fromkeys(cell.system for cell in cells))
    baseline = config.comparison.get("baseline")
    if baseline is not None and baseline not in systems:
        raise UserError(
            f"comparison: baseline: there is no {baseline!r}{nearest(baseline, systems)}; there are {', '.join(systems)}"
        )
    return cells


def flags_of(config: StudyConfig, recipe: str, design: str) -> dict[str, Any]:
    """Return a recipe's flags for a design: the trainer refuses those of the pooling where there is none."""
    flags, pooling = config.flags(recipe), get_design(design).pooling
    return {name: value for name, value in flags.items() if pooling != "none" or not name.startswith("pooling_")}


def training_key(flags: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the weights: flags that have an effect, and the LoRA settings themselves, not their file's name.

    The data's content has a key of its own, also that of the files behind ``dataset_config``.
    """
    kept = {name: value for name, value in flags.items() if name != "dataset_config" and not name.startswith(WITHOUT_EFFECT)}
    lora = kept.pop("lora_config", str(ROOT / "configs" / "lora.json"))
    text = Path(lora).read_text(encoding="utf-8") if isinstance(lora, str) and Path(lora).is_file() else lora
    return {**kept, "lora": json.loads(text) if isinstance(text, str) and text.lstrip().startswith("{") else text}


def launch_key(path: str | None) -> dict[str, Any]:
    """Return what of an accelerate file decides the weights: how many processes share a batch, and the precision."""
    if path is None:
        return {}
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    names = ("distributed_type", "num_processes", "mixed_precision")
    return {name: content.get(name) for name in names} if isinstance(content, dict) else {}


def hash_of_file(path: str | None) -> str | None:
    """Return a hash of a small file's bytes."""
    return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()


def distinct(names: list[str]) -> list[str]:
    """Return the names with numbers behind those that stand there twice."""
    return [name if names.count(name) == 1 else f"{name}-{names[: at + 1].count(name)}" for at, name in enumerate(names)]


def find_cell(cells: list[Cell], asked: str) -> Cell:
    """Return a cell by its number or name.

    Raises:
        UserError: there is none.
    """
    for cell in cells:
        if asked in (cell.name, str(cell.index)):
            return cell
    names = [one.name for one in cells]
    raise UserError(
        f"--cell {asked}: there is no such cell{nearest(asked, names)}; give a number from 0 to {len(cells) - 1} or one of the "
        f"names {', '.join(names)}"
    )
