"""What was learned, read from the checkpoints alone."""
