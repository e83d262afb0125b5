"""Makes graphs as exporters make them, with requests and ONNX Runtime's answers to each alone.

    python3 -m venv V && V/bin/pip install onnx onnxruntime scikit-learn skl2onnx pandas xgboost \\
        onnxmltools lightgbm catboost torch onnxscript
    V/bin/python make_exporters.py FOLDER [CASE…]
    MILLRACE_TEST_MODELS=FOLDER go test -run FolderOfExportedModels ./inference/onnx

Of each NAME there are NAME.onnx, NAME.req.jsonl (requests as `millrace init` names their keys) and
NAME.want.json (for each request the values of each output, one after another; of a map or a
sequence, those of all its parts). The small ones of each kind are kept beside this file. Ten more
that are kept here came to the project from outside, in the same form: beside_float16,
beside_scalar, cat_reg, cat_zip, dscalar_is_n, hidden1, in_f16, skl_zip, softmax0, torch_net.

Made with onnx 1.23.2, onnxruntime 1.32.0, scikit-learn 1.9.1, skl2onnx 1.20.0, xgboost 3.2.0,
onnxmltools 1.16.0, lightgbm 4.7.0, catboost 1.2.10, torch 2.15.0.
"""

import json, pathlib, sys, warnings, traceback

warnings.filterwarnings("ignore")
import numpy as np, onnx, onnxruntime as rt
from onnx import TensorProto as T, helper as h, numpy_helper as nh

OUT = pathlib.Path(sys.argv[1])
ONLY = set(sys.argv[2:])
rng = np.random.default_rng(11)
N = 6


def flat(v, i):
    if isinstance(v, list):
        if v and isinstance(v[0], dict):
            d = v[i]
            return [d[k] for k in d]
        if v and isinstance(v[0], list):
            return sum(([m[i][k] for k in m[i]] for m in v), [])  # list of zipmaps
        return sum((flat(t, i) for t in v), [])
    a = np.asarray(v)
    if a.ndim == 0:
        return [a.item()]
    if a.shape[0] <= i:
        return None
    return np.asarray(a[i]).reshape(-1).tolist()


def done(name, model, feeds, single=None):
    """feeds: dict input->array [n,...]"""
    p = OUT / f"{name}.onnx"
    if isinstance(model, (bytes,)):
        p.write_bytes(model)
    elif model is not None:
        onnx.save(model, p)
    so = rt.SessionOptions()
    so.log_severity_level = 4
    try:
        s = rt.InferenceSession(str(p), so)
    except Exception as e:
        print("ORT cannot load", name, str(e)[:150])
        return
    n = len(next(iter(feeds.values())))
    want = []
    for i in range(n):
        f = {k: v[i : i + 1] for k, v in feeds.items()}
        try:
            r = s.run(None, f)
            want.append({o.name: flat(v, 0) for o, v in zip(s.get_outputs(), r)})
        except Exception as e:
            b = s.get_inputs()[0].shape[0]
            if isinstance(b, int) and b > 1:
                f = {k: np.repeat(v, b, axis=0) for k, v in f.items()}
            w = {}
            for o in s.get_outputs():
                try:
                    w[o.name] = flat(s.run([o.name], f)[0], 0)
                except Exception as e:
                    pass
            want.append(w)
    (OUT / f"{name}.want.json").write_text(json.dumps(want, indent=1, default=str))
    rows = []
    for i in range(n):
        r = {"request_id": f"{name}-{i}"}
        for k, v in feeds.items():
            cells = np.asarray(v[i]).reshape(-1).tolist()
            if len(feeds) == 1 and len(cells) > 1:
                r.update({f"f{j}": c for j, c in enumerate(cells)})
            elif len(cells) == 1:
                r[k] = cells[0]
            else:
                r.update({f"{k}_{j}": c for j, c in enumerate(cells)})
        rows.append(json.dumps(r, ensure_ascii=False).replace("NaN", "null"))
    (OUT / f"{name}.req.jsonl").write_text("\n".join(rows) + "\n")


def case(f):
    if ONLY and f.__name__ not in ONLY:
        return f
    try:
        f()
    except Exception as e:
        print("FAILED", f.__name__, type(e).__name__, str(e)[:300])
    return f


