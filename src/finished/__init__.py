"""A finished run: found, rebuilt from its folder, measured and drawn."""
