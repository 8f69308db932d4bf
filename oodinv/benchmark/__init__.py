"""Measuring models on a folder of photos: variants, scores, cost, tables and report."""
