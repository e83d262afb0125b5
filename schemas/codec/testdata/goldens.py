"""Writes goldens.json: requests and results as the reference implementations encode them.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python goldens.py

Each request stands beside the same request in JSON, which the JSON decoder turns into the row
that is expected. The manifest is that of codec_test.go. Results are made with the schemas in
result.avsc and result.proto, which the tests hold to what the encoders register.
"""

import importlib
import io
import json
import os
import random
import struct
import sys
import tempfile

import fastavro
import google.protobuf
import grpc_tools
from grpc_tools import protoc

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = b"\0\0\0\0\x01"  # schema 1
random.seed(20010101)


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def rows(n=8):
    """Requests as JSON has them; keys are left out at random where the manifest allows it."""
    for _ in range(n):
        row = {
            "f32": f32(random.uniform(-10, 1e6)), "f64": random.choice([None, random.gauss(0, 1e9), 5e-324]),
            "i32": random.choice([None, 2**31 - 1, -(2**31), random.randint(-99, 99)]), "i64": random.choice([2**63 - 1, -(2**63), random.randint(-9, 9)]),
            "flag": random.choice([None, True, False]), "text": random.choice([None, "", "a\"é😀", "x" * 300]),
            "color": random.choice(["red", "green", "violet"]), "size": random.choice([None, "s", "m", "l"]),
            "at": random.randint(-2208988800000, 4_000_000_000_000), "request_id": random.choice([None, "r-%d" % random.randint(0, 99)]),
        }
        yield row


def avro(name, schema, convert, references=()):
    named = {}
    for r in references:
        fastavro.parse_schema(r["schema"], named)
    parsed = fastavro.parse_schema(schema, named)
    values = []
    for row in rows():
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, convert(dict(row)))
        values.append({"request": row, "value": (HEADER + out.getvalue()).hex()})
    return {"codec": "avro", "name": f"avro {name}", "schema": json.dumps(schema), "values": values,
            "references": [{"name": r["name"], "schema": json.dumps(r["schema"])} for r in references]}


def nullable(t):
    return ["null", t]


PLAIN = [
    ("f32", "float"), ("f64", nullable("double")), ("i32", nullable("int")), ("i64", "long"), ("flag", ["boolean", "null"]),
    ("text", nullable("string")), ("color", "string"), ("size", nullable("string")), ("at", "long"), ("request_id", nullable("string")),
]
COLOR = {"type": "enum", "name": "Color", "symbols": ["violet", "red", "green"]}
SIZE = {"type": "enum", "name": "Size", "namespace": "shop.sizes", "symbols": ["l", "s", "m"]}
NODE = {"type": "record", "name": "Node", "fields": [
    {"name": "value", "type": nullable("int")}, {"name": "next", "type": nullable("Node")}, {"name": "tags", "type": {"type": "map", "values": "Node"}}]}


def fields(pairs):
    return [{"name": n, "type": t} for n, t in pairs]


def record(pairs):
    return {"type": "record", "name": "Request", "namespace": "shop", "fields": fields(pairs)}


def rich(row):
    """Everything that is skipped, and every type that fits."""
    node = {"value": 1, "next": {"value": None, "next": None, "tags": {}}, "tags": {"é": {"value": 3, "next": None, "tags": {}}}}
    row.update(at=row["at"] * 1000, f64=row["f64"], node=node, nodes=[node] * 3, nothing=[None] * 1000, digest=b"0123456789abcdef", blob=b"\xff\x00", pick=("shop.Node", node), empty={})
    row["text"] = row["text"] and row["text"].encode()
    return row


RICH = record([
    ("node", NODE), ("at", {"type": "long", "logicalType": "timestamp-micros"}), ("size", nullable(SIZE)),
    ("nodes", {"type": "array", "items": "Node"}), ("color", COLOR), ("blob", "bytes"), ("text", ["bytes", "null"]),
    ("nothing", {"type": "array", "items": "null"}), ("digest", {"type": "fixed", "name": "Digest", "size": 16}),
    ("i64", "long"), ("i32", ["null", "long"]), ("flag", nullable("boolean")), ("pick", ["int", "Node", "string"]), ("f64", ["null", "double"]),
    ("empty", {"type": "record", "name": "Empty", "fields": []}), ("request_id", ["null", "string"]), ("f32", "double"),
])


# Aliases are a reader's names for what others wrote, not a writer's.
ALIASED = record([p for p in PLAIN if p[0] not in ("f32", "at")])
ALIASED["fields"] += [{"name": "f32", "type": "float", "aliases": ["r", "ratio"]},
                      {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "aliases": ["when"]}]

SPLIT = record([("color", "shop.Color"), ("size", ["null", "shop.sizes.Size"])] + [p for p in PLAIN if p[0] not in ("color", "size")])


def protobuf(name, module, convert, proto, references=(), path=b"\0"):
    values = []
    for row in rows():
        value = HEADER + path + convert(module, row).SerializeToString(deterministic=True)
        values.append({"request": row, "value": value.hex()})
    return {"codec": "protobuf", "name": f"protobuf {name}", "schema": proto, "references": list(references), "values": values}


OPTIONAL = """syntax = "proto3";
package shop;
message Request {
  float f32 = 1;
  optional double f64 = 2;
  optional int32 i32 = 3;
  int64 i64 = 4;
  optional bool flag = 5;
  optional string text = 6;
  string color = 7;
  optional string size = 8;
  int64 at = 9;
  string request_id = 10;
}
"""


