"""The trunk on the machines of a cluster, by Ray Data (the extra `ray`)."""
