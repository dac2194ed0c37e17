"""How a grid is trained."""
