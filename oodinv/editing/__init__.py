"""Editing of inverted faces: recipes to plans, latent codes, and composites of the results."""
