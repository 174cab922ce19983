"""A model in int8: images to calibrate on, quantization, and its judgement."""
