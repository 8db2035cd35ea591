"""`python -m comparison`: from folders to tables and files, three claims apart, users' names as data, clear refusals."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparison.__main__ import FAILED, USAGE, main
from comparison.report import write as report
from comparison.report.plots import matrix
from comparison.report.tables import json_file, markdown
from comparison.report.tables.files import write_csv
from comparison.stats.equivalence import equivalence
from comparison.stats.multiple import holm
from tests.comparison.conftest import Write, write_items, write_result
from tests.tiny import ROOT, SHARED

TASKS = ["ArguAna", "FiQA2018", "HotpotQA", "NFCorpus", "NQ", "SCIDOCS", "SciFact", "TRECCOVID", "FEVER", "ClimateFEVER"]


def scores(shift: float, seed: int, noise: float = 0.004) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    return {task: round(0.4 + 0.03 * n + shift + noise * generator.normal(), 6) for n, task in enumerate(TASKS)}


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "comparison.json").read_text(encoding="utf-8"))


def contrast(folder: Path, a: str, category: str = "Retrieval") -> dict[str, Any]:
    (of_category,) = (one for one in outcome(folder)["categories"] if one["name"] == category)
    (found,) = (one for one in of_category["contrasts"] if one["a"] == a)
    return found


def test_one_run_each_speaks_of_checkpoints(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write({"o/base": scores(0, 0), "o/good": scores(0.03, 1), "o/same": scores(0, 2), "o/bad": scores(-0.03, 3)})
    assert run(root, "--baseline", "base", "--output_dir", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "good better than base on other tasks of this kind (also over the whole table, checkpoint: chance if" in printed
    assert "base better than bad on other tasks" in printed
    assert "not separated on other tasks; the data allow" in printed
    assert (
        "Groups, on other tasks: better than base: good; equivalent to base within 1 point: same; worse than base: bad."
        in printed
    )
    found = contrast(tmp_path / "out", "good")
    assert found["mark"] == "**" and found["checkpoint"] and found["another_run"]["p"] is None
    assert found["other_tasks"]["families"] == 9 and found["by_task"]["units"] == 10
    assert found["another_run"]["overturned_by"] > 0.005
    assert outcome(tmp_path / "out")["baseline"] == "base"


def test_files_say_the_same(write: Write, tmp_path: Path) -> None:
    root = write({"o/base": scores(0, 0), "o/good": scores(0.03, 1), "o/other": scores(0.01, 2)})
    assert run(root, "--all_pairs", "--output_dir", tmp_path / "out") == 0
    with (tmp_path / "out" / "comparison.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["a"], row["b"]) for row in rows] == [("base", "good"), ("base", "other"), ("good", "other")]
    found = contrast(tmp_path / "out", "good")
    row = rows[2]
    assert float(row["other_p"]) == found["other_tasks"]["p"] and float(row["tasks_mean"]) == found["by_task"]["mean"]
    assert float(row["new_task_low"]) == found["other_tasks"]["new_task"]["low"]
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8") as stream:
        kept = {(one["task"], one["system"]): float(one["score"]) for one in csv.DictReader(stream)}
    assert kept["NQ", "good"] == scores(0.03, 1)["NQ"] and len(kept) == 30
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "Groups, best first: good a, other b, base c." in text and "not transitive" in text
    assert "Nemenyi" in text and "zeros as Pratt" in text


def test_seeds_decide_whether_a_star_speaks_of_designs(write: Write, tmp_path: Path) -> None:
    steady = {f"o/good-seed{n}": scores(0.03 + 0.001 * n, n) for n in range(3)}
    shaky = {f"o/shaky-seed{n}": scores(0.03 + 0.06 * (n - 1), n) for n in range(3)}
    root = write(steady | shaky | {f"o/base-seed{n}": scores(0, 9 + n) for n in range(3)})
    assert run(root, "--baseline", "base", "--output_dir", tmp_path / "out") == 0
    good, luck = contrast(tmp_path / "out", "good"), contrast(tmp_path / "out", "shaky")
    assert good["mark"] == "**" and not good["checkpoint"] and good["another_run"]["runs"] == [3, 3]
    assert luck["other_tasks"]["p"] <= 0.05 < luck["another_run"]["p"] and luck["mark"] == ""
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "better on other tasks in these runs, but another run may say otherwise" in text
    assert "Scores vary (sd, points)" in text


def test_too_few_families_decide_nothing(write: Write, tmp_path: Path) -> None:
    tasks = ["STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R", "BIOSSES"]
    models = {f"o/{name}": dict.fromkeys(tasks, 0.5) for name in ("a", "b")}
    models["o/b"] = {task: 0.6 + 0.001 * n for n, task in enumerate(tasks)}
    assert run(write(models), "--output_dir", tmp_path / "out") == 0
    found = contrast(tmp_path / "out", "b", "STS")
    assert found["mark"] == "" and found["other_tasks"]["families"] == 3 and found["other_tasks"]["p"] == 0.25
    assert found["as_published"]["p"] == 0.0078125, "by task it would be significant"
    assert found["by_family"]["hodges_lehmann_interval"] is None
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "cannot be decided with 3 families (b ahead on 8 of 8)" in text and "no interval has 95 %" in text


def test_items_give_a_claim_on_these_tasks(write: Write, tmp_path: Path) -> None:
    root = write({"o/a": {}, "o/b": {}, "o/c": {}})
    generator = np.random.default_rng(0)
    level = generator.beta(0.5, 0.5, 200)
    for name, shift in (("a", 0.0), ("b", 0.08), ("c", 0.0)):
        values = np.clip(level + shift + 0.05 * generator.normal(size=200), 0, 1).round(5)
        folder = root / f"o__{name}" / "rev"
        write_result(folder, "Mine", float(values.mean()))
        write_items(folder, "Mine", [{"ndcg_at_10": value, "recall_at_100": 0.9} for value in values])
    assert run(root, "--output_dir", tmp_path / "out") == 0
    better, same = contrast(tmp_path / "out", "b"), contrast(tmp_path / "out", "c")
    assert better["mark"] == "o" and same["mark"] == ""
    assert better["these_tasks"]["tasks"]["Mine"]["units"] == 200
    assert better["these_tasks"]["overturned_alone"] > better["these_tasks"]["overturned_by"] > 0.01
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "on these tasks b better (checkpoint: chance if a run's mean has sd >" in text and " o checkpoint |" in text
    assert "on other tasks it cannot be decided with 1 family (b ahead on 1 of 1)" in text


def test_failures_count_as_losses_beside_the_result(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write({"o/base": scores(0, 0), "o/good": {task: score for task, score in scores(0.03, 1).items() if task != "NQ"}})
    failures = root / "o__good" / "rev" / "failures"
    failures.mkdir()
    (failures / "NQ.txt").write_text("OutOfMemoryError\n", encoding="utf-8")
    assert run(root, "--baseline", "base", "--output_dir", tmp_path / "out") == 0
    found = contrast(tmp_path / "out", "good")
    assert found["missing"] == {"NQ": "good"} and found["sensitivity"]["failed_a"] == 1
    loss = max(abs(value) for value in found["differences"].values())
    assert found["sensitivity"]["mean"] == pytest.approx((sum(found["differences"].values()) - loss) / 10)
    assert found["sensitivity"]["p"] > found["other_tasks"]["p"]
    printed = capsys.readouterr().out
    assert "with failures counted as losses (1 and 0)" in printed and "1 task not common (NQ: good)" in printed


def test_missing_tasks_are_missing_pairwise(write: Write, tmp_path: Path) -> None:
    part = {task: score for task, score in scores(0.03, 1).items() if task in TASKS[:7]}
    root = write({"o/base": scores(0, 0), "o/part": part, "o/full": scores(0.03, 2)})
    write({"o/none": {"Banking77Classification": 0.5}})
    assert run(root, "--baseline", "base", "--output_dir", tmp_path / "out") == 0
    found = {one["a"]: one for one in outcome(tmp_path / "out")["categories"][0]["contrasts"]}
    assert found["part"]["by_task"]["units"] == 7 and found["full"]["by_task"]["units"] == 10
    retrieval = outcome(tmp_path / "out")["categories"][0]
    assert retrieval["skipped"] == [["none", "base"]] and retrieval["means"]["part"] is None
    assert any("Classification: no two compared systems" in note for note in outcome(tmp_path / "out")["notes"])


def test_opposite_stars_leave_no_overall_winner(write: Write, tmp_path: Path) -> None:
    other = [f"Odd{n}" for n in range(8)]
    models = {"o/a": scores(0, 0), "o/b": scores(0.03, 1)}
    root = write(models)
    for name, level in (("a", 0.5), ("b", 0.4)):
        shifts = {task: level + 0.003 * n * (name == "b") for n, task in enumerate(other)}
        write({f"o/{name}": shifts}, metric="accuracy")
    assert run(root, "--unrelated", "--output_dir", tmp_path / "out") == 0
    assert outcome(tmp_path / "out")["overall"][0]["opposed"]
    assert "no overall winner" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


def test_names_are_data(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "x|*b*<script>[l](u)`_\\_"
    root = write({"o/a": scores(0, 0), "o/b": scores(0.01, 1)})
    (root / "o__b" / "rev" / "model_meta.json").write_text(json.dumps({"name": f"{hostile}\n# head\x1b[2J"}), encoding="utf-8")
    assert run(root, "--output_dir", tmp_path / "out") == 0
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert r"x\|\*b\*\<script\>\[l\](u)\`\_\\\_ # head" in text and "<script>" not in text and "\n# head" not in text
    shown = f"{hostile} # head\ufffd[2J"
    assert shown in outcome(tmp_path / "out")["systems"]
    assert outcome(tmp_path / "out")["raw_names"] == {shown: f"{hostile}\n# head\x1b[2J"}
    printed = capsys.readouterr().out
    assert f"{hostile} # head\ufffd[2J" in printed and "\x1b" not in printed, "on a terminal as it is, but no control signs"


def test_same_revision_leaves_other_data_out(write: Write, tmp_path: Path) -> None:
    write({"o/a": scores(0, 0), "o/b": scores(0.01, 1)})
    root = write({"o/b": {"NQ": 0.5}}, dataset_revision="another")
    for flags, units in (([], 10), (["--same_revision"], 9)):
        assert run(root, "--output_dir", tmp_path / "out", *flags) == 0
        assert contrast(tmp_path / "out", "b")["by_task"]["units"] == units


def test_a_margin_and_own_families(write: Write, tmp_path: Path) -> None:
    root = write({"o/a": scores(0, 0, 0.001), "o/b": scores(0.004, 1, 0.001)})
    (tmp_path / "f.yaml").write_text("Retrieval:\n  - [NQ, HotpotQA, ArguAna]\n", encoding="utf-8")
    assert run(root, "--output_dir", tmp_path / "out", "--families", tmp_path / "f.yaml") == 0
    wide = contrast(tmp_path / "out", "b")
    assert wide["other_tasks"]["families"] == 7 and wide["other_tasks"]["p_equivalent"] <= 0.05
    assert run(root, "--output_dir", tmp_path / "out", "--margin", "0.003") == 0
    assert contrast(tmp_path / "out", "b")["other_tasks"]["p_equivalent"] > 0.05


def test_equivalence_is_claimed_for_all_comparisons_together(write: Write, tmp_path: Path) -> None:
    root = write({"o/a": scores(0, 0, 0.006)} | {f"o/{name}": scores(0, n, 0.006) for n, name in enumerate("bcdef", 1)})
    assert (
        run(root, "--output_dir", tmp_path / "many") == 0
        and run(root, "--systems", "a", "b", "--output_dir", tmp_path / "one") == 0
    )
    many, one = (contrast(tmp_path / name, "b")["other_tasks"]["p_equivalent"] for name in ("many", "one"))
    assert many > one
    every = [x["other_tasks"]["p_equivalent"] for x in outcome(tmp_path / "many")["categories"][0]["contrasts"]]
    contrasts = outcome(tmp_path / "many")["categories"][0]["contrasts"]
    differences = {number: np.array(families_of(x)) for number, x in enumerate(contrasts)}
    alone = [test.p for test in equivalence(differences, 0.01).values()]
    assert every == pytest.approx(holm(alone))


def families_of(found: dict[str, Any]) -> list[float]:
    return [float(np.mean([found["differences"][task] for task in tasks])) for tasks in found["families"]]


def test_the_whole_table_counts_the_categories_that_could_be_significant(write: Write, tmp_path: Path) -> None:
    root = write({"o/a": scores(0, 0), "o/b": scores(0.03, 1)})
    for name, level in (("a", 0.5), ("b", 0.6)):
        write({f"o/{name}": {f"Odd{n}": level + 0.003 * n * (name == "b") for n in range(8)}}, metric="accuracy")
        write({f"o/{name}": {f"Few{n}": level for n in range(3)}}, metric="map")
    assert run(root, "--output_dir", tmp_path / "out") == 0
    found = outcome(tmp_path / "out")
    assert found["counted"] == 2 and len(found["categories"]) == 3
    for category in found["categories"]:
        other = category["contrasts"][0]["other_tasks"]
        assert other["p_table"] == min(1.0, 2 * other["p"])


def test_items_of_other_scores_are_not_used(write: Write, tmp_path: Path) -> None:
    root = write({"o/a": {"NQ": 0.5}, "o/b": {"NQ": 0.6}})
    for name in "ab":
        write_items(root / f"o__{name}" / "rev", "NQ", [{"ndcg_at_10": 0.2 + 0.01 * n} for n in range(9)])
    assert run(root, "--output_dir", tmp_path / "out") == 0
    assert contrast(tmp_path / "out", "b")["these_tasks"] is None
    assert any("a on NQ" in note and "not used" in note for note in outcome(tmp_path / "out")["notes"])


def test_equal_systems_are_equivalent(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write({f"o/{name}": scores(0, 0) for name in "abc"})
    assert run(root, "--output_dir", tmp_path / "out") == 0
    assert contrast(tmp_path / "out", "b")["as_published"]["p"] == 1.0
    printed = capsys.readouterr().out
    assert "the data allow [+0.00, +0.00]; equivalent within 1 point" in printed and "nan" not in printed


def test_the_command_of_the_report_is_one_in_the_projects_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({"o/a": {"NQ": 0.5}, "o/b": {"NQ": 0.6}})
    monkeypatch.chdir(tmp_path)
    families = ROOT / "comparison" / "families_strict.yaml"
    assert run(root.name, "--output_dir", "out", "--families", families) == 0
    found = outcome(tmp_path / "out")
    assert found["directories"] == [str(root)] and found["families_file"] == "comparison/families_strict.yaml"
    words = f"comparison {root} --output_dir {tmp_path / 'out'} --families comparison/families_strict.yaml"
    assert words in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_chosen_systems(write: Write, tmp_path: Path) -> None:
    root = write({f"o/{name}": scores(0, n) for n, name in enumerate("abcd")})
    assert run(root, "--systems", "d", "b", "--output_dir", tmp_path / "out") == 0
    assert list(outcome(tmp_path / "out")["systems"]) == ["d", "b"] and outcome(tmp_path / "out")["baseline"] == "d"


def test_a_baseline_without_scores(write_study: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study({"best-seed1": {"NQ": 0.5}, "other-seed1": {"NQ": 0.6}})
    cells = [{"name": "base-seed1", "design": "base", "status": "diverged", "reason": "loss NaN at step 7"}]
    cells += [{"name": f"{name}-seed1", "design": name} for name in ("best", "other")]
    (study / "study.json").write_text(json.dumps({"format": 1, "cells": cells}), encoding="utf-8")
    out = tmp_path / "out"
    assert run(study, "--output_dir", out) == 0
    assert "Everybody is compared with best, the first that has scores" in capsys.readouterr().out
    text = (out / "comparison.md").read_text(encoding="utf-8")
    assert "base stands before best and has no scores (loss NaN at step 7): the baseline is best" in text
    shutil.rmtree(out)
    for asked in (["--baseline", "base"], ["--systems", "other", "best", "--baseline", "base"]):
        assert run(study, *asked, "--output_dir", out) == FAILED and not out.exists()
        said = capsys.readouterr().err
        assert "base is to be the baseline and has no scores (loss NaN at step 7)" in said and "best" in said


def test_a_damaged_cell_is_left_out_and_named(write_study: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study({f"{name}-seed{seed}": {"NQ": 0.1 * seed} for name in ("a", "b") for seed in (1, 2)})
    (damaged,) = study.glob("cells/b-seed2-*/scores.json")
    damaged.write_text('{"cell": "b-se', encoding="utf-8")
    assert run(study, "--output_dir", tmp_path / "out") == FAILED, "though the rest is compared"
    assert "b-seed2 left out: " in capsys.readouterr().err
    assert outcome(tmp_path / "out")["systems"] == {"a": 2, "b": 1}
    assert f"b-seed2 left out: {damaged} is damaged" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    cells = []
    for folder in sorted((study / "cells").iterdir()):
        name = folder.name.rsplit("-", 1)[0]
        status = "unfinished" if folder == damaged.parent else "done"
        cells.append({"name": name, "design": name[0], "status": status, "folder": folder.name})
    (study / "study.json").write_text(json.dumps({"format": 1, "cells": cells}), encoding="utf-8")
    assert run(study, "--output_dir", tmp_path / "listed") == FAILED, "a study calls such a cell unfinished"
    assert "b-seed2 left out: " in capsys.readouterr().err


def test_refusals(write: Write, write_study: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write({"intfloat/e5-mistral": scores(0, 0), "o/b": scores(0.01, 1)})
    study = write_study({"model1-seed1": {"NQ": 0.5}, "model2-seed1": {"NQ": 0.6}})
    out = ["--output_dir", tmp_path / "out"]
    (tmp_path / "file").write_text("")
    cases: list[tuple[list[object], str]] = [
        ([root, "--baseline", "e5", *out], "there is no system 'e5' (did you mean 'e5-mistral'?)"),
        ([root, "--systems", "b", "zzz", *out], "the systems are e5-mistral, b"),
        ([root, "--systems", "b", *out], "needs two systems"),
        ([root, "--tasks", "NQQ", *out], "did you mean 'NQ'?"),
        ([tmp_path / "gone", *out], "there is no directory"),
        ([study, "--output_dir", study], "is a study's directory"),
        ([root, "--output_dir", tmp_path / "file" / "x"], "cannot be written"),
    ]
    for arguments, message in cases:
        assert run(*arguments) == FAILED
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    for arguments, message in (
        ([root, *out, "--basline", "b"], "'--basline' (did you mean '--baseline'?)"),
        ([root, *out, "--baseline", "b", "--all_pairs"], "not allowed with"),
        ([root, *out, "--margin", "1.5"], "give a fraction"),
        ([root], "--output_dir"),
    ):
        with pytest.raises(SystemExit) as left:
            run(*arguments)
        assert left.value.code == USAGE and message in capsys.readouterr().err
    assert run(root, "--baseline", "intfloat/e5-mistral", *out) == 0, "the organisation may stand before the name"


def test_damaged_items_are_named(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write({"o/a": {"NQ": 0.5}, "o/b": {"NQ": 0.6}})
    for name in "ab":
        write_items(root / f"o__{name}" / "rev", "NQ", [{"ndcg_at_10": 0.5}, {"ndcg_at_10": 0.5}])
    path = root / "o__b" / "rev" / "items" / "NQ.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-12])
    assert run(root, "--output_dir", tmp_path / "out") == FAILED
    assert "o__b/rev/items/NQ.jsonl.gz is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "row", [{"predicted": [1, 2], "gold": 1}, {"ndcg_at_10": "much"}, {"subset": None, "score": {}, "gold": 1}], ids=str
)
def test_odd_items_are_refused_or_not_used(write: Write, tmp_path: Path, row: dict[str, Any]) -> None:
    root = write({"o/a": {"NQ": 0.5}, "o/b": {"NQ": 0.6}})
    for name in "ab":
        write_items(root / f"o__{name}" / "rev", "NQ", [{"predicted": [1], "gold": 1}, row])
    assert run(root, "--output_dir", tmp_path / "out") in (0, FAILED)


def test_it_runs_from_anywhere_without_torch(write: Write, tmp_path: Path) -> None:
    root = write({"o/a": scores(0, 0), "o/b": scores(0.01, 1)})
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from comparison.__main__ import main; "
        f"code = main([{str(root)!r}, '--output_dir', 'out']); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'mteb')))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not (SHARED / "mteb_results").is_dir(), reason="the public results are not here")
def test_all_public_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.process_time()
    assert run(SHARED / "mteb_results", "--baseline", "e5-mistral-7b-instruct", "--output_dir", tmp_path / "out") == 0
    assert time.process_time() - started < 60
    found = outcome(tmp_path / "out")
    assert len(found["systems"]) == 15
    assert contrast(tmp_path / "out", "NV-Embed-v1")["missing"] == {"MSMARCO": "NV-Embed-v1"}
    clustering = next(one for one in found["categories"] if one["name"] == "Clustering")
    assert ["GritLM-7B", "e5-mistral-7b-instruct"] in clustering["skipped"]
    printed = capsys.readouterr().out
    for said in ("NV-Embed-v1 on MSMARCO (has test", "MindSmallReranking (3)", "1.12.75", "RedditClustering.v2 (3)"):
        assert said in printed


def test_no_name_is_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [{"system": "=HYPERLINK(1)", "mean": -0.5}, {"system": "a=b", "mean": 0.1}])
    assert (tmp_path / "rows.csv").read_text().splitlines() == ["system,mean", "'=HYPERLINK(1),-0.5", "a=b,0.1"]


def test_a_large_table_is_not_printed_and_its_comparisons_are_packed(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({f"o/m{number}": scores(number / 50, number) for number in range(4)})
    assert run(root, "--all_pairs", "--output_dir", tmp_path / "whole") == 0
    monkeypatch.setattr(markdown, "MOST_LISTED", 5)
    monkeypatch.setattr(matrix, "MOST_LISTED", 5)
    monkeypatch.setattr(report, "MOST_IN_FOREST", 5)
    monkeypatch.setattr(json_file, "MOST_INDENTED", 5)
    capsys.readouterr()
    assert run(root, "--all_pairs", "--output_dir", tmp_path / "listed") == 0
    printed = capsys.readouterr().out
    assert "The 6 comparisons are too many to print; each is a row of comparison.csv." in printed and "m0 - m1" not in printed
    assert (tmp_path / "listed/comparison.csv").read_text() == (tmp_path / "whole/comparison.csv").read_text()
    pieces, whole = (tmp_path / f"{folder}/comparison.json" for folder in ("listed", "whole"))
    assert json_file.read_json(pieces) == json_file.read_json(whole) == json.loads(whole.read_text())
    assert json.loads(pieces.read_text())["categories"][0]["contrasts_in"] == "contrasts.jsonl.gz"
    assert len(pieces.read_text().splitlines()) < len(whole.read_text().splitlines()) / 10
    assert "too many to print" in (tmp_path / "listed/report.html").read_text()
