"""Generators, a module for each family."""
