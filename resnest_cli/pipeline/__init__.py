"""Sources through decoding and an engine: ordered, bounded, each bad image a record."""
