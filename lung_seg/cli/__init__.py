"""The commands: train, evaluate, prepare_data, predict and export.

In: command-line arguments and the YAML files of ``conf/``, composed by Hydra. Out: one dataclass of settings for one
function of another room, what it did printed, an exit code. Hydra ends here; errors become one or two lines.
May import every room. Packages that a command may lack are imported when it runs, so that --help always works.
"""
