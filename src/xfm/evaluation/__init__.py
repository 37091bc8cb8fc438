"""The suite that scores a pre-trained model: retrieval, masked words, probes, fine-tunings, the report."""
