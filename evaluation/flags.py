"""The flags of `run_mteb.py` and `run_mteb_retrieval.py`. Imports nothing heavy, so that `--help` is quick."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from common.errors import UserError, nearest
from evaluation.encode.rank import first_process
from model_loaders import DESIGNS

if TYPE_CHECKING:
    from evaluation.results.record import Record

USAGE = 2  # exit status of wrong usage
# The record decides these: the flags would do nothing beside --rerun.
DECIDED_BY_RECORD = (
    "tasks",
    "prompts",
    "prompt_template",
    "max_length",
    "dtype",
    "attn_implementation",
    "name",
    "embedding_cache",
    "save_embeddings",
    "save_predictions",
    "shard_texts",
)
DTYPES = ("float32", "bfloat16", "float16")


class EvaluationParser(argparse.ArgumentParser):
    """Takes no abbreviations; an unknown flag is an error that names the nearest one."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2; of several processes the first one speaks."""
        if first_process():
            self.exit(USAGE, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")
        self.exit(USAGE)

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse all arguments or leave with status 2."""
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].split("=")[0]
            self.error(f"unknown argument {flag!r}{nearest(flag, self._option_string_actions)}")
        return parsed


def make_parser(description: str, defaults: Mapping[str, object]) -> EvaluationParser:
    """Return the parser; `defaults` are the constants at the top of a script, by flag."""
    parser = EvaluationParser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_model_flags(parser)
    _add_task_flags(parser)
    _add_encoding_flags(parser)
    _add_result_flags(parser)
    parser.set_defaults(**{flag: value for flag, value in defaults.items() if value is not None})
    return parser


def _add_model_flags(parser: EvaluationParser) -> None:
    add = parser.add_argument
    add("--adapter_path", help="adapter: a directory or a hub name, in our layout or in the published one")
    add("--base_model", help="base LLM: a directory or a hub name (default: the one that the adapter's manifest names)")
    add(
        "--loader",
        metavar="DESIGN",
        help=f"design of a published adapter: {', '.join(DESIGNS)} (default: the manifest's)",
    )
    add(
        "--recipe",
        metavar="NAME",
        help="score --base_model as it is, without an adapter, with a recipe: prompteol, echo, mean, last, … (configs/recipes) "
        "or a .yaml file",
    )
    add(
        "--num_heads",
        type=_positive,
        help="heads of a published adapter's pooling, which its files do not say (default 32)",
    )
    add("--dtype", choices=DTYPES, help="of the base LLM (default: the manifest's)")
    add("--attn_implementation", help="eager, sdpa, flash_attention_2, … (default: the base LLM's best)")
    add("--device", help="cpu, cuda, cuda:1, … (default: a GPU if there is one)")
    add("--cache_dir", help="cache of the hub for base LLM and adapter")


def _add_task_flags(parser: EvaluationParser) -> None:
    add = parser.add_argument
    add(
        "--tasks",
        nargs="+",
        metavar="TASK",
        help="names of task folders, of mteb's tasks, of its benchmarks ('MTEB(eng, v2)'), of the paper's lists (paper, "
        "paper/STS) (default: all of --data_dir; without it the paper's)",
    )
    add(
        "--list",
        nargs="?",
        const="",
        metavar="PATTERN",
        help="list the tasks, and do nothing else: folders of --data_dir, lists, benchmarks; with a part of a name or type "
        "also mteb's tasks",
    )
    add("--data_dir", help="folder of task folders (see evaluation/tasks/schemas.py)")
    add(
        "--prompts",
        metavar="FILE|mteb|own|none",
        help="which prompts: a YAML file by task, type or 'default' (see evaluation/encode/prompts_file.py) before the others; "
        "mteb's of each task (your own folders get none from it); the adapter's own; none (default: the choice of its "
        "manifest: own if it was trained with any, else mteb)",
    )
    add(
        "--prompt_template",
        metavar="TEMPLATE",
        help="how a task's prompt and a text go together: 'instruct' ('Instruct: {prompt}\\nQuery: {text}') or a string like "
        "it (default: the manifest's, else 'PROMPT: TEXT')",
    )


def _add_encoding_flags(parser: EvaluationParser) -> None:
    add = parser.add_argument
    add("--max_length", type=_length, help="tokens a text at most (default: the manifest's)")
    add("--batch_tokens", type=_positive, help="padded tokens of a forward pass at most (default: as fits the device)")
    add("--batch_size", type=_positive, help="texts of a forward pass at most (default: no limit but that of tokens)")
    add(
        "--embedding_cache",
        metavar="DIR",
        help="keep vectors there for other tasks and runs, texts x dim x 4 bytes (default: in the output directory until "
        "their task is finished, so that a killed run goes on)",
    )
    add(
        "--shard_texts",
        type=_positive,
        help="number of texts whose vectors are written together (default: 4096): as many at most are encoded again after a "
        "kill; an --embedding_cache finds vectors again only with the same number",
    )


def _add_result_flags(parser: EvaluationParser) -> None:
    add = parser.add_argument
    add(
        "--output_dir",
        default="runs/mteb",
        help="where results go (default: %(default)s); results that are there are not computed again",
    )
    add("--name", help="name of the model in the results (default: its design)")
    add(
        "--save_embeddings",
        nargs="?",
        const=True,
        metavar="DIR",
        help="write the vectors of each task, to be looked at, into DIR (default: embeddings in the results folder; see "
        "evaluation/encode/saved_vectors.py)",
    )
    add("--save_predictions", action="store_true", help="keep mteb's prediction files, up to 1000 hits a query")
    add(
        "--rerun",
        metavar="RECORD",
        help="score the task of a record (recipes/TASK.json of a results folder) again with exactly its settings, and show "
        "how the scores differ; writes nothing",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _length(text: str) -> int:
    if _positive(text) < 2:
        raise argparse.ArgumentTypeError(f"it must be at least 2, a token of the text and the end token, not {text}")
    return int(text)


@contextmanager
def settings_of_record(args: argparse.Namespace, defaults: Mapping[str, object]) -> Iterator[None]:
    """Put the settings of the record of `--rerun`, if it is given, into `args`; results go into a temporary folder.

    The places of adapter, base LLM and data may be given beside it; `defaults` are the constants at the top of the script,
    which give way.

    Raises:
        UserError: the record cannot be used, or a flag would do nothing.
    """
    if not args.rerun:
        yield
        return
    from evaluation.results.record import Record  # for --rerun alone: --help need not read it

    record = Record.read_complete(Path(args.rerun))
    for name in DECIDED_BY_RECORD:
        if getattr(args, name, None) not in (None, False, defaults.get(name)):
            raise UserError(f"--{name} would do nothing beside --rerun: the record decides it")
    for name, value in _places_of_record(record, args, defaults).items():
        if getattr(args, name) in (None, defaults.get(name)):
            setattr(args, name, value)
    args.tasks = [record.task]
    args.prompts = args.prompt_template = args.max_length = None
    args.dtype = None
    for name in ("dtype", "compute_dtype"):  # the latter is missing in older records, and goes before the other
        if record.encoder.get(name) in DTYPES:
            args.dtype = record.encoder[name]
    args.attn_implementation = record.encoder.get("attention_kernel")
    with tempfile.TemporaryDirectory() as scratch:
        args.output_dir = scratch
        yield


def _places_of_record(record: Record, args: argparse.Namespace, defaults: Mapping[str, object]) -> dict[str, Any]:
    """Return where adapter, base LLM and data of a record were, by flag.

    Raises:
        UserError: the data are not there any more, and no flag names another place.
    """
    places: dict[str, Any] = {}
    for name in ("adapter_path", "base_model", "cache_dir", "loader", "num_heads", "recipe"):
        places[name] = record.origin.get(name)
    folder = record.origin.get("folder")
    if folder:
        places["data_dir"] = str(Path(folder).parent)
        if args.data_dir in (None, defaults.get("data_dir")) and not Path(folder).is_dir():
            raise UserError(f"the data of the record are not at {folder} any more: --data_dir is the folder above it today")
    else:
        places["data_dir"] = None
    return places
