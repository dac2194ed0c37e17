"""The training step and loop of one cell, with what mechanisms do in it."""
