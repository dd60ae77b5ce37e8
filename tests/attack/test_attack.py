"""Runs every reader on a corpus of changed folders, in real processes: no code runs, and nothing outside changes.

`make test` runs a sample; `make test-all` runs everything, and writes how many cases it ran to outputs/attack.txt.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.attack import corpus
from tests.attack.corpus import Cases, Change
from tests.processes import Process, Starter
from tests.runs import ROOT, SMALL

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes of these tests are forks")

RUN = [*SMALL, "trainer.max_epochs=2", "optimizer.lr=0.01"]
SWEEP = ["-m", *SMALL, "trainer.max_epochs=1", "seed=1,2,3"]
SECONDS, MEGABYTES, LINES = 10, 2000, 5
EXIT_CODES = {0, 2, 3, 5, 74}
SAMPLE = 47  # in `make test`, one case in this many
FAMILIES: dict[str, Callable[[], Cases]] = {
    "gadgets": corpus.gadgets,
    "foreign values": corpus.foreign_values,
    "odd files": corpus.odd_files,
    "checkpoints": corpus.checkpoints,
    "plans": corpus.plans,
}
# The readers of each victim: a module and its arguments.
READERS = {
    "run": [
        ("src.eval", ["run=run", "figures=false"]),
        ("src.predict", ["run=run", "images=images", "figures=false"]),
        ("src.results", ["."]),
        ("src.train", [*RUN, "resume=run"]),
    ],
    "left": [("src.train", [*RUN, "resume=left"]), ("src.results", ["left"])],
    "sweep": [("src.results", ["sweep"]), ("src.train", [*SWEEP, "resume=sweep"]), ("src.eval", ["run=sweep"])],
}


class Listener:
    """A server on this machine that must hear nothing."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port, self.heard = self.socket.getsockname()[1], 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            try:
                self.socket.accept()[0].close()
            except OSError:
                return
            self.heard += 1


class Lab:
    """The victims, and the processes that read changed copies of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.listener = folder, 0, Listener()
        self.start = Starter(folder)
        self.victims = folder / "victims"
        (self.victims / "images").mkdir(parents=True)
        for words in ([*RUN, "figures=true", "hydra.run.dir=run"], [*SWEEP, "hydra.sweep.dir=sweep"]):
            assert self.start(*words, folder=self.victims).exit_code() == 0
        for image in (self.victims / "run/figures/examples").glob("*.png"):
            shutil.copy(image, self.victims / "images")
        shutil.copytree(self.victims / "run", self.victims / "left")
        (self.victims / "left/metrics.json").write_text('{"status": "interrupted", "reason": "Ctrl-C"}')
        shutil.copy(self.victims / "left/checkpoints/previous.ckpt", self.victims / "left/checkpoints/last.ckpt")
        (last_job,) = (self.victims / "sweep").glob("002_*")
        shutil.rmtree(last_job)

    def attack(self, victim: str, change: Change) -> list[str]:
        """Reads a changed copy of a victim with all its readers; returns what went wrong."""
        started = []
        for module, arguments in READERS[victim]:
            self.number += 1
            here = self.folder / f"case{self.number}" / "here"
            shutil.copytree(self.victims, here, symlinks=True)
            (here.parent / "sentinel/inner").mkdir(parents=True)
            (here.parent / "sentinel/file").write_text("untouched")
            (here.parent / "sentinel/inner/best.ckpt").write_text("untouched")
            with working_in(here):
                change(Path(victim))
            self.name_the_port(here / victim / corpus.CONFIG)
            before = snapshot(here.parent / "sentinel")
            started.append((module, here, before, time.monotonic(), self.start(*arguments, module=module, folder=here)))
        found = []
        for module, here, before, begun, process in started:
            found += [f"{module}: {problem}" for problem in self.problems(process, here, before, begun)]
            shutil.rmtree(here.parent)
        return found

    def name_the_port(self, config: Path) -> None:
        if config.is_file() and not config.is_symlink() and config.stat().st_size < 1 << 20:
            config.write_bytes(config.read_bytes().replace(b"PORT", str(self.listener.port).encode()))

    def problems(self, process: Process, here: Path, before: dict[str, object], begun: float) -> Iterator[str]:
        while process.runs() and time.monotonic() - begun < SECONDS:
            time.sleep(0.01)
        if process.runs():
            os.kill(process.pid, signal.SIGKILL)
            yield f"ran for more than {SECONDS} s: {process.log.read_text()[-300:]}"
            return
        output = process.log.read_bytes()
        text = output.decode(errors="replace")
        try:
            code, megabytes = process.ended()
        except FileNotFoundError:
            yield f"crashed: {text[-300:]}"
            return
        # A table may come before an error, and after it.
        errors = text[max(0, text.find("error: ")) :].partition("\n\n")[0].splitlines()
        if code not in EXIT_CODES:
            yield f"exit code {code}: {text[-300:]}"
        if megabytes > MEGABYTES:
            yield f"{megabytes} MB of memory"
        if "Traceback" in text or (code in (2, 3, 74) and len(errors) > LINES):
            yield f"printed {text[-600:]}"
        if b"\x1b" in output or b"\x07" in output:
            yield f"printed control characters: {output[-300:]!r}"
        if os.environ[corpus.SECRET].encode() in output:
            yield f"printed a secret: {text[-300:]}"
        if (here.parent / "canary").exists() or list(here.rglob("canary")):
            yield "something was run"
        if snapshot(here.parent / "sentinel") != before or {path.name for path in here.parent.iterdir()} != OUTSIDE:
            yield "something outside of the folder was changed"
        if self.listener.heard:
            self.listener.heard = 0
            yield "something was sent"


OUTSIDE = {"here", "sentinel"}


class working_in:  # noqa: N801
    """Changes the working directory during a block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.before = Path.cwd()
        os.chdir(self.folder)

    def __exit__(self, *error: object) -> None:
        os.chdir(self.before)


