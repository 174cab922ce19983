"""Records as files: formats, journals of long jobs, and pictures."""
