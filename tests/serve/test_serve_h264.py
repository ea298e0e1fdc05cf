# SPDX-License-Identifier: Apache-2.0
"""H.264 through the real websocket: as good as decoding it oneself, bounded, and a damaged one hurts nobody else."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from service_maker import TOKEN, jpeg, serve, tiny
from waiting import wait_for

from longtake.serve.client import Client, Refused
from longtake.serve.h264 import Decoder, is_key, to_rgb, unit_types
from longtake.serve.protocol import CLOSE_ABUSE, Fault, SentFrame
from longtake.serve.service import Service
from longtake.serve.units import Encoder, read_units


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serve(4) as made:
        yield made


def moving(i: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A square that moves over a ramp, (H, W, 3) uint8."""
    image = np.stack([np.add.outer(np.arange(height), np.arange(width))] * 3, -1).astype(np.uint8)
    image[10:30, 2 * i % 70 : 2 * i % 70 + 20] = (250, 30, 90)
    return image


def units(count: int, **size: int) -> list[bytes]:
    encoder = Encoder()
    return [encoder.encode(moving(i, **size)) for i in range(count)]


def film(path: Path, count: int, codec: str = "libx264", **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moving(i), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def decoded(data: list[bytes]) -> list[np.ndarray]:
    """A plain decoder's pictures."""
    codec = av.CodecContext.create("h264", "r")
    packets = [av.Packet(unit) for unit in data]
    return [frame.to_ndarray(format="rgb24") for packet in [*packets, None] for frame in codec.decode(packet)]


def test_answers_are_those_of_the_pictures(service: Service) -> None:
    stream, sent = tiny().stream(), units(6)
    pictures = decoded(sent)
    with (
        Client(service.url, TOKEN, want=("points",), codec="h264") as arrays,
        Client(service.url, TOKEN, want=("points",)) as ready,
    ):
        for i in range(6):
            wanted = stream.step(pictures[i])
            for answer in (arrays.step(moving(i), time=i / 7), ready.step(sent[i], time=i / 7)):
                np.testing.assert_array_equal(answer.points, wanted.points.numpy())
                assert (answer.index, answer.header["time"]) == (i, i / 7)
        assert np.abs(pictures[5].astype(int) - moving(5)).mean() < 6  # and they are what was sent
    assert sum(map(len, sent[1:])) < 0.5 * sum(len(jpeg(i)) for i in range(5))


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".mp4", "mpeg4")])
def test_a_video_is_sent_without_being_decoded_where_it_is_h264(
    suffix: str, codec: str, service: Service, tmp_path: Path
) -> None:
    path = film(tmp_path / f"a{suffix}", 8, codec, **({"tune": "zerolatency", "g": "4"} if codec == "libx264" else {}))
    sent = list(read_units(path))
    assert [seconds for _, seconds in sent] == pytest.approx([i / 10 for i in range(8)], abs=0.002)
    with Client(service.url, TOKEN) as client:
        for i, (unit, seconds) in enumerate(sent):
            answer = client.step(unit, time=seconds)
            assert answer.index == i and answer.header["time"] == seconds


def test_pictures_that_come_out_of_order_keep_their_number_and_time(tmp_path: Path) -> None:
    sent = list(read_units(film(tmp_path / "a.mp4", 20, bf="3", g="20")))
    times = [seconds for _, seconds in sent]
    assert times != sorted(times)  # B pictures
    decoder, out = Decoder(1), []
    for i, (unit, seconds) in enumerate(sent):
        out += decoder.decode(SentFrame(unit, i, seconds))[0]
    assert len(out) >= 14 and [frame.time for frame in out] == sorted(times)[: len(out)]
    for frame in out:
        assert frame.picture is not None and frame.time is not None
        assert np.abs(to_rgb(frame.picture).astype(int) - moving(round(10 * frame.time))).mean() < 8


