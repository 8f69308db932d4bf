"""Edits: from a recipe to plans, and applied to latent codes and faces."""
