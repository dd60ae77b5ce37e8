from pathlib import Path

from src.sweep.report import rebuild, report_sweep
from tests.conftest import Captured
from tests.sweeps import Sweep


def test_the_end_of_a_sweep_prints_its_results_and_writes_its_files(tmp_path: Path, capsys: Captured) -> None:
    Sweep(tmp_path, "optimizer.lr=0.1,1", "data.batch_size=64,256").left(*[{"val/acc": 0.5}] * 3, {"val/acc": 0.9})
    report_sweep(tmp_path)
    out = capsys.readouterr().out
    for text in (
        "optimizer.lr  data.batch_size  val acc  test acc",
        "val acc, optimizer.lr down  data.batch_size=64  data.batch_size=256",
        f"4 of 4 jobs completed in {tmp_path}\n",
        "The best optimizer.lr, 1, is the highest of the grid.\n",
        "  next         python -m src.train -m optimizer.lr=1,10,100 data.batch_size=256,1024,4096\n",
        f"  tensorboard  tensorboard --logdir {tmp_path}\n",
    ):
        assert text in out
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written == {"sweep.json", "results.csv", "results.md", "grid.png"}


def test_a_sweep_with_a_failed_job_is_not_complete(tmp_path: Path, capsys: Captured) -> None:
    Sweep(tmp_path, "model=a,b,c").left({}, "out of memory", {"git_commit": "b" * 40})
    report_sweep(tmp_path)
    out = capsys.readouterr().out
    assert "2 of 3 jobs completed in " in out and "out of memory" in out
    assert "warning: these runs mix 2 git commits: " in out
    assert not (tmp_path / "grid.png").exists()


def test_an_unfinished_sweep_gives_no_advice(tmp_path: Path, capsys: Captured) -> None:
    Sweep(tmp_path, "lr=0.1,1,10").left({"val/acc": 0.8}, {"val/acc": 0.7}, None)
    report_sweep(tmp_path)
    assert "lowest" not in capsys.readouterr().out
    Sweep(tmp_path, "lr=0.1,1,10").left({"val/acc": 0.8}, {"val/acc": 0.7}, "diverged")
    report_sweep(tmp_path)
    assert "The best lr, 0.1, is the lowest of the grid." in capsys.readouterr().out


def test_rebuild_reads_the_results_from_disk(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "model=a,b").left({"val/acc": 0.5}, {"val/acc": 0.6})
    rebuild(tmp_path)
    sweep.ends(0, {"val/acc": 0.9})
    assert rebuild(tmp_path)[0].entries[0].values == {"model": "a"}
    assert "a,0.9" in (tmp_path / "results.csv").read_text()
