"""What is fast and what is not, measured against what most people write; never part of the tests."""
