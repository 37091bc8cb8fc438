"""Evaluation of a pre-trained model: metrics, probes, zero-shot retrieval, short fine-tunings, the report."""
