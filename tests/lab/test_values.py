"""Texts of values are exact, typed texts find their value, names are bounded and unique."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from lab.values import NAME_BYTES, digits_apart, exact, file_name, meant, plain, plain_fields, rounded

NEAR = 0.1 + 0.2  # differs from 0.3 in the last bit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (-0.0, "0"), (0.9, "0.9"), (1.0, "1"), (1e-05, "1e-05"), (0.002, "0.002"), (2, "2")),
        *((NEAR, "0.30000000000000004"), (1 / 3, "0.3333333333333333"), (20240101, "20240101")),
        *((20240101.0, "20240101"), (2**30, "1073741824"), (1e300, "1e+300"), (float("inf"), "inf"), ("a/b", "a/b")),
        *((np.float32(0.5), "0.5"), (np.int64(7), "7"), (np.array(0.25), "0.25"), (True, "True"), (None, "None")),
    ],
)
def test_usual_values_print_as_they_did_and_others_exactly(value, text):
    assert exact(value) == text


@given(st.floats(allow_nan=False), st.integers(-(2**40), 2**40))
def test_a_text_reads_back_as_its_value(number, whole):
    assert float(exact(number)) == number
    assert int(exact(whole)) == whole


@given(st.lists(st.floats(-1e6, 1e6), unique=True, max_size=6))
def test_texts_for_reading_tell_values_apart(values):
    values = [value + 0.0 for value in values]  # no -0.0
    assert len(set(rounded(values))) == len(set(values))


def test_texts_for_reading_are_as_short_as_they_can_be():
    assert rounded([0.0, 1 / 3, 0.9]) == ["0", "0.333", "0.9"]
    assert rounded([0.3, NEAR]) == ["0.3", "0.30000000000000004"]
    assert rounded([1001.0, 1002.0, 20240101.0]) == ["1001", "1002", "2.024e+07"]
    assert digits_apart([]) == digits_apart([0.5, 0.5]) == 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.3", [0.3]),
        ("0.30000000000000004", [NEAR]),
        ("0.333333", [1 / 3]),
        ("3.333333333e-1", [1 / 3]),
        ("0.33", []),
        ("0.3000001", []),
        ("nan", []),
        ("1e999", []),
    ],
)
def test_a_typed_number_means_the_value_it_equals_or_rounds(text, found):
    assert meant(text, [0.0, 0.3, NEAR, 1 / 3]) == found


def test_a_typed_number_may_mean_several():
    assert meant("0.3", [0.0, NEAR]) == [NEAR]
    assert meant("2.02401e7", [20240101, 20240102]) == [20240101, 20240102]
    assert meant("20240102", [20240101, 20240102]) == [20240102]
    assert meant("20240103", [20240101, 20240102]) == []
    with pytest.raises(ValueError, match="could not convert"):
        meant("global", [0.3])


@pytest.mark.parametrize("value", [np.int64(3), np.uint8(3), np.array(3), jnp.int32(3)])
def test_whole_scalars_become_pythons(value):
    assert plain(value) == 3
    assert type(plain(value)) is int


HALVES = [np.float64(0.5), np.float16(0.5), np.longdouble(0.5), np.array(0.5), jnp.float32(0.5)]


@pytest.mark.parametrize("value", HALVES)
def test_other_scalars_become_pythons(value):
    assert plain(value) == 0.5
    assert type(plain(value)) is float


def test_minus_zero_is_zero():
    assert [str(plain(value)) for value in (-0.0, np.float32(-0.0), 0.0)] == ["0.0"] * 3


def test_what_is_no_scalar_stays():
    array, text = np.ones(1), ["a"]
    assert plain(array) is array
    assert plain(text) is text
    assert plain(np.bool_(True)) is True
    assert type(plain(np.str_("global"))) is str


def test_fields_become_plain_and_the_config_stays_as_it_was():
    config = ConfigDict(dict(a=dict(b=np.float64(0.5), c=(np.int64(-1), 2)), d=[np.int8(1)], e=None, f="x"))
    config.h = ((np.int64(1),), [])
    config.g = config.a.get_ref("b")
    config.lock()
    found = plain_fields(config)
    assert found.to_dict() == dict(a=dict(b=0.5, c=(-1, 2)), d=[1], e=None, f="x", g=0.5, h=((1,), []))
    assert [type(one) for one in (found.a.b, found.a.c[0], found.d[0], found.g)] == [float, int, int, float]
    assert type(config.a.b) is np.float64


HOSTILE = ["", ".", "..", "-rf", ".hidden", "a/b", "a\\b", "a\nb", "a\0b", "\x1b[31m", "\udc80", "é" * 300, "x" * 300]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_become_names(text, tmp_path):
    name = file_name(text)
    assert len(name.encode()) <= NAME_BYTES
    assert not set(name) & set("/\\\0\n")
    assert name[:1] not in (".", "-", "")
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_stay_where_they_can_and_are_unique():
    assert file_name("prune.sparsity=0.5 seed=3") == "prune.sparsity=0.5 seed=3"
    assert file_name("étude") == "étude"
    assert len(file_name("x" * 300, most=200)) == 200
    texts = [*HOSTILE, *(f"{'x' * 300}{i}" for i in range(9)), "a_b", "x" * NAME_BYTES]
    assert len({file_name(text) for text in texts}) == len(texts)
