"""What a folder of results says: as tables, as figures, and as one page with both."""
