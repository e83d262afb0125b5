"""Makes the small ONNX models of the tests, and golden.json with what they answer.

    python3 -m venv V && V/bin/pip install -r requirements.txt && V/bin/python make_models.py

The answers are computed by the reference evaluator of the onnx package or by
scikit-learn, not by the library that is tested. Everything is seeded.
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from onnx.reference import ReferenceEvaluator
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor

HERE = pathlib.Path(__file__).parent
OPSET = [h.make_opsetid("", 17), h.make_opsetid("ai.onnx.ml", 3)]
golden = {}


def tensor(name, kind, shape):
    return h.make_tensor_value_info(name, kind, shape)


def save(name, model):
    onnx.checker.check_model(model)
    text = model.SerializeToString(deterministic=True)
    assert len(text) < 50_000, (name, len(text))
    (HERE / f"{name}.onnx").write_bytes(text)


def graph(name, nodes, inputs, outputs, constants=()):
    g = h.make_graph(nodes, name, inputs, outputs, [nh.from_array(v, k) for k, v in constants])
    model = h.make_model(g, opset_imports=OPSET, ir_version=8, producer_name="make_models.py")
    save(name, model)
    return model


def answers(name, model, inputs, outputs=None):
    """Stores inputs and outputs by tensor, as lists of rows."""
    if outputs is None:
        names = [o.name for o in model.graph.output]
        outputs = dict(zip(names, ReferenceEvaluator(model).run(names, inputs)))
    golden[name] = {
        "inputs": {k: v.tolist() for k, v in inputs.items()},
        "outputs": {k: np.asarray(v).tolist() for k, v in outputs.items()},
    }


rng = np.random.default_rng(7)
x3 = rng.normal(size=(7, 3)).astype(np.float32)

# y = x·w + b of three floats.
weights = np.array([[0.5], [-1.25], [2.0]], np.float32)
bias = np.array([0.75], np.float32)
linear = [h.make_node("Gemm", ["x", "w", "b"], ["y"])]
model = graph("linear", linear, [tensor("x", T.FLOAT, [None, 3])], [tensor("y", T.FLOAT, [None, 1])],
              [("w", weights), ("b", bias)])
answers("linear", model, {"x": x3})

# The same for exactly four rows at a time.
model = graph("fixed_batch", linear, [tensor("x", T.FLOAT, [4, 3])], [tensor("y", T.FLOAT, [4, 1])],
              [("w", weights), ("b", bias)])
answers("fixed_batch", model, {"x": x3[:4]})

# Named inputs of several types, with shapes [N,1] and [N], and outputs of several types:
# total = price (double) * count (int64) + bonus[carrier] where urgent; carrier and urgent
# come back.
model = graph(
    "multi_input",
    [
        h.make_node("LabelEncoder", ["carrier"], ["bonus"], domain="ai.onnx.ml",
                    keys_strings=["AA", "UA", "WN"], values_floats=[1.0, 2.0, 3.0], default_float=-1.0),
        h.make_node("Cast", ["count"], ["count_d"], to=T.DOUBLE),
        h.make_node("Mul", ["price", "count_d"], ["cost"]),
        h.make_node("Reshape", ["urgent", "column"], ["urgent_c"]),
        h.make_node("Where", ["urgent_c", "bonus", "zero"], ["extra"]),
        h.make_node("Cast", ["extra"], ["extra_d"], to=T.DOUBLE),
        h.make_node("Add", ["cost", "extra_d"], ["total"]),
        h.make_node("Identity", ["carrier"], ["carrier_out"]),
        h.make_node("Not", ["urgent"], ["relaxed"]),
        h.make_node("Cast", ["count"], ["count_out"], to=T.INT32),
    ],
    [tensor("price", T.DOUBLE, [None, 1]), tensor("count", T.INT64, [None, 1]),
     tensor("carrier", T.STRING, [None, 1]), tensor("urgent", T.BOOL, [None])],
    [tensor("total", T.DOUBLE, [None, 1]), tensor("carrier_out", T.STRING, [None, 1]),
     tensor("relaxed", T.BOOL, [None]), tensor("count_out", T.INT32, [None, 1])],
    [("zero", np.array([0], np.float32)), ("column", np.array([-1, 1], np.int64))],
)
answers("multi_input", model, {
    "price": np.array([[1.5], [2.25], [-3.0], [1e10]]),
    "count": np.array([[2], [0], [7], [3]], np.int64),
    "carrier": np.array([["AA"], ["WN"], ["ZZ"], [""]], object),
    "urgent": np.array([True, True, True, False]),
}, {
    "total": [[4.0], [3.0], [-22.0], [3e10]],
    "carrier_out": [["AA"], ["WN"], ["ZZ"], [""]],
    "relaxed": [False, False, False, True],
    "count_out": [[2], [0], [7], [3]],
})

# Looks a price up by index: fails on an index outside [-3, 2].
model = graph("gather", [h.make_node("Gather", ["prices", "index"], ["price"])],
              [tensor("index", T.INT64, [None])], [tensor("price", T.FLOAT, [None])],
              [("prices", np.array([10, 20, 30], np.float32))])
answers("gather", model, {"index": np.array([0, 2, 1, -1], np.int64)})

# a/b and ln a: infinite and NaN for some rows.
model = graph("ratio", [h.make_node("Div", ["a", "b"], ["ratio"]), h.make_node("Log", ["a"], ["log"])],
              [tensor("a", T.FLOAT, [None, 1]), tensor("b", T.FLOAT, [None, 1])],
              [tensor("ratio", T.FLOAT, [None, 1]), tensor("log", T.FLOAT, [None, 1])])
answers("ratio", model, {"a": np.array([[1], [8]], np.float32), "b": np.array([[2], [4]], np.float32)})

# Whole numbers divided by whole numbers: the lowest by -1 is beyond the type, which ends the
# process that ONNX Runtime divides in.
graph("divide", [h.make_node("Div", ["a", "b"], ["q"]), h.make_node("Div", ["c", "d"], ["r"])],
      [tensor("a", T.INT64, [None, 1]), tensor("b", T.INT64, [None, 1]),
       tensor("c", T.INT32, [None, 1]), tensor("d", T.INT32, [None, 1])],
      [tensor("q", T.INT64, [None, 1]), tensor("r", T.INT32, [None, 1])])

# An int64 tensor that is the sum of a category's index and a flag, in three columns; the
# graph does not declare how many columns it gives.
model = graph("codes", [h.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
                        h.make_node("Concat", ["x", "sum"], ["y"], axis=1)],
              [tensor("x", T.INT64, [None, 3])], [tensor("y", T.INT64, [None, None])],
              [("axis", np.array([1], np.int64))])
answers("codes", model, {"x": np.array([[0, 1, 5], [-1, 0, 7]], np.int64)})

# Any number of columns, summed.
graph("any_width", [h.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0)],
      [tensor("x", T.FLOAT, [None, None])], [tensor("sum", T.FLOAT, [None])],
      [("axis", np.array([1], np.int64))])

# Inputs and outputs whose names cannot be column names.
echo = {"version": "outcome", "float:1": "1 label!", "true": "True", "wide": "wide_out"}
model = graph("names", [h.make_node("Identity", [a], [b]) for a, b in echo.items()],
              [tensor("version", T.FLOAT, [None, 1]), tensor("float:1", T.STRING, [None, 1]),
               tensor("true", T.INT64, [None, 1]), tensor("wide", T.FLOAT, [None, 2])],
              [tensor("True", T.INT64, [None, 1]), tensor("outcome", T.FLOAT, [None, 1]),
               tensor("wide_out", T.FLOAT, [None, 2]), tensor("1 label!", T.STRING, [None, 1])])

x20 = rng.normal(size=(2000, 20)).astype(np.float32)
late = (x20[:, 0] + x20[:, 1] * x20[:, 2] + rng.normal(size=2000) > 0.5).astype(np.int64)
probe = np.concatenate([x20[:40], rng.normal(size=(24, 20)).astype(np.float32)])

gbdt = GradientBoostingClassifier(n_estimators=40, max_depth=4, random_state=7).fit(x20, late)
kind = [("X", FloatTensorType([None, 20]))]
model = to_onnx(gbdt, initial_types=kind, options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
save("gbdt", model)
answers("gbdt", model, {"X": probe}, {"label": gbdt.predict(probe), "probabilities": gbdt.predict_proba(probe)})

mlp = MLPRegressor(hidden_layer_sizes=(128, 64), max_iter=20, random_state=7).fit(x20, x20[:, 0] * 2 - x20[:, 3])
model = to_onnx(mlp, initial_types=kind, target_opset=17)
save("mlp", model)
answers("mlp", model, {"X": probe}, {"variable": mlp.predict(probe).reshape(-1, 1)})

logistic = LogisticRegression().fit(x20[:, :3], late)
model = to_onnx(logistic, initial_types=[("X", FloatTensorType([None, 3]))], target_opset={"": 17, "ai.onnx.ml": 3})
model.graph.name = "zipmap"  # not a random one
save("zipmap", model)

(HERE / "golden.json").write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")
