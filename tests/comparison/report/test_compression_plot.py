"""The report shows score against bytes a vector where a results folder has ``compression.csv``."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparison.__main__ import FAILED, main
from comparison.report.plots.compression import draw_compression, read_compression
from comparison.report.plots.drawing import style
from tests.comparison.conftest import Write

TABLE = """dimensions,precision,bytes,mean,Tiny,model
32,float32,128,0.50,0.50,mine
32,int8,32,0.49,0.49,mine
32,binary,4,0.30,0.30,mine
8,float32,32,0.45,0.45,mine
"""


def write_table(folder: Path, text: str = TABLE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compression.csv").write_text(text)
    return folder / "compression.csv"


def test_the_plot_has_a_line_for_each_precision(tmp_path: Path) -> None:
    table = read_compression(write_table(tmp_path / "a"))
    older = read_compression(write_table(tmp_path / "older", TABLE.replace(",mine", "").replace(",model", "")))
    assert table.model == "mine" and older.model == "older" and table.rows == older.rows
    with style():
        plot = draw_compression([table], "compression")
        both = draw_compression([table, older], "compression")
    assert plot is not None and both is not None and draw_compression([], "x") is None
    assert list(plot.rows[1]) == ["mine", "32", "int8", "32", "49.00", "-1.00"] and plot.rows[0][-1] == ""
    assert ">int8<" in plot.svg and ">older, binary<" in both.svg


def test_the_report_shows_it(write: Write, tmp_path: Path) -> None:
    root = write({"a": {"ArguAna": 0.5, "NFCorpus": 0.4}, "b": {"ArguAna": 0.4, "NFCorpus": 0.5}})
    out = tmp_path / "out"
    assert main([str(root), "--output_dir", str(out)]) == 0
    assert "bytes a vector" not in (out / "report.html").read_text()
    write_table(root)
    assert main([str(root), "--output_dir", str(out)]) == 0
    assert "Score against bytes a vector" in (out / "report.html").read_text()
    assert (out / "plots" / "compression.svg").is_file()


@pytest.mark.parametrize(
    "text", ["", "dimensions,mean\n1,2\n", TABLE.replace("0.49", "half"), TABLE.splitlines()[0], TABLE.replace("128", "0")]
)
def test_a_damaged_table_is_an_error(write: Write, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = write({"a": {"ArguAna": 0.5}, "b": {"ArguAna": 0.4}})
    write_table(root, text)
    assert main([str(root), "--output_dir", str(tmp_path / "out")]) == FAILED
    assert "compression.csv" in capsys.readouterr().err and not (tmp_path / "out" / "report.html").exists()
