"""Long checks that are commands: known results reproduced, runs killed over and over, malformed input."""
