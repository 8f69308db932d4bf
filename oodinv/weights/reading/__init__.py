"""Safe readers of weight files: nothing that a file carries is ever run."""
