"""What a study file says, and the cells that follow from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from model_loaders.designs import get_design
from model_loaders.errors import UserError, nearest
from model_loaders.manifest import library_versions

ROOT = Path(__file__).resolve().parents[1]
BASELINES = ("mean_pooling", "tfidf", "static_bag")
# Flags of the trainers that a study sets itself.
OF_THE_CELL = ("model_name_or_path", "dataset_name", "output_dir", "seed", "resume_from_checkpoint")
# Flags that decide which texts a baseline sees.
OF_THE_TEXTS = ("query_prompt", "document_prompt", "max_seq_length", "query_max_length")


@dataclass(frozen=True)
class StudyConfig:
    """A study file; each key is a field.

    Attributes:
        base_model: hub name or directory; a relative path counts from the study file's folder, then from the repository.
        output_dir: where everything goes; a relative path counts from the working directory.
        designs: rows of the table of designs.
        seeds: one training run of each design a seed.
        corpus: ``docstrings`` for the embedded corpus; without it ``train_file`` and ``eval_dir`` say where data is.
        train_file: triplets, as ``--dataset_name`` of the trainers takes them.
        eval_dir: local task folders.
        tasks: names of tasks; empty for all in ``eval_dir``.
        headline: the task whose scores are compared query by query, and that untrained models are scored on.
        baselines: any of ``mean_pooling`` (of the untrained base), ``tfidf``, ``static_bag`` (a trained embedding table).
        training: flags of the trainers; a ``dataset_config`` in it stands instead of ``train_file``.
        max_length: tokens a text at most in evaluation; empty for the training's lengths.
        eval_batch_size: texts in one forward pass.
        jobs: cells at a time, at least one; empty for one on a GPU, and two on a CPU with at least two cores.
    """

    base_model: str
    output_dir: str
    designs: list[str]
    headline: str
    seeds: list[int] = field(default_factory=lambda: [42])
    corpus: str | None = None
    train_file: str | None = None
    eval_dir: str | None = None
    tasks: list[str] = field(default_factory=list)
    baselines: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    eval_batch_size: int = 64
    jobs: int | None = None

    def __post_init__(self) -> None:
        """Check what can be known without touching data or models.

        Raises:
            UserError: naming the key.
        """
        self.check_types()
        for name in self.designs:
            get_design(name)
        for key in ("designs", "seeds"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise UserError(f"{key}: one of {getattr(self, key)} stands there twice; a repeated run says nothing new")
        for key in OF_THE_CELL:
            if key in self.training:
                raise UserError(f"training: {key} is set by the study for each cell; leave it out")
        mix = self.training.get("dataset_config")
        if mix is not None and not isinstance(mix, str):
            raise UserError(f"training: dataset_config takes the path of a file, not {mix!r}")
        if mix is not None and (self.train_file or self.corpus):
            raise UserError("training: dataset_config names the training data: leave train_file and corpus out")
        lexical = [name for name in self.baselines if name != "mean_pooling"]
        train_file = self.train_file or mix
        if lexical and train_file is not None and not train_file.endswith(".jsonl"):
            raise UserError(f"baselines: {', '.join(lexical)} need train_file to be a .jsonl file, not {train_file!r}")
        if self.jobs is not None and self.jobs < 1:
            raise UserError(f"jobs: at least 1, not {self.jobs}")
        for name in self.baselines:
            if name not in BASELINES:
                raise UserError(
                    f"baselines: there is no {name!r}{nearest(name, BASELINES)}; choose from {', '.join(BASELINES)}"
                )
        if not self.designs or not self.seeds:
            raise UserError("designs and seeds: give at least one of each")
        if self.corpus not in (None, "docstrings"):
            raise UserError(f"corpus: {self.corpus!r} is unknown; docstrings is the embedded one")
        if self.corpus is None and not (train_file and self.eval_dir):
            raise UserError("give train_file (or dataset_config in training) and eval_dir, or corpus: docstrings")

    def check_types(self) -> None:
        """Raise a UserError for a value of another type than its field's."""
        kinds = {"str": str, "int": int, "list[str]": list, "list[int]": list, "dict[str, Any]": dict}
        for name, entry in self.__dataclass_fields__.items():
            value, hint = getattr(self, name), str(entry.type)
            if value is None and hint.endswith("| None"):
                continue
            kind = kinds[hint.removesuffix(" | None")]
            member = int if hint == "list[int]" else str
            members_fit = kind is not list or (isinstance(value, list) and all(type(one) is member for one in value))
            if type(value) is not kind or not members_fit:
                raise UserError(f"{name}: expected {hint}, found {value!r}")


