"""Where an edit may change anything, a module for each region."""
