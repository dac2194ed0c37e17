"""Latent metrics: pure functions of arrays. Imports nothing of the lab."""
