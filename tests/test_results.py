import subprocess
import sys
from pathlib import Path

import pytest

from src.results import main
from tests.conftest import Captured, Patch
from tests.runs import ROOT
from tests.sweeps import Sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path / "grid", "optimizer.lr=0.01,0.1,1").left({"val/acc": 0.5}, {"val/acc": 0.8}, "diverged")


def test_leaderboard_and_grid_are_printed_and_the_files_of_the_sweep_rewritten(sweep: Sweep, capsys: Captured) -> None:
    assert main([str(sweep.folder)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["0.1", "0.8000", "0.8000", "3", "2.0", "001_optimizer.lr=0.1"]
    assert "0.1           0.8000*" in out
    assert {path.name for path in sweep.folder.glob("*.*")} >= {"results.csv", "results.md", "grid.png"}


def test_without_a_folder_all_outputs_are_read(sweep: Sweep, monkeypatch: Patch, capsys: Captured) -> None:
    (sweep.folder.parent / "outputs").mkdir()
    sweep.folder.rename(sweep.folder.parent / "outputs" / "grid")
    monkeypatch.chdir(sweep.folder.parent)
    assert main([]) == 0
    assert "grid/001_optimizer.lr=0.1" in capsys.readouterr().out


def test_several_folders_are_merged(sweep: Sweep, tmp_path: Path, capsys: Captured) -> None:
    Sweep(tmp_path / "other", "optimizer.lr=10,100").left({"val/acc": 0.9}, {"val/acc": 0.1, "git_commit": "b" * 40})
    assert main([str(sweep.folder), str(tmp_path / "other"), "--sort", "optimizer.lr"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[1:6]] == ["0.01", "0.1", "10", "100", "1"]
    assert err == "warning: these runs mix 2 git commits: aaaaaaaa, bbbbbbbb\n"


def test_csv_and_markdown_are_printed(sweep: Sweep, capsys: Captured) -> None:
    assert main([str(sweep.folder), "--csv"]) == 0
    head, first, second, failed = (sweep.folder / "results.csv").read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == [head, second, first, failed]  # in the order of the leaderboard
    assert main([str(sweep.folder), "--csv", "--sort", "optimizer.lr"]) == 0
    assert capsys.readouterr().out.splitlines() == [head, first, second, failed]
    assert main([str(sweep.folder), "--md"]) == 0
    assert capsys.readouterr().out == (sweep.folder / "results.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nowhere"], 3, "error: nowhere is not a folder. Try python -m src.results outputs."),
        (["empty"], 3, "error: there are no runs in empty. Try python -m src.results outputs."),
        (["grid", "--sort", "acc"], 2, "error: --sort must be one of val/acc, val/loss, test/acc, test/loss, "),
    ],
)
def test_bad_input_prints_one_line_to_stderr(
    arguments: list[str], code: int, text: str, sweep: Sweep, monkeypatch: Patch, capsys: Captured
) -> None:
    monkeypatch.chdir(sweep.folder.parent)
    Path("empty").mkdir()
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(text) and err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["src.results", "GRID"], ["src.train", "-m", "seed=1", "resume=GRID"]])
def test_a_closed_pipe_prints_no_error(arguments: list[str], sweep: Sweep) -> None:
    line = [sys.executable, "-m", *(word.replace("GRID", str(sweep.folder)) for word in arguments)]
    if "src.train" in line:
        line = [*line[:-1], f"hydra.sweep.dir={sweep.folder}_2", "data=synthetic", "trainer.max_epochs=1"]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() != 0
    process.stderr.close()


def test_results_does_not_import_torch(sweep: Sweep) -> None:
    code = f"import sys; from src.results import main; main([{str(sweep.folder)!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
