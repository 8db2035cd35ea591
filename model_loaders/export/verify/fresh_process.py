"""Read an exported folder in a process that knows nothing of this project: run by ``verify`` as a script.

    python -I -S fresh_process.py JOB.json

The job names site-packages, the folder, its reader, the texts and the file that gets the vectors. Imports of this project's
rooms are refused, whether it is on the path or installed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


class WithoutProject(MetaPathFinder):
    """Refuses to import the rooms of this project."""

    def __init__(self, rooms: Sequence[str]) -> None:
        self.rooms = set(rooms)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Raise an ImportError for a room; leave every other module to the others."""
        if name.split(".")[0] in self.rooms:
            raise ImportError(f"{name} belongs to the project, which an exported folder must do without")
        return None


def sentence_vectors(job: dict[str, Any]) -> dict[str, Any]:
    """Encode with sentence-transformers; returns the vectors by role."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        job["folder"], device=job["device"], trust_remote_code=job["trust"], model_kwargs={"dtype": "float32"}
    )
    return {"query": model.encode_query(job["texts"]), "document": model.encode_document(job["texts"])}


def reader_vectors(job: dict[str, Any]) -> dict[str, Any]:
    """Encode with the script in the folder; returns the vectors by role."""
    sys.path.insert(0, job["folder"])
    script = module_at(Path(job["folder"]) / "read_model.py")
    if hasattr(script, "model"):
        script.model.to(job["device"])
    if hasattr(script, "pooling"):
        script.pooling.to(job["device"])
    return {role: script.encode(job["texts"], role) for role in ("query", "document")}


def module_at(path: Path) -> Any:
    """Import a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READERS = {"sentence_vectors": sentence_vectors, "reader_vectors": reader_vectors}


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path += job["site_packages"]
    sys.meta_path.insert(0, WithoutProject(job["rooms"]))
    import numpy as np

    vectors = READERS[job["reader"]](job)
    for room in job["rooms"]:
        if room in sys.modules:
            raise SystemExit(f"the folder needed {room} of this project")
    np.savez(job["output"], **vectors)


if __name__ == "__main__":
    main()
