"""Several finished studies side by side."""
