"""HTTP: every request goes through this folder, bounded in time and bytes."""
