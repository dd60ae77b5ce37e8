"""Sweeps: planned, launched, watched, searched and ranked."""
