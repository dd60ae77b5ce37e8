"""Sweeps: what they are made of, how they go, and what came of them."""
