"""The break test and the statistics under it. Imports nothing of the lab."""
