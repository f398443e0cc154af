"""A sentence model in ONNX form, run by onnxruntime on one thread: the folder of any exported encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastclient.cache.embedders.folder import Folder
from fastclient.cache.embedders.pieces import Pieces
from fastclient.cache.embedders.pooling import Pooling, pooled, pooling_of
from fastclient.cache.embedders.vectors import Vectors, np, unit
from fastclient.checks import whole
from fastclient.errors import ConfigError

__all__ = ["Onnx"]

_USUAL = ("model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx", "onnx/model.onnx")
_IDS, _MASK, _TYPES = ("input_ids", "ids"), ("attention_mask", "mask"), ("token_type_ids", "segment_ids", "types")


class Onnx:
    """A folder with an ONNX model and its `tokenizer.json`. Making one loads the model; nothing is downloaded.

    `file` is the model's file within the folder, where there are several. `pooling` is "mean" or "cls" if the folder
    does not say. A text is cut at `tokens` pieces. Texts are run one by one, so that the rounding of a quantised
    model does not depend on the texts beside it.
    """

    def __init__(
        self, folder: str | Path, *, file: str | None = None, pooling: Pooling | None = None, tokens: int = 128
    ) -> None:
        whole("tokens", tokens)
        self._folder = Folder(folder, "folder")
        model = self._folder.file(file) if file else _model(self._folder)
        self._pooling: Pooling = pooling_of(self._folder, pooling)
        self._pieces = Pieces(self._folder, tokens)
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError.at("embedder", "needs onnxruntime: pip install 'fastclient[semantic]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        name = model.relative_to(self._folder.path).as_posix()
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's classes are many
            raise self._folder.wrong(f"has a {name} that onnxruntime cannot load ({type(error).__name__})") from None
        self._inputs = {each.name: _meaning(each.name, name, self._folder) for each in self._session.get_inputs()}
        output = self._session.get_outputs()[0]
        whole_ones = [each for each in self._session.get_outputs() if len(each.shape or ()) == 2]
        self._rows = len(output.shape or ()) == 3  # of its pieces; else the model pools for itself
        if not (self._rows or whole_ones):
            raise self._folder.wrong(f"has a {name} that gives neither rows of pieces nor a vector")
        self._output = output.name if self._rows else whole_ones[0].name
        self.dim = len(self._run("dimension"))
        digest = self._folder.digest(model, self._pieces.file)
        self.id = f"onnx-{digest}-{self._pooling if self._rows else 'own'}-{tokens}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text."""
        rows = np.zeros((len(texts), self.dim), np.float32)
        for at, text in enumerate(texts):
            rows[at] = self._run(text)
        return unit(rows)

    def _run(self, text: str) -> Vectors:
        ids = np.array([self._pieces.of(text)], np.int64)
        if not ids.size:
            return np.zeros(self.dim, np.float32)
        given = {"ids": ids, "mask": np.ones_like(ids), "types": np.zeros_like(ids)}
        (found,) = self._session.run([self._output], {name: given[means] for name, means in self._inputs.items()})
        first = np.asarray(found)[0]
        return np.asarray(pooled(first, self._pooling) if self._rows else first, np.float32)

    def __repr__(self) -> str:
        return f"Onnx({self._folder!r})"


def _model(folder: Folder) -> Path:
    """The folder's model: by its usual name, or the only one there is."""
    for name in _USUAL:
        if (folder.path / name).is_file():
            return folder.path / name
    found = sorted([*folder.path.glob("*.onnx"), *folder.path.glob("onnx/*.onnx")])
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.relative_to(folder.path).as_posix() for each in found)
        raise folder.wrong(f"has several models: say file= and one of {names}")
    raise folder.wrong("has no model.onnx")


def _meaning(name: str, file: str, folder: Folder) -> str:
    for means, names in (("ids", _IDS), ("mask", _MASK), ("types", _TYPES)):
        if name in names:
            return means
    raise folder.wrong(f"has a {file} with an input that is not known: {name}")
