"""The standard problems, a file per family."""
