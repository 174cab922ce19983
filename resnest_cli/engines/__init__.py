"""Engines turn batches of pixels into rows of numbers: `base` has the protocol, `choose` opens the right one."""
