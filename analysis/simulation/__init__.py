"""Error rates and power, measured on simulated and on planted truths."""
