"""Files of benchmarks, read exactly as their authors publish them."""
