"""Which labelled pixels count in which training step."""
