"""Images whose class is known, from class folders, tar archives and tables: to score a model on, or to train one."""
