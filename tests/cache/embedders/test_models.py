"""Models from folders: the three forms, what they read, and what they say about folders that are none."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.embedders import safetensors
from fastclient.cache.embedders import Bert, Onnx, Static
from fastclient.errors import ConfigError
from tests.cache.embedders import folders

TEXTS = ["How do I reset my password", "Change my password", "nice weather today", "xyzzy", ""]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return folders.tiny_bert(tmp_path)


@pytest.fixture
def exported(bert: Path, tmp_path: Path) -> Path:
    """The same model as ONNX, in 32 bits."""
    folders.needed("onnx")
    folders.needed("onnxruntime")
    from benchmarks.export_minilm import export

    (out := tmp_path / "out").mkdir()
    export(bert, out, full=True)
    return out


def static(folder: Path, **tensors: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    folders.tokenizer(folder)
    safetensors(folder / "model.safetensors", tensors)
    return folder


def table(rows: int = len(folders.PIECES)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)


def test_both_ways_to_run_a_model_agree(bert: Path, exported: Path) -> None:
    """The numpy forward pass and onnxruntime on the exported graph give the same vectors."""
    assert np.allclose(Bert(bert).embed(TEXTS), Onnx(exported).embed(TEXTS), atol=2e-5)


def test_rows_do_not_depend_on_their_neighbours(bert: Path, exported: Path) -> None:
    """A text has the very same row alone and among others, and each row has length 1."""
    for embedder in (Bert(bert), Onnx(exported)):
        together = embedder.embed(TEXTS)
        assert np.array_equal(together, np.concatenate([embedder.embed([text]) for text in TEXTS]))
        assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
        assert embedder.embed([]).shape == (0, embedder.dim)


def test_long_texts_are_cut(bert: Path) -> None:
    """What stands behind the limit does not count."""
    embedder = Bert(bert, tokens=8)
    assert np.array_equal(*embedder.embed(["a b " * 3 + "weather", "a b " * 3 + "today"]))
    with pytest.raises(ConfigError, match="130 places"):
        Bert(bert, tokens=131)


def test_the_id_names_what_makes_the_vectors(bert: Path, tmp_path: Path) -> None:
    """Same files, same id; another weight, pooling or length limit is another space."""
    first = Bert(bert, tokens=16).id
    assert first == Bert(bert, tokens=16).id
    (tmp_path / "other").mkdir()
    other = folders.tiny_bert(tmp_path / "other", seed=2)
    assert (
        len({first, Bert(other, tokens=16).id, Bert(bert, pooling="cls", tokens=16).id, Bert(bert, tokens=9).id}) == 4
    )


def test_pooling_is_the_folders_unless_asked_for(bert: Path) -> None:
    """The folder's own pooling is used, and one that is not known is refused."""
    (bert / "1_Pooling").mkdir()
    config = bert / "1_Pooling" / "config.json"
    asked = Bert(bert, pooling="cls", tokens=16)
    config.write_bytes(orjson.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    assert np.array_equal(asked.embed(TEXTS), Bert(bert, tokens=16).embed(TEXTS))
    config.write_bytes(orjson.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ConfigError, match="pooling"):
        Bert(bert, tokens=16)


def test_the_only_model_of_a_folder_is_found(exported: Path) -> None:
    """Whatever its name; of several, the caller has to say which."""
    (exported / "onnx").mkdir()
    model = (exported / "model.onnx").rename(exported / "onnx" / "model_O1.onnx")
    found = Onnx(exported)
    shutil.copyfile(model, exported / "onnx" / "model_O2.onnx")
    with pytest.raises(ConfigError, match=r"model_O1\.onnx, onnx/model_O2\.onnx"):
        Onnx(exported)
    assert Onnx(exported, file="onnx/model_O2.onnx").id == found.id


def test_a_table_is_averaged(tmp_path: Path) -> None:
    """A text is the mean of its words' rows; words without a row do not count, and a text of such words is zeros."""
    rows = table()
    found = Static(static(tmp_path, embeddings=rows)).embed(["reset my xyzzy", "xyzzy"])
    mean = (rows[folders.PIECES["reset"]] + rows[folders.PIECES["my"]]) / 2
    assert np.allclose(found, [mean / np.linalg.norm(mean), np.zeros(6)], atol=1e-6)


def test_a_table_may_be_small_and_weighed(tmp_path: Path) -> None:
    """`mapping` says which row a piece has, `weights` how much it counts; half floats are read as well."""
    pieces = len(folders.PIECES)
    rows, weights = table(5).astype(np.float16), np.linspace(1, 2, pieces, dtype=np.float32)
    mapping = np.arange(pieces, dtype=np.int64) % 5
    folder = static(tmp_path, embeddings=rows, weights=weights, mapping=mapping)
    one, two = folders.PIECES["reset"], folders.PIECES["my"]
    mean = rows[one % 5].astype(np.float32) * weights[one] + rows[two % 5].astype(np.float32) * weights[two]
    assert np.allclose(Static(folder).embed(["reset my"])[0], mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("kind", [Bert, Onnx, Static])
def test_a_missing_file_is_named(kind: type, tmp_path: Path) -> None:
    """No folder, or one without the files, is a ConfigError that names the field, the path and the file."""
    with pytest.raises(ConfigError, match="nowhere") as raised:
        kind(tmp_path / "nowhere")
    assert raised.value.field == "folder"
    with pytest.raises(ConfigError, match=r"model\.onnx|config\.json|tokenizer\.json"):
        kind(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize(
    "damage", [b"", b"\xff" * 8, b"{}", b"\x02" + bytes(7) + b"[]", b"\x0f" + bytes(7) + b'{"a": {"b": 1}}']
)
def test_a_broken_file_is_named(bert: Path, name: str, damage: bytes) -> None:
    """What cannot be read is a ConfigError too, whatever is wrong with it."""
    (bert / name).write_bytes(damage)
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        Bert(bert, tokens=16)


def test_a_cut_off_file_is_refused(bert: Path) -> None:
    """Half a download is no model."""
    whole = (bert / "model.safetensors").read_bytes()
    (bert / "model.safetensors").write_bytes(whole[:-1000])
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        Bert(bert, tokens=16)


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_a_missing_package_is_named(exported: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to get it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"needs {package}: pip install"):
        Onnx(exported)


def test_a_broken_onnx_file_is_refused(exported: Path) -> None:
    """onnxruntime's own errors do not come through."""
    (exported / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"model\.onnx"):
        Onnx(exported)


@pytest.mark.slow
def test_the_real_minilm_knows_meanings() -> None:
    """The same question in other words is nearer than another question in the same words."""
    embedder = Bert(folders.minilm())
    rows = embedder.embed(["How can I change my password?", "I want a new login secret", "How can I change a tyre?"])
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


@pytest.mark.slow
def test_the_real_minilm_in_eight_bits_is_nearly_itself(tmp_path: Path) -> None:
    """Quantised and run by onnxruntime, each vector keeps a cosine of 0.98 with the exact one."""
    folders.needed("onnx")
    folders.needed("onnxruntime")
    from benchmarks.export_minilm import export

    source = folders.minilm()
    export(source, tmp_path, full=False)
    texts = ["How do I reset my password?", "Ist das Wetter heute schön?", "What does plan B cost per month, in euros?"]
    exact, short = Bert(source).embed(texts), Onnx(tmp_path).embed(texts)
    assert ((exact * short).sum(axis=1) > 0.98).all()
