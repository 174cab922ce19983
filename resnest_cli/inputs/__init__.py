"""From what the user names to bytes: files, folders, URLs, buckets, tables, and the processes that load them."""
