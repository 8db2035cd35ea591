"""Where base models and adapters lie: a directory, or a name on the Hugging Face hub."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from common.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or raise a UserError that names the file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} has no {path.name}; it holds: {listing(path.parent)}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no valid JSON ({error}); take a fresh copy") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no JSON object")
    return data


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type's name."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def listing(path: Path) -> str:
    """Return the names in a directory, a few of them, for messages."""
    names = sorted(entry.name for entry in path.iterdir())
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "nothing"


def neighbour(path: Path) -> str:
    """Return a hint at the directory beside ``path`` that has the most similar name, or an empty string."""
    if not path.parent.is_dir():
        return f" (nor {path.parent})"
    match = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f" (did you mean {path.parent / match[0]}?)" if match else ""


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, also where several processes write the same file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_json(content: Any, path: Path) -> None:
    """Write JSON whole or not at all, also where several processes write the same file."""
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where there is no such file.

    Raises:
        UserError: the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it, and what it holds is made again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; delete it, and what it holds is made again")
    return content
