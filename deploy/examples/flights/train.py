"""Trains flights_delay version 1 on January 2001.

Writes models/flights_delay/1/{model.onnx,manifest.yaml}, where the manifest says of the model what
is known before it is monitored; the rows of January, of which `millrace reference` makes the rest; and
the golden files of the Go package that replays the flights. Two runs write the same bytes.
"""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # sums in one order, so that two runs agree
sys.dont_write_bytecode = True

import argparse  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402
from string import Template  # noqa: E402

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from skl2onnx import to_onnx  # noqa: E402
from skl2onnx.common.data_types import FloatTensorType  # noqa: E402
from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: E402

import features as ft  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
MODEL, VERSION = "flights_delay", "1"
FOLDS = 6  # of whole, neighbouring days


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


def write_rows(f: ft.Flights, numbers: dict[str, np.ndarray], rows: np.ndarray, scores: np.ndarray, path: Path) -> None:
    """The features as requests have them, the event time, the label, and the out-of-fold scores."""
    columns = {
        "departure": f.departure[rows] * 60_000,  # ms since 1970
        "origin": f.airports[f.origin[rows]],
        "destination": f.airports[f.destination[rows]],
        **{name: numbers[name][rows].astype(np.int32 if name in ft.WHOLE else np.float32) for name in ft.NUMERIC},
        "delay": f.delay[rows],
        "out_of_fold": scores,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flights", type=Path, default=ROOT / "deploy/native/node_modules/vega-datasets/data/flights-3m.parquet")
    parser.add_argument("--models", type=Path, default=HERE / "models")
    parser.add_argument("--rows", type=Path, default=ROOT / "data/flights/january.parquet")
    parser.add_argument("--golden", type=Path, default=ROOT / "pipeline/demo/flights/testdata")
    args = parser.parse_args()

    f = ft.Flights(args.flights)
    numbers = ft.numeric(f)
    january = np.flatnonzero(f.month() == 1)
    golden(f, numbers, args.golden)

    listed = list_airports(f, january)
    x = stack(f, numbers, listed)[january]
    model = new_model().fit(x, f.late[january])
    graph = export(model)
    gap = np.abs(score(session(graph), x) - model.predict_proba(x)[:, 1].astype(np.float32)).max()
    print(f"{len(january)} flights in January; greatest difference of model.onnx to scikit-learn {gap:.2g}")
    if gap > 1e-5:
        raise SystemExit("ONNX and scikit-learn answer differently")
    scores = out_of_fold(f, numbers, january)
    write_rows(f, numbers, january, scores, args.rows)

    manifest = Template((HERE / "manifest.yaml").read_text()).substitute(
        artifact=hashlib.sha256(graph).hexdigest(),
        threshold=f1_threshold(f.late[january], scores),
        **{name: ", ".join(json.dumps(a) for a in airports) for name, airports in listed.items()},
    )
    folder = args.models / MODEL / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph)
    (folder / "manifest.yaml").write_text(manifest)


if __name__ == "__main__":
    main()
