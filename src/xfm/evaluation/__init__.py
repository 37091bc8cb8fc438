"""Evaluation: the suite for pre-trained models, probes of frozen features, ablations, benchmarks."""