@dataclass(frozen=True)
class Cell:
    """One row of the study's table.

    Attributes:
        name: such as ``model3-seed42`` or ``tfidf``.
        kind: ``design`` or ``baseline``.
        design: row of the table of designs, or the baseline's name.
        seed: of a trained design; 0 for a baseline.
        folder: where the cell keeps what it makes; its name holds a hash of everything that decides the outcome, so that a
            changed setting makes a new cell and never mixes with an old one.
    """

    name: str
    kind: str
    design: str
    seed: int
    folder: Path

    @property
    def adapter(self) -> Path:
        """The trained adapter's directory."""
        return self.folder / "adapter"

    @property
    def scores_file(self) -> Path:
        """Written last: a cell with it is done."""
        return self.folder / "scores.json"

    @property
    def log_file(self) -> Path:
        """What the cell's process printed."""
        return self.folder / "log.txt"

    @property
    def done(self) -> bool:
        """Whether the cell has all its scores."""
        return self.scores_file.is_file()


def read_study(path: Path) -> StudyConfig:
    """Read a study file.

    Raises:
        UserError: no such file, no valid YAML, an unknown or a missing key.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"no study file can be read at {path} ({error.strerror}); try configs/quickstart.yaml") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no keys; see configs/quickstart.yaml")
    fields = StudyConfig.__dataclass_fields__
    for key in data:
        if key not in fields:
            raise UserError(f"{path}: unknown key {key!r}{nearest(str(key), fields)}")
    try:
        config = StudyConfig(**data)
    except (TypeError, UserError) as error:
        raise UserError(f"{path}: {str(error).removeprefix('StudyConfig.__init__() ')}") from error
    return config


def find_path(name: str, study_file: Path) -> str:
    """Return a local path beside the study file, in the working directory or in the repository; else ``name`` itself."""
    for start in (study_file.resolve().parent, Path.cwd(), ROOT):
        if (start / name).exists():
            return str((start / name).resolve())
    return name


def make_cells(config: StudyConfig, data_key: str, base_key: str) -> list[Cell]:
    """Return the study's cells: baselines first, then designs by seed.

    Args:
        config: of the study.
        data_key: hash of the training and evaluation data.
        base_key: hash of the base model's weights.
    """
    root = Path(config.output_dir) / "cells"
    shared: dict[str, Any] = {"data": data_key, "base": base_key, "max_length": config.max_length, "tasks": config.tasks}
    shared |= {"headline": config.headline, "versions": library_versions()}
    texts = {key: config.training.get(key) for key in OF_THE_TEXTS}
    lora = Path(config.training.get("lora_config", ROOT / "configs" / "lora.json"))
    # The data's content is in data_key, also that of the file behind dataset_config; its name decides nothing.
    training = {key: value for key, value in config.training.items() if key != "dataset_config"}
    lora_text = lora.read_text(encoding="utf-8") if lora.is_file() else ""

    def folder(name: str, about: dict[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps({**shared, **about}, sort_keys=True, default=str).encode()).hexdigest()
        return root / f"{name}-{digest[:8]}"

    cells = [Cell(name, "baseline", name, 0, folder(name, {"baseline": name, "texts": texts})) for name in config.baselines]
    for seed in config.seeds:
        for design in config.designs:
            about = {"design": asdict(get_design(design)), "seed": seed, "training": training, "lora": lora_text}
            name = f"{design}-seed{seed}"
            cells.append(Cell(name, "design", design, seed, folder(name, about)))
    return cells
