"""Where a network looked: heat maps, split attention, and their pictures."""
