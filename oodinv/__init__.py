"""Editable GAN inversion of face photos that keeps what the generator cannot draw."""

__version__ = "0.1.0"
