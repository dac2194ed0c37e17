"""A mixture of experts in place of each feed-forward layer: every token goes to the few that a router picks.

Experts have the full number of neurons each, so parameters grow with their number and computation with `top_k`. All are
computed for every token and those it isn't sent to are given no weight, which is the same function at a higher price. A
token's experts are weighted by the router's probabilities among all experts (arXiv 2101.03961), so that the router
learns with a single one, too. Pruning leaves experts' weights alone.

Shape letters: B examples, L tokens, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, StageSetup, StepView
from lab.nn.loss import heard
from lab.nn.model import Forward, ModelSpec

SOURCE = "Shazeer et al. 2017, arXiv 1701.06538; Fedus et al. 2021, arXiv 2101.03961"
COUNT = Knob(
    name="experts.count",
    low=1,
    high=64,
    neutral=1,
    integer=True,
    pinned=True,
    sizes=True,
    about="feed-forward layers a block, each of the full size; 1 is the plain layer",
    source=SOURCE,
)
TOP_K = Knob(
    name="experts.top_k",
    low=1,
    high=64,
    neutral=1,
    integer=True,
    needs=(COUNT.name,),
    about="experts that a token is sent to",
    source=SOURCE,
)
TEMPERATURE = Knob(
    name="experts.temperature",
    low=0.01,
    high=100.0,
    neutral=1.0,
    needs=(COUNT.name,),
    about="what the router's logits are divided by",
    source=SOURCE,
)
BALANCE = Knob(
    name="experts.balance",
    high=10.0,
    default=0.01,
    needs=(COUNT.name,),
    about="penalty on an uneven load: experts times the sum of each one's share of tokens and mean probability",
    source="Fedus et al. 2021, arXiv 2101.03961",
)


class Experts(Mechanism):
    """See the module's docstring."""

    name = "experts"
    knobs = (COUNT, TOP_K, TEMPERATURE, BALANCE)
    hook_points = ("experts", "top_k", "router_temperature")
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """A token can't be sent to more experts than there are."""
        if setup.knobs[TOP_K.name] > setup.knobs[COUNT.name]:
            return f"{TOP_K.name}={setup.knobs[TOP_K.name]} is more than {COUNT.name}={setup.knobs[COUNT.name]}."
        return ""

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the experts."""
        return replace(spec, experts=knobs[COUNT.name])

    def hook(self, hook_point: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """How many experts there are, how many a token is sent to, and the router's temperature."""
        return knobs[{"experts": COUNT, "top_k": TOP_K, "router_temperature": TEMPERATURE}[hook_point].name]

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array:
        """The load's unevenness, mean over layers."""
        loads = jax.vmap(lambda p: unevenness(p, heard(view.batch).astype(jnp.float32), knobs[TOP_K.name]))(
            forward.routing
        )
        return knobs[BALANCE.name] * jnp.mean(loads) * knobs[COUNT.name]


def unevenness(probability_BxLxE: jax.Array, heard_BxL: jax.Array, top_k: jax.Array) -> jax.Array:
    """Sum over experts of the share of tokens sent there and the mean probability: float32[], 1/E where all is even."""
    weight_BxLx1 = (heard_BxL / jnp.sum(heard_BxL))[..., None]
    rank_BxLxE = jnp.argsort(jnp.argsort(-probability_BxLxE, axis=-1), axis=-1)
    sent_BxLxE = (rank_BxLxE.astype(jnp.float32) < top_k).astype(jnp.float32) / top_k
    share_E, mean_E = (jnp.sum(weight_BxLx1 * x, axis=(0, 1)) for x in (sent_BxLxE, probability_BxLxE))
    return jnp.sum(share_E * mean_E)
