"""The grid engine: plans a study, compiles its programs, trains its cells on all devices."""