def ti(n, k, s):
    return h.make_tensor_value_info(n, k, s)


def graph(nodes, ins, outs, consts=(), opset=17, ir=8):
    g = h.make_graph(nodes, "g", ins, outs, [nh.from_array(v, k) for k, v in consts])
    return h.make_model(g, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("ai.onnx.ml", 3)], ir_version=ir)


X = rng.normal(size=(400, 5)).astype(np.float32)
x = X[:N]
yb = (X[:, 0] + X[:, 1] * X[:, 2] > 0.2).astype(int)
yr = X[:, 0] * 2 - X[:, 3] + 0.1 * rng.normal(size=400)
y3 = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])
ys = np.array(["setosa", "versicolor", "virginica"])[y3]
ym = np.stack([yb, y3], 1)
yl = np.stack([yb, (X[:, 3] > 0).astype(int), (X[:, 4] > 0.5).astype(int)], 1)
yr2 = np.stack([yr, X[:, 1]], 1)
from skl2onnx import to_onnx
from skl2onnx.common.data_types import *
import sklearn.linear_model as lm, sklearn.ensemble as en, sklearn.svm as svm, sklearn.neighbors as nb, sklearn.pipeline as pl, sklearn.preprocessing as pp, sklearn.compose as co, sklearn.multioutput as mo, sklearn.neural_network as nn, sklearn.cluster as cl, sklearn.naive_bayes as nv, sklearn.tree as tr, sklearn.impute as im, sklearn.multiclass as mc, sklearn.gaussian_process as gp, sklearn.isotonic as iso, sklearn.calibration as ca, sklearn.decomposition as de

FT = [("X", FloatTensorType([None, 5]))]
OPS = {"": 17, "ai.onnx.ml": 3}


def skl(name, est, y, opts=None, types=FT, xs=None, XX=None):
    if ONLY and name not in ONLY:
        return
    try:
        est.fit(XX if XX is not None else X, y)
        done(name, to_onnx(est, initial_types=types, options=opts, target_opset=OPS), {"X": x} if xs is None else xs)
    except Exception as e:
        print("FAILED", name, type(e).__name__, str(e)[:300])


nz = {"zipmap": False}
skl("skl_logreg", lm.LogisticRegression(), yb, nz)
skl("skl_logreg_zip", lm.LogisticRegression(), yb)
skl("skl_logreg_zip3s", lm.LogisticRegression(), ys)
skl("skl_zipcols", lm.LogisticRegression(), ys, {"zipmap": "columns"})
skl("skl_strlabels", en.RandomForestClassifier(5, random_state=1), ys, nz)
skl("skl_rf_reg", en.RandomForestRegressor(10, random_state=1), yr)
skl("skl_hgb", en.HistGradientBoostingClassifier(max_iter=10), yb, nz)
skl("skl_svc", svm.SVC(probability=True, random_state=0), y3, nz)
skl("skl_linsvc", svm.LinearSVC(), y3)
skl("skl_knn", nb.KNeighborsClassifier(3), yb, nz)
skl("skl_knn_reg", nb.KNeighborsRegressor(3), yr)
skl("skl_linreg", lm.LinearRegression(), yr)
skl("skl_multi_reg", mo.MultiOutputRegressor(lm.Ridge()), yr2)
skl("skl_multi_clf", mo.MultiOutputClassifier(lm.LogisticRegression()), ym)
skl("skl_multi_clf_nz", mo.MultiOutputClassifier(lm.LogisticRegression()), ym, {"zipmap": False})
skl("skl_rf_multi", en.RandomForestClassifier(5, random_state=1), ym, nz)
skl("skl_mlp_multilabel", nn.MLPClassifier((8,), max_iter=50, random_state=1), yl, nz)
skl("skl_ovr_multilabel", mc.OneVsRestClassifier(lm.LogisticRegression()), yl, nz)
skl("skl_kmeans", cl.KMeans(3, n_init=1, random_state=0), None)
skl("skl_iforest", en.IsolationForest(n_estimators=5, random_state=0), None)
skl("skl_gnb", nv.GaussianNB(), y3)
skl("skl_stack", en.StackingClassifier([("a", lm.LogisticRegression()), ("b", tr.DecisionTreeClassifier(max_depth=3))]), yb)
skl("skl_pca", de.PCA(2), None)
skl("skl_calib", ca.CalibratedClassifierCV(lm.LogisticRegression()), yb, nz)
skl("skl_double", lm.LinearRegression(), yr, types=[("X", DoubleTensorType([None, 5]))], xs={"X": x.astype(np.float64)})
skl(
    "skl_int_in",
    tr.DecisionTreeClassifier(max_depth=3),
    yb,
    nz,
    types=[("X", Int64TensorType([None, 5]))],
    xs={"X": np.round(x * 10).astype(np.int64)},
)
skl("skl_gpr", gp.GaussianProcessRegressor(), yr[:50], XX=X[:50])
skl("skl_quantile", lm.QuantileRegressor(alpha=0.1), yr)
skl("skl_poisson", lm.PoissonRegressor(), np.abs(yr))
skl(
    "skl_impute",
    pl.make_pipeline(im.SimpleImputer(), pp.StandardScaler(), lm.LogisticRegression()),
    yb,
    xs={"X": np.where(np.arange(5)[None] == 2, np.nan, x).astype(np.float32)[:3]},
)
import pandas as pd


