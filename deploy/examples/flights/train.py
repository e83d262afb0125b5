"""Trains flights_delay version 1 on January 2001 and derives how it is monitored.

Writes models/flights_delay/1/{model.onnx,manifest.yaml,reference.json,sample.arrow} and
the golden files of the Go package that replays the flights. Two runs write the same bytes.
"""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # sums in one order, so that two runs agree
sys.dont_write_bytecode = True

import argparse  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
import pyarrow as pa  # noqa: E402
from skl2onnx import to_onnx  # noqa: E402
from skl2onnx.common.data_types import FloatTensorType  # noqa: E402
from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: E402

import features as ft  # noqa: E402
import monitoring as mon  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
MODEL, VERSION, SCORE = "flights_delay", "1", "late_probability"
FOLDS = 6  # of whole, neighbouring days
SAMPLE_ROWS = 1000

# The checks. A check's threshold is not written here: see threshold().
CHECKS = [
    # stattest, column, severity, retrain
    ("psi", SCORE, "critical", True),
    ("ks", SCORE, "warning", False),
    ("ks", "network_delay", "info", False),
    ("psi", "origin_delay", "warning", False),
    ("psi", "inbound_delay", "warning", False),
    ("psi", "destination_delay", "warning", False),
    ("psi", "inbound_landings", "warning", False),
    ("psi", "destination_landings", "warning", False),
    ("ks", "hour", "info", False),
    ("ks", "distance", "info", False),
    ("chisquare", "origin", "warning", False),
    ("chisquare", "destination", "warning", False),
    ("drift_share", "", "critical", True),
    ("accuracy", "", "warning", False),
    ("precision", "", "info", False),
    ("recall", "", "info", False),
    ("roc_auc", "", "critical", True),
]
QUALITY = {"accuracy", "precision", "recall", "roc_auc"}
MARGIN = 1.1  # of a threshold over January's worst window, at least
FULL_DAY = 0.9  # of the rows of January's smallest window: less is part of a day, and gets no verdict
DRIFT_SHARE = 0.5  # half of the columns: the convention for "the data set drifted"


def new_model() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=30, max_leaf_nodes=31, learning_rate=0.2, min_samples_leaf=100, early_stopping=False, random_state=2001
    )


def export(model: HistGradientBoostingClassifier) -> bytes:
    graph = to_onnx(
        model,
        initial_types=[("features", FloatTensorType([None, len(ft.FEATURES)]))],
        options={id(model): {"zipmap": False}},
        target_opset={"": 21, "ai.onnx.ml": 3},
    )
    graph.graph.name = MODEL
    graph.doc_string = "Probability that a flight arrives more than 15 minutes late."
    onnx.checker.check_model(graph)
    return graph.SerializeToString(deterministic=True)


def session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def score(run: ort.InferenceSession, x: np.ndarray) -> np.ndarray:
    return np.concatenate([run.run(["probabilities"], {"features": x[i : i + 8192]})[0][:, 1] for i in range(0, len(x), 8192)])


