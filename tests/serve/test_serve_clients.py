# SPDX-License-Identifier: Apache-2.0
"""Real clients over real sockets: all are served, whoever misbehaves hurts only itself, takes are kept and resumed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from service_maker import TOKEN, jpeg, jpeg_that_claims, picture, serve, tiny
from waiting import PATIENCE, wait_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from longtake.errors import CapabilityError, InputError
from longtake.registry import load
from longtake.serve.client import Answer, Client, Refused
from longtake.serve.jpeg import decode_jpeg
from longtake.serve.protocol import CLOSE_ABUSE, CLOSE_FULL, CLOSE_IDLE, CLOSE_MOVED, CLOSE_TOKEN, Hello, SentFrame
from longtake.serve.service import Service
from longtake.stream import Stream


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serve() as made:
        yield made


def empty(service: Service) -> None:
    wait_for(lambda: service.metrics.get("longtake_clients") == 0)


def same(answer: Answer, other: Answer) -> bool:
    """Bit for bit, but for what tells of the moment."""
    mine, theirs = ({k: v for k, v in a.header.items() if k not in ("latency", "dropped")} for a in (answer, other))
    assert answer.points is not None and other.points is not None
    return mine == theirs and np.array_equal(answer.points, other.points)


def test_an_answer_is_what_the_stream_says(service: Service) -> None:
    empty(service)
    stream = tiny().stream()
    with Client(service.url, TOKEN, want=("depth", "confidence", "points", "ply", "picture")) as client:
        for i in range(4):
            answer = client.step(jpeg(i), index=10 + i, time=i / 7)
            wanted = stream.step(decode_jpeg(jpeg(i), 1))
            np.testing.assert_array_equal(answer.points, wanted.points.numpy())
            np.testing.assert_array_equal(answer.world_from_cam, wanted.world_from_cam.double().numpy())
            np.testing.assert_array_equal(answer.intrinsics_original, wanted.intrinsics_original)
            np.testing.assert_allclose(answer.depth, wanted.depth.numpy(), atol=0.00051)
            np.testing.assert_allclose(answer.confidence, wanted.confidence.numpy(), rtol=2e-4)
            assert (answer.index, answer.header["time"], answer.tracking) == (10 + i, i / 7, wanted.tracking)
        assert answer.ply is not None and answer.ply.startswith(b"ply") and answer.picture is not None
        assert decode_jpeg(answer.picture, 1).shape == (*wanted.depth.shape, 3)
    with Client(service.url, TOKEN) as plain:
        assert plain.step(picture(0)).header["parts"] == []


def run_clients(service: Service, count: int, make: Callable[[int, int], bytes], done: Done) -> list[int]:
    """`count` clients that send their next frame when the last is answered; how many, of each, until it is done."""
    served = [0] * count
    gate = threading.Barrier(count)
    begin = [0.0]
    troubles: list[BaseException] = []

    def one(i: int) -> None:
        try:
            with Client(service.url, TOKEN, want=("depth",), keep=False) as client:
                gate.wait(PATIENCE)
                begin[0] = begin[0] or time.monotonic()
                while (seconds := time.monotonic() - begin[0]) < PATIENCE and not done(seconds, served):
                    client.step(make(i, served[i]))
                    served[i] += 1
        except BaseException as error:  # noqa: BLE001 (said by the test's own thread)
            troubles.append(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not troubles, troubles
    return served


def misbehave(service: Service, kind: str, stop: threading.Event) -> None:
    """Do one kind of harm, again and again, until told to stop."""
    address = service.url.replace("http", "ws") + "/v1/stream"
    while not stop.is_set():
        try:
            with connect(address, max_size=None, compression=None, close_timeout=0.2) as socket:
                if kind == "no hello":
                    stop.wait()
                    return
                socket.send(json.dumps({"token": TOKEN, "want": ["points"], "keep": False}))
                while not stop.is_set():
                    match kind:
                        case "nothing":
                            stop.wait()
                        case "deaf":  # sends and never reads
                            socket.send(jpeg(1))
                            time.sleep(0.005)
                        case "garbage":
                            socket.send(np.random.default_rng(0).bytes(5000))
                            socket.send("{" * 50)
                            socket.recv(timeout=5)
                        case "bomb":
                            socket.send(jpeg_that_claims(10_000, 10_000))
                            socket.recv(timeout=5)
                        case "large":
                            socket.send(b"\xff\xd8" + bytes(5_000_000))
                            socket.recv(timeout=5)
        except (OSError, ConnectionClosed, TimeoutError):
            time.sleep(0.02)


Done = Callable[[float, list[int]], bool]  # seconds since the first frame, frames answered to each -> enough?
HARM = ("no hello", "nothing", "deaf", "garbage", "bomb", "large")


def crowd(service: Service, make: Callable[[int, int], bytes], done: Done) -> list[int]:
    """Eight clients beside all kinds of harm."""
    stop = threading.Event()
    bad = [threading.Thread(target=misbehave, args=(service, kind, stop)) for kind in HARM]
    for thread in bad:
        thread.start()
    try:
        time.sleep(0.3)
        return run_clients(service, 8, make, done)
    finally:
        stop.set()
        for thread in bad:
            thread.join()


def test_eight_clients_are_served_alike_whatever_others_do() -> None:
    with serve(8 + len(HARM)) as service:

        def harm_was_done() -> bool:
            # The deaf one's queue is bounded, its newest frame waits.
            dropped = service.metrics.get("longtake_frames_dropped_total", reason="newer")
            return dropped > 50 and service.metrics.get("longtake_refused_total", reason="abuse") >= 2

        def enough(seconds: float, served: list[int]) -> bool:
            return seconds > 3 and sum(served) > 8 * 40 and harm_was_done()

        served = crowd(service, lambda i, k: jpeg(100 * i + k % 20), enough)
        assert min(served) > 10 and max(served) <= 3 * min(served), served
        assert harm_was_done()
        assert service.worker.alive
        empty(service)


@pytest.mark.slow
def test_eight_clients_on_the_embedded_model(root: Path) -> None:
    from longtake.serve.client import encode_jpeg
    from longtake.sources import video

    frames = []
    for frame in video(root / "examples" / "office_walk.mp4"):
        frames.append(encode_jpeg(frame.image))
        if len(frames) == 24:
            break
    with serve(8 + len(HARM), model=load("longtake-small", device="cpu")) as service:
        served = crowd(service, lambda i, k: frames[(3 * i + k) % len(frames)], lambda s, n: s > 40 and sum(n) > 8 * 6)
        assert min(served) >= 3 and max(served) <= 3 * min(served), served
        assert service.worker.alive


def test_a_wrong_token_is_refused(service: Service) -> None:
    for token in ("", "wrong", TOKEN + "x", TOKEN[:-1]):
        with pytest.raises(Refused, match="token is wrong") as caught:
            Client(service.url, token)
        assert caught.value.code == CLOSE_TOKEN
    for address in ("/metrics", "/v1/service", "/v1/states/x"):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            with pytest.raises(HTTPError) as answer:
                urlopen(Request(service.url + address, headers=headers))
            assert answer.value.code == 401
            answer.value.close()


def read(service: Service, address: str) -> bytes:
    with urlopen(Request(service.url + address, headers={"Authorization": f"Bearer {TOKEN}"})) as answer:
        return answer.read()


def test_health_metrics_and_the_description_answer(service: Service) -> None:
    assert json.loads(read(service, "/health"))["status"] == "ok"
    assert b"# TYPE longtake_frames_served_total counter" in read(service, "/metrics")
    assert json.loads(read(service, "/v1/service"))["model"] == "tiny"
    paths = json.loads(read(service, "/openapi.json"))["paths"]
    assert {"/health", "/metrics", "/v1/service", "/v1/states/{take}"} == set(paths)
    assert b"websocket" in read(service, "/docs") and b"getUserMedia" in read(service, "/page.js")


@pytest.mark.parametrize("how", ["saved", "left", "moved"])
def test_a_resumed_take_goes_on_bit_for_bit(service: Service, how: str) -> None:
    empty(service)
    frames = [jpeg(i) for i in range(8)]
    with Client(service.url, TOKEN, want=("points",)) as client:
        wanted = [client.step(frame) for frame in frames]
    empty(service)
    with Client(service.url, TOKEN, want=("points",)) as client:
        for frame in frames[:4]:
            client.step(frame)
        if how == "saved":
            assert client.save() == client.id
            client.step(jpeg(99))  # after the state was kept, and in no other connection
            kept = read(service, f"/v1/states/{client.id}")
        elif how == "moved":
            with Client(service.url, TOKEN, want=("points",), resume=client.id) as other:
                assert other.welcome["frames"] == 4
                with pytest.raises(Refused) as caught:
                    client.step(frames[4])
                assert caught.value.code == CLOSE_MOVED
                assert all(same(other.step(f, index=i), wanted[i]) for i, f in list(enumerate(frames))[4:])
            return
    empty(service)
    if how == "saved":  # the file is a stream's: it goes on anywhere
        path = service.worker.states.folder.parent / "downloaded.safetensors"
        path.write_bytes(kept)
        stream = tiny().resume(path)
        path.unlink()
        assert isinstance(stream, Stream)
        points = [stream.step(decode_jpeg(frame, 1)).points.numpy() for frame in frames[4:]]
        assert all(np.array_equal(a, b.points) for a, b in zip(points, wanted[4:], strict=True))
        return
    with Client(service.url, TOKEN, want=("points",), resume=client.id) as other:
        assert (other.id, other.welcome["frames"]) == (client.id, 4)
        assert all(same(other.step(f, index=i), wanted[i]) for i, f in list(enumerate(frames))[4:])


def test_an_unknown_take_is_not_resumed_and_a_seat_is_clean(service: Service) -> None:
    empty(service)
    with pytest.raises(Refused, match="no take of this id"):
        Client(service.url, TOKEN, resume="../../secret")
    with Client(service.url, TOKEN, want=("points",)) as client:
        first = [client.step(jpeg(i)) for i in range(3)]
    empty(service)
    with Client(service.url, TOKEN, want=("points",)) as client:  # the seat of the one before
        assert client.welcome["frames"] == 0
        assert all(same(client.step(jpeg(i)), first[i]) for i in range(3))


def test_a_reset_starts_the_memory_over_and_keeps_the_world(service: Service) -> None:
    stream = tiny().stream()
    with Client(service.url, TOKEN, want=("points",)) as client:
        for i in range(6):
            if i == 2:
                client.reset()
            answer = client.step(jpeg(i))
            wanted = stream.step(decode_jpeg(jpeg(i), 1), reset=i == 2)
            np.testing.assert_array_equal(answer.points, wanted.points.numpy())


def test_who_says_nothing_is_sent_away() -> None:
    with serve(1, hello_seconds=0.5) as service:
        address = service.url.replace("http", "ws") + "/v1/stream"
        with connect(address) as silent, pytest.raises(ConnectionClosed) as caught:
            silent.recv(timeout=PATIENCE)
        assert caught.value.rcvd and caught.value.rcvd.code == CLOSE_TOKEN
    with serve(1, idle_seconds=1.0) as service, Client(service.url, TOKEN) as client:
        with pytest.raises(Refused, match="no usable frame") as refused:
            while True:
                client.receive()
        assert refused.value.code == CLOSE_IDLE


def test_limits_are_kept() -> None:
    with serve(1, max_fps=5.0, max_errors=3) as service:
        with Client(service.url, TOKEN) as client:
            client.step(jpeg(0))
            with pytest.raises(Refused, match="seats are taken") as refused:
                Client(service.url, TOKEN)
            assert refused.value.code == CLOSE_FULL

            def sends_too_much() -> bool:
                for i in range(10):
                    client.send(jpeg(i), index=i)
                return service.metrics.get("longtake_frames_dropped_total", reason="rate") >= 25

            wait_for(sends_too_much, "all are taken")
        empty(service)
        with Client(service.url, TOKEN) as client, pytest.raises(Refused, match="no sense") as refused:
            while True:
                client._send(b"nonsense")
                try:
                    client.receive()
                except Refused as error:
                    if error.code:
                        raise
                time.sleep(0.05)
        assert refused.value.code == CLOSE_ABUSE


def test_the_newest_frame_wins(service: Service) -> None:
    empty(service)
    with Client(service.url, TOKEN) as client:
        for i in range(300):
            client.send(jpeg(i % 7), index=i)
        seen = [client.receive().index]
        while seen[-1] != 299:
            seen.append(client.receive().index)
    assert seen == sorted(set(seen)) and len(seen) < 300


def test_states_outlive_the_service_where_they_have_a_folder(tmp_path: Path) -> None:
    with serve(1, states=tmp_path) as service, Client(service.url, TOKEN) as client:
        client.step(jpeg(0))
    with serve(1, states=tmp_path) as service, Client(service.url, TOKEN, resume=client.id) as client:
        assert client.welcome["frames"] == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_served_is_said() -> None:
    with serve(1) as service, pytest.raises(InputError, match="cannot listen"):
        Service(tiny(), port=int(service.url.rpartition(":")[2]))
    with pytest.raises(InputError, match="can be guessed"):
        Service(tiny(), tokens=["short"], port=0)
    with pytest.raises(InputError, match="both"):
        Service(tiny(), port=0, certificate=Path("a.pem"))
    with pytest.raises(InputError, match="cannot be reached"):
        Client("ws://127.0.0.1:9", TOKEN)
    model = tiny()
    model.module.capabilities = model.capabilities.__class__(memory="cache", cost="O(t)", bounded=False, batch=False)
    with pytest.raises(CapabilityError, match="grows"):
        Service(model, port=0)


def test_whoever_takes_no_answers_gets_two_and_then_its_newest_frame(service: Service) -> None:
    empty(service)
    answers: list[Any] = []
    worker = service.worker
    visitor = worker.join(Hello(keep=False), answers.append).result(PATIENCE)
    try:
        for i in range(30):
            before = len(answers)
            worker.offer(visitor, SentFrame(jpeg(i % 5), i, float(i)))
            if i < 2:
                wait_for(lambda before=before: len(answers) > before)
        time.sleep(0.3)
        assert [Answer.read(each).index for each in answers] == [0, 1]
        worker.sent(visitor)
        wait_for(lambda: len(answers) == 3)
        assert Answer.read(answers[2]).index == 29
    finally:
        worker.leave(visitor).result(PATIENCE)
