"""Measures of how well pictures agree: functions (B, 3, H, W) → (B,), and the statistics of their results."""
