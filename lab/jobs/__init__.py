"""A study as a job: its work directory, its parts on several machines, one cell again.

Nothing is imported here: `run.py` imports `hosts`, `reproduce`, `shards` and `workdir` where it needs them, so that
`--help` and a mistake in the command line are answered before JAX and Orbax load.
"""
