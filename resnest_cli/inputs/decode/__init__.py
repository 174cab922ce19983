"""From the bytes of an image file to the pixels that a network sees. PIL and numpy only."""
