"""What an earlier push left in a repository: a reader would take its files beside, or before, those of the next one."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from common.errors import UserError
from model_loaders.backbone.base_files import CONFIG, INDEX_ENDING
from model_loaders.export.facts.eval_files import FOLDER as SCORES
from model_loaders.export.onnx_format import GRAPH, SMALL_GRAPH
from model_loaders.export.reader import READER
from model_loaders.export.st_format import OWN_FOLDER
from model_loaders.layouts.exported import ABOUT, POOLING_FOLDER
from model_loaders.layouts.manifest import MANIFEST
from model_loaders.layouts.st_modules import MODULES, SETTINGS, TRANSFORMER_SETTINGS
from model_loaders.layouts.tensors import BASE_WEIGHTS, LORA_CONFIG, LORA_WEIGHTS, POOLING_WEIGHTS

TITLE = "Upload by pooling-and-attention"  # of each commit of this toolkit
# All that pushes write, in any format, but for the card, which every push has. A star stands for no slash.
WRITTEN = (
    MANIFEST,
    LORA_CONFIG,
    LORA_WEIGHTS,
    POOLING_WEIGHTS,
    CONFIG,
    BASE_WEIGHTS,
    BASE_WEIGHTS + INDEX_ENDING,
    "model-*-of-*.safetensors",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    MODULES,
    SETTINGS,
    TRANSFORMER_SETTINGS[0],
    "1_Pooling/config.json",
    "2_Normalize/config.json",
    "trainable_pooling.py",
    ABOUT,
    READER,
    *(f"{folder}/{file}" for folder in (POOLING_FOLDER, OWN_FOLDER) for file in ("config.json", "model.safetensors")),
    *(f"{graph}{rest}" for graph in (GRAPH, SMALL_GRAPH) for rest in ("", ".data")),
    f"{SCORES}/*.yaml",
)


def left_behind(name: str, sent: Collection[str]) -> list[str]:
    """Return the files of a repository that an earlier push wrote, and that the next one does not.

    Args:
        name: of the repository.
        sent: the files that are sent now.

    Raises:
        UserError: another commit than those of this toolkit wrote such a file last.
    """
    old = sorted(file for file in HfApi().list_repo_files(name) if file not in sent and is_written(file))
    if not old:
        return []
    own = set()
    for info in HfApi().get_paths_info(name, old, expand=True):
        if isinstance(info, RepoFile) and info.last_commit is not None and info.last_commit.title == TITLE:
            own.add(info.path)
    others = [file for file in old if file not in own]
    if others:
        raise UserError(
            f"{name} holds {', '.join(others)}, which this toolkit did not send: whoever loads {name} may read them and not "
            "what is sent now. Give another name, or remove them first (hf repos delete-files)"
        )
    return old


def is_written(file: str) -> bool:
    """Whether a push, of some format, writes a file of this name."""
    parts = file.split("/")
    for pattern in WRITTEN:
        wanted = pattern.split("/")
        if len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted)):
            return True
    return False
