"""A model as a folder that runs elsewhere."""
