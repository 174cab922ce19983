"""Text from outside, and for outside: JSON parsed strictly, cells of a table, URLs without their secrets."""
