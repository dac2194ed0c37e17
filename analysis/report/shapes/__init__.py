"""Views of claims that don't run along a knob from neutral outwards."""
