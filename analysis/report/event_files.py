"""TensorBoard files without TensorFlow: a sink that takes plain data and knows nothing of what it means.

The files are a view: `write` builds them again next to the old ones and then swaps the two. tensorboardX gives the
protocol buffers and the record format; its SummaryWriter isn't used, because a thread and a queue for each of a hundred
runs is slow, and because its file names and wall times would differ at every rebuild. Here the same data gives the same
bytes, so wall times are zero and TensorBoard's "relative time" axis means nothing: read the step axis.
"""

# Protocol buffer classes are made at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tensorboardX.proto import layout_pb2
from tensorboardX.proto.api_pb2 import DATA_TYPE_FLOAT64, DATA_TYPE_STRING, STATUS_SUCCESS
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.proto.plugin_text_pb2 import TextPluginData
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboardX.record_writer import RecordWriter

from lab.storage.paths import remove

FILE = "events.out.tfevents.0000000000.mismatch-lab"
RGBA = 4  # TensorBoard's code for a PNG's colour space

Value = str | float | int


@dataclass(frozen=True)
class Series:
    """One scalar chart: value over step. Values that are not finite are left out."""

    tag: str
    steps: Iterable[int]
    values: Iterable[float]


@dataclass(frozen=True)
class Chart:
    """One chart of the Custom Scalars page.

    Attributes:
      category: the heading it is under.
      title: of the chart.
      tags: the series in it; with `margin` exactly three: the value, its lower and its upper bound.
      margin: draw the bounds as a band.
    """

    category: str
    title: str
    tags: tuple[str, ...]
    margin: bool = False


@dataclass(frozen=True)
class Sweep:
    """The one run that summarises a grid.

    Attributes:
      series: scalar charts.
      charts: the Custom Scalars page.
      images: tag -> PNG file.
      texts: tag -> Markdown.
      step: the step of images and texts.
    """

    series: list[Series] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    images: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    step: int = 0


@dataclass(frozen=True)
class CellRun:
    """One row of the HParams page.

    Attributes:
      name: of the run.
      hparams: settings.
      metrics: final readings; those that are not finite are left out.
    """

    name: str
    hparams: Mapping[str, Value]
    metrics: Mapping[str, float]


def write(directory: Path, sweep: Sweep, cells: list[CellRun], step: int) -> None:
    """Build `directory` again from nothing: sweep/ with the grid's charts, cells/<name>/ with one HParams file a cell.

    Args:
      directory: made, or replaced whole; a symbolic link is replaced, too, and what it points to stays as it is.
      sweep: the summary of the grid.
      cells: the cells.
      step: the step of the cells' final readings.
    """
    partial, old = (directory.with_name(f"{directory.name}.{state}") for state in ("partial", "old"))
    for leftover in (partial, old):
        remove(leftover)
    _write_run(partial / "sweep", _sweep_events(sweep, _experiment(cells)))
    for cell in cells:
        _write_run(partial / "cells" / cell.name, _cell_events(cell, step))
    if os.path.lexists(directory):
        directory.rename(old)
    partial.rename(directory)
    with contextlib.suppress(OSError):  # the next time removes what is left of it
        remove(old)


def _write_run(directory: Path, events: Iterable[Event]) -> None:
    directory.mkdir(parents=True)
    writer = RecordWriter(str(directory / FILE))
    try:
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        for event in events:
            writer.write(event.SerializeToString())
    finally:
        writer.close()


def _event(value: Summary.Value, step: int) -> Event:
    return Event(step=step, summary=Summary(value=[value]))


def _sweep_events(sweep: Sweep, experiment: Summary.Value | None) -> Iterable[Event]:
    if experiment is not None:
        yield _event(experiment, 0)
    if sweep.charts:
        yield _event(_layout(sweep.charts), 0)
    for tag, text in sweep.texts.items():
        yield _event(_text(tag, text), sweep.step)
    for tag, image in sweep.images.items():
        yield _event(_image(tag, image), sweep.step)
    for series in sweep.series:
        for step, value in zip(series.steps, series.values, strict=True):
            if math.isfinite(value):
                yield _event(Summary.Value(tag=series.tag, simple_value=float(value)), int(step))


