"""millrace drift compare and Evidently's drift report on the same files, side by side.

Usage: side_by_side.py MILLRACE FLIGHTS.parquet FOLDER [--quick]

Each run is a process of its own, timed from start to end, its peak memory from the kernel.
Three parts: 1,000,000 x 20 numbers against as many; January's flights against each later
month; and the cost by rows and by columns. Exits with 1 where a verdict differs.
"""

import json
import os
import subprocess
import sys
import time

EVIDENTLY = """
import json, sys, time
start = time.perf_counter()
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
imported = time.perf_counter()
reference, current = (pd.read_parquet(p) for p in sys.argv[1:3])
result = Report([DataDriftPreset(columns=sys.argv[4].split(","))]).run(current, reference)
result.save_html(sys.argv[3])
columns = {}
for m in result.dict()["metrics"]:
    config = m["config"]
    if config["type"] != "evidently:metric_v2:ValueDrift":
        continue
    columns[config["column"]] = {"method": config["method"], "value": float(m["value"]), "threshold": config["threshold"]}
print(json.dumps({"seconds": time.perf_counter() - imported, "columns": columns}))
"""


def run(command):
    """Runs a process; returns its standard output, wall seconds and peak MB."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit("%s failed with status %d" % (command[0], status))
    return out, seconds, usage.ru_maxrss / 1024


def compare(millrace, reference, current, columns, folder):
    """Both tools on one pair of files; returns their figures and whether they agree."""
    html = os.path.join(folder, "evidently.html")
    out, slow, slow_mb = run([sys.executable, "-c", EVIDENTLY, reference, current, html, ",".join(columns)])
    theirs = json.loads(out)
    fast = fast_mb = None
    for _ in range(3):  # the best of three: a run of a second is easily disturbed
        out, seconds, mb = run(
            [millrace, "drift", "compare", "--rule", "evidently", "--reference", reference, "--current", current]
            + ["--columns", ",".join(columns), "--format", "json"]
        )
        if fast is None or seconds < fast:
            fast, fast_mb = seconds, mb
    ours = {c["column"]: c for c in json.loads(out)["columns"]}
    same = set(ours) == set(theirs["columns"])
    for name, their in theirs["columns"].items():
        by_p = "p_value" in their["method"]
        drifted = their["value"] < their["threshold"] if by_p else their["value"] >= their["threshold"]
        c = ours[name]
        mine = c["p_value"] if by_p else c["score"]
        if c["drifted"] != drifted:
            same = False
            print("  verdicts differ: %s: Evidently %s %g, millrace %s %s" % (name, their["method"], their["value"], c["stattest"], mine))
    return {"fast": fast, "fast_mb": fast_mb, "slow": slow, "report": theirs["seconds"], "slow_mb": slow_mb, "same": same,
            "drifted": sum(c["drifted"] for c in ours.values()), "columns": len(ours)}  # fmt: skip


HEAD = "%-34s %10s %10s %12s %8s %10s %10s %8s  %s" % (
    "files", "millrace s", "MB", "Evidently s", "of it*", "MB", "times", "memory", "drifted, verdicts")  # fmt: skip


def line(name, r):
    print("%-34s %10.2f %10.0f %12.1f %8.1f %10.0f %10.0f %8.2f  %d of %d, %s" % (
        name, r["fast"], r["fast_mb"], r["slow"], r["report"], r["slow_mb"], r["slow"] / r["fast"],
        r["fast_mb"] / r["slow_mb"], r["drifted"], r["columns"], "equal" if r["same"] else "DIFFERENT"), flush=True)  # fmt: skip


def prepare(rows, columns, seed, shift, path):
    """Writes columns of normal and gamma values; every third is shifted."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    data = {}
    for i in range(columns):
        x = rng.normal(size=rows) if i % 2 else rng.gamma(2.0, size=rows)
        data["f%03d" % i] = x + (shift if i % 3 == 0 else 0)
    pd.DataFrame(data).to_parquet(path)


def prepare_flights(flights, folder):
    """Writes a file for each month."""
    import pandas as pd

    data = pd.read_parquet(flights)
    for month, part in data.groupby(data["date"].dt.month):
        part.reset_index(drop=True).to_parquet(os.path.join(folder, "flights_%02d.parquet" % month))


def apart(function, *args):
    """Calls one of the above in a process of its own: what the kernel says of a child's peak
    memory is at least that of its parent when it was started, so this one stays small."""
    subprocess.run([sys.executable, __file__, function.__name__, json.dumps(args)], check=True)


def table(path, *args):
    if not os.path.exists(path):
        apart(prepare, *args, path)
    return path


def main():
    millrace, flights, folder = sys.argv[1:4]
    rows = 100_000 if "--quick" in sys.argv else 1_000_000
    os.makedirs(folder, exist_ok=True)
    same = True
    print(HEAD)

    name = os.path.join(folder, "numbers_%d_%%s.parquet" % rows)
    pair = table(name % "a", rows, 20, 1, 0.0), table(name % "b", rows, 20, 2, 0.1)
    r = compare(millrace, *pair, ["f%03d" % i for i in range(20)], folder)
    line("%d x 20 against %d x 20" % (rows, rows), r)
    same &= r["same"]

    apart(prepare_flights, flights, folder)
    months = [os.path.join(folder, "flights_%02d.parquet" % m) for m in range(1, 7)]
    for path in months[1:]:
        r = compare(millrace, months[0], path, ["delay", "distance", "origin", "destination"], folder)
        line("flights, January against %s" % path[-10:-8], r)
        same &= r["same"]
    print("* without the start of Python and its imports")

    print("\ncost of millrace drift compare\n%12s %10s %10s %10s %14s" % ("rows", "columns", "seconds", "MB", "ns per value"))
    for n, k in [(rows // 8, 20), (rows // 4, 20), (rows // 2, 20), (rows, 20), (rows // 8, 5), (rows // 8, 10), (rows // 8, 40), (rows // 8, 80)]:
        name = os.path.join(folder, "cost_%d_%d_%%s.parquet" % (n, k))
        a, b = table(name % "a", n, k, 3, 0.0), table(name % "b", n, k, 4, 0.0)
        best = min(run([millrace, "drift", "compare", "--reference", a, "--current", b, "--format", "json"])[1:] for _ in range(3))
        print("%12d %10d %10.2f %10.0f %14.1f" % (n, k, best[0], best[1], best[0] / (2 * n * k) * 1e9), flush=True)
        os.remove(a)
        os.remove(b)
    return 0 if same else 1


if __name__ == "__main__":
    if sys.argv[1] in ("prepare", "prepare_flights"):
        globals()[sys.argv[1]](*json.loads(sys.argv[2]))
    else:
        sys.exit(main())
