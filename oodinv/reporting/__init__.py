"""Results to look at: sheets, pages and tables."""
