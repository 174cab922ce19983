"""How fast a model is on this machine, and how far from what the hardware can do.

`sweep` runs configurations one after another, each in a process of its own (`worker`), which times the engine
(`measure`) and the hardware (`peak`); `rows` names the numbers. The weights are random: they do not change the speed.
"""
