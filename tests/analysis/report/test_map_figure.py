"""The map: five plain states, the same in figure, terminal and numbers, at any number of settings."""

import csv
import io
import itertools

import numpy as np
import pytest
from rich.console import Console

from analysis.diagnosis import find
from analysis.plots import style
from analysis.report import console, map_figure, tables
from analysis.stats.setting_map import STATEMENTS, SettingMap
from tests.analysis import synthetic_study


def a_map(*shown):
    """A map of neutral and one setting for each tuple of statements that are shown there."""
    count = len(shown) + 1
    p_K = {name: np.asarray([1.0, *(0.01 if name in one else 1.0 for one in shown)]) for name in STATEMENTS}
    nothing = np.zeros(count, int)
    return SettingMap(
        np.arange(count) / 10, p_K, np.ones(count), np.zeros(count), nothing, nothing + 8, nothing,
        nothing == 0, 0.9, 0.1, 0.04, 0.01, 8, 5, 0.05,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "state", "mark"),
    [
        (("gain", "free"), "gain", "▲"),
        (("gain", "free", "better"), "gain", "▲+"),
        (("gain", "better"), "gain", "▲+"),
        (("gain", "harmed"), "mismatch", "▲✗"),
        (("harmed",), "lost", "✗"),
        (("harmed", "against"), "lost", "✗▽"),
        (("harmed", "gain lost"), "lost", "✗"),
        (("free",), "kept", "·"),
        (("free", "against"), "kept", "·▽"),
        (("better",), "kept", "·+"),
        ((), "open", "?"),
        (("gain",), "open", "▲?"),
        (("against",), "open", "?▽"),
    ],
)
def test_every_setting_is_in_one_state(shown, state, mark):
    found = a_map(shown)
    assert map_figure.state(found, 1) == state
    assert map_figure.mark(found, 1) == mark
    assert map_figure.mark(found, 0) == map_figure.NEUTRAL


def test_states_differ_in_mark_and_in_colour_with_and_without_dark_mode():
    looks = map_figure.STATES.values()
    assert len({look.mark for look in looks}) == len({look.words for look in looks}) == len(looks)
    for colour in (str, style.dark):
        assert len({colour(look.colour) for look in looks}) == len(looks)
        for look in looks:
            assert contrast(colour(look.colour), colour(look.ink)) > 4


def contrast(one, other):
    """Contrast ratio of WCAG 2."""

    def luminance(colour):
        part_3 = np.asarray([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        linear_3 = np.where(part_3 <= 0.04045, part_3 / 12.92, ((part_3 + 0.055) / 1.055) ** 2.4)
        return linear_3 @ (0.2126, 0.7152, 0.0722)

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def findings():
    return find(synthetic_study.results(diverged=False)).in_stratum({})


def test_the_figures_numbers_are_the_map(findings):
    table = list(csv.DictReader(io.StringIO(map_figure.draw(findings).to_csv())))
    for one in findings.claims:
        mine = [line for line in table if line["panel"] == f"{one.label}/{one.split}, {one.metric}"]
        for k, value in itertools.islice(enumerate(one.map.knob_K), 1, None):
            series = {line["series"]: line for line in mine if line["x"] == f"{value:.7g}"}
            words = {look.words for look in map_figure.STATES.values()} & set(series)
            assert words == {map_figure.STATES[map_figure.state(one.map, k)].words}
            column = one.gain.values_SxK[:, k] - one.gain.values_SxK[:, 0]
            if np.isnan(column).all():
                assert series["change of the metric"]["y"] == ""
                continue
            drawn = float(series["change of the metric"]["y"])
            assert drawn == pytest.approx(column.mean(), rel=1e-5)  # as it was read, whatever the claim
        breaks = [(float(line["x_low"]), float(line["x_high"])) for line in mine if line["series"] == "break"]
        assert breaks == ([one.verdict.break_between] if one.verdict.break_between else [])


def test_a_break_stands_between_its_settings_in_every_row(findings):
    shown = tables.map_rows(findings)
    rows = dict(shown["groups"])["128 facts"]
    assert rows[0][1] == ["○", "▲", "▲", "▲", "▲", "┃▲✗", "▲✗", "▲✗", "▲✗"]
    assert rows[0][2] == ["open", *["gain"] * 4, *["mismatch"] * 4]
    few = tables.map_rows(findings, 3)
    assert dict(few["groups"])["128 facts"][0][1] == ["○", "▲", "┃▲✗"], "50% is not among the three"
    assert (shown["left_out"], few["left_out"]) == (0, 6)
    assert shown["settings"][:2] == ["0%", "10%"]


@pytest.mark.parametrize(
    "sparsities", [synthetic_study.SPARSITIES, (0.0, *np.linspace(0.1, 0.9, 30)), (0.0, 0.00012345, 0.0001234, 0.5)]
)
def test_the_terminals_map_fits_100_columns(sparsities):
    results = synthetic_study.results(synthetic_study.study(seeds=2, sparsities=tuple(map(float, sparsities))))
    inside = find(results).in_stratum({})
    terminal = Console(width=200, record=True, file=io.StringIO())
    terminal.print(console.map_table(inside))
    lines = [line.rstrip() for line in terminal.export_text().splitlines()]
    assert max(map(len, lines)) <= console.WIDEST
    assert sum("class separation ↑" in line for line in lines) == 4
    assert "…" not in "".join(lines)


def test_the_terminal_ends_with_the_map_and_the_answer(findings):
    terminal = Console(width=100, record=True, file=io.StringIO())
    for part in console.map_of(findings):
        terminal.print(part)
    text = " ".join(terminal.export_text().split())
    assert text.startswith("What is shown at each setting")
    assert text.index("▲✗ gain, ability lost") < text.index("Does pruning make latents better?")
    assert "fisher_trace" not in text
    assert "`" not in text


def test_colours_of_a_page_follow_dark_mode_and_those_of_a_file_do_not(findings):
    picture = map_figure.draw(findings)
    plain = style.svg(picture.figure, "map", "about")
    element = style.inline(plain, picture.placed())
    assert "var(" not in plain
    assert style.COLOUR.search(element) is None, "no colour is left as it was"
    assert f"--c{style.STRONG[1:]}: {style.dark(style.STRONG)};" in style.dark_rules([element])
    assert element.count("data-hover=") == 1
    assert "class separation (Fisher trace) +" in element


def test_what_a_pointer_shows_lies_where_it_is_drawn(findings):
    picture = map_figure.draw(findings)
    points = picture.placed()
    assert len(points) == 12 * 9
    ax, figure = picture.figure.axes[0], picture.figure
    box = ax.get_position()
    width, height = figure.get_size_inches() * 72
    for x, y, _ in points:
        assert box.x0 <= x / width <= box.x1
        assert box.y0 <= 1 - y / height <= box.y1
