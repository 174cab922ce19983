"""The machine and its files: what there is, what may be imported, started, trusted, and how a file is written."""
