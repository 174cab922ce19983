"""How right a model is on labelled images: counts, figures, reports."""
