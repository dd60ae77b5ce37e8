"""Fast training steps. The only package that reaches into Lightning's training loop."""
