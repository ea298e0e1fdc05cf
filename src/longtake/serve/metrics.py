# SPDX-License-Identifier: Apache-2.0
"""Counters in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

import threading
from collections import defaultdict

_HELP = {
    "longtake_frames_received_total": "Frame messages that came.",
    "longtake_frames_served_total": "Frames that were answered.",
    "longtake_frames_dropped_total": "Frames that were not used, by reason.",
    "longtake_clients_total": "Clients that were let in.",
    "longtake_refused_total": "Connections refused or ended by the service, by reason.",
    "longtake_bytes_received_total": "Bytes of frame messages.",
    "longtake_bytes_sent_total": "Bytes of answers.",
    "longtake_steps_total": "Steps of the batch of streams.",
    "longtake_step_seconds_total": "Seconds spent in those steps.",
    "longtake_latency_seconds": "From a frame's arrival to its answer's being ready.",
    "longtake_clients": "Clients that have a seat now.",
    "longtake_seats": "Seats that there are.",
    "longtake_states": "States kept of clients that left.",
}
_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LATENCY = "longtake_latency_seconds"


class Metrics:
    """Counters that any thread may add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, str], float] = defaultdict(float)

    def add(self, name: str, value: float = 1, *, reason: str = "") -> None:
        """Count up."""
        with self._lock:
            self._values[name, f'{{reason="{reason}"}}' if reason else ""] += value

    def put(self, name: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[name, ""] = value

    def latency(self, seconds: float) -> None:
        """Count one answer in the histogram."""
        with self._lock:
            for edge in _BUCKETS:
                self._values[_LATENCY, f'_bucket{{le="{edge:g}"}}'] += seconds <= edge
            self._values[_LATENCY, '_bucket{le="+Inf"}'] += 1
            self._values[_LATENCY, "_sum"] += seconds
            self._values[_LATENCY, "_count"] += 1

    def get(self, name: str, *, reason: str = "") -> float:
        """Read one value; 0 where nothing was counted."""
        with self._lock:
            return self._values.get((name, f'{{reason="{reason}"}}' if reason else ""), 0.0)

    def text(self) -> str:
        """Return everything as Prometheus reads it."""
        with self._lock:
            values = dict(self._values)
        lines = []
        for name, words in _HELP.items():
            rows = [(label, value) for (own, label), value in values.items() if own == name]
            kind = "histogram" if name == _LATENCY else "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
            if not rows and kind != "histogram":
                rows = [("", 0.0)]
            lines += [f"{name}{label} {value:.10g}" for label, value in rows]
        return "\n".join(lines) + "\n"
