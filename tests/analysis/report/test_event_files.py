"""What TensorBoard's own reader finds in the files that the writer makes, and that rebuilding gives the same bytes."""

import shutil
import struct
import time
import zlib
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from analysis.report.event_files import Chart, Run, Series, write

METRICS = ("facts", "z")


def a_png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(3 * width) for _ in range(height))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def a_run():
    tags = ("facts/iqm", "facts/low", "facts/high")
    return Run(
        "figures",
        series=[Series(tag, (50, 100, 200), (0.1, float("nan"), 0.3), "what it is") for tag in tags],
        charts=[Chart("abilities", "facts", *tags)],
        images={"figures/one": a_png(7, 5)},
        texts={"verdicts": "| a | b |\n|---|---|\n| 1 | 2 |"},
        step=200,
    )


def rows(count):
    return [
        Run(
            f"row{i}",
            [Series("facts", (200,), (0.1 * i,)), Series("z", (200,), (np.nan,))],
            {"u": i / 10, "scope": "global", "seed": i},
        )
        for i in range(count)
    ]


def write_all(directory, count):
    write(directory, [a_run(), *rows(count)], METRICS)


def read(directory):
    found = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def files(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_a_run_reads_back(tmp_path):
    write_all(tmp_path / "tb", 3)
    found = read(tmp_path / "tb" / "figures")
    assert found.Tags()["scalars"] == ["facts/iqm", "facts/low", "facts/high"]
    assert found.SummaryMetadata("facts/low").summary_description == "what it is"
    points = found.Scalars("facts/iqm")
    assert [(p.step, pytest.approx(p.value)) for p in points] == [(50, 0.1), (200, 0.3)]  # NaN is left out
    (image,) = found.Images("figures/one")
    assert (image.width, image.height, image.encoded_image_string) == (7, 5, a_png(7, 5))
    (text,) = found.Tensors("verdicts/text_summary")
    assert text.tensor_proto.string_val[0].startswith(b"| a | b |")
    assert "custom_scalars__config__" in found.Tags()["tensors"]


def test_wall_times_are_those_of_the_clock_and_zero_without(tmp_path):
    runs = [Run(name, [Series("x", (50, 100, 200), (1.0, 2.0, 3.0))], {"u": 0.0}, step=200) for name in "ab"]
    runs[0] = replace(runs[0], clock=((50, 150, 200), (1000.0, 1010.0, 1020.0)))
    write(tmp_path / "tb", runs)
    times = {name: [p.wall_time for p in read(tmp_path / "tb" / name).Scalars("x")] for name in "ab"}
    assert times == {"a": [1000.0, 1005.0, 1020.0], "b": [0.0, 0.0, 0.0]}
    info = read(tmp_path / "tb" / "a").SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert plugin_data_pb2.HParamsPluginData.FromString(info).session_end_info.end_time_secs == 1020.0


def test_rows_read_back(tmp_path):
    write_all(tmp_path / "tb", 3)
    found = read(tmp_path / "tb" / "row2")
    assert found.Scalars("facts")[0].step == 200
    assert "z" not in found.Tags()["scalars"]
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["u"].number_value == pytest.approx(0.2)
    assert start.hparams["scope"].string_value == "global"
    first = read(tmp_path / "tb" / "figures")
    content = first.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert [info.name for info in experiment.hparam_infos] == ["u", "scope", "seed"]
    assert [v.number_value for v in experiment.hparam_infos[0].domain_discrete.values] == [0.0, 0.1, 0.2]
    assert [info.name.tag for info in experiment.metric_infos] == [*METRICS]


def test_the_last_point_of_a_series_is_that_of_its_end(tmp_path):
    """HParams shows the last one: what was read before a divergence isn't it."""
    lost = Series("lost", (1, 2, 3, 4), (0.9, np.nan, np.nan, np.nan))
    write(tmp_path / "tb", [Run("one", [lost, Series("never", (1,), (np.inf,))])])
    found = read(tmp_path / "tb" / "one")
    assert found.Tags()["scalars"] == ["lost"]
    assert [p.step for p in found.Scalars("lost")] == [1, 4]
    assert np.isnan(found.Scalars("lost")[-1].value)


def test_series_of_other_steps_are_in_the_order_of_steps(tmp_path):
    """A reader drops what comes before a step that goes back."""
    write(tmp_path / "tb", [Run("one", [Series("late", (5, 9), (1.0, 2.0)), Series("early", (1, 7), (3.0, 4.0))])])
    found = read(tmp_path / "tb" / "one")
    assert {tag: [p.step for p in found.Scalars(tag)] for tag in ("late", "early")} == {"late": [5, 9], "early": [1, 7]}


def test_without_runs_there_is_no_directory(tmp_path):
    write_all(tmp_path / "tb", 1)
    write(tmp_path / "tb", [])
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "tb", [])
    assert list(tmp_path.iterdir()) == []


def test_rebuilding_replaces_and_gives_the_same_bytes(tmp_path):
    write_all(tmp_path / "tb", 4)
    write_all(tmp_path / "tb", 3)
    first = files(tmp_path / "tb")
    assert len(first) == 4
    assert not (tmp_path / "tb.old").exists()
    (tmp_path / "tb.partial" / "left over").mkdir(parents=True)  # a rebuild that was killed
    write_all(tmp_path / "tb", 3)
    assert files(tmp_path / "tb") == first
    assert [p.name for p in tmp_path.iterdir()] == ["tb"]


def test_a_failed_build_leaves_the_old_files(tmp_path):
    write_all(tmp_path / "tb", 1)
    before = files(tmp_path / "tb")
    with pytest.raises(ValueError, match="could not convert"):
        write(tmp_path / "tb", [*rows(1), Run("x", [Series("x", (1,), cast(Any, ("a",)))])])
    assert files(tmp_path / "tb") == before


def test_a_symbolic_link_is_replaced_again_and_again_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    for _ in range(3):
        (tmp_path / "tb.old").symlink_to("elsewhere")  # as earlier versions left it
        write_all(tmp_path / "tb", 1)
        assert len(files(tmp_path / "tb")) == 2
        assert not (tmp_path / "tb").is_symlink()
        assert {path.name for path in tmp_path.iterdir()} == {"tb", "elsewhere"}
        (tmp_path / "tb").rename(tmp_path / "moved")
        (tmp_path / "tb").symlink_to("moved")
        write_all(tmp_path / "tb", 1)
        assert len(files(tmp_path / "moved")) == 2
        shutil.rmtree(tmp_path / "moved")
    assert (tmp_path / "elsewhere" / "kept").read_text() == "kept"


def test_a_link_that_leads_nowhere_and_a_file_are_replaced_too(tmp_path):
    (tmp_path / "tb").symlink_to("nowhere")
    (tmp_path / "tb.partial").write_text("a file")
    write_all(tmp_path / "tb", 1)
    assert len(files(tmp_path / "tb")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["tb"]


def test_seventy_two_cells_are_quick(tmp_path):
    many = [Run(one.name, [Series(f"final/{i}", (9,), (0.5,)) for i in range(24)], one.hparams) for one in rows(72)]
    series = [Series(f"ability/{i}", range(10), [0.5] * 10) for i in range(1000)]
    started = time.perf_counter()
    write(tmp_path / "tb", [Run("a", series, images={"a": a_png(1100, 800)}), *many])
    assert time.perf_counter() - started < 5
