"""Texts as the numbers a model knows, by the `tokenizer.json` of its folder."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from fastclient.cache.embedders.folder import Folder
from fastclient.errors import ConfigError

__all__ = ["Pieces"]


class Pieces:
    """A tokenizer without padding. Texts are cut at `most` pieces; None cuts none."""

    def __init__(self, folder: Folder, most: int | None, *, special: bool = True) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ConfigError.at("embedder", "needs tokenizers: pip install 'fastclient[semantic]'") from None
        self.file = folder.file("tokenizer.json")
        self._special = special
        try:
            self._tokenizer = Tokenizer.from_file(str(self.file))
        except Exception:  # the library raises nothing more precise
            raise folder.wrong("has a tokenizer.json that cannot be read") from None
        self._tokenizer.no_padding()
        if most is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(most)

    def of(self, text: str) -> Sequence[int]:
        """The pieces of a text, with the marks at its ends that the model was taught."""
        readable = text.encode("utf-8", "replace").decode()  # half a character would be an error
        ids: list[int] = self._tokenizer.encode(readable, add_special_tokens=self._special).ids
        return ids

    def unknown(self) -> int | None:
        """The number that stands for what has no piece, if there is one."""
        model = orjson.loads(self._tokenizer.to_str())["model"]
        token = model.get("unk_token")
        found: int | None = self._tokenizer.token_to_id(token) if token else model.get("unk_id")
        return found
