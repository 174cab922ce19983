"""Which models there are, and where their files come from and are kept. No framework."""
