"""Knobs on a model that others trained: its weights, its states, its vectors. docs/pretrained.md."""