def frame(n, names):
    return pd.DataFrame(
        {names[0]: X[:n, 0], names[1]: X[:n, 1], names[2]: np.array(["AA", "UA", "WN"])[y3[:n]], names[3]: np.array(["x", "y"])[yb[:n]]}
    )


def column_types(names):
    return [
        (names[0], FloatTensorType([None, 1])),
        (names[1], FloatTensorType([None, 1])),
        (names[2], StringTensorType([None, 1])),
        (names[3], StringTensorType([None, 1])),
    ]


def ct(name, names, ohe, est=None):
    if ONLY and name not in ONLY:
        return
    try:
        df = frame(400, names)
        m = pl.make_pipeline(
            co.ColumnTransformer([("n", pp.StandardScaler(), names[:2]), ("c", ohe, names[2:])]), est or lm.LogisticRegression()
        ).fit(df, yb)
        d = df[:N]
        done(
            name,
            to_onnx(m, initial_types=column_types(names), target_opset=OPS),
            {
                names[0]: d[[names[0]]].values.astype(np.float32),
                names[1]: d[[names[1]]].values.astype(np.float32),
                names[2]: d[[names[2]]].values.astype(object),
                names[3]: d[[names[3]]].values.astype(object),
            },
        )
    except Exception as e:
        print("FAILED", name, type(e).__name__, str(e)[:300])


ct("skl_ct_ignore", ["a", "b", "carrier", "kind"], pp.OneHotEncoder(handle_unknown="ignore"))
ct("skl_ct_error", ["a", "b", "carrier", "kind"], pp.OneHotEncoder())
ct("skl_ct_ordinal", ["a", "b", "carrier", "kind"], pp.OrdinalEncoder(), tr.DecisionTreeClassifier(max_depth=4))
ct("skl_ct_case", ["Age", "age", "AGE", "row"], pp.OneHotEncoder(handle_unknown="ignore"))

S = np.stack([np.array(["AA", "UA", "WN"])[y3], np.array(["x", "y"])[yb]], 1)
strings = [("S", StringTensorType([None, 2]))]
skl("skl_strmatrix", pl.make_pipeline(pp.OneHotEncoder(), lm.LogisticRegression()), yb, types=strings, xs={"S": S[:N].astype(object)}, XX=S)


@case
def xgb_all():
    import xgboost as xgb
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType as F

    it = [("input", F([None, 5]))]
    done(
        "xgb_clf",
        convert_xgboost(xgb.XGBClassifier(n_estimators=8, max_depth=3).fit(X, yb), initial_types=it, target_opset=15),
        {"input": x},
    )
    done(
        "xgb_clf3",
        convert_xgboost(xgb.XGBClassifier(n_estimators=8, max_depth=3).fit(X, y3), initial_types=it, target_opset=15),
        {"input": x},
    )
    done(
        "xgb_reg",
        convert_xgboost(xgb.XGBRegressor(n_estimators=8, max_depth=3).fit(X, yr), initial_types=it, target_opset=15),
        {"input": x},
    )
    done(
        "xgb_rf",
        convert_xgboost(xgb.XGBRFClassifier(n_estimators=8, max_depth=3).fit(X, yb), initial_types=it, target_opset=15),
        {"input": x},
    )
    xn = x.copy()
    xn[:, 2] = np.nan
    done(
        "xgb_missing",
        convert_xgboost(xgb.XGBRegressor(n_estimators=8, max_depth=3).fit(X, yr), initial_types=it, target_opset=15),
        {"input": x},
    )


