"""The engine on torch, and what needs torch to make a graph. Loaded only where no converted graph will do."""