def snapshot(folder: Path) -> dict[str, object]:
    """Everything in a folder: contents, and times of change."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = (content, path.lstat().st_mtime_ns)
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    os.environ[corpus.SECRET] = "do-not-show-me"
    found = Lab(tmp_path_factory.mktemp("lab"))
    yield found
    found.start.close()
    found.listener.socket.close()


def attacked(lab: Lab, family: str, *, step: int) -> int:
    victims = ["sweep"] if family == "plans" else ["run", "left"]
    problems, count = [], 0
    for name, change in islice(FAMILIES[family](), 0, None, step):
        for victim in victims:
            count += len(READERS[victim])
            problems += [f"{name} ({victim}): {problem}" for problem in lab.attack(victim, change)]
    assert not problems, "\n".join([f"{len(problems)} of {count} failed", *problems])
    return count


def test_a_deep_folder_and_an_ascii_terminal_are_read_too(lab: Lab) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    deep = lab.victims / "sweep"
    for _ in range(300):
        deep /= "a" * 10
    deep.mkdir(parents=True)
    line = [sys.executable, "-m", "src.results", "sweep"]
    done = subprocess.run(line, cwd=lab.victims, env=environment, capture_output=True, timeout=60)
    shutil.rmtree(lab.victims / "sweep" / ("a" * 10))
    assert done.returncode == 0 and b"Traceback" not in done.stderr and b"\\xb1" in done.stdout


def test_the_unchanged_victims_are_read_by_all_readers(lab: Lab) -> None:
    for victim in READERS:
        assert lab.attack(victim, lambda folder: None) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_of_the_corpus_does_no_harm(lab: Lab, family: str) -> None:
    attacked(lab, family, step=SAMPLE)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_corpus_does_no_harm(lab: Lab, family: str) -> None:
    count = attacked(lab, family, step=1)
    with (ROOT / "outputs" / "attack.txt").open("a") as file:
        file.write(f"{family}: {count:,} cases\n")