@case
def lgb_all():
    import lightgbm as lgb
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType as F

    it = [("input", F([None, 5]))]
    c = lgb.LGBMClassifier(n_estimators=8, max_depth=3, verbose=-1).fit(X, yb)
    done("lgb_clf_zip", convert_lightgbm(c, initial_types=it, target_opset=15), {"input": x})
    done("lgb_clf", convert_lightgbm(c, initial_types=it, zipmap=False, target_opset=15), {"input": x})
    done(
        "lgb_clf3_zip",
        convert_lightgbm(lgb.LGBMClassifier(n_estimators=8, max_depth=3, verbose=-1).fit(X, ys), initial_types=it, target_opset=15),
        {"input": x},
    )
    r = lgb.LGBMRegressor(n_estimators=8, max_depth=3, verbose=-1).fit(X, yr)
    done("lgb_reg", convert_lightgbm(r, initial_types=it, target_opset=15), {"input": x})
    done("lgb_reg_split", convert_lightgbm(r, initial_types=it, target_opset=15, split=3), {"input": x})
    done("lgb_booster", convert_lightgbm(c.booster_, initial_types=it, target_opset=15), {"input": x})


@case
def cat_all():
    import catboost as cb

    def ex(name, m):
        m.save_model(str(OUT / f"{name}.onnx"), format="onnx")
        done(name, None, {"features": x})

    ex("cat_clf", cb.CatBoostClassifier(iterations=8, depth=3, verbose=0, allow_writing_files=False).fit(X, yb))
    ex("cat_clf3", cb.CatBoostClassifier(iterations=8, depth=3, verbose=0, allow_writing_files=False).fit(X, y3))
    ex("cat_clf3s", cb.CatBoostClassifier(iterations=8, depth=3, verbose=0, allow_writing_files=False).fit(X, ys))
    ex("cat_reg", cb.CatBoostRegressor(iterations=8, depth=3, verbose=0, allow_writing_files=False).fit(X, yr))


w = rng.normal(size=(3, 1)).astype(np.float32)
x3 = rng.normal(size=(N, 3)).astype(np.float32)
for nm, k, np_t in [
    ("f16", T.FLOAT16, np.float16),
    ("i8", T.INT8, np.int8),
    ("i16", T.INT16, np.int16),
    ("u8", T.UINT8, np.uint8),
    ("u16", T.UINT16, np.uint16),
    ("u32", T.UINT32, np.uint32),
    ("u64", T.UINT64, np.uint64),
    ("i32", T.INT32, np.int32),
    ("bool", T.BOOL, np.bool_),
]:
    vals = (np.abs(rng.normal(size=(N, 3))) * 20).astype(np_t)

    def mk(nm=nm, k=k, vals=vals):
        if nm == "bool":
            vals = vals != 0
            vals[0] = False
        done("io_" + nm, graph([h.make_node("Identity", ["x"], ["y"])], [ti("x", k, [None, 3])], [ti("y", k, [None, 3])]), {"x": vals})
        done(
            "in_" + nm,
            graph(
                [h.make_node("Cast", ["x"], ["c"], to=T.FLOAT), h.make_node("MatMul", ["c", "w"], ["y"])],
                [ti("x", k, [None, 3])],
                [ti("y", T.FLOAT, [None, 1])],
                [("w", w)],
            ),
            {"x": vals},
        )

    mk.__name__ = "types"
    case(mk)


