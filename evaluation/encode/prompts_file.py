"""A prompts file: prompts by task, by type, or for all, before mteb's and the adapter's own.

```yaml
default: {query: "query: ", document: "passage: "}
STS: "Retrieve semantically similar text: "        # a type of mteb; a string is the prompt of queries
SciFact: {query: "Given a claim, find documents that refute it: ", document: ""}
```

The first of task, type, default that names a side decides; without one `evaluation/encode/prompt_plan.py` goes on. A prompt
is put before the text as it is, or is a template with `{text}` in it; with a prompt template it is put into that one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError, nearest
from common.yaml_files import read_yaml
from model_loaders.text.prompts import ROLES, Role
from model_loaders.text.template import PLACEHOLDER

Prompts = dict[str, dict[Role, str]]  # task name, mteb's type name or "default" -> side -> prompt
DEFAULT = "default"
# Words in braces that were meant as the placeholder; other braces are text, as of LaTeX.
MISTAKEN = re.compile(r"\{+\s*(?:texts?|txt|prompt|instruction|query|document|passage|sentence|input)\s*\}+", re.IGNORECASE)


def normalise(prompts: Mapping[str, Any], where: str = "prompts") -> Prompts:
    """Return `prompts` with every value as a mapping from side to string.

    Raises:
        UserError: a value is neither a string nor such a mapping.
    """
    result: Prompts = {}
    for key, value in prompts.items():
        sides = {"query": value} if isinstance(value, str) else value
        if not isinstance(sides, Mapping) or not all(isinstance(prompt, str) for prompt in sides.values()):
            raise UserError(f"{where}: {key} must be a string, or a mapping with the keys {' and '.join(ROLES)}")
        for side in sides:
            if side not in ROLES:
                raise UserError(f"{where}: {key} has the unknown side {side!r}{nearest(str(side), ROLES)}")
        result[str(key)] = {role: sides[role] for role in ROLES if role in sides}
    return result


def _fault(prompt: str) -> str:
    """Return the fault of a prompt, or "": a placeholder that nothing fills would go to the model as it stands."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return "has half a character (a lone surrogate)"
    for match in MISTAKEN.finditer(prompt):
        if match[0] != PLACEHOLDER:
            return f"has {match[0]} in it; {PLACEHOLDER} is the only placeholder"
    if prompt.count(PLACEHOLDER) > 1:
        return f"has {PLACEHOLDER} in it more than once"
    return ""


def read_prompts(path: Path, names: Collection[str]) -> Prompts:
    """Read a prompts file; `names` of tasks and types may be its keys, besides `default`.

    Raises:
        UserError: the file is missing or malformed, a key stands twice or names no task and no type, or a prompt has
            a placeholder that nothing fills.
    """
    content = read_yaml(path, "the prompts file")
    if not isinstance(content, Mapping):
        raise UserError(f"{path} must map task names (or types, or 'default') to prompts")
    for key in content:
        if key != DEFAULT and key not in names:
            hint = nearest(str(key), [*names, DEFAULT])
            raise UserError(f"{path}: {key!r} is no task, no task type and not 'default'{hint}")
    prompts = normalise(content, str(path))
    for key, sides in prompts.items():
        for prompt in sides.values():
            if fault := _fault(prompt):
                raise UserError(f"{path}: the prompt of {key} {fault}")
    return prompts


def choose(prompts: Prompts, task_name: str, task_type: str, role: Role) -> tuple[str, str] | None:
    """Return the key that names one side of a task, and its prompt; None if no key does."""
    for key in (task_name, task_type, DEFAULT):
        if role in prompts.get(key, {}):
            return key, prompts[key][role]
    return None
