"""The style of every figure, and figures that keep their numbers."""
