"""Times one pass over Fashion-MNIST's training images: ours, DataLoader(TensorDataset) and torchvision's data set.

All arms run in turn in one process. They yield shuffled float images in 0..1 and labels, in batches of 256; each arm
must yield every image once. Also measures the memory that training adds to `import torch, lightning`.

python -m benchmarks.data
"""

import argparse
import logging
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets, transforms

from src.build import build
from src.command.jobs import checked_jobs
from src.datasets.augment import Augmented
from src.datasets.images import Images, Split
from src.datasets.loader import Batches, Shuffle

BATCH_SIZE = 256
Batch = tuple[Tensor, Tensor]

# Prints the memory after the imports and the peak of a run above it, as counted by Linux.
MEMORY = """
import sys, tempfile
from pathlib import Path
import torch, lightning
def megabytes(kind):
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind + ":"))
    return int(line.split()[1]) / 1024
imports = megabytes("VmRSS")
from src.command.jobs import checked_jobs
from src.train import train
jobs = checked_jobs(["data=fashion_mnist", "trainer.max_epochs=3", *sys.argv[1:]], multirun=False)
with tempfile.TemporaryDirectory() as folder:
    train(jobs.configs[0], Path(folder))
print(f"{imports:.0f} {megabytes('VmHWM') - imports:.0f}")
"""


def torchvision_files(images: Images, root: Path) -> None:
    """Writes the training set in LeCun's format, in the folder where torchvision looks for it."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in (("images-idx3", images.pixels.squeeze(1)), ("labels-idx1", images.labels.to(torch.uint8))):
        header = struct.pack(f">{1 + array.dim()}I", 0x0800 + array.dim(), *array.shape)
        for prefix in ("train", "t10k"):
            (raw / f"{prefix}-{name}-ubyte").write_bytes(header + array.numpy().tobytes())


def arms(images: Images, root: Path) -> dict[str, Iterable[Batch]]:
    """The loaders to compare, by name."""
    from_files = datasets.FashionMNIST(str(root), train=True, transform=transforms.ToTensor())
    in_memory = TensorDataset(images.pixels.float() / 255, images.labels)
    split = Split(images, torch.arange(len(images)))
    shuffle = Shuffle(len(images), seed=0)
    augmented = Augmented(split, shift=2, flip=True)

    def ours(augmented: Augmented | None) -> Batches:
        return Batches(split, batch_size=BATCH_SIZE, normalize=None, shuffle=shuffle, augmented=augmented)

    return {
        **{
            f"torchvision, ToTensor, DataLoader, {workers} workers": DataLoader(
                from_files, BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=workers > 0
            )
            for workers in (0, 2, 4)
        },
        "DataLoader(TensorDataset)": DataLoader(in_memory, BATCH_SIZE, shuffle=True),
        "ours": ours(None),
        "ours, shift 2 and flip": ours(augmented),
    }


def one_pass(batches: Iterable[Batch]) -> float:
    """Seconds to iterate over all batches."""
    began = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - began


def check_same_work(all_arms: Mapping[str, Iterable[Batch]], images: Images) -> None:
    """Checks that every arm yields every image once, by its class counts and, unless augmented, the sum of pixels."""
    whole = images.pixels.sum(dtype=torch.int64).item() / 255
    for name, batches in all_arms.items():
        counts, total = torch.zeros(10, dtype=torch.int64), 0.0
        for pixels, labels in batches:
            assert pixels.dtype == torch.float32 and pixels.shape[1:] == images.pixels.shape[1:], name
            counts += labels.bincount(minlength=10)
            total += pixels.sum(dtype=torch.float64).item()
        assert torch.equal(counts, images.labels.bincount()), name
        assert "flip" in name or abs(total / whole - 1) < 1e-6, name


def report(seconds: Mapping[str, list[float]], count: int) -> None:
    ours = seconds["ours"]
    print("\n| one pass | median s | least - most | images/s | times ours (least - most) |\n|---|---|---|---|---|")
    for name, values in seconds.items():
        median = statistics.median(values)
        ratios = [value / reference for value, reference in zip(values, ours, strict=True)]
        print(
            f"| {name} | {median:.3f} | {min(values):.3f} - {max(values):.3f} | {count / median:,.0f} "
            f"| {statistics.median(ratios):.1f} ({min(ratios):.1f} - {max(ratios):.1f}) |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    (cfg,) = checked_jobs(["data=fashion_mnist"], multirun=False).configs
    images = build(cfg, "data").read().train
    machine = f"{torch.get_num_threads()} threads, {platform.machine()}, Python {platform.python_version()}"
    print(f"{len(images):,} images, batches of {BATCH_SIZE}, {repeats} repeats; torch {torch.__version__}, {machine}")
    with tempfile.TemporaryDirectory() as folder:
        torchvision_files(images, Path(folder))
        all_arms = arms(images, Path(folder))
        check_same_work(all_arms, images)  # also the warm-up
        seconds: dict[str, list[float]] = {name: [] for name in all_arms}
        for _ in range(repeats):
            for name, batches in all_arms.items():
                seconds[name].append(one_pass(batches))
    report(seconds, len(images))
    print()
    for overrides in ([], ["data.augment.shift=2", "data.augment.flip=true"]):
        line = [sys.executable, "-c", MEMORY, *overrides]
        imports, added = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()[-2:]
        print(
            f"memory: {imports} MB after import torch, lightning; {added} MB more at the peak of training", *overrides
        )


if __name__ == "__main__":
    main()
