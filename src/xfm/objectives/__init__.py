"""The six pre-training objectives: pure functions of the model's outputs and the batch."""
