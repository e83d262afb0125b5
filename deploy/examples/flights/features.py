"""Flights and what an airline knows of them at departure.

The Go package pipeline/demo/flights computes the same features, one flight at a time, when it
replays the flights; both follow these rules to the last bit.

Order. Flights are sorted by departure, stably: equal departures keep the order of the
file. A flight is known by its place in this order, from 0.

Time. All times are whole minutes. The data gives the departure from the gate on the
clock of the origin; every clock is taken for the same one, and for UTC.

Landing. The data has no landing time. It is taken to be departure + block time, block
time = 40 + (2 * distance) // 15 minutes (forty on the ground and in climb, then 450
miles an hour). The departure in the data is the real one, delay included, so the
delay is not added again. From the landing on, the arrival delay is known. Landings are
ordered by time, then by flight. A landing comes before a departure of the same minute.

Windows. At a departure in minute t, a window of W minutes holds the landings in minutes
(t - W, t]. A landing counts with its arrival delay clamped to [-60, 180] minutes.

  network    sum and number of all landings,                      W = 120
  outbound   of landed flights that had left the origin,          W = 180
  inbound    of landings at the origin,                           W = 120
  arrivals   of landings at the destination,                      W = 120

Means, in float64 and in this order of operations (no fused multiply-add):

  network_delay      round8(sum / n), and 0 when n = 0
  the other three    round8((sum + 5 * network) / (n + 5)), network being sum / n of the
                     network before rounding, or 0
  round8(x)          floor(8 * x + 0.5) / 8: eighths of a minute, exact in float32
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LATE_MINUTES = 15  # a flight is late when it arrives more than this after schedule
DAY = 24 * 60
CLAMP = (-60, 180)
SHRINK = 5

# In the order of the model's input.
NUMERIC = [
    "distance",
    "hour",
    "day_of_week",
    "network_delay",
    "origin_delay",
    "inbound_delay",
    "destination_delay",
    "inbound_landings",
    "destination_landings",
]
WHOLE = {"distance", "day_of_week", "inbound_landings", "destination_landings"}  # integers in requests
CATEGORIES = ["origin", "destination"]
FEATURES = CATEGORIES + NUMERIC


class Flights:
    """All flights in event-time order: departure, landing (minutes), delay, distance,
    origin, destination (indices of airports)."""

    def __init__(self, path: Path):
        table = pq.read_table(path)
        for name in table.column_names:
            if table[name].null_count:
                raise SystemExit(f"{path}: column {name} has nulls; these features expect none")
        ms = table["date"].cast(pa.timestamp("ms")).cast("int64").to_numpy()
        if (ms % 60_000).any():
            raise SystemExit(f"{path}: column date has seconds; these features expect whole minutes")
        order = np.argsort(ms, kind="stable")
        self.departure = ms[order] // 60_000
        self.delay = table["delay"].to_numpy()[order]
        self.distance = table["distance"].to_numpy()[order]
        names = [table[c].to_numpy(zero_copy_only=False).astype(str)[order] for c in CATEGORIES]
        self.airports, indices = np.unique(np.concatenate(names), return_inverse=True)
        self.origin, self.destination = np.split(indices, 2)
        self.landing = self.departure + 40 + 2 * self.distance // 15
        self.late = self.delay > LATE_MINUTES
        self.day = self.departure // DAY  # days since 1970-01-01: the monitor's window
        self.n = len(ms)

    def month(self) -> np.ndarray:
        """The month of each departure, 1 for January 2001."""
        return (self.departure.astype("datetime64[m]").astype("datetime64[M]").astype(int) - 372) + 1


def round8(x: np.ndarray) -> np.ndarray:
    return np.floor(8 * x + 0.5) / 8


def numeric(f: Flights) -> dict[str, np.ndarray]:
    """The numeric features of every flight, float64 arrays of values exact in float32."""
    landed = np.argsort(f.landing, kind="stable")
    delay = np.clip(f.delay, *CLAMP)[landed]
    start = f.departure[0]
    stride = 1 << 24  # more minutes than the data spans

    def window(of: np.ndarray, at: np.ndarray, minutes: int):
        """Sum and number of the landings of the group at[i] in (t[i] - minutes, t[i]]."""
        keys = of[landed] * stride + (f.landing[landed] - start)
        by_key = np.argsort(keys, kind="stable")
        keys = keys[by_key]
        total = np.concatenate([[0], np.cumsum(delay[by_key])])
        now = f.departure - start
        high = np.searchsorted(keys, at * stride + now, side="right")
        low = np.searchsorted(keys, at * stride + np.maximum(now - minutes, -1), side="right")
        return total[high] - total[low], high - low

    zero = np.zeros(f.n, dtype=np.int64)
    total, count = window(zero, zero, 120)
    network = np.where(count > 0, total / np.maximum(count, 1), 0.0)

    def shrunk(total, count):
        return round8((total + SHRINK * network) / (count + SHRINK))

    outbound = window(f.origin, f.origin, 180)
    inbound = window(f.destination, f.origin, 120)
    arrivals = window(f.destination, f.destination, 120)
    return {
        "distance": f.distance.astype(np.float64),
        "hour": ((f.departure % DAY) / 60).astype(np.float32).astype(np.float64),
        "day_of_week": ((f.departure // DAY + 3) % 7 + 1).astype(np.float64),  # 1 is Monday
        "network_delay": round8(network),
        "origin_delay": shrunk(*outbound),
        "inbound_delay": shrunk(*inbound),
        "destination_delay": shrunk(*arrivals),
        "inbound_landings": inbound[1].astype(np.float64),
        "destination_landings": arrivals[1].astype(np.float64),
    }


def categories(airports: np.ndarray, index: np.ndarray, late: np.ndarray) -> list[str]:
    """The airports of the given flights, from the most punctual to the latest, by late
    share smoothed with 50 flights of the overall share; ties by name."""
    n = np.bincount(index, minlength=len(airports))
    share = (np.bincount(index, late, len(airports)) + 50 * late.mean()) / (n + 50)
    seen = np.flatnonzero(n)
    return [str(airports[i]) for i in seen[np.lexsort((airports[seen], share[seen]))]]


def encode(airports: np.ndarray, index: np.ndarray, listed: list[str]) -> np.ndarray:
    """The place of each airport in listed, -1 when it is not there."""
    place = {name: float(i) for i, name in enumerate(listed)}
    return np.array([place.get(str(a), -1.0) for a in airports])[index]
