# SPDX-License-Identifier: Apache-2.0
"""The service's parts alone: messages, JPEG headers, limits, metrics, states, seats."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from service_maker import jpeg_that_claims, picture, tiny

from longtake.errors import InputError
from longtake.serve.jpeg import check_size, decode_jpeg, jpeg_size
from longtake.serve.limits import Bucket, Limits
from longtake.serve.metrics import Metrics
from longtake.serve.protocol import Hello, pack_answer, pack_frame, read_json, unpack_answer, unpack_frame
from longtake.serve.seats import seat_take, take_from
from longtake.serve.states import States


@given(index=st.integers(0, 2**32 - 1), time=st.floats(-1e11, 1e11))
def test_a_frame_comes_out_as_it_went_in(index: int, time: float) -> None:
    data = b"\xff\xd8 and more"
    sent = unpack_frame(pack_frame(data, index, time))
    assert (sent.data, sent.index, sent.time) == (data, index, time)
    plain = unpack_frame(data)
    assert (plain.data, plain.index, plain.time) == (data, None, None)


@given(parts=st.lists(st.binary(max_size=40), max_size=4), text=st.text(max_size=20))
def test_an_answer_comes_out_as_it_went_in(parts: list[bytes], text: str) -> None:
    message = pack_answer({"word": text}, [({"name": str(i)}, part) for i, part in enumerate(parts)])
    header, found = unpack_answer(message)
    assert header["word"] == text and list(found.values()) == parts
    assert (len(message) - sum(map(len, parts))) % 8 == 0  # float32 parts lie on whole addresses
    for cut in (message[:-1], message + b"x") if any(parts) else (message[:6],):
        with pytest.raises(InputError):
            unpack_answer(cut)


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_garbage_is_refused_with_words(data: bytes) -> None:
    for read in (unpack_frame, jpeg_size, unpack_answer, lambda d: decode_jpeg(d, 1)):
        try:
            read(data)
        except InputError as error:
            assert str(error)
    try:
        Hello.read(read_json(data.decode("latin1")))
    except InputError as error:
        assert str(error)


@pytest.mark.parametrize("said", ["[" * 100_000, "3", "null", '{"want": 7}',
                                  '{"want": ["moon"]}', '{"most_points": 1e9}',
                                  '{"keep_percentile": NaN}', '{"most_points": Infinity}'])  # fmt: skip
def test_a_hello_out_of_range_is_refused(said: str) -> None:
    with pytest.raises(InputError):
        Hello.read(read_json(said))


@pytest.mark.parametrize(("width", "height"), [(96, 64), (640, 480), (33, 1000)])
def test_the_header_says_the_size(width: int, height: int) -> None:
    from longtake.serve.client import encode_jpeg

    data = encode_jpeg(np.zeros((height, width, 3), np.uint8))
    assert jpeg_size(data) == (width, height)
    assert decode_jpeg(data, 1).shape == (height, width, 3)


def test_a_hundred_megapixels_are_refused_before_decoding() -> None:
    bomb = jpeg_that_claims(10_000, 10_000)
    assert jpeg_size(bomb) == (10_000, 10_000)
    with pytest.raises(InputError, match=r"100.0 megapixels; at most 12"):
        check_size(bomb, 12)
    with pytest.raises(InputError, match="sides of"):
        check_size(jpeg_that_claims(60_000, 8), 1000)
    with pytest.raises(InputError, match="cannot be decoded"):
        decode_jpeg(jpeg_that_claims(640, 480, 500), 12)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    now = [0.0]
    bucket = Bucket(2, 3, lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    now[0] = 1e6
    assert sum(bucket.take() for _ in range(10)) == 3
    with pytest.raises(InputError, match="seats"):
        Limits(seats=0)


def test_metrics_are_the_text_that_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.add("longtake_frames_dropped_total", reason="newer")
    metrics.latency(0.07)
    metrics.latency(100)
    lines = metrics.text().splitlines()
    sample = re.compile(r'[a-z_]+(\{(reason|le)="[^"]+"\})? [0-9.e+]+')
    assert all(line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line) for line in lines)
    assert 'longtake_frames_dropped_total{reason="newer"} 1' in lines
    assert 'longtake_latency_seconds_bucket{le="0.1"} 1' in lines
    assert 'longtake_latency_seconds_bucket{le="+Inf"} 2' in lines


def test_a_state_is_bound_to_its_token_and_the_oldest_go(tmp_path: Path) -> None:
    states = States(tmp_path / "kept", 2)
    for i in range(3):
        states.keep("mine", f"../{i}", lambda path: path.write_bytes(b"x") and None)
    assert len(states) == 2 and not list(tmp_path.glob("*.safetensors"))
    assert states.find("mine", "../2").read_bytes() == b"x"
    for token, take in (("mine", "../0"), ("other", "../2"), ("mine../", "2")):
        with pytest.raises(InputError, match="no take of this id"):
            states.find(token, take)


def test_a_take_in_and_out_of_a_seat_is_the_same_bit_for_bit() -> None:
    model = tiny()
    alone, batch = model.stream(), model.streams(3)
    for i in range(3):
        alone.step(picture(i))
        batch.step([picture(10 + i), picture(20 + i), None])
    before = {name: tensor.clone() for name, tensor in batch.state.tensors().items()}
    seat_take(batch, 1, alone)
    after = batch.state.tensors()
    assert all(torch.equal(after[name][[0, 2]], before[name][[0, 2]]) for name in after)
    back = take_from(batch, 1, model)
    assert back.frames == alone.frames
    for tensors in ("state", "watch"):
        own, other = getattr(alone, tensors).tensors(), getattr(back, tensors).tensors()
        assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
    one, two = alone.step(picture(7)), back.step(picture(7))
    three = batch.step([None, picture(7), None])[1]
    assert three is not None
    assert torch.equal(one.points, two.points) and torch.equal(one.points, three.points)


def test_the_client_needs_no_torch() -> None:
    code = "import sys, longtake.serve.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
