"""Compare an exported folder, read in a process of its own, with the model that it was made of."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

from common.errors import UserError
from model_loaders.embed_model import EmbedModel
from model_loaders.export.request import Check, Likeness, Reference, Request
from model_loaders.export.verify import fresh_process
from model_loaders.export.verify.probes import probe_texts
from model_loaders.vectors.compress import unit

LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.999, "float16": 0.999}  # by the dtype of the exported weights
TOP = 10
TIE = {"float32": 1e-5, "bfloat16": 5e-3, "float16": 5e-3}  # scores that differ by less may change places
ROOMS = ("common", "pooling", "model_loaders", "triplets", "trainers", "evaluation", "comparison", "study", "quickstart")
SECONDS = 3600


def reference_of(model: EmbedModel) -> Reference:
    """Encode the probe texts in both roles."""
    texts = probe_texts(max(model.recipe.length("query"), model.recipe.length("document")))
    return Reference(texts, model.encode(texts, "query"), model.encode(texts, "document"))


def verify(request: Request, check: Check, folder: Path, reference: Reference) -> Likeness:
    """Read a folder in a fresh process and compare its vectors.

    Raises:
        UserError: it cannot be read there, or gives other vectors, or other documents first.
    """
    vectors = read_afresh(request, check, folder, reference.texts)
    own = {"query": reference.queries, "document": reference.documents}
    cosines, difference, worst = [], 0.0, ("", "", 2.0)
    for role, expected in own.items():
        if vectors[role].shape != expected.shape:
            raise UserError(f"the exported folder gives vectors {vectors[role].shape}, the model {expected.shape}")
        theirs = unit(np.nan_to_num(vectors[role].astype(np.float32)))
        cosine = (theirs * expected).sum(axis=1)
        difference = max(difference, float(np.abs(theirs - expected).max()))
        cosines.append(float(cosine.min()))
        if cosine.min() < worst[2]:
            worst = (role, reference.texts[int(cosine.argmin())], float(cosine.min()))
        vectors[role] = theirs
    least = LEAST_COSINE[request.dtype]
    if min(cosines) < least:
        raise UserError(
            f"the exported folder gives other vectors: cosine {worst[2]:.6f} for the {worst[0]} {worst[1][:60]!r}, {least} is "
            f"the least.{tokenizer_hint(request)}"
        )
    check_ranking(own, vectors, TIE[request.dtype])
    return Likeness(min(cosines), difference, 2 * len(reference.texts))


def tokenizer_hint(request: Request) -> str:
    """Return what is known to change token ids between this toolkit and transformers' own classes."""
    return (
        f" For some families, as {request.model.base_model.model_type} may be, AutoTokenizer builds the rules of its own class "
        "and not those of tokenizer.json; the adapter must be loaded with this toolkit then."
    )


def check_ranking(own: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tie: float) -> None:
    """Raise a UserError unless each query finds the same first documents in the same order, ties aside."""
    scores, other = own["query"] @ own["document"].T, theirs["query"] @ theirs["document"].T
    mine, its = np.argsort(-scores, axis=1, kind="stable")[:, :TOP], np.argsort(-other, axis=1, kind="stable")[:, :TOP]
    by_mine, by_its = np.take_along_axis(scores, mine, axis=1), np.take_along_axis(scores, its, axis=1)
    differs = np.abs(by_mine - by_its) > tie
    if differs.any():
        raise UserError(f"the exported folder ranks other documents first for {int(differs.any(axis=1).sum())} of the probes")


def read_afresh(request: Request, check: Check, folder: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """Encode texts with a folder in a process without this project; returns the vectors by role."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        place = linked_copy(folder, scratch / "model", check.relinked) if check.relinked else folder
        job = {
            "folder": str(place.resolve()),
            "reader": check.reader,
            "trust": check.trust,
            "texts": texts,
            "device": request.device,
            "rooms": ROOMS,
            "site_packages": site_packages(),
            "output": str(scratch / "vectors.npz"),
        }
        (scratch / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-I", "-S", "-B", fresh_process.__file__, str(scratch / "job.json")]
        done = subprocess.run(
            command, env=plain_environment(scratch), cwd=scratch, capture_output=True, text=True, timeout=SECONDS
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
            raise UserError(f"the exported folder cannot be read in a process of its own: {last[:500]}")
        with np.load(scratch / "vectors.npz") as arrays:
            return {role: arrays[role] for role in ("query", "document")}


def plain_environment(scratch: Path) -> dict[str, str]:
    """Return this process's environment without settings of Python and the hub, offline, with a cache of its own."""
    dropped = ("PYTHON", "HF_", "TRANSFORMERS_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return environment | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "cache"), "TOKENIZERS_PARALLELISM": "false"}


def linked_copy(folder: Path, copy: Path, contents: dict[str, str]) -> Path:
    """Make a folder of links to the files of another one, with other contents where given."""
    shutil.copytree(folder, copy, copy_function=lambda source, target: Path(target).symlink_to(Path(source).resolve()))
    for name, content in contents.items():
        (copy / name).unlink()
        (copy / name).write_text(content, encoding="utf-8")
    return copy


def site_packages() -> list[str]:
    """Return the folders of installed packages, and those on this process's path that are not the project's."""
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    places += [place for place in sys.path if Path(place).is_absolute() and not (Path(place) / "model_loaders").is_dir()]
    if site.ENABLE_USER_SITE:
        places.append(site.getusersitepackages())
    return list(dict.fromkeys(place for place in places if Path(place).is_dir()))
