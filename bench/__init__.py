"""Benchmarks: `./run bench` lists them, `./run bench NAME` runs one. Each prints a table of ratios from one run."""
