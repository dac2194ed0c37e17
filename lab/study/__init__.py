"""A study's file, read and checked: axes, grids, the frozen specification."""
