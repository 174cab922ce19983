"""What a command does, as functions that a program can call. No task knows of a terminal."""
