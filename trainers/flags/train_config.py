"""The resolved configuration of one run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainers.flags.arguments import (
    ADAPTER_DEFAULTS,
    ADAPTER_FLAGS,
    ContrastiveArguments,
    ModelArguments,
    ObjectiveArguments,
    RunArguments,
)
from trainers.flags.home import without_home
from trainers.flags.inherited import HubArguments
from trainers.flags.lora import FIELD_OF_FLAG, resolved_lora
from trainers.flags.training_arguments import plain_training_values
from trainers.scoring.arguments import ScoringArguments

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from triplets.arguments import DataArguments


@dataclass(frozen=True)
class TrainConfig:
    """One resolved run.

    Attributes:
        design: the row of `model_loaders.designs.DESIGNS`.
        model: base LLM, adapter, pooling.
        data: triplets.
        contrastive: loss.
        training: flags inherited from transformers.
        explicit: names of the flags that the command line or the YAML file set, as opposed to defaults.
        objective: what is learned.
        before: the stages that come before this run, in their order.
        merges: adapter that is merged first, and the folder of the merged base LLM that this run begins on.
        run: the work of this command; not part of the record.
        scoring: scores while training, and what is chosen by them.
        hub: the upload of the finished adapter; not part of the record.
    """

    design: str
    model: ModelArguments
    data: DataArguments
    contrastive: ContrastiveArguments
    training: TrainingArguments
    explicit: frozenset[str] = frozenset()
    run: RunArguments = field(default_factory=RunArguments)
    objective: ObjectiveArguments = field(default_factory=ObjectiveArguments)
    scoring: ScoringArguments = field(default_factory=ScoringArguments)
    hub: HubArguments = field(default_factory=HubArguments)
    before: tuple[TrainConfig, ...] = ()
    merges: tuple[str, str] | None = None

    def resolved(self) -> dict[str, Any]:
        """Return every flag and its value, ready for JSON or YAML; as ``--config`` it gives the same run again.

        It holds the LoRA settings themselves, not the name of their file: that may be edited, and lies elsewhere on
        another machine. Left out are flags that this trainer refuses (they are at their defaults) and, where an adapter is
        given, the settings that come from it.
        """
        values: dict[str, Any] = {"design": self.design}
        for group in (self.model, self.data, self.contrastive, self.objective, self.scoring):
            values.update(dataclasses.asdict(group))
        if self.model.peft_model_name_or_path is not None:
            for name in ADAPTER_FLAGS:
                del values[name]
            for name in ADAPTER_DEFAULTS:
                if name not in self.explicit:
                    del values[name]
        else:
            values.update(lora_config=resolved_lora(self.model), **dict.fromkeys(FIELD_OF_FLAG))
        values.update(plain_training_values(self.training))
        return values

    def record(self) -> dict[str, Any]:
        """Return the resolved flags without those that only this start of the run had: the run's ``train_config.json``.

        Paths in the user's home begin with ``~``: the file lies in the adapter's directory, which is shared.
        """
        values = self.resolved()
        del values["resume_from_checkpoint"]
        if "use_cpu" not in self.explicit:
            del values["use_cpu"]
        record: dict[str, Any] = without_home(values)
        return record
