"""The kinds of a claim; a leaf, so that the schema and the specification both take the names from here."""

MAP = "map"
"""A knob from neutral outwards."""
CATEGORICAL = "categorical"
"""Values without order, each against a control."""
ASSOCIATION = "association"
"""Metric and ability over all cells of a grid."""
