"""Hidden states and latent readings, taken from checkpoints."""

from analysis.activations.measure import Measurer, ProbeSite, claim_site, hidden_states, probe_set, probe_sites

__all__ = ["Measurer", "ProbeSite", "claim_site", "hidden_states", "probe_set", "probe_sites"]
