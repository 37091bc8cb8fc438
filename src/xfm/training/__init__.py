"""Training: one loop for pre-training and fine-tuning, its optimiser, checkpoints, logs and processes."""
