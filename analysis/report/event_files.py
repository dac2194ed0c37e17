"""TensorBoard files without TensorFlow: a sink that takes plain data and knows nothing of what it means.

The files are a view: `write` builds them again next to the old ones and then swaps the two. tensorboardX gives the
protocol buffers and the record format; its SummaryWriter isn't used, because a thread and a queue for each of a hundred
runs is slow, and because its file names and wall times would differ at every rebuild. Here the same data gives the same
bytes: wall times are part of the data.
"""

# Protocol buffer classes are made at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
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
    """One scalar chart: value over step, steps ascending; `about` explains it under the chart's mark for information.

    Values that are not finite are left out, but for one at the end: without it, HParams would show an earlier value.
    """

    tag: str
    steps: Iterable[int]
    values: Iterable[float]
    about: str = ""


@dataclass(frozen=True)
class Chart:
    """One chart of the Custom Scalars page: a value with a band.

    Attributes:
      category: the heading it is under.
      title: of the chart.
      value, lower, upper: the tags of the three series.
    """

    category: str
    title: str
    value: str
    lower: str
    upper: str


@dataclass(frozen=True)
class Run:
    """One run of TensorBoard: what it ticks and colours as one.

    Attributes:
      name: of its directory.
      series: scalar charts.
      hparams: settings, which make it a row of the HParams page.
      charts: the Custom Scalars page.
      images: tag -> PNG file.
      texts: tag -> Markdown.
      step: the step of images and texts.
      clock: steps, ascending, and when each was reached, in seconds since 1970; between two of them time is taken to
        run evenly. All times are zero without.
    """

    name: str
    series: Sequence[Series] = ()
    hparams: Mapping[str, Value] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    images: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    step: int = 0
    clock: tuple[Sequence[int], Sequence[float]] = ((), ())

    def time_at(self, step: int) -> float:
        """When a step was reached, in seconds since 1970."""
        steps, times = self.clock
        return float(np.interp(step, steps, times)) if steps else 0.0


def write(directory: Path, runs: Sequence[Run], metrics: Sequence[str] = ()) -> None:
    """Build `directory` again from nothing: <name>/ with one file a run; without runs there is none.

    Args:
      directory: made, or replaced whole; a symbolic link is replaced, too, and what it points to stays as it is.
      runs: names differ. The first one's file also holds the columns of the HParams page.
      metrics: tags that are columns of the HParams page, after the settings.
    """
    partial, old = (directory.with_name(f"{directory.name}.{state}") for state in ("partial", "old"))
    for leftover in (partial, old):
        remove(leftover)
    for index, run in enumerate(runs):
        columns = _columns(runs, metrics) if index == 0 else None
        _write_run(partial / run.name, run, columns)
    if os.path.lexists(directory):
        directory.rename(old)
    if runs:
        partial.rename(directory)
    with contextlib.suppress(OSError):  # the next time removes what is left of it
        remove(old)


def _write_run(directory: Path, run: Run, columns: Summary.Value | None) -> None:
    directory.mkdir(parents=True)
    writer = RecordWriter(str(directory / FILE))
    try:
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        for event in _events(run, columns):
            writer.write(event.SerializeToString())
    finally:
        writer.close()


def _event(values: Sequence[Summary.Value], step: int, time: float) -> Event:
    return Event(step=step, wall_time=time, summary=Summary(value=values))


def _events(run: Run, columns: Summary.Value | None) -> Iterator[Event]:
    opening = [] if columns is None else [columns]
    opening += [_layout(run.charts)] if run.charts else []
    opening += _session(run) if run.hparams else []
    last = [_text(tag, text) for tag, text in run.texts.items()]
    last += [_image(tag, image) for tag, image in run.images.items()]
    yield from (_event([value], 0, run.time_at(0)) for value in opening)
    yield from (_event([value], run.step, run.time_at(run.step)) for value in last)
    yield from _scalar_events(run)


def _scalar_events(run: Run) -> Iterator[Event]:
    """All series of a run, one event a step: its records are few, which is most of the time that writing takes."""
    found: dict[int, list[Summary.Value]] = {}
    for one in run.series:
        points = [(int(step), float(value)) for step, value in zip(one.steps, one.values, strict=True)]
        kept = [point for point in points if math.isfinite(point[1])]
        if kept and kept[-1] != points[-1]:
            kept.append(points[-1])
        for index, (step, number) in enumerate(kept):
            value = Summary.Value(tag=one.tag, simple_value=number)
            if index == 0:
                value.metadata.summary_description = one.about
            found.setdefault(step, []).append(value)
    for step, values in sorted(found.items()):
        yield _event(values, step, run.time_at(step))


def _session(run: Run) -> tuple[Summary.Value, Summary.Value]:
    """The begin and the end of a row of the HParams page."""
    start, end = HParamsPluginData(), HParamsPluginData()
    steps, _ = run.clock
    if steps:
        start.session_start_info.start_time_secs = run.time_at(steps[0])
        end.session_end_info.end_time_secs = run.time_at(steps[-1])
    for name, value in run.hparams.items():
        if isinstance(value, str):
            start.session_start_info.hparams[name].string_value = value
        else:
            start.session_start_info.hparams[name].number_value = float(value)
    end.session_end_info.status = STATUS_SUCCESS
    return _hparams("session_start_info", start), _hparams("session_end_info", end)


def _columns(runs: Sequence[Run], metrics: Sequence[str]) -> Summary.Value | None:
    """The columns of the HParams page: every setting with the values that occur (so that they can be ticked)."""
    rows = [run.hparams for run in runs if run.hparams]
    if not rows:
        return None
    data = HParamsPluginData()
    for name in dict.fromkeys(name for row in rows for name in row):
        values = list(dict.fromkeys(row[name] for row in rows if name in row))
        info = data.experiment.hparam_infos.add(name=name)
        texts = any(isinstance(value, str) for value in values)
        info.type = DATA_TYPE_STRING if texts else DATA_TYPE_FLOAT64
        for value in values if texts else sorted(values, key=float):
            one = info.domain_discrete.values.add()
            if texts:
                one.string_value = str(value)
            else:
                one.number_value = float(value)
    for tag in metrics:
        data.experiment.metric_infos.add().name.tag = tag
    return _hparams("experiment", data)


def _hparams(kind: str, data: HParamsPluginData) -> Summary.Value:
    return _plugin(Summary.Value(tag=f"_hparams_/{kind}"), "hparams", data.SerializeToString())


def _layout(charts: Sequence[Chart]) -> Summary.Value:
    layout = layout_pb2.Layout()
    for name in dict.fromkeys(chart.category for chart in charts):
        category = layout.category.add(title=name)
        for chart in (c for c in charts if c.category == name):
            band = category.chart.add(title=chart.title).margin
            band.series.add(value=chart.value, lower=chart.lower, upper=chart.upper)
    return _plugin(_strings("custom_scalars__config__", layout.SerializeToString(), ()), "custom_scalars")


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
