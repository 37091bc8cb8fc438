"""Corpora of benchmarks as typed rows, one module for each family of files."""
