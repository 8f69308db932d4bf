"""Reports on results: contact sheets, HTML pages and tables."""
