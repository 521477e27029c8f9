"""ONNX files of strangers: refused before onnxruntime opens them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lung_seg
from lung_seg import Predictor
from lung_seg.errors import UserError

SHIPPED = Path(lung_seg.__file__).parent / "weights" / "lungs.onnx"


def changed(path: Path, *nodes: onnx.NodeProto, external: bool = False, function: bool = False) -> Path:
    model = onnx.load(SHIPPED)
    model.graph.node.extend(nodes)
    if external:
        tensor = model.graph.initializer.add(name="z", data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")
    if function:
        model.functions.add(name="f", domain="x")
    path.write_bytes(model.SerializeToString())
    return path


LOOP = helper.make_node(
    "Loop", ["n", "c"], ["y"], body=helper.make_graph([helper.make_node("Loop", [], [])], "g", [], [])
)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (LOOP, "'Loop'"),
        (helper.make_node("ConstantOfShape", ["s"], ["y"]), "'ConstantOfShape'"),
        (helper.make_node("Relu", ["x"], ["y"], domain="evil"), "not ONNX's own"),
        (helper.make_node("Relu", ["x"], ["y"], body=helper.make_graph([], "g", [], [])), "another graph"),
    ],
)
def test_operators_that_no_export_writes_are_refused(tmp_path: Path, node: onnx.NodeProto, words: str) -> None:
    with pytest.raises(UserError, match=f"x.onnx is not used: its graph holds .*{words}"):
        Predictor(changed(tmp_path / "x.onnx", node))


def test_weights_in_other_files_and_functions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its weights lie in another file"):
        Predictor(changed(tmp_path / "x.onnx", external=True))
    with pytest.raises(UserError, match="its graph holds functions"):
        Predictor(changed(tmp_path / "x.onnx", function=True))


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    """Of a few bytes, which onnxruntime fills up to 4 GB in a minute."""
    one, place = (helper.make_tensor("", kind, [1], [1]) for kind in (TensorProto.FLOAT, TensorProto.INT64))
    sparse = helper.make_sparse_tensor(one, place, [2**30])
    constant = changed(tmp_path / "constant.onnx", helper.make_node("Constant", [], ["k"], sparse_value=sparse))
    model = onnx.load(SHIPPED)
    model.graph.sparse_initializer.append(sparse)
    (tmp_path / "initializer.onnx").write_bytes(model.SerializeToString())
    for path in (constant, tmp_path / "initializer.onnx"):
        with pytest.raises(UserError, match=rf"{path.name} is not used: its graph holds sparse tensors"):
            Predictor(path)


@pytest.mark.parametrize("shape", [[1, 1, 1, 1], [2**20] * 4], ids=["another shape", "too large"])
def test_a_graph_that_computes_no_mask_is_refused_by_name(tmp_path: Path, shape: list[int]) -> None:
    model = onnx.load(SHIPPED)
    size = helper.make_tensor("size", TensorProto.INT64, [4], shape)
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1])
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.initializer.extend([size, one])
    model.graph.node.append(helper.make_node("Expand", ["one", "size"], ["logits"]))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"x\.onnx computes no mask of 256 px"):
        Predictor(tmp_path / "x.onnx").predict(np.zeros((64, 64), np.uint8))


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "x.onnx").write_bytes(SHIPPED.read_bytes()[:size])
    with pytest.raises(UserError, match="is not an ONNX file of this project"):
        Predictor(tmp_path / "x.onnx")


def test_a_graph_of_the_listed_operators_is_used(tmp_path: Path) -> None:
    assert Predictor(changed(tmp_path / "x.onnx"))
