"""From a folder of labeled images to a model folder: the task behind `resnest finetune` and `resnest train`.

`inputs.labelled.training_set` decides what is trained on, `recipe` how; `run` does the job. `calls` is Python's door.
`calls`, `recipe`, `request`, `job` and `report` import no framework.
"""
