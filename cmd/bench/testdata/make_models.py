"""Makes the model repository that `make bench` serves: one model, `bench`, of 20 float
features, in two versions.

    python3 -m venv V && V/bin/pip install -r requirements.txt && V/bin/python make_models.py

`gbdt` is gradient boosting of 100 trees of depth 6, `mlp` a perceptron 20-128-64-1. Both
are trained on the same seeded rows. Of the versions only the artifact and the tensor that
holds the answer differ, so that they share topics, tables and requests.
"""

import hashlib
import pathlib

import numpy as np
import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.neural_network import MLPRegressor

HERE = pathlib.Path(__file__).parent
FEATURES = 20
LIMIT = 1_000_000  # bytes of a file

MANIFEST = """\
# Made by make_models.py.
name: bench
version: {version}
description: {description}
runtime: onnx
artifact:
  file: model.onnx
  sha256: {digest}
features:
{features}
outputs:
  - name: score
    tensor: variable
    type: float32
"""


def save(version, description, model):
    model.graph.name = version  # not a random one
    onnx.checker.check_model(model)
    text = model.SerializeToString(deterministic=True)
    assert len(text) < LIMIT, (version, len(text))
    folder = HERE / "models" / "bench" / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(text)
    features = "\n".join(f"  - {{name: feature_{i:02d}, type: float32}}" for i in range(FEATURES))
    (folder / "manifest.yaml").write_text(MANIFEST.format(
        version=version, description=description, digest=hashlib.sha256(text).hexdigest(), features=features))


rng = np.random.default_rng(7)
x = rng.normal(size=(20_000, FEATURES)).astype(np.float32)
y = x[:, 0] + x[:, 1] * x[:, 2] + np.sin(x[:, 3] * 2) - 0.5 * x[:, 4] ** 2 + rng.normal(size=len(x))
kind = [("X", FloatTensorType([None, FEATURES]))]
opset = {"": 17, "ai.onnx.ml": 3}

gbdt = GradientBoostingRegressor(n_estimators=100, max_depth=6, random_state=7).fit(x, y)
depths = [tree[0].get_depth() for tree in gbdt.estimators_]
assert len(depths) == 100 and max(depths) == 6, depths
save("gbdt", "gradient boosting, 100 trees of depth 6", to_onnx(gbdt, initial_types=kind, target_opset=opset))

mlp = MLPRegressor(hidden_layer_sizes=(128, 64), max_iter=20, random_state=7).fit(x, y)
save("mlp", "perceptron 20-128-64-1", to_onnx(mlp, initial_types=kind, target_opset=opset))
