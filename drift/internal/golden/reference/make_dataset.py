"""Small tables as pyarrow and pandas write them, and what the readers must make of them."""

import datetime
import decimal
import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

import inputs

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "dataset", "testdata")
N = 120
EPOCH = datetime.datetime(1970, 1, 1)


def spread(values, every):
    """values, with None in place of every k-th."""
    return [None if (i + 1) % every == 0 else v for i, v in enumerate(values)]


def columns():
    u = inputs.uniform(7, N)
    words = ["plain", 'with "quotes"', "comma, and more", "line\nbreak", "grün", "日本", "x" * 40, ""]
    days = [datetime.date(1899, 12, 30) + datetime.timedelta(days=int(x * 90000)) for x in u]
    times = [EPOCH + datetime.timedelta(microseconds=int((x - 0.3) * 4e15)) for x in u]
    return {
        "int": ([int(x * 1e15) - 10**14 for x in u], pa.int64()),
        "int_null": (spread([i * i - 50 for i in range(N)], 7), pa.int64()),
        "int8": (spread([i % 256 - 128 for i in range(N)], 11), pa.int8()),
        "uint16": ([i * 200 for i in range(N)], pa.uint16()),
        "uint64": ([2**64 - 1 - i for i in range(N)], pa.uint64()),
        "float": ([float(x) * 10.0 ** (i % 40 - 20) for i, x in enumerate(u)], pa.float64()),
        "float_null": (spread([float(x) for x in u], 2), pa.float64()),
        "float32": (spread([float(np.float32(x)) for x in u], 13), pa.float32()),
        "half": ([float(np.float16(x)) for x in u], pa.float16()),
        "bool": (spread([bool(x > 0.4) for x in u], 5), pa.bool_()),
        "text": (spread([words[int(x * 7)] for x in u], 6), pa.string()),
        "word": (["v%03d" % int(x * 1000) for x in u], pa.large_string()),
        "category": (spread([["red", "green", "blue"][int(x * 3)] for x in u], 9), pa.dictionary(pa.int8(), pa.string())),
        "date": (spread(days, 8), pa.date32()),
        "time": (spread(times, 10), pa.timestamp("us")),
        "time_zone": (times, pa.timestamp("us", tz="Europe/Berlin")),
        "time_ms": ([t.replace(microsecond=t.microsecond // 1000 * 1000) for t in times], pa.timestamp("ms")),
        "time_ns": (times, pa.timestamp("ns")),
        "decimal": (spread([decimal.Decimal(int(x * 1e9) - 10**8).scaleb(-3) for x in u], 4), pa.decimal128(12, 3)),
        "decimal_wide": ([decimal.Decimal(int(x * 1e15) * 10**15 - 7).scaleb(-9) for x in u], pa.decimal128(38, 9)),
        "nothing": ([None] * N, pa.null()),
    }


def plain(v):
    """A value as the golden file has it."""
    if isinstance(v, datetime.datetime):
        return (v - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(v, datetime.date):
        return (v - EPOCH.date()).days
    if isinstance(v, decimal.Decimal):
        return float(v)
    return v


def kind(t):
    if pa.types.is_dictionary(t):
        t = t.value_type
    if pa.types.is_floating(t):
        return "float32" if t.bit_width <= 32 else "float64"
    if pa.types.is_decimal(t) or pa.types.is_null(t):
        return "float64"
    if pa.types.is_integer(t):
        return "uint64" if t == pa.uint64() else "int64"
    if pa.types.is_boolean(t):
        return "bool"
    if pa.types.is_date(t):
        return "date"
    return "timestamp" if pa.types.is_timestamp(t) else "text"


def arrow(name, table, **options):
    path = os.path.join(ROOT, name)
    opened = ipc.new_stream if name.endswith("arrows") else ipc.new_file
    with opened(path, table.schema, options=ipc.IpcWriteOptions(**options)) as w:
        w.write_table(table, max_chunksize=50)


def main():
    os.makedirs(ROOT, exist_ok=True)
    data = columns()
    table = pa.table({k: pa.array(v, type=t) for k, (v, t) in data.items()})
    with open(os.path.join(ROOT, "table.json"), "w") as f:
        f.write("[\n")
        f.write(",\n".join(
            json.dumps({"name": k, "type": kind(t), "values": [plain(x) for x in v]}, ensure_ascii=False)
            for k, (v, t) in data.items()
        ))
        f.write("\n]\n")

    def parquet(name, t=table, **options):
        pq.write_table(t, os.path.join(ROOT, name), **options)

    parquet("default.parquet")
    parquet("pages_v2.parquet", data_page_version="2.0", compression="zstd", data_page_size=300, write_batch_size=16, row_group_size=50)
    parquet("pages_v1.parquet", compression="gzip", data_page_size=300, write_batch_size=16, row_group_size=30, use_dictionary=False)
    parquet("brotli.parquet", compression="brotli", dictionary_pagesize_limit=200, write_batch_size=16)
    parquet("lz4.parquet", compression="lz4", version="1.0")
    parquet("none.parquet", compression="none", store_decimal_as_integer=True, version="2.4")
    parquet("int96.parquet", t=table.select(["time", "time_ns"]), use_deprecated_int96_timestamps=True)
    parquet("delta.parquet", use_dictionary=False, data_page_version="2.0", data_page_size=600, write_batch_size=50, column_encoding={
        "int": "DELTA_BINARY_PACKED", "int_null": "DELTA_BINARY_PACKED", "int8": "DELTA_BINARY_PACKED",
        "uint64": "DELTA_BINARY_PACKED", "time": "DELTA_BINARY_PACKED", "date": "DELTA_BINARY_PACKED",
        "text": "DELTA_LENGTH_BYTE_ARRAY", "word": "DELTA_BYTE_ARRAY",
        "float": "BYTE_STREAM_SPLIT", "float_null": "BYTE_STREAM_SPLIT", "float32": "BYTE_STREAM_SPLIT",
        "bool": "RLE",
    })
    parquet("nested.parquet", t=pa.table({
        "a": pa.array(range(5)), "list": pa.array([[1, 2], [], None, [3], [4, 5, 6]]),
        "struct": pa.array([{"x": i, "y": str(i)} for i in range(5)]),
        "map": pa.array([[("k", 1)]] * 5, type=pa.map_(pa.string(), pa.int64())), "b": pa.array(list("abcde")),
    }))
    pd.DataFrame({"a": [1, 2, 3, 4]})[lambda d: d.a % 2 == 0].to_parquet(os.path.join(ROOT, "pandas_index.parquet"))

    arrow("file.arrow", table)
    views = {"text": pa.string_view(), "word": pa.binary_view()}
    arrow("views.arrow", pa.table({
        "list": pa.array([["x", "y" * 30]] * N, type=pa.list_(pa.string_view())),
        "run": pa.RunEndEncodedArray.from_arrays([N // 2, N], ["a", "b"]),
        **{k: pa.array([v.encode() if k == "word" else v for v in data[k][0]], type=t) for k, t in views.items()},
        "union": pa.UnionArray.from_dense(pa.array([0] * N, pa.int8()), pa.array(range(N), pa.int32()), [pa.array(range(N))]),
        "int": table["int"].combine_chunks(),
    }))
    arrow("zstd.arrow", table, compression="zstd")
    arrow("lz4.arrow", table, compression="lz4")
    arrow("stream.arrows", table, compression="zstd")
    arrow("stream_plain.arrows", table)
    feather.write_feather(table.drop(["half"]).to_pandas(types_mapper=None)[["int", "text", "category"]], os.path.join(ROOT, "pandas.feather"))

    text = table.drop(["half", "nothing", "decimal_wide", "decimal", "uint64"])
    frame = text.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.int8(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get)
    frame.to_csv(os.path.join(ROOT, "pandas.csv"), index=False)
    frame.to_csv(os.path.join(ROOT, "pandas.csv.gz"), index=False, compression={"method": "gzip", "mtime": 1})
    with pa.CompressedOutputStream(os.path.join(ROOT, "rows.jsonl.zst"), "zstd") as f:
        for i in range(N):
            row = {k: data[k][0][i] for k in text.column_names}
            row = {k: v.isoformat() if isinstance(v, datetime.date) else v for k, v in row.items()}
            if i % 2:  # a missing key is a missing value
                row = {k: v for k, v in reversed(row.items()) if v is not None}
            f.write((json.dumps(row, ensure_ascii=i % 3 > 0) + "\n").encode())


if __name__ == "__main__":
    main()
