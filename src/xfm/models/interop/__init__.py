"""Weights and classes of other models: published checkpoints, RoBERTa, BERT, BEiT-2, timm, transformers."""
