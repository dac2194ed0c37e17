"""What repairs a broken ability: arms that are trained from a study's checkpoints."""
