"""Safe readers of weight files; no code from a file is executed."""
