"""Optimisation for single photos: of latent codes and noise, and of the generator's weights."""
