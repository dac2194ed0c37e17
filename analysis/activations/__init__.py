"""Hidden states and latent readings, taken from checkpoints."""
