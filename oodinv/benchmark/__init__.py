"""Measures models on a folder of photos: ablations, scores, cost, tables and report."""
