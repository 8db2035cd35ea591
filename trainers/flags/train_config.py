"""The resolved configuration of one run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from trainers.flags.arguments import (
    FROM_THE_ADAPTER,
    FROM_THE_ADAPTER_UNLESS_GIVEN,
    ContrastiveArguments,
    ModelArguments,
    RunArguments,
)
from triplets.arguments import DataArguments


@dataclass(frozen=True)
class TrainConfig:
    """One resolved run.

    Attributes:
        design: the row of `model_loaders.designs.DESIGNS`.
        model: base LLM, adapter, pooling.
        data: triplets.
        contrastive: loss.
        training: ``transformers.TrainingArguments``.
        given: names of the flags that the command line or the YAML file set, as opposed to defaults.
        run: what this command does with it.
    """

    design: str
    model: ModelArguments
    data: DataArguments
    contrastive: ContrastiveArguments
    training: Any  # transformers.TrainingArguments, which is not imported here
    given: frozenset[str] = frozenset()
    run: RunArguments = field(default_factory=RunArguments)  # not part of what is recorded

    def resolved(self) -> dict[str, Any]:
        """Return every flag and its value, ready for JSON or YAML; as ``--config`` it gives the same run again.

        The LoRA settings stand in it themselves, not the name of their file: that may be edited, and lies elsewhere on
        another machine. Left out: flags that this trainer refuses (they are at their defaults), and where an adapter is
        given, what comes from it.
        """
        from trainers.flags.inherited import plain_training_values
        from trainers.flags.lora import FLAGS, resolved_lora

        values: dict[str, Any] = {"design": self.design}
        for group in (self.model, self.data, self.contrastive):
            values.update(dataclasses.asdict(group))
        if self.model.peft_model_name_or_path is not None:
            unset = [name for name in FROM_THE_ADAPTER_UNLESS_GIVEN if name not in self.given]
            for name in (*FROM_THE_ADAPTER, *unset):
                del values[name]
        else:
            values.update({"lora_config": resolved_lora(self.model), **dict.fromkeys(FLAGS)})
        values.update(plain_training_values(self.training))
        return values
