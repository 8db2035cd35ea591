"""Notes on what surprises: each is there where its rule says, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import new_model
from trainers.monitor.surprises import Parameters, fast_bfloat16, parameters_of, surprises

SMALL = Parameters(frozen=134_500_000, lora=4_900_000, pooling=0)


def test_a_pooling_larger_than_the_base_is_noted() -> None:
    (note,) = surprises(Parameters(134_500_000, 4_900_000, 155_400_000), 1e-3, fp32_on_cpu=False)
    assert "155.4 million parameters, the base LLM 134.5 million" in note and "--pooling_latents" in note
    assert not surprises(Parameters(134_500_000, 4_900_000, 134_500_000), 1e-3, fp32_on_cpu=False)


def test_the_default_rate_is_noted_on_a_small_base_with_lora() -> None:
    (note,) = surprises(SMALL, 5e-5, fp32_on_cpu=False)
    assert "transformers' default, 5e-05" in note
    for other, rate in (
        (SMALL, 1e-3),
        (SMALL, 4e-5),  # somebody chose it
        (Parameters(7_000_000_000, 42_000_000, 0), 5e-5),  # nothing was measured there
        (Parameters(134_500_000, 0, 5_000_000), 5e-5),  # no LoRA
    ):
        assert not surprises(other, rate, fp32_on_cpu=False)


def test_float32_is_noted_where_the_cpu_has_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, expected in (("fpu avx512f avx512_bf16", "avx512_bf16"), ("fpu avx2", ""), ("amx_bf16 amx_tile", "amx_bf16")):
        facts = tmp_path / "cpuinfo"
        facts.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
        assert fast_bfloat16(facts) == expected
        monkeypatch.setattr("trainers.monitor.surprises.fast_bfloat16", lambda flag=expected: flag)
        notes = surprises(SMALL, 1e-3, fp32_on_cpu=True)
        assert [f"({expected})" in note for note in notes] == [True] * bool(expected)
        assert not surprises(Parameters(4_000_000, 1, 0), 1e-3, fp32_on_cpu=True)  # products too small to gain
    assert fast_bfloat16(tmp_path / "absent") == ""


def test_parameters_are_counted(base: Path) -> None:
    counts = parameters_of(new_model("model3", base))
    assert counts.frozen > 0 and counts.lora > 0 and counts.pooling > 0
    assert parameters_of(new_model("model1", base)).pooling == 0
