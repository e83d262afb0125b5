"""What Evidently and NannyML say of the data of make bench-rates.

Usage: rates_beside.py FOLDER

FOLDER has cells.json, a list of {"reference", "current", "columns", "rows", "categorical"}: two
Arrow files whose columns are all of a kind, the columns' names by run, and the rows of both
sides. Printed is one line of JSON for each cell: by run and column, Evidently's verdict by its
default rule (0 or 1), and the share of chunks in which NannyML alerts by its default
thresholds. NannyML takes chunks of as many rows as the current side has, where the
reference has six of them, the least that it asks for; else its default of ten chunks a side.
"""

import json
import os
import sys
from multiprocessing import Pool

os.environ["DO_NOT_TRACK"] = os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"


def evidently(reference, current, names, categorical):
    """The verdicts that ValueDrift shows, without its plots, which take ten times as long."""
    from evidently.legacy.calculations.data_drift import get_one_column_drift
    from evidently.legacy.core import ColumnType
    from evidently.legacy.metric_results import DatasetColumns, DatasetUtilityColumns
    from evidently.legacy.options.data_drift import DataDriftOptions

    out = {}
    for name in names:
        columns = DatasetColumns(
            utility_columns=DatasetUtilityColumns(date=None, id=None, target=None, prediction=None),
            num_feature_names=[] if categorical else [name], cat_feature_names=[name] if categorical else [],
            text_feature_names=[], datetime_feature_names=[], target_names=None, target_type=None, task=None)  # fmt: skip
        out[name] = int(get_one_column_drift(
            current_data=current[[name]], reference_data=reference[[name]], column_name=name, options=DataDriftOptions(),
            dataset_columns=columns, column_type=ColumnType.Categorical if categorical else ColumnType.Numerical,
            agg_data=True).drift_detected)  # fmt: skip
    return out


def nannyml(reference, current, names, categorical, rows):
    import nannyml

    chunks = {"chunk_size": rows[1]} if rows[0] >= 6 * rows[1] else {"chunk_number": 10}
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=names, treat_as_categorical=names if categorical else [], **chunks)  # fmt: skip
    calculator.fit(reference)
    found = calculator.calculate(current).filter(period="analysis").to_df()
    return {n: float(found[(n, "jensen_shannon", "alert")].mean()) for n in names}


def judge(args):
    folder, cell = args
    import warnings

    import pandas as pd

    warnings.filterwarnings("ignore")
    reference, current = (pd.read_feather(os.path.join(folder, cell[side])) for side in ("reference", "current"))
    names = [n for run in cell["columns"] for n in run]
    found = evidently(reference, current, names, cell["categorical"]), nannyml(reference, current, names, cell["categorical"], cell["rows"])
    return {tool: [[verdicts[n] for n in run] for run in cell["columns"]] for tool, verdicts in zip(("evidently", "nannyml"), found)}


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "cells.json")) as f:
        cells = json.load(f)
    with Pool(min(2, os.cpu_count())) as pool:
        for found in pool.imap(judge, [(folder, c) for c in cells]):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