def _cell_events(cell: CellRun, step: int) -> Iterable[Event]:
    start, end = HParamsPluginData(), HParamsPluginData()
    for name, value in cell.hparams.items():
        if isinstance(value, str):
            start.session_start_info.hparams[name].string_value = value
        else:
            start.session_start_info.hparams[name].number_value = float(value)
    end.session_end_info.status = STATUS_SUCCESS
    yield _event(_hparams("session_start_info", start), 0)
    yield _event(_hparams("session_end_info", end), 0)
    for tag, value in cell.metrics.items():
        if math.isfinite(value):
            yield _event(Summary.Value(tag=tag, simple_value=float(value)), step)


def _experiment(cells: list[CellRun]) -> Summary.Value | None:
    """The columns of the HParams page: every setting with the values that occur (so that they can be ticked)."""
    if not cells:
        return None
    data = HParamsPluginData()
    for name in dict.fromkeys(name for cell in cells for name in cell.hparams):
        values = list(dict.fromkeys(cell.hparams[name] for cell in cells if name in cell.hparams))
        info = data.experiment.hparam_infos.add(name=name)
        texts = any(isinstance(value, str) for value in values)
        info.type = DATA_TYPE_STRING if texts else DATA_TYPE_FLOAT64
        for value in values if texts else sorted(values, key=float):
            one = info.domain_discrete.values.add()
            if texts:
                one.string_value = str(value)
            else:
                one.number_value = float(value)
    for tag in dict.fromkeys(tag for cell in cells for tag in cell.metrics):
        data.experiment.metric_infos.add().name.tag = tag
    return _hparams("experiment", data)


def _hparams(kind: str, data: HParamsPluginData) -> Summary.Value:
    return _plugin(Summary.Value(tag=f"_hparams_/{kind}"), "hparams", data.SerializeToString())


def _layout(charts: list[Chart]) -> Summary.Value:
    layout = layout_pb2.Layout()
    for name in dict.fromkeys(chart.category for chart in charts):
        category = layout.category.add(title=name)
        for chart in (c for c in charts if c.category == name):
            shown = category.chart.add(title=chart.title)
            if chart.margin:
                value, lower, upper = chart.tags
                shown.margin.series.add(value=value, lower=lower, upper=upper)
            else:
                # Each is a regular expression here; whole tags are meant.
                shown.multiline.tag.extend(f"^{_escaped(tag)}$" for tag in chart.tags)
    return _plugin(_strings("custom_scalars__config__", layout.SerializeToString(), ()), "custom_scalars")


def _escaped(tag: str) -> str:
    """The tag as a regular expression of JavaScript and Python alike (re.escape also escapes what neither needs to)."""
    return "".join(f"\\{c}" if c in r"\^$.|?*+()[]{}" else c for c in tag)


def _text(tag: str, text: str) -> Summary.Value:
    content = TextPluginData(version=0).SerializeToString()
    return _plugin(_strings(f"{tag}/text_summary", text.encode(errors="backslashreplace"), (1,)), "text", content)


def _strings(tag: str, data: bytes, shape: tuple[int, ...]) -> Summary.Value:
    dims = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    return Summary.Value(tag=tag, tensor=TensorProto(dtype="DT_STRING", string_val=[data], tensor_shape=dims))


def _plugin(value: Summary.Value, name: str, content: bytes = b"") -> Summary.Value:
    value.metadata.plugin_data.plugin_name = name
    value.metadata.plugin_data.content = content
    return value


def _image(tag: str, png: bytes) -> Summary.Value:
    width, height = struct.unpack(">II", png[16:24])  # of the PNG's header
    image = Summary.Image(width=width, height=height, colorspace=RGBA, encoded_image_string=png)
    return Summary.Value(tag=tag, image=image)
