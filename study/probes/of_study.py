"""The probes of a study: the first finished run of each design, trained and untrained, when all cells have ended."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.file_hashes import file_hash
from common.files import read_json_or_empty
from common.hashes import digest
from evaluation.encode.rank import launched
from model_loaders import LoadOptions
from study.cells import Cell
from study.config import find_path
from study.probes.models import Asked
from study.probes.output import LAST, probe_findings, save
from study.probes.run import Settings, chosen_probes, corpus_for, facts_of, run
from study.probes.settings import Probing
from study.study import Study

FOLDER = "probes"  # below the study's


def corpus_of(study: Study, probing: Probing) -> Path:
    """Return the file of texts that the key ``probes`` names.

    Raises:
        UserError: there is none.
    """
    path = Path(find_path(probing.corpus, study.file))
    if not path.is_file():
        raise UserError(f"probes: corpus: no file {probing.corpus}; a file of some hundred texts is needed (docs/probes.md)")
    return path


def probe_study(study: Study, probing: Probing) -> list[Path]:
    """Probe the first finished run of each system of a study, trained and untrained, unless the same was done before.

    Args:
        study: whose cells have been run.
        probing: its key ``probes``.

    Returns:
        The files, in ``probes`` below the study's folder; none where no run of a design has ended.

    Raises:
        UserError: the corpus or an adapter cannot be read, or no probe could be made on any model.
    """
    first: dict[str, Cell] = {}
    for cell in study.cells:
        if cell.kind == "design" and cell.done:
            first.setdefault(cell.system, cell)
    if not first:
        return []
    corpus_file, folder, flags = corpus_of(study, probing), study.output_dir / FOLDER, study.config.training
    folders = [cell.folder.name for cell in first.values()]  # whose names have the hash of what decides the weights
    key = digest([folders, file_hash(corpus_file), {**asdict(probing), "corpus": ""}], 16)
    if read_json_or_empty(folder / LAST).get("key") == key:
        return [folder / LAST]
    corpus = corpus_for(corpus_file, probing.key, probing.texts)
    options = LoadOptions(dtype=flags.get("torch_dtype"), attn_implementation=flags.get("attn_implementation"))
    adapters = [str(cell.adapter) for cell in first.values()]
    bases = {study.inputs.bases[cell.base] for cell in first.values()}
    print(f"probes: {len(first)} systems, trained and untrained, {probing.texts} texts each", flush=True)
    asked = Asked(adapters, True, bases.pop() if len(bases) == 1 else None, probing.seed, options, list(first))
    settings = Settings(chosen_probes(probing.probes), probing.texts, probing.seed, probing.max_length)
    outcomes = run(asked, corpus, settings, launched())
    if all(outcome.result is None for outcome in outcomes):
        raise UserError(f"probes: none could be made: {outcomes[0].failure}")
    facts = {"key": key, **facts_of(settings, corpus_file, corpus), "findings": probe_findings(outcomes)}
    return save(outcomes, facts, folder)


def findings_of_study(folder: Path) -> list[dict[str, Any]]:
    """Return what the probes of a study found, for its report; nothing where they have not run."""
    content = read_json_or_empty(folder / FOLDER / LAST)
    findings = content.get("findings", [])
    return findings if isinstance(findings, list) else []
