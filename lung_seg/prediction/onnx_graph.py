"""What an ONNX file would compute, read before onnxruntime opens it: a graph may loop without end or read other files.

Read from the protobuf encoding itself, since predicting needs no package that could:
https://protobuf.dev/programming-guides/encoding and https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Iterator
from pathlib import Path

from lung_seg.errors import UnusableFileError

# Those that export.py writes, and those that torch writes for the same network without optimisation. None holds a
# graph of its own, as Loop and If do, and none makes a constant of any size, as ConstantOfShape does.
OPERATORS = frozenset((
    "Add", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "ConvTranspose", "Div", "Expand",
    "Gather", "GroupNormalization", "Identity", "InstanceNormalization",
    "MaxPool", "Mul", "ReduceMean", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Shape",
    "Slice", "Sqrt", "Squeeze", "Sub", "Unsqueeze",
))  # fmt: skip

# Field numbers of onnx.proto.
MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = (
    1,
    5,
    15,
)  # onnxruntime fills a sparse tensor to any stated size
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPHS, ATTRIBUTE_SPARSE = 5, (6, 11), (22, 23)
TENSOR_EXTERNAL = (13, 14)  # external_data, data_location

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5  # wire types


def check_graph(path: Path) -> None:
    """Check that a graph holds only ``OPERATORS``, and its weights in the file itself.

    Raises:
        UnusableFileError: it holds something else.
        ValueError: it is no ONNX file.
    """
    for number, graph in _fields(memoryview(path.read_bytes())):
        if number == MODEL_FUNCTIONS:
            raise _foreign("its graph holds functions")
        if number == MODEL_GRAPH:
            for kind, content in _fields(_message(graph)):
                if kind == GRAPH_SPARSE:
                    raise _foreign("its graph holds sparse tensors")
                if kind == GRAPH_INITIALIZER:
                    _check_tensor(_message(content))
                elif kind == GRAPH_NODE:
                    _check_node(_message(content))


def _check_node(node: memoryview) -> None:
    for number, value in _fields(node):
        if number == NODE_OPERATOR:
            operator = bytes(_message(value)).decode()
            if operator not in OPERATORS:
                raise _foreign(f"its graph holds the operator {operator[:40]!r}")
        elif number == NODE_DOMAIN and len(_message(value)) and bytes(_message(value)) != b"ai.onnx":
            raise _foreign("its graph holds operators that are not ONNX's own")
        elif number == NODE_ATTRIBUTE:
            for kind, content in _fields(_message(value)):
                if kind in ATTRIBUTE_GRAPHS:
                    raise _foreign("its graph holds another graph")
                if kind in ATTRIBUTE_SPARSE:
                    raise _foreign("its graph holds sparse tensors")
                if kind == ATTRIBUTE_TENSOR:
                    _check_tensor(_message(content))


def _check_tensor(tensor: memoryview) -> None:
    if any(number in TENSOR_EXTERNAL and value != 0 for number, value in _fields(tensor)):
        raise _foreign("its weights lie in another file")


def _foreign(reason: str) -> UnusableFileError:
    return UnusableFileError(f"{reason}, which no export writes")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message; fixed-width numbers are skipped."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == BYTES:
            length, at = _varint(message, at)
            yield number, message[at : at + length]
        elif wire_type in (FIXED_64, FIXED_32):
            length = 8 if wire_type == FIXED_64 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        at += length
        if at > len(message):
            raise ValueError("a truncated field")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("a truncated number")
