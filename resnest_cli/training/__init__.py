"""From a folder of labelled images to a model folder: the task behind `resnest finetune` and `resnest train`.

`dataset` decides what is trained on and what is held out, `recipe` how; `run` puts a job together from the rest.
`dataset`, `recipe`, `job` and `report` know no framework.
"""
