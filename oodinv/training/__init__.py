"""Training: one loop shared by every task, with resumable checkpoints."""
