"""How fast the engine, the generators and the mechanisms are on this machine."""
