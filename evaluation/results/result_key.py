"""The key of one task's result: everything its scores depend on, and nothing else.

The revision (mteb's folder) is a hash of all prompts that were asked for. A result in it belongs to the task's key, which
knows only the prompts of that task: where a folder beside it has a result of the same key, it is copied, not computed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.disk import check_writable
from evaluation.results.item_scores import items_path

KEY = "key"


def record_path(folder: Path, task_name: str) -> Path:
    """Return the record of a task's recipe in the results folder of a model and revision; it is written last."""
    return folder / "recipes" / f"{task_name}.json"


def recorded_key(folder: Path, task_name: str) -> str | None:
    """Return the key of the result that is there; None without a whole record."""
    try:
        content = json.loads(record_path(folder, task_name).read_text(encoding="utf-8"))
        return str(content[KEY])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(folder: Path, task_name: str, content: Mapping[str, Any]) -> None:
    """Write the record, whole or not at all: it makes the result valid."""
    path = record_path(folder, task_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    part.replace(path)


def adopt(folder: Path, task_name: str, key: str, recipe: Mapping[str, Any] | None = None) -> bool:
    """Copy the result of `key` from another revision's folder, as one of `recipe`; return whether there was one.

    Raises:
        UserError: there is one, and it cannot be written here.
    """
    for other in sorted(folder.parent.glob("*/")):
        if other == folder or recorded_key(other, task_name) != key or not (other / f"{task_name}.json").is_file():
            continue
        check_writable(folder)
        # The record first, as it is of another key: without it the rest counts for nothing, whenever this is killed.
        record_path(folder, task_name).unlink(missing_ok=True)
        items_path(folder, task_name).unlink(missing_ok=True)
        for source in (other / f"{task_name}.json", items_path(other, task_name)):
            if source.is_file():
                target = folder / source.relative_to(other)
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f"{target.name}.part")
                shutil.copyfile(source, part)
                part.replace(target)
        content = json.loads(record_path(other, task_name).read_text(encoding="utf-8"))
        content |= {"revision": folder.name, "computed_as_revision": content.get("computed_as_revision", other.name)}
        content |= {"recipe": recipe} if recipe is not None else {}
        write_record(folder, task_name, content)
        if not (folder / "model_meta.json").exists() and (other / "model_meta.json").is_file():
            meta = json.loads((other / "model_meta.json").read_text(encoding="utf-8"))
            (folder / "model_meta.json").write_text(json.dumps(meta | {"revision": folder.name}, indent=2), encoding="utf-8")
        return True
    return False
