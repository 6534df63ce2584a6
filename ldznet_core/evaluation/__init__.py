"""Measurement: masks, presence, pictures and the VAE on held-out scenes of the world."""
