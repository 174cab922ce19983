"""Whether rows still hold: the files they are of, and a sample of their answers."""
