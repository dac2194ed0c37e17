"""What is kept on disk: checkpoints, metric history, and the thread that saves."""
