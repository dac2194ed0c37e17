"""Are decodable latents used? Edits of activations, and what they do to abilities."""
