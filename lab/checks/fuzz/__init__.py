"""Malformed input, drawn at random: is every mistake one sentence? `python -m lab.checks.fuzz` is the command.

A module a kind of input: `configs`, `command_lines`, `files`; `trials` runs what they draw.
"""
