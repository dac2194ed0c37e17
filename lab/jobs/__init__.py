"""A study as a job: its work directory, its parts on several machines, one cell again."""
