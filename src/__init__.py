"""An experiment lab for small image classifiers: PyTorch Lightning driven by Hydra."""