def test_damage_has_a_name_and_ends_with_the_next_key_picture(service: Service) -> None:
    stop, served = threading.Event(), [0]

    def neighbour() -> None:
        with Client(service.url, TOKEN) as client:
            while not stop.is_set():
                client.step(jpeg(served[0] % 5))
                served[0] += 1

    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        sent = units(6)
        with Client(service.url, TOKEN) as client:
            with pytest.raises(Refused, match="key picture") as caught:
                client.step(sent[3])
            assert caught.value.name == "h264_key"
            for unit in sent[:2]:
                client.step(unit)
            broken = bytearray(sent[2])
            broken[8:] = np.random.default_rng(0).bytes(len(broken) - 8)
            with pytest.raises(Refused, match="cannot be decoded") as caught:
                client.step(bytes(broken))
            assert caught.value.name == "h264_corrupt"
            with pytest.raises(Refused, match="key picture"):
                client.step(sent[3])
            client.send(sent[4], index=40)  # said once, then left out
            assert client.step(sent[0], index=50).index == 50
            assert client.step(sent[1], index=51).index == 51
            assert client.step(jpeg(0), index=52).index == 52  # a picture between them does no harm
        before = served[0]
        with Client(service.url, TOKEN) as client, pytest.raises(Refused) as caught:
            noise = np.random.default_rng(1).bytes(3000)
            for _ in range(400):  # looks like key pictures, and holds none
                client._send(b"\x00\x00\x01\x67" + noise + b"\x00\x00\x01\x68x\x00\x00\x01\x65x")
            while True:
                try:
                    client.receive()
                except Refused as error:
                    if error.code:
                        raise
                    assert error.name == "h264_corrupt"
        assert caught.value.code == CLOSE_ABUSE
        assert service.worker.alive
    finally:
        stop.set()
        thread.join()
    assert served[0] > before


def test_pictures_beyond_the_bound_are_refused_before_there_is_room_for_them() -> None:
    big = units(1, height=1200, width=2000)[0]
    with pytest.raises(Fault, match="2.2 megapixels") as caught:
        Decoder(2.2).decode(SentFrame(big))
    assert caught.value.name == "h264_corrupt"
    assert Decoder(2.5).decode(SentFrame(big))[0]
    small = av.CodecContext.create("libx264", "w")
    small.width, small.height, small.pix_fmt, small.time_base = 8, 8, "yuv420p", Fraction(1, 30)
    small.options = {"tune": "zerolatency", "x264-params": "repeat-headers=1:annexb=1"}
    unit = b"".join(map(bytes, small.encode(av.VideoFrame(8, 8, "yuv420p"))))
    with pytest.raises(Fault, match="8 x 8") as caught:
        Decoder(2.2).decode(SentFrame(unit))
    assert caught.value.name == "h264_size"


def test_what_comes_too_fast_is_dropped_and_a_key_picture_asked_for() -> None:
    with serve(1, max_fps=5.0) as service, Client(service.url, TOKEN, codec="h264") as client:
        ticks = itertools.count()

        def sends_too_much() -> bool:
            for i in itertools.islice(ticks, 10):
                client.send(moving(i), index=i)
            return service.metrics.get("longtake_frames_dropped_total", reason="rate") >= 15

        wait_for(sends_too_much, "all are taken")
        time.sleep(0.5)
        with pytest.raises(Refused) as caught:
            client.step(moving(30), index=next(ticks))
        assert caught.value.name == "h264_key"

        def begun_anew() -> bool:  # by itself; where frames were dropped in several places, it is asked several times
            try:
                return client.step(moving(31), index=(tick := next(ticks))).index == tick
            except Refused as error:
                assert error.name == "h264_key"
                time.sleep(0.3)
                return False

        wait_for(begun_anew, "it does not begin anew")


def test_units_say_what_they_are() -> None:
    first, second = units(2)
    assert is_key(first) and not is_key(second)
    assert {7, 8, 5} <= set(unit_types(first)) and set(unit_types(second)) == {1}
    encoder = Encoder()
    encoder.encode(moving(0))
    assert not is_key(encoder.encode(moving(1)))
    encoder.begin()
    assert is_key(encoder.encode(moving(2)))
    assert is_key(encoder.encode(moving(3, height=80)))  # another size begins anew
    assert decoded([Encoder().encode(moving(0, height=65, width=97))])[0].shape == (64, 96, 3)


def test_random_bytes_only_raise_faults() -> None:
    rng, decoder, good = np.random.default_rng(5), Decoder(1), units(3)
    for i in range(300):
        unit = bytearray(good[i % 3])
        for at in rng.integers(4, len(unit), rng.integers(0, 8)):
            unit[at] = rng.integers(256)
        try:
            for frame in decoder.decode(SentFrame(bytes(unit[: rng.integers(5, len(unit) + 1)])))[0]:
                assert frame.picture is not None and to_rgb(frame.picture).shape[2] == 3
        except Fault as fault:
            assert fault.name.startswith("h264_")
        assert len(decoder._waits) <= 17
