"""Metrics that equal the official scorers of the benchmarks, and the files that their servers take."""
