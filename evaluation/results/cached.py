"""Results that are there already: read, checked, taken, copied from another revision's folder, or replaced."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mteb.cache import ResultCache

from common.disk import check_writable, not_writable
from common.files import replacing
from common.hashes import digest
from common.json_text import parse_json
from common.lines import read_bytes
from evaluation.results.item_scores import items_path
from evaluation.results.record import Record, record_path

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.models.model_meta import ModelMeta
    from mteb.results import TaskResult

META = "model_meta.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResultFolder:
    """The results of one model and revision in an output directory.

    The revision is a hash of all prompts that the user gave. The key of a task's result knows the prompts of that task
    alone: a folder beside this one that has a result of the same key gives a copy.

    Attributes:
        output_dir: holds `results/`.
        meta: mteb's name and revision of the model.
    """

    output_dir: Path
    meta: ModelMeta

    @cached_property
    def cache(self) -> ResultCache:
        """Mteb's view of the output directory."""
        return ResultCache(self.output_dir)

    @cached_property
    def path(self) -> Path:
        """The folder itself."""
        return Path(self.cache.get_task_result_path("any", self.meta)).parent

    def take(self, task: AbsTask, key: str, recipe: dict[str, Any]) -> TaskResult | None:
        """Return the result of a task if it is complete, whole and of `key`; `recipe` goes into the record of a copy."""
        name = task.metadata.name
        if self.recorded_key(name) != key:
            self.adopt(name, key, recipe)
        result = self._read(name)
        record = Record.read(self.path, name)
        if record is None or record.key != key or result is None or result.get_missing_evaluations(task):
            return None
        if not record.is_of(digest(result.scores), self.items_hash(name)):
            logger.warning("the result of %s is not the one that its record tells of; it is computed again", name)
            return None
        return result

    def recorded_key(self, task_name: str) -> str | None:
        """Return the key of a task's result; None without a whole record."""
        record = Record.read(self.path, task_name)
        return record.key if record is not None else None

    def items_hash(self, task_name: str) -> str | None:
        """Hash the bytes of a task's items; None where it has none."""
        path = items_path(self.path, task_name)
        if not path.is_file():
            return None
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def predictions_path(self, task_name: str) -> Path:
        """Return where mteb's predictions of a task are kept, if they are."""
        return self.path / "predictions" / f"{task_name}_predictions.json"

    def _read(self, name: str) -> TaskResult | None:
        try:
            return self.cache.load_task_result(name, self.meta)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # cut short, or JSON of another shape
            logger.warning("the result of %s cannot be read and is computed again: %s", name, error)
            with contextlib.suppress(OSError):
                self.cache.get_task_result_path(name, self.meta).unlink()
            return None

    def adopt(self, task_name: str, key: str, recipe: dict[str, Any]) -> bool:
        """Copy the result of `key` from another revision's folder, as one of `recipe`; return whether there was one.

        Raises:
            UserError: there is one, and it cannot be written here.
        """
        for other in sorted(self.path.parent.glob("*/")):
            record = Record.read(other, task_name)
            if other == self.path or record is None or record.key != key or not (other / f"{task_name}.json").is_file():
                continue
            check_writable(self.path)
            self.invalidate(task_name)
            for source in (other / f"{task_name}.json", items_path(other, task_name)):
                if source.is_file():
                    target = self.path / source.relative_to(other)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with replacing(target) as part:
                        shutil.copyfile(source, part)
            origin = record.computed_as_revision or other.name
            replace(record, revision=self.path.name, computed_as_revision=origin, recipe=recipe).write(self.path)
            if not (self.path / META).exists() and (other / META).is_file():
                meta = parse_json(read_bytes(other / META))
                (self.path / META).write_text(json.dumps(meta | {"revision": self.path.name}, indent=2), encoding="utf-8")
            return True
        return False

    def invalidate(self, task_name: str) -> None:
        """Remove the record, then the rest: without a record it counts for nothing, whenever this is killed."""
        record_path(self.path, task_name).unlink(missing_ok=True)
        items_path(self.path, task_name).unlink(missing_ok=True)
        self.predictions_path(task_name).unlink(missing_ok=True)

    def install(self, task_name: str, result: TaskResult, scratch: Path) -> None:
        """Put a new result and its files, which lie in `scratch` as they will here, in the place of the older result."""
        self.invalidate(task_name)
        self.cache.save_to_cache(result, self.meta)
        for source in (items_path(scratch, task_name), *(scratch / "predictions").glob("*")):
            if source.is_file():
                target = self.path / source.relative_to(scratch)
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)

    def mend_meta(self, result: TaskResult) -> None:
        """Write `model_meta.json` again where it is missing or damaged: mteb finds no result without it."""
        try:
            parse_json(read_bytes(self.path / META))
        except (OSError, ValueError):
            if not not_writable(self.output_dir):
                self.cache.save_to_cache(result, self.meta)
