"""The transformer: its layers, its loss and its optimizers, for one cell."""
