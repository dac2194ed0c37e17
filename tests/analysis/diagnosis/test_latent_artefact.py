"""A claimed gain that is in how latents are written down, planted by maps of real states."""

import jax
import numpy as np
import pytest

from analysis.activations.measure import claim_site
from analysis.metrics.geometry import participation_ratio
from analysis.metrics.probes import probe_accuracy
from analysis.metrics.separation import fisher_trace
from analysis.metrics.similarity import linear_image
from analysis.metrics.v_information import v_information
from tests.analysis import synthetic_study
from tests.analysis.diagnosis.test_diagnose import planted
from tests.tasks.task_cases import first_by_default


@jax.jit
def readings(z, y):
    return {
        "participation_ratio": participation_ratio(z),
        "v_information": v_information(z, y, 4),
        "probe_accuracy": probe_accuracy(z, y, 4),
        "fisher_trace": fisher_trace(z, y, 4),
    }


def states(seed, change):
    """Four classes in 12 columns, and what a knob has made of them: other states, or the same in other coordinates."""
    rng = np.random.default_rng(seed)
    y = (np.arange(400) % 4).astype(np.int32)
    z = rng.normal(size=(4, 12))[y] * 0.7 + rng.normal(size=(400, 12))
    left, right = (np.linalg.qr(rng.normal(size=(12, 12)))[0] for _ in range(2))
    stretched = z @ left @ np.diag(np.geomspace(1, 30, 12)) @ right  # an invertible map of condition 30
    after = {"mapped": stretched, "bent": np.sign(stretched) * stretched**2, "same": z, "cut": z * (np.arange(12) < 3)}
    return z.astype(np.float32), after[change].astype(np.float32), y


@pytest.mark.parametrize(
    ("change", "status"),
    first_by_default([("mapped", "holds"), ("bent", "refuted"), ("cut", "refuted"), ("same", "not shown")], 2),
)
def test_a_gain_that_an_invertible_map_makes_is_an_artefact_of_the_latents(change, status):
    one = synthetic_study.study()
    seed_C = np.asarray([cell["seed"] for cell in one.cells])

    def act(columns, far):
        site = claim_site(one, "facts")
        columns[f"{site}/two_nn"][:] = 5  # so that the dimension is the only gain
        for seed in range(8):
            before, after, y = states(seed, change)
            for cells, z in ((~far, before), (far, after)):
                for name, value in readings(z, y).items():
                    columns[f"{site}/{name}"][cells & (seed_C == seed), -1] = value
            columns[f"{site}/image_r2"][far & (seed_C == seed), -1] = min(jax.jit(linear_image)(before, after))

    found = planted(act)
    assert found["facts/iid", "latent artefact"].status == status
    assert found["z6/iid", "latent artefact"].status == "refuted"


def test_states_that_lose_information_or_say_too_little_are_no_artefact():
    def keep(columns, far):
        for name in columns:
            if name.endswith("/image_r2"):
                columns[name][far] = 0.99
            if name.startswith("facts/") and name.endswith("/v_information"):
                columns[name][far] *= 0.9
            if name.startswith("z6/") and name.endswith("/image_r2"):
                columns[name][:] = np.nan  # too few distinct inputs

    found = planted(keep)
    assert found["facts/iid", "latent artefact"].status == "not shown"
    assert found["z6/iid", "latent artefact"].status == "not testable"
