"""The modules of a sentence-transformers folder: what they are, and that each of their settings can be said here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import listing, read_json
from common.json_text import parse_json
from common.lines import read_bytes
from model_loaders.layouts.exported import OWN_POOLING

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
# Of the transformer module; the others are names that versions before 2 gave it by the family of the model.
TRANSFORMER_SETTINGS = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlm-roberta_config.json")
# Name in the pooling's config: second half of the design's name. A mean and the same sum over the root of the count have one
# direction.
POOLINGS = {
    "lasttoken": "eos",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean",
    "weightedmean": "weighted_mean",
    "max": "max",
    "cls": "first",
}
# Before version 6 each mode was a key of its own, true or false.
OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Settings of the transformer module that change no vector here, or that are read.
KNOWN_SETTINGS = {"max_seq_length", "query_length", "unpad_inputs", "modality_config"}
# Settings that are fine with these values alone.
FIXED_SETTINGS = {"do_lower_case": False, "transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
# Groups of options for transformers, and the options in them that change no vector here.
OPTION_GROUPS = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
HARMLESS_OPTIONS = {
    "attn_implementation",
    "cache_dir",
    "device_map",
    "dtype",
    "local_files_only",
    "output_hidden_states",
    "padding_side",
    "revision",
    "torch_dtype",
    "trust_remote_code",
    "use_cache",
}


@dataclass(frozen=True)
class Folder:
    """The modules of a sentence-transformers folder.

    Attributes:
        directory: the folder.
        transformer: folder of the decoder or its adapter.
        pooling: folder of the pooling.
        normalised: whether a module makes vectors unit.
        exported: whether the pooling is the trainable one of this toolkit's export.
    """

    directory: Path
    transformer: Path
    pooling: Path
    normalised: bool
    exported: bool = False


def read_modules(directory: Path) -> Folder:
    """Read ``modules.json``.

    Raises:
        UserError: other modules than a transformer, a pooling and a normalisation, in this order.
    """
    place = directory / MODULES
    try:
        content = parse_json(read_bytes(place))
    except (OSError, ValueError) as error:
        raise UserError(f"{place} is no valid JSON; take a fresh copy") from error
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(f"{place} holds no list of modules")
    kinds = [str(entry.get("type", "")) for entry in content]
    names = [kind.rsplit(".", 1)[-1] for kind in kinds]
    exported = kinds[1:2] == [OWN_POOLING]
    if exported:
        names[1] = "Pooling"
    known = all(kind.startswith("sentence_transformers.") or kind == OWN_POOLING for kind in kinds)
    if not known or names[:2] != ["Transformer", "Pooling"] or names[2:] not in ([], ["Normalize"]):
        raise UserError(
            f"{place} lists the modules {', '.join(kinds) or 'none'}; a transformer, a pooling and a normalisation of "
            "sentence-transformers can be loaded here, in this order and nothing else"
        )
    if len(content) == 3:
        check_normalisation(directory / str(content[2].get("path", "")))
    transformer, pooling = (inside(directory, str(entry.get("path", ""))) for entry in content[:2])
    return Folder(directory, transformer, pooling, len(content) == 3, exported)


def inside(directory: Path, path: str) -> Path:
    """Return the folder of a module.

    Raises:
        UserError: it is none, or lies elsewhere.
    """
    place = directory / path
    if not place.is_dir() or Path(path).is_absolute() or ".." in Path(path).parts:
        raise UserError(f"{directory / MODULES} names the folder {path!r}, which is not in {directory}: {listing(directory)}")
    return place


def check_normalisation(directory: Path) -> None:
    """Raise a UserError if the normalisation is of something else than the text's vector."""
    config = read_json(directory / "config.json") if (directory / "config.json").is_file() else {}
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise UserError(
                f"{directory / 'config.json'}: {key} is {config[key]!r}; only sentence_embedding can be loaded here"
            )


def read_pooling(folder: Folder) -> tuple[str, bool]:
    """Return the mode of the pooling, and whether it leaves the prompt out.

    Raises:
        UserError: several modes at once, or one that is not in ``POOLINGS``.
    """
    place = folder.pooling / "config.json"
    config = read_json(place)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in OLD_POOLINGS.items() if config.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise UserError(
            f"{place}: the pooling {' + '.join(map(str, modes))} cannot be loaded here; one of {', '.join(POOLINGS)} can"
        )
    leaves_out = config.get("include_prompt") is False
    if leaves_out and modes[0] == "weightedmean":
        raise UserError(
            f"{place}: weightedmean with include_prompt false counts its weights from the prompt on; here they begin with the "
            "first pooled token, so it cannot be loaded"
        )
    return modes[0], leaves_out


def transformer_settings(directory: Path) -> dict[str, Any]:
    """Read the settings of the transformer module.

    Raises:
        UserError: one of them would change the vectors, and cannot be expressed here.
    """
    place = next((directory / name for name in TRANSFORMER_SETTINGS if (directory / name).is_file()), None)
    settings = {} if place is None else read_json(place)
    for key, value in settings.items():
        if key in OPTION_GROUPS:
            other = sorted(set(value or {}) - HARMLESS_OPTIONS)
            if other:
                raise UserError(f"{place}: {key} has {other[0]}, which cannot be expressed here")
        elif key in FIXED_SETTINGS:
            if value not in (None, FIXED_SETTINGS[key]):
                raise UserError(f"{place}: {key} is {value!r}, which cannot be expressed here")
        elif key not in KNOWN_SETTINGS and value not in (None, {}, []):
            raise UserError(f"{place}: {key} is {value!r}, which cannot be expressed here")
    modality = settings.get("modality_config")
    if modality and (modality.get("text") or {}).get("method_output_name") != "last_hidden_state":
        raise UserError(f"{place}: modality_config reads {modality}; the last hidden state of texts can be read here")
    return settings


def refuse_messages(directory: Path) -> None:
    """Raise a UserError where sentence-transformers renders each text through the tokenizer's chat template.

    It does so where the modalities have ``message``. A folder that states none is of an older version, which read text alone
    whatever the tokenizer had, and new ones read it so too.
    """
    modalities = transformer_settings(directory).get("modality_config") or {}
    if "message" in modalities:
        raise UserError(
            f"{directory}: modality_config has 'message': sentence-transformers renders each text through the tokenizer's chat "
            "template, which is not read here. Write the words around a text as prompts with {text} into a recipe, and load "
            "the decoder with it (--recipe FILE.yaml --base_model FOLDER); or save the model with 'text' alone in "
            "modality_config, if it was trained without the template"
        )
