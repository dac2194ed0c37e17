"""Where the gains and the abilities of a claim are read (`lab.study.places`)."""

from __future__ import annotations

from analysis.activations.measure import ProbeSite, claim_site
from lab.study.places import Ability, Gain
from lab.study.spec import Study


def claimed_site(study: Study, claimed: Gain, label: str) -> ProbeSite:
    """Where a gain is read of which an ability of the task `label` is claimed: `claim_site` but for what it names."""
    plain = claim_site(study, claimed.task or label)
    task, layer = plain.label, plain.layer if claimed.layer is None else claimed.layer
    use = study.use(task)
    split = claimed.split if claimed.split not in (None, use.probe) else ""
    factor = claimed.factor if claimed.factor not in (None, use.factor) else ""
    return ProbeSite(task, layer, claimed.position or plain.read, split or "", factor or "")


def probed_site(place: Ability) -> ProbeSite:
    """Where the probe of a checked ability reads."""
    assert place.layer is not None, "only an ability of a probe has a site"
    return ProbeSite(place.task, place.layer, str(place.position), place.split or "", place.factor or "")
