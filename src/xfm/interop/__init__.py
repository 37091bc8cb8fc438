"""Other formats of weights: the published checkpoints."""