def plain(module, row):
    return module.Request(**{k: v for k, v in row.items() if v is not None})


# The second message of its file, nested: its path is 2, 1, 0. Kinds, a oneof, unknown fields.
TYPES = """syntax = "proto3";
package shop.types;
enum Color { COLOR_UNSPECIFIED = 0; red = 1; green = 2; violet = 200; }
message Labels { repeated string values = 1; map<string, Labels> more = 2; }
"""
RICHER = """syntax = "proto3";
package shop.rich;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "shop/types.proto";
message Other { int32 f32 = 1; }
message Outer {
  message Request {
    shop.types.Labels labels = 1;
    repeated sint32 packed = 2;
    repeated double loose = 3 [packed = false];
    map<string, bytes> map = 4;
    double f32 = 5;
    google.protobuf.DoubleValue f64 = 600;
    oneof one { sfixed32 i32 = 7; shop.types.Labels other = 8; }
    sfixed64 i64 = 9;
    google.protobuf.BoolValue flag = 10;
    google.protobuf.StringValue text = 11;
    shop.types.Color color = 2000;
    optional string size = 13;
    google.protobuf.Timestamp at = 14;
    optional bytes request_id = 15;
  }
}
"""


def richer(module, row):
    m = module.Outer.Request(f32=row["f32"], i64=row["i64"], packed=[1, -2, 300], loose=[1.5, 2.5], map={"k": b"\xff"})
    m.labels.values.append("x" * 200)
    m.labels.more["k"].values.append("y")
    if row["f64"] is not None:
        m.f64.value = row["f64"]
    m.other.values.append("unset by what follows")
    if row["i32"] is not None:
        m.i32 = row["i32"]
    if row["flag"] is not None:
        m.flag.value = row["flag"]
    if row["text"] is not None:
        m.text.value = row["text"]
    m.color = {"red": 1, "green": 2, "violet": 200}[row["color"]]
    if row["size"] is not None:
        m.size = row["size"]
    m.at.FromMicroseconds(row["at"] * 1000)
    if row["request_id"] is not None:
        m.request_id = row["request_id"].encode()
    return m


PROTO2 = """syntax = "proto2";
package shop.two;
message Request {
  enum Size { s = 0; m = 1; l = 2; }
  required float f32 = 1;
  optional double f64 = 2 [default = 9];
  optional sint32 i32 = 3;
  required sint64 i64 = 4;
  optional bool flag = 5;
  optional string text = 6;
  required string color = 7;
  optional Size size = 8;
  required sfixed64 at = 9;
  optional string request_id = 10;
  repeated group Item = 11 { optional int32 n = 1; }
}
"""


def two(module, row):
    values = {k: v for k, v in row.items() if v is not None}
    if "size" in values:
        values["size"] = module.Request.Size.Value(values["size"])
    m = module.Request(**values)
    m.item.add().n = 3
    return m


def compile_protos(files):
    """Compiles .proto texts by protoc and imports what it generates."""
    folder = tempfile.mkdtemp()
    for name, text in files.items():
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    include = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    if protoc.main(["protoc", f"-I{folder}", f"-I{include}", f"--python_out={folder}", *files]) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, folder)
    return {name: importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2") for name in files}


def results(module):
    schema = fastavro.parse_schema(json.load(open(os.path.join(HERE, "result.avsc"))))
    for i, (score, label) in enumerate([(1e-9, 0), (-0.0, -5), (None, None), (3.4028234663852886e38, 2**63 - 1)]):
        row = {"request_id": "r-é%d" % i, "model": "m", "version": "1", "predictions": {"score": score, "label": label},
               "latency_us": 300 * i, "queue_us": 2**40 * i}
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, row)
        known = {k: v for k, v in row["predictions"].items() if v is not None}
        message = module.MResult(**{**row, "predictions": module.MPredictions(**known)})
        yield {"result": row, "avro": (HEADER + out.getvalue()).hex(), "protobuf": (HEADER + b"\0" + message.SerializeToString(deterministic=True)).hex()}


def main():
    protos = {"shop/plain.proto": OPTIONAL, "shop/types.proto": TYPES, "shop/rich.proto": RICHER, "shop/two.proto": PROTO2,
              "result.proto": open(os.path.join(HERE, "result.proto")).read()}
    modules = compile_protos(protos)
    requests = [
        avro("plain", record(PLAIN), lambda row: row),
        avro("rich", RICH, rich),
        avro("aliases", ALIASED, lambda row: row),
        avro("references", SPLIT, lambda row: row, [{"name": "shop.Color", "schema": {**COLOR, "namespace": "shop"}}, {"name": "shop.sizes.Size", "schema": SIZE}]),
        protobuf("plain", modules["shop/plain.proto"], plain, OPTIONAL),
        protobuf("rich", modules["shop/rich.proto"], richer, RICHER, [{"name": "shop/types.proto", "schema": TYPES}], bytes([4, 2, 0])),
        protobuf("proto2", modules["shop/two.proto"], two, PROTO2),
    ]
    with open(os.path.join(HERE, "goldens.json"), "w") as f:
        json.dump({
            "made_by": {"fastavro": fastavro.__version__, "protobuf": google.protobuf.__version__},
            "requests": requests, "results": list(results(modules["result.proto"])),
        }, f, indent=1, ensure_ascii=False)
        f.write("\n")


if __name__ == "__main__":
    main()