@case
def hand():
    f3 = [ti("x", T.FLOAT, [None, 3])]
    lin = h.make_node("MatMul", ["x", "w"], ["y"])
    cs = [("w", w)]
    done(
        "h_rank1_decl2",
        graph(
            [
                lin,
            ],
            f3,
            [ti("y", T.FLOAT, [None])],
            cs,
        ),
        {"x": x3},
    )
    done("h_output_twice", graph([lin], f3, [ti("y", T.FLOAT, [None]), ti("y", T.FLOAT, [None])], cs), {"x": x3})
    sq = [h.make_node("MatMul", ["x", "w"], ["m"]), h.make_node("Squeeze", ["m", "ax"], ["y"])]
    ax = ("ax", np.array([1], np.int64))
    done("h_decl2_rank1", graph(sq, f3, [ti("y", T.FLOAT, [None, 1])], cs + [ax]), {"x": x3})
    done("h_noshape_out", graph([lin], f3, [h.make_tensor_value_info("y", T.FLOAT, None)], cs), {"x": x3})
    done("h_noshape_in", graph([lin], [h.make_tensor_value_info("x", T.FLOAT, None)], [ti("y", T.FLOAT, [None, 1])], cs), {"x": x3})
    done(
        "h_rank3_out",
        graph([lin, h.make_node("Unsqueeze", ["y", "ax"], ["z"])], f3, [ti("z", T.FLOAT, [None, 1, 1])], cs + [ax]),
        {"x": x3},
    )
    done(
        "h_rank3_in",
        graph([h.make_node("ReduceMean", ["x"], ["y"], axes=[1])], [ti("x", T.FLOAT, [None, 2, 3])], [ti("y", T.FLOAT, [None, 1, 3])]),
        {"x": rng.normal(size=(N, 2, 3)).astype(np.float32)},
    )
    # What depends on the batch only by the sign of numbers, or in labels beside a score that does not.
    i3 = [ti("x", T.INT64, [None, 3])]
    cast = h.make_node("Cast", ["x"], ["f"], to=T.FLOAT)
    ints = np.random.default_rng(12).integers(-50, 50, (N, 3))
    branch = lambda op, y: h.make_graph([h.make_node(op, ["x"], [y])], y, [], [ti(y, T.FLOAT, [None, 3])])
    sign = [
        h.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        h.make_node("Greater", ["s", "zero"], ["g"]),
        h.make_node("If", ["g"], ["y"], then_branch=branch("Identity", "t"), else_branch=branch("Neg", "e")),
    ]
    done("h_sign_of_sum", graph(sign, f3, [ti("y", T.FLOAT, [None, 3])], [("zero", np.float32(0))]), {"x": x3})
    beside = [cast, h.make_node("CumSum", ["f", "zero"], ["c"]), h.make_node("Cast", ["c"], ["y"], to=T.INT64)]
    done(
        "h_cumsum_beside",
        graph(beside, i3, [ti("y", T.INT64, [None, 3]), ti("f", T.FLOAT, [None, 3])], [("zero", np.int64(0))]),
        {"x": ints},
    )
    done("h_softmax0", graph([h.make_node("Softmax", ["x"], ["y"], axis=0)], f3, [ti("y", T.FLOAT, [None, 3])]), {"x": x3})
    done(
        "h_submean",
        graph(
            [h.make_node("ReduceMean", ["x"], ["m"], axes=[0]), h.make_node("Sub", ["x", "m"], ["y"])], f3, [ti("y", T.FLOAT, [None, 3])]
        ),
        {"x": x3},
    )
    done(
        "h_cumsum",
        graph([h.make_node("CumSum", ["x", "a"], ["y"])], f3, [ti("y", T.FLOAT, [None, 3])], [("a", np.array(0, np.int64))]),
        {"x": x3},
    )
    done(
        "h_fixed4_softmax0",
        graph([h.make_node("Softmax", ["x"], ["y"], axis=0)], [ti("x", T.FLOAT, [4, 3])], [ti("y", T.FLOAT, [4, 3])]),
        {"x": x3},
    )
    done("h_fixed4", graph([lin], [ti("x", T.FLOAT, [4, 3])], [ti("y", T.FLOAT, [4, 1])], cs), {"x": x3})
    done(
        "h_hidden1",
        graph(
            [h.make_node("Reshape", ["x", "s"], ["r"]), h.make_node("MatMul", ["r", "w"], ["y"])],
            f3,
            [ti("y", T.FLOAT, [None, 1])],
            cs + [("s", np.array([1, 3], np.int64))],
        ),
        {"x": x3},
    )
    done(
        "h_hidden_sum", graph([h.make_node("ReduceSum", ["x"], ["y"], keepdims=1)], f3, [ti("y", T.FLOAT, [None, 1])], opset=12), {"x": x3}
    )
    done(
        "h_random",
        graph([h.make_node("RandomNormalLike", ["x"], ["r"]), h.make_node("Add", ["x", "r"], ["y"])], f3, [ti("y", T.FLOAT, [None, 3])]),
        {"x": x3},
    )
    done(
        "h_sim",
        graph(
            [h.make_node("Transpose", ["x"], ["t"]), h.make_node("MatMul", ["x", "t"], ["z"]), h.make_node("MatMul", ["x", "w"], ["y"])],
            f3,
            [ti("y", T.FLOAT, [None, 1]), ti("z", T.FLOAT, [None, None])],
            cs,
        ),
        {"x": x3},
    )
    done("h_only_scalar", graph([h.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], f3, [ti("y", T.FLOAT, [])], opset=12), {"x": x3})
    for nm, k in [("f8", T.FLOAT8E4M3FN), ("u4", T.UINT4)]:
        try:
            done(
                "h_beside_" + nm,
                graph(
                    [lin, h.make_node("Cast", ["y"], ["z"], to=k)],
                    f3,
                    [ti("y", T.FLOAT, [None, 1]), ti("z", k, [None, 1])],
                    cs,
                    opset=21,
                    ir=10,
                ),
                {"x": x3},
            )
        except Exception as e:
            print("skip", nm, str(e)[:100])
    done(
        "h_beside_seq",
        graph(
            [lin, h.make_node("SplitToSequence", ["x"], ["z"], axis=1)],
            f3,
            [ti("y", T.FLOAT, [None, 1]), h.make_tensor_sequence_value_info("z", T.FLOAT, None)],
            cs,
        ),
        {"x": x3},
    )
    done(
        "h_seq",
        graph([lin, h.make_node("SequenceConstruct", ["y", "x"], ["z"])], f3, [h.make_tensor_sequence_value_info("z", T.FLOAT, None)], cs),
        {"x": x3},
    )
    done(
        "h_beside_opt",
        graph(
            [lin, h.make_node("Optional", ["y"], ["z"])],
            f3,
            [ti("y", T.FLOAT, [None, 1]), h.make_value_info("z", h.make_optional_type_proto(h.make_tensor_type_proto(T.FLOAT, [None, 1])))],
            cs,
        ),
        {"x": x3},
    )
    done(
        "h_pass",
        graph(
            [h.make_node("Identity", ["x"], ["y"]), h.make_node("Relu", ["x"], ["z"])],
            f3,
            [ti("y", T.FLOAT, [None, 3]), ti("z", T.FLOAT, [None, 3])],
        ),
        {"x": x3},
    )
    m = graph([lin], f3, [ti("y", T.FLOAT, [None, 1])], cs)
    onnx.save(m, OUT / "h_external.onnx", save_as_external_data=True, location="h_external.onnx.data", size_threshold=0)
    done("h_external", None, {"x": x3})
    w16 = w.astype(np.float16)
    m = graph([h.make_node("MatMul", ["x", "w"], ["y"])], [ti("x", T.FLOAT16, [None, 3])], [ti("y", T.FLOAT16, [None, 1])], [("w", w16)])
    onnx.save(m, OUT / "h_external16.onnx", save_as_external_data=True, location="h_external16.onnx.data", size_threshold=0)
    done("h_external16", None, {"x": x3.astype(np.float16)})
    done(
        "h_f16_both",
        graph([h.make_node("MatMul", ["x", "w"], ["y"])], [ti("x", T.FLOAT16, [None, 3])], [ti("y", T.FLOAT16, [None, 1])], [("w", w16)]),
        {"x": x3.astype(np.float16)},
    )
    done("h_in_is_out", graph([lin], f3, [ti("x", T.FLOAT, [None, 3]), ti("y", T.FLOAT, [None, 1])], cs), {"x": x3})
    done(
        "h_f16_in_is_out",
        graph(
            [h.make_node("MatMul", ["x", "w"], ["y"])],
            [ti("x", T.FLOAT16, [None, 3])],
            [ti("x", T.FLOAT16, [None, 3]), ti("y", T.FLOAT16, [None, 1])],
            [("w", w16)],
        ),
        {"x": x3.astype(np.float16)},
    )
    nm = ["sepal length (cm)", "年齢", "row"]
    done(
        "h_names",
        graph([h.make_node("Concat", nm, ["x"], axis=1), lin], [ti(k, T.FLOAT, [None, 1]) for k in nm], [ti("y", T.FLOAT, [None, 1])], cs),
        {k: x3[:, i : i + 1] for i, k in enumerate(nm)},
    )
    done(
        "h_squeeze_any",
        graph([h.make_node("MatMul", ["x", "w"], ["m"]), h.make_node("Squeeze", ["m"], ["y"])], f3, [ti("y", T.FLOAT, [None])], cs),
        {"x": x3},
    )
    whole = np.abs(x3 * 10).astype(np.int64)
    done(
        "h_to_u64",
        graph([h.make_node("Cast", ["x"], ["y"], to=T.UINT64)], [ti("x", T.INT64, [None, 3])], [ti("y", T.UINT64, [None, 3])]),
        {"x": whole},
    )
    # zipmap behind an identity, and beside its own probabilities
    zm = h.make_node("ZipMap", ["x"], ["zz"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"])
    zt = h.make_value_info("zz", h.make_sequence_type_proto(h.make_map_type_proto(T.STRING, h.make_tensor_type_proto(T.FLOAT, []))))
    done("h_zip_only", graph([zm], f3, [zt]), {"x": x3})
    p = h.make_node("Softmax", ["x"], ["p"], axis=1)
    zm2 = h.make_node("ZipMap", ["p"], ["zz"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"])
    done("h_zip_beside", graph([p, zm2], f3, [zt, ti("p", T.FLOAT, [None, 3])]), {"x": x3})


@case
def torch_all():
    try:
        import torch
    except Exception as e:
        print("no torch", str(e)[:200])
        return
    torch.manual_seed(0)

    def ex(name, m, args, feeds, names=None, **kw):
        try:
            m.eval() if not kw.pop("train", False) else m.train()
            torch.onnx.export(m, args, str(OUT / f"{name}.onnx"), input_names=list(feeds), **kw)
            done(name, None, feeds)
        except Exception as e:
            print("FAILED", name, type(e).__name__, str(e)[:300])

    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    b = torch.export.Dim("batch")
    ex("torch_dynamo", net, (torch.tensor(x),), {"x": x}, dynamo=True, dynamic_shapes={"input": {0: b}})
    ex("torch_dynamo_fixed", net, (torch.tensor(x[:1]),), {"x": x}, dynamo=True)
    ex("torch_legacy", net, (torch.tensor(x),), {"x": x}, dynamo=False, dynamic_axes={"x": {0: "n"}})
    ex("torch_inline", net, (torch.tensor(x),), {"x": x}, dynamo=True, dynamic_shapes={"input": {0: b}}, external_data=False)
    bn = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 3), torch.nn.Softmax(1)
    )
    ex("torch_bn", bn, (torch.tensor(x),), {"x": x}, dynamo=True, dynamic_shapes={"input": {0: b}})

    class Sq(torch.nn.Module):
        def __init__(s):
            super().__init__()
            s.l = torch.nn.Linear(5, 1)

        def forward(s, x):
            return s.l(x).squeeze(-1), torch.sigmoid(s.l(x))

    ex("torch_two", Sq(), (torch.tensor(x),), {"x": x}, dynamo=True, dynamic_shapes={"x": {0: b}})

    class Seq(torch.nn.Module):
        def __init__(s):
            super().__init__()
            s.g = torch.nn.GRU(3, 4, batch_first=True)
            s.l = torch.nn.Linear(4, 1)

        def forward(s, x):
            return s.l(s.g(x)[0][:, -1])

    xs = rng.normal(size=(N, 4, 3)).astype(np.float32)
    ex("torch_gru", Seq(), (torch.tensor(xs),), {"x": xs}, dynamo=False, dynamic_axes={"x": {0: "n"}})
    ex("torch_half", net.half(), (torch.tensor(x).half(),), {"x": x.astype(np.float16)}, dynamo=True, dynamic_shapes={"input": {0: b}})
