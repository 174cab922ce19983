"""How sure may one be of an answer? Probabilities that hold, sets of classes, and images that are like no other."""

FILENAME = "calibration.json"  # in a model folder
