"""The probes of a study: the first finished run of each system, trained and untrained, when all cells have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.file_hashes import file_hash
from common.files import read_json_or_empty
from common.hashes import digest
from evaluation.encode.rank import launched
from model_loaders import LoadOptions
from model_loaders.layouts.manifest import read_manifest
from study.cells import Cell
from study.config import find_path
from study.probes import VERSION
from study.probes.models import Asked
from study.probes.output import LAST, probe_findings, save
from study.probes.run import Settings, chosen_probes, corpus_for, facts_of, kept_in, run
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

    Systems that are the same without training, such as a design at two learning rates, have one untrained model.

    Args:
        study: whose cells have been run.
        probing: its key ``probes``.

    Returns:
        The files, in ``probes`` below the study's folder; none where no run has ended.

    Raises:
        UserError: the corpus cannot be read, or no probe could be made on any model.
    """
    first = first_runs(study)
    if not first:
        return []
    corpus_file, folder = corpus_of(study, probing), study.output_dir / FOLDER
    key = key_of(study, probing)
    if read_json_or_empty(folder / LAST).get("key") == key:
        return [folder / LAST]
    corpus = corpus_for(corpus_file, probing.key, probing.texts)
    adapters = [str(cell.adapter) for cell in first.values()]
    fresh = different_untrained(adapters)
    print(f"probes: {len(adapters)} trained and {len(fresh)} untrained models, {probing.texts} texts each", flush=True)
    asked = Asked(adapters, fresh, None, probing.seed, LoadOptions(), list(first))  # each in the dtype of its training
    settings = Settings(chosen_probes(probing.probes), probing.texts, probing.seed, probing.max_length)
    outcomes = run(asked, corpus, settings, launched(), folder)
    if all(outcome.result is None for outcome in outcomes):
        raise UserError(f"probes: none could be made: {outcomes[0].failure}")
    facts = {"key": key, **facts_of(settings, corpus_file, corpus), "findings": probe_findings(outcomes)}
    files = save(outcomes, facts, folder)
    kept_in(folder, corpus, settings).remove()
    return files


def first_runs(study: Study) -> dict[str, Cell]:
    """Return the first finished run of each system that was trained, by the system's name."""
    first: dict[str, Cell] = {}
    for cell in study.cells:
        if cell.trains and cell.done:
            first.setdefault(cell.system, cell)
    return first


def different_untrained(adapters: Sequence[str]) -> list[str]:
    """Return of adapters those whose design, pooling, base LLM and texts none before them has."""
    seen: set[str] = set()
    different: list[str] = []
    for adapter in adapters:
        manifest = read_manifest(Path(adapter))
        base = manifest.begun_on or manifest.base_model
        before_training = digest([manifest.design, manifest.pooling, manifest.recipe.to_dict(), asdict(base)])
        if before_training not in seen:
            seen.add(before_training)
            different.append(adapter)
    return different


def key_of(study: Study, probing: Probing) -> str:
    """Return the hash of what decides the probes: adapters, corpus, settings, and how probes are defined."""
    folders = [cell.folder.name for cell in first_runs(study).values()]  # whose names have the hash of what decides the weights
    return digest([folders, file_hash(corpus_of(study, probing)), {**asdict(probing), "corpus": ""}, VERSION], 16)


def findings_of_study(study: Study) -> list[dict[str, Any]]:
    """Return what the probes of a study found, for its report; nothing where these adapters have not been probed."""
    content = read_json_or_empty(study.output_dir / FOLDER / LAST)
    probing = study.config.probes
    if probing is None or content.get("key") != key_of(study, probing):
        return []
    findings = content.get("findings", [])
    return findings if isinstance(findings, list) else []
