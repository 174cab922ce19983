"""Images whose class is known, from class folders, tar archives and tables."""
