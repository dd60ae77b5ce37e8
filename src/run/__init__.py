"""What a run leaves behind: its result, curves, checkpoints and lines on the terminal."""
