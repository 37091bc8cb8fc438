"""The published results, the benchmarks behind them, and runs that fill in ours beside them."""
