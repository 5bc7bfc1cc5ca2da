"""What must hold when things go wrong, each shown by doing it: `python -m benchmarks.torture`."""
