"""Compares runs with the rows that Dive into Deep Learning's softmax regression from scratch printed.

python .ci/d2l_rows.py RUN_FOLDER...
"""

import csv
import sys
from pathlib import Path

ROWS = [  # train loss, train accuracy, test accuracy of epochs 1 to 5
    (0.7865, 0.749, 0.788),
    (0.5697, 0.814, 0.812),
    (0.5261, 0.826, 0.820),
    (0.5019, 0.832, 0.825),
    (0.4847, 0.837, 0.828),
]
TOLERANCE = 0.01


def main() -> int:
    worst = 0.0
    for folder in map(Path, sys.argv[1:]):
        lines = (folder / "metrics.csv").read_text().splitlines()
        ours = [
            tuple(float(row[name]) for name in ("train/loss", "train/acc", "val/acc")) for row in csv.DictReader(lines)
        ]
        for epoch, (row, published) in enumerate(zip(ours, ROWS, strict=True), start=1):
            differences = [abs(value - other) for value, other in zip(row, published, strict=True)]
            worst = max(worst, *differences)
            print(f"{folder.name} epoch {epoch}: ours {row}, published {published}, off by {max(differences):.4f}")
    print(f"largest difference from the published rows: {worst:.4f} (at most {TOLERANCE} allowed)")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
