"""A study's claims, judged; and the rounds of refinement that judging asks for."""
