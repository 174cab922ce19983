"""How fast is a model on this machine, and how far from what the hardware can do?

`sweep` runs configurations one after another, each in a process of its own (`worker`), which times the engine
(`measure`); `rows` turns what was measured into named numbers. The weights are random: they do not change the speed.
"""