def speed(run: ort.InferenceSession, x: np.ndarray) -> dict[int, float]:
    """Rows per second by batch size, one thread."""
    out = {}
    for rows in (1, 32, 256, 512, 1024, 4096):
        batches = [np.ascontiguousarray(x[i * rows : (i + 1) * rows]) for i in range(max(1, min(400, 100_000 // rows)))]
        best = math.inf
        for _ in range(5):
            start = time.perf_counter()
            for b in batches:
                run.run(["probabilities"], {"features": b})
            best = min(best, time.perf_counter() - start)
        out[rows] = rows * len(batches) / best
    return out


def stack(f: ft.Flights, numbers: dict[str, np.ndarray], listed: dict[str, list[str]]) -> np.ndarray:
    """The model's input: float32, features in the order of ft.FEATURES."""
    columns = [
        ft.encode(f.airports, f.origin, listed["origin"]),
        ft.encode(f.airports, f.destination, listed["destination"]),
        *(numbers[name] for name in ft.NUMERIC),
    ]
    return np.column_stack(columns).astype(np.float32)


def list_airports(f: ft.Flights, rows: np.ndarray) -> dict[str, list[str]]:
    return {
        "origin": ft.categories(f.airports, f.origin[rows], f.late[rows]),
        "destination": ft.categories(f.airports, f.destination[rows], f.late[rows]),
    }


def out_of_fold(f: ft.Flights, numbers: dict[str, np.ndarray], january: np.ndarray) -> np.ndarray:
    """Scores of January's flights by models that saw nothing of the flight's days, the
    order of the airports included."""
    days = f.day[january] - f.day[0]
    fold = np.minimum(days * FOLDS // (days.max() + 1), FOLDS - 1)
    out = np.zeros(len(january), dtype=np.float32)
    for k in range(FOLDS):
        fit, held = january[fold != k], january[fold == k]
        x = stack(f, numbers, list_airports(f, fit))
        model = new_model().fit(x[fit], f.late[fit])
        out[fold == k] = score(session(export(model)), x[held])
    return out


def f1_threshold(late: np.ndarray, scores: np.ndarray) -> float:
    """The hundredth at which F1 of the out-of-fold scores is greatest."""
    best = max((2 * (s := scores >= c / 100) @ late / (s.sum() + late.sum()), c) for c in range(5, 96))
    return best[1] / 100


def column_counts(values: np.ndarray, column: dict, window: np.ndarray, windows: int) -> np.ndarray:
    if "edges" in column:
        cell = np.searchsorted(np.array(column["edges"]), values, side="right")
        return mon.counts_by_window(window, windows, cell, len(column["counts"]))
    cell = np.where(values < 0, len(column["counts"]), values).astype(np.int64)
    return mon.counts_by_window(window, windows, cell, len(column["counts"]) + 1)


def numeric_column(name: str, values: np.ndarray) -> dict:
    e = mon.edges(values)
    cell = np.searchsorted(e, values, side="right")
    return {
        "name": name,
        "edges": [float(v) for v in e],
        "counts": np.bincount(cell, minlength=len(e) + 1).tolist(),
        "missing": 0,
        "mean": float(values.mean()),
        "std_dev": float(values.std()),
    }


def drift_scores(reference: dict, columns: dict[str, np.ndarray], window: np.ndarray, windows: int) -> dict[tuple, np.ndarray]:
    """The score of every drift check in every window."""
    by_name = {c["name"]: c for c in reference["columns"]}
    out = {}
    for stattest, name, _, _ in CHECKS:
        if name not in columns:
            continue
        column = by_name[name]
        current = column_counts(columns[name], column, window, windows)
        expected = np.array(column["counts"])
        if current.shape[1] > len(expected):
            expected = np.append(expected, column.get("other", 0))
        with np.errstate(invalid="ignore"):
            if stattest == "psi":
                out[stattest, name] = mon.psi(expected, current, "edges" in column)
            elif stattest == "ks":
                out[stattest, name] = mon.ks(expected, current)
            else:
                out[stattest, name] = mon.cramers_v(expected, current)
    return out


def quality_scores(late: np.ndarray, scores: np.ndarray, window: np.ndarray, windows: int, at: float) -> dict[tuple, np.ndarray]:
    names = [stattest for stattest, _, _, _ in CHECKS if stattest in QUALITY]
    out = {(name, ""): np.full(windows, np.nan) for name in names}
    starts = np.searchsorted(window, np.arange(windows + 1))
    for w in range(windows):
        rows = slice(starts[w], starts[w + 1])
        if 0 < late[rows].sum() < rows.stop - rows.start:
            q = mon.quality(late[rows], scores[rows], at)
            for name in names:
                out[name, ""][w] = q[name]
    return out


def threshold(stattest: str, series: list[np.ndarray], quality: float) -> float:
    """The threshold of a check, from January's windows alone.

    series are January's figures, one series with the shipped model's answers, as the
    replay will see them, and where the check depends on the model one with out-of-fold
    answers. Each figure is a distance from the reference: a drift score as it is, a
    quality figure by how much it falls short of the reference's. The threshold lies
    beyond the worst window by the factor that the worst window itself would have needed
    not to breach the rest of January (worst / second worst), and by a tenth at least; of
    two series the more lenient counts. It is rounded to three digits away from January.
    """
    beyond = []
    for s in series:
        distance = quality - s if stattest in QUALITY else s
        second, worst = np.sort(distance[np.isfinite(distance)])[-2:]
        beyond.append(worst * max(MARGIN, worst / second))
    if stattest in QUALITY:
        return math.floor((quality - max(beyond)) * 1000) / 1000
    digits = 2 - math.floor(math.log10(max(beyond)))
    return math.ceil(max(beyond) * 10**digits) / 10**digits


def breaches(check: tuple, value: np.ndarray, limit: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return value < limit if check[0] in QUALITY else value >= limit


def drift_share(scores: dict[tuple, np.ndarray], limits: dict[tuple, float]) -> np.ndarray:
    """The share of the columns of the drift checks with a breach, by window."""
    names = sorted({name for _, name, _, _ in CHECKS if name})
    hit = {name: False for name in names}
    for stattest, name, _, _ in CHECKS:
        if name:
            hit[name] = hit[name] | breaches((stattest, name), scores[stattest, name], limits[stattest, name])
    return sum(h.astype(float) for h in hit.values()) / len(names)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(
    listed: dict[str, list[str]],
    at: float,
    min_rows: int,
    limits: dict[tuple, float],
    digests: dict[str, str],
    auc: float,
) -> str:
    def feature(name: str) -> list[str]:
        if name in listed:
            names = ", ".join(json.dumps(a) for a in listed[name])
            return [f"  - name: {name}", "    type: category", f"    categories: [{names}]", f"    description: {FEATURE_TEXT[name]}"]
        kind, low, high = FEATURE_RANGE[name]
        lines = [f"  - name: {name}", f"    type: {kind}", f"    min: {low}"]
        if high is not None:
            lines.append(f"    max: {high}")
        return [*lines, f"    description: {FEATURE_TEXT[name]}"]

    lines = [
        "# Written by deploy/examples/flights/train.py: change the script, not this file.",
        f"name: {MODEL}",
        f'version: "{VERSION}"',
        "description: >-",
        "  Says at departure whether a flight arrives more than 15 minutes late. Trained on",
        f"  January 2001 alone; area under the ROC curve out of fold {auc:.3f}.",
        "runtime: onnx",
        "artifact:",
        "  file: model.onnx",
        f"  sha256: {digests['model.onnx']}",
        "features:",
    ]
    for name in ft.FEATURES:
        lines += feature(name)
    lines += [
        "event_time:",
        "  field: departure",
        "  format: unix_ms",
        "outputs:",
        f"  - name: {SCORE}",
        "    tensor: probabilities",
        "    index: 1",
        "    type: float32",
        "target:",
        "  kind: binary",
        f"  score: {SCORE}",
        f"  threshold: {at:g} # where F1 of the out-of-fold predictions is greatest",
        f"  positive_above: {ft.LATE_MINUTES} # labels are the delay at arrival, in minutes",
        "reference:",
        "  file: reference.json",
        f"  sha256: {digests['reference.json']}",
        "sample:",
        "  file: sample.arrow",
        f"  sha256: {digests['sample.arrow']}",
        "monitoring:",
        "  window: 24h",
        "  lateness: 1h",
        "  label_delay: 12h # the longest flight lands 11 h 41 min after its departure",
        f"  min_rows: {min_rows} # nine tenths of January's smallest window, so that part of a day gets no verdict",
        "  # Thresholds are effect sizes beyond the spread of January's own windows: see",
        "  # README.md of this example.",
        "  checks:",
    ]
    for stattest, name, severity, retrain in CHECKS:
        lines.append(f"    - stattest: {stattest}")
        if name:
            lines.append(f"      column: {name}")
        lines.append(f"      threshold: {limits[stattest, name]:g}")
        lines.append(f"      severity: {severity}")
        if retrain:
            lines.append("      retrain: true")
    return "\n".join(lines) + "\n"


FEATURE_TEXT = {
    "origin": "airport of departure; listed from the most punctual to the latest of January",
    "destination": "airport of arrival; listed from the most punctual to the latest of January",
    "distance": "miles",
    "hour": "hour of departure, minutes as a fraction",
    "day_of_week": "1 is Monday",
    "network_delay": "mean delay of all landings of the last 2 h, in minutes",
    "origin_delay": "mean delay of the flights from the origin that landed in the last 3 h",
    "inbound_delay": "mean delay of the landings at the origin of the last 2 h",
    "destination_delay": "mean delay of the landings at the destination of the last 2 h",
    "inbound_landings": "landings at the origin in the last 2 h",
    "destination_landings": "landings at the destination in the last 2 h",
}
FEATURE_RANGE = {
    "distance": ("int32", 0, 12500),
    "hour": ("float32", 0, 24),
    "day_of_week": ("int32", 1, 7),
    "network_delay": ("float32", *ft.CLAMP),
    "origin_delay": ("float32", *ft.CLAMP),
    "inbound_delay": ("float32", *ft.CLAMP),
    "destination_delay": ("float32", *ft.CLAMP),
    "inbound_landings": ("int32", 0, None),
    "destination_landings": ("int32", 0, None),
}
ARROW = {"int32": pa.int32(), "float32": pa.float32()}


def sample(f: ft.Flights, x: np.ndarray, scores: np.ndarray, january: np.ndarray) -> bytes:
    """Some of January's flights as an Arrow IPC file, with what the model answers."""
    rows = january[np.linspace(0, len(january) - 1, SAMPLE_ROWS).astype(int)]
    columns = {
        "origin": pa.array(f.airports[f.origin[rows]].tolist(), pa.string()),
        "destination": pa.array(f.airports[f.destination[rows]].tolist(), pa.string()),
    }
    for i, name in enumerate(ft.FEATURES):
        if name not in columns:
            kind = ARROW[FEATURE_RANGE[name][0]]
            columns[name] = pa.array(x[rows, i].astype(kind.to_pandas_dtype()), kind)
    columns[SCORE] = pa.array(scores[rows], pa.float32())
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=SAMPLE_ROWS)
    return sink.getvalue().to_pybytes()


def golden(f: ft.Flights, numbers: dict[str, np.ndarray], folder: Path) -> None:
    """What the replay in Go has to compute: single requests, and sums of every day.

    Sums are of 8 * feature as an integer (of hour: of the minute of the day), plain and
    weighted with the flight's place in the day from 1, modulo 2^64. Labels are summed by
    day of landing: flights, and the flight's number weighted with its place in the day."""
    folder.mkdir(parents=True, exist_ok=True)
    exact = {name: np.rint(8 * values).astype(np.int64) for name, values in numbers.items()}
    exact["hour"] = f.departure % ft.DAY
    rows = np.concatenate([np.arange(2000), np.arange(20_000, f.n, 20_000)])
    with open(folder / "requests.csv", "w", newline="\n") as out:
        out.write("flight,departure," + ",".join(ft.FEATURES) + ",delay,landing\n")
        for i in rows:
            cells = [str(i), str(f.departure[i]), str(f.airports[f.origin[i]]), str(f.airports[f.destination[i]])]
            for name in ft.NUMERIC:
                value = np.float32(numbers[name][i])
                cells.append(str(int(value)) if value == int(value) else str(value))
            out.write(",".join([*cells, str(f.delay[i]), str(f.landing[i])]) + "\n")
    landed = np.argsort(f.landing, kind="stable")
    first = f.day[0]
    days = int(f.landing.max() // ft.DAY - first + 1)
    with open(folder / "days.csv", "w", newline="\n") as out:
        names = ft.NUMERIC
        head = ["day", "requests"] + [f"{n}_{k}" for n in names for k in ("sum", "weighted")] + ["labels", "label_weighted"]
        out.write(",".join(head) + "\n")
        landing_day = f.landing[landed] // ft.DAY - first
        for d in range(days):
            rows = np.flatnonzero(f.day == first + d)
            place = np.arange(1, len(rows) + 1, dtype=np.uint64)
            cells = [str(d), str(len(rows))]
            for n in names:
                v = exact[n][rows].astype(np.uint64)
                cells += [str(int(exact[n][rows].sum())), str(int((v * place).sum(dtype=np.uint64)))]
            labels = landed[landing_day == d].astype(np.uint64)
            place = np.arange(1, len(labels) + 1, dtype=np.uint64)
            cells += [str(len(labels)), str(int((labels * place).sum(dtype=np.uint64)))]
            out.write(",".join(cells) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flights", type=Path, default=ROOT / "deploy/native/node_modules/vega-datasets/data/flights-3m.parquet")
    parser.add_argument("--models", type=Path, default=HERE / "models")
    parser.add_argument("--golden", type=Path, default=ROOT / "pipeline/demo/flights/testdata")
    args = parser.parse_args()

    f = ft.Flights(args.flights)
    numbers = ft.numeric(f)
    months = f.month()
    january = np.flatnonzero(months == 1)
    golden(f, numbers, args.golden)
    print(f"{f.n} flights, {len(f.airports)} airports, {len(january)} flights in January")

    listed = list_airports(f, january)
    x = stack(f, numbers, listed)
    model = new_model().fit(x[january], f.late[january])
    graph = export(model)
    run = session(graph)
    scores = score(run, x)
    gap = np.abs(scores[january] - model.predict_proba(x[january])[:, 1].astype(np.float32)).max()
    print(f"model.onnx {len(graph)} bytes; greatest difference to scikit-learn {gap:.2g}")
    if gap > 1e-5:
        raise SystemExit("ONNX and scikit-learn answer differently")
    print("rows/s by batch size, one thread:", {rows: f"{n:,.0f}" for rows, n in speed(run, x[january]).items()})

    fold_scores = out_of_fold(f, numbers, january)
    late = f.late[january]
    at = f1_threshold(late, fold_scores)
    made = mon.quality(late, fold_scores, at)
    print("out of fold:", {k: round(v, 4) for k, v in made.items()}, "threshold", at)
    print("at 0.5:     ", {k: round(v, 4) for k, v in mon.quality(late, fold_scores, 0.5).items()})

    reference = {"rows": len(january), "columns": []}
    for name, index in (("origin", f.origin), ("destination", f.destination)):
        n = dict(zip(f.airports.tolist(), np.bincount(index[january], minlength=len(f.airports)).tolist()))
        reference["columns"].append({"name": name, "categories": listed[name], "counts": [n[a] for a in listed[name]], "missing": 0})
    for name in ft.NUMERIC:
        values = x[january, ft.FEATURES.index(name)].astype(np.float64)
        reference["columns"].append(numeric_column(name, values))
    reference["columns"].append(numeric_column(SCORE, fold_scores.astype(np.float64)))
    reference["quality"] = {k: round(v, 6) for k, v in made.items()}
    reference["out_of_fold"] = True
    reference["made"] = (
        f"flights-3m.parquet, departures from 2001-01-01 to 2001-01-31, {len(january)} rows; {SCORE} and quality "
        f"out of fold, {FOLDS} folds of neighbouring days; deploy/examples/flights/train.py"
    )

    # The monitor, offline, over all days: as the replay will be judged.
    window = f.day - f.day[0]
    windows = int(window.max()) + 1
    rows = np.bincount(window, minlength=windows)
    columns = {name: x[:, i].astype(np.float64) for i, name in enumerate(ft.FEATURES)}
    columns[SCORE] = scores.astype(np.float64)
    seen = drift_scores(reference, columns, window, windows) | quality_scores(f.late, scores, window, windows, at)
    jan_windows = int(window[january[-1]]) + 1
    jan_columns = {SCORE: fold_scores.astype(np.float64)}
    held = drift_scores(reference, jan_columns, window[january], jan_windows)
    held |= quality_scores(late, fold_scores, window[january], jan_windows, at)
    min_rows = int(FULL_DAY * rows[:jan_windows].min() // 1000 * 1000)
    limits = {}
    for check in CHECKS:
        key = check[:2]
        if check[0] != "drift_share":
            both = [s[:jan_windows] for s in (seen[key], held.get(key)) if s is not None]
            limits[key] = threshold(check[0], both, made.get(check[0], 0.0))
    limits["drift_share", ""] = DRIFT_SHARE
    seen["drift_share", ""] = drift_share(seen, limits)

    data = {
        "model.onnx": graph,
        "reference.json": (json.dumps(reference, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n").encode(),
        "sample.arrow": sample(f, x, scores, january),
    }
    digests = {name: sha256(b) for name, b in data.items()}
    data["manifest.yaml"] = manifest(listed, at, min_rows, limits, digests, made["roc_auc"]).encode()
    folder = args.models / MODEL / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    for name, b in data.items():
        (folder / name).write_bytes(b)
        print(f"{name}: {len(b)} bytes, sha256 {sha256(b)[:16]}…")

    report(f, months, scores, at, rows, min_rows, seen, held, limits, jan_windows)


def report(f, months, scores, at, rows, min_rows, seen, held, limits, jan_windows) -> None:
    print("\nchecks: January's range (replay; out of fold), threshold, windows that breach by month")
    first = f.day[0]
    month_of = ((first + np.arange(len(rows))).astype("datetime64[D]").astype("datetime64[M]").astype(int) - 372) + 1
    judged = rows >= min_rows
    retrain = np.zeros(len(rows), dtype=bool)
    alert = np.zeros(len(rows), dtype=bool)
    why: dict[int, list[str]] = {}
    for check in CHECKS:
        key = check[:2]
        s = seen[key]
        b = breaches(check, s, limits[key]) & judged
        by_month = [int(b[month_of == m].sum()) for m in range(1, 7)]
        jan = s[:jan_windows]
        span = f"{np.nanmin(jan):.4f}..{np.nanmax(jan):.4f}"
        if key in held:
            span += f"; {np.nanmin(held[key]):.4f}..{np.nanmax(held[key]):.4f}"
            b_held = breaches(check, held[key], limits[key])
            if b_held.any():
                raise SystemExit(f"an out-of-fold window of January breaches {key}")
        if by_month[0]:
            raise SystemExit(f"a window of January breaches {key}")
        print(f"  {check[0]:12} {check[1]:21} {span:36} {limits[key]:<8g} {by_month} {'retrain' if check[3] else ''}")
        alert |= b
        if check[3]:
            retrain |= b
            for w in np.flatnonzero(b):
                why.setdefault(int(w), []).append(f"{check[0]} {check[1]} {s[w]:.4g}".replace("  ", " "))
    print("windows with any breach by month:", [int(alert[month_of == m].sum()) for m in range(1, 7)])
    print("windows that ask for retraining: ", [int(retrain[month_of == m].sum()) for m in range(1, 7)])
    print("windows below min_rows:", [(str((first + w).astype("datetime64[D]")), int(rows[w])) for w in np.flatnonzero(~judged)])
    starts = np.searchsorted(f.day - first, np.arange(len(rows) + 1))
    for w, reasons in sorted(why.items()):
        part = slice(starts[w], starts[w + 1])
        print(f"  {(first + w).astype('datetime64[D]')} late {f.late[part].mean():.3f}: {', '.join(reasons)}")
    top = np.argsort(-np.where(judged, seen["drift_share", ""], 0), kind="stable")[:6]
    print("greatest drift shares:", [(str((first + w).astype("datetime64[D]")), round(float(seen["drift_share", ""][w]), 3)) for w in top])
    print("by month:")
    for m in range(1, 7):
        part = months == m
        q = mon.quality(f.late[part], scores[part], at)
        print(f"  {m}: {part.sum()} flights, late {f.late[part].mean():.3f}", {k: round(v, 4) for k, v in q.items()})


if __name__ == "__main__":
    main()
