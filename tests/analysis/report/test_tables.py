"""What a report says of how its cells were trained."""

import pytest

from analysis.report.tables import setting
from lab.engine import local_layout, make_plan
from lab.study import axis, product
from tests.lab.conftest import study_of, tiny_config, tiny_sweep


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_the_setting_names_the_optimizer(name):
    config = tiny_config()
    config.knobs = dict(optimizer=dict(name=name))
    text = dict(setting(make_plan(study_of(config), local_layout())))["Training"]
    assert f"; {name}, learning rate 0.002 " in text
    assert "optimizer.name" not in text


def test_an_optimizer_on_an_axis_is_left_to_the_grid():
    study = study_of(grid=product(tiny_sweep(), axis("optimizer.name", ("sgd", "muon"))))
    assert "; optimizer as in the grid, learning rate" in dict(setting(make_plan(study, local_layout())))["Training"]
