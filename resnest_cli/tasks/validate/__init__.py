"""How right a model is on labeled images: counts, figures, reports."""
