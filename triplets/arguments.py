"""Flags that name the training data and choose the rows to use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from common.errors import UserError
from common.number_check import check_positive
from triplets.data_sets import DataSet, label_of, resolve
from triplets.mixing import Mixing, Within


@dataclass
class DataArguments:
    """The training triplets, and those to evaluate the loss on."""

    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "Triplets: a hub name, or a local file or folder of JSONL (.gz), Parquet, CSV or TSV with the keys "
            "query, positive, negative (a string or a list; or negative_1, negative_2, ...). A local path wins over a hub name."
        },
    )
    dataset_config: str | list[dict[str, Any]] | None = field(
        default=None,
        metadata={
            "help": "Several data sets instead of --dataset_name: a YAML list, see configs/data/example.yaml. The "
            "flags here fill in the keys that an entry leaves out (split, max_negatives, ...)."
        },
    )
    batching: str = field(
        default="homogeneous",
        metadata={
            "help": "With --dataset_config: homogeneous for batches of one data set, on all processes; blended for "
            "batches of all rows mixed; a number between 0 and 1 for that share of homogeneous batches; within:0.7 for that "
            "share of each batch from one data set."
        },
    )
    dataset_file_path: str | None = field(
        default=None,
        metadata={"help": "A local file or folder instead of --dataset_name; beside a --dataset_name: the file in it."},
    )
    dataset_config_name: str | None = field(
        default=None, metadata={"help": "The configuration of a hub data set that has several, such as triplet."}
    )
    dataset_split: str = field(
        default="train",
        metadata={
            "help": "Split of a hub data set; in a folder with files called train*, validation*, test*, those of this split."
        },
    )
    max_seq_length: int = field(
        default=512, metadata={"help": "Longest text in tokens, EOS included; longer ones are cut before the EOS."}
    )
    query_max_length: int | None = field(default=None, metadata={"help": "Longest query in tokens. Unset: --max_seq_length."})
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Train on the first N triplets in file order. Unset: all."}
    )
    max_negatives: int | None = field(
        default=None, metadata={"help": "Use the first N negatives of a row; 0: in-batch only. Unset: all of them."}
    )
    in_batch_negatives: bool = field(
        default=True,
        metadata={
            "help": "Texts of other rows are negatives too. False for rows that share positives, such as class "
            "labels: each query is then compared with its own negatives alone, and needs at least one."
        },
    )
    eval_dataset: str | None = field(
        default=None,
        metadata={
            "help": "Triplets to evaluate the loss on, named as in --dataset_name. They are evaluated after each "
            "epoch, or as --eval_strategy and --eval_steps say."
        },
    )
    eval_dataset_config_name: str | None = field(
        default=None, metadata={"help": "As --dataset_config_name, for --eval_dataset."}
    )
    eval_dataset_split: str = field(
        default="validation", metadata={"help": "As --dataset_split, for --eval_dataset when it is a hub data set."}
    )
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on the first N triplets. Unset: all."})
    on_invalid_rows: Literal["error", "skip"] = field(
        default="error",
        metadata={
            "help": "Rows with a missing key, a wrong type or an empty query or positive: error lists them and "
            "stops, skip leaves them out and counts them. A line that is no JSON is always an error."
        },
    )

    def __post_init__(self) -> None:
        """Check that data is named, and that the numbers make sense.

        ``dataset_config`` is replaced by its resolved entries, so that the record of a run holds them.

        Raises:
            UserError: naming the flags, or ``file:line`` of a data set.
        """
        if self.dataset_config is not None and (self.dataset_name or self.dataset_file_path):
            raise UserError("--dataset_config names the data: leave --dataset_name and --dataset_file_path out")
        if not (self.dataset_name or self.dataset_file_path or self.dataset_config):
            raise UserError("no training data: give --dataset_name (hub name, local file or folder), or --dataset_config")
        if self.dataset_config is not None and self.dataset_config_name is not None:
            raise UserError("--dataset_config names the data: give --dataset_config_name as the key config_name of an entry")
        if self.eval_dataset is None and self.eval_dataset_config_name is not None:
            raise UserError("--eval_dataset_config_name has nothing to choose from: give --eval_dataset too")
        mixing(self.batching)
        check_positive(self, "max_seq_length", "query_max_length", "max_train_samples", "max_eval_samples")
        if self.max_negatives is not None and self.max_negatives < 0:
            raise UserError(f"--max_negatives must be 0 or more, got {self.max_negatives}")
        if not self.in_batch_negatives and self.max_negatives == 0:
            raise UserError("--in_batch_negatives false and --max_negatives 0 leave no negatives at all: give one of them")
        if self.dataset_config is not None:
            defaults = DataSet(None, split=self.dataset_split, **_treatment(self))
            self.dataset_config = resolve(self.dataset_config, defaults)
        if self.eval_dataset is None and self.max_eval_samples is not None:
            raise UserError("--max_eval_samples has nothing to limit: give --eval_dataset too")


def mixing(batching: str) -> Mixing:
    """Return the meaning of ``--batching``: one of its names, a share of batches in (0, 1), or of each batch."""
    if batching == "homogeneous":
        return "homogeneous"
    if batching == "blended":
        return "blended"
    prefix, colon, number = batching.rpartition(":")
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not 0.0 < share < 1.0 or prefix + colon not in ("", "within:"):
        raise UserError(
            f"--batching takes homogeneous, blended, a number between 0 and 1, or within: and such a number, not {batching!r}"
        )
    return Within(share) if colon else share


def data_sets(data: DataArguments) -> list[DataSet]:
    """Return the training data sets of a run."""
    if isinstance(data.dataset_config, list):
        return [DataSet(**entry) for entry in data.dataset_config]
    name, file = data.dataset_name, data.dataset_file_path
    label = label_of(name, file if name is None else None)
    config = data.dataset_config_name
    return [DataSet(name, file, data.dataset_split, label, repeat=1.0, config_name=config, **_treatment(data))]


def evaluation_set(data: DataArguments) -> DataSet | None:
    """Return the data set that the loss is evaluated on; None if there is none."""
    if data.eval_dataset is None:
        return None
    treatment = {**_treatment(data), "max_train_samples": data.max_eval_samples}
    label = label_of(data.eval_dataset, None)
    config = data.eval_dataset_config_name
    return DataSet(data.eval_dataset, None, data.eval_dataset_split, label, config_name=config, **treatment)


def _treatment(data: DataArguments) -> dict[str, Any]:
    """Return the run's treatment of a data set without its own. Prompts stay None: the run's recipe has them."""
    names = ("in_batch_negatives", "max_negatives", "max_train_samples")
    return {name: getattr(data, name) for name in names}
