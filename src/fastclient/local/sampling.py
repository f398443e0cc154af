"""Choosing the next token of one answer. The usual cases take shortcuts; their results are the same.

The likeliest token is found by numpy, a grammar is asked about the chosen token alone, and about the whole vocabulary
only if it objects.
"""

from __future__ import annotations

import ctypes
from math import inf, log
from random import getrandbits
from typing import Any

from fastclient.cache.embedders.vectors import NDArray, np
from fastclient.errors import BadRequest, LocalUnavailable
from fastclient.local.ask import Ask
from fastclient.local.context import Context
from fastclient.local.llama import muted

__all__ = ["Chooser"]

_REMEMBERED = 64  # tokens back that a penalty counts


class Chooser:
    """Chooses for one request. Raises BadRequest for a grammar that llama.cpp does not understand. Free it once."""

    def __init__(self, context: Context, ask: Ask) -> None:
        self._context = context
        self._c = context.c
        self._told = ask.probabilities
        self._grammar = _grammar(context, ask.grammar) if ask.grammar else None
        self._chain = None if ask.greedy else _chain(context, ask)

    def choose(self, at: int) -> tuple[int, float | None]:
        """The next token, from these logits; and its log probability if that was asked for."""
        row = self._context.logits(at)
        if self._grammar is not None:
            token = self._within(row)
        elif self._chain is None:
            token = int(row.argmax())
        else:
            token = self._c.llama_sampler_sample(self._chain, self._context.pointer, at)
        return token, _logprob(row, token) if self._told else None

    def _within(self, row: NDArray[np.float32]) -> int:
        """The next token, as the grammar permits."""
        c = self._c
        token = int(row.argmax()) if self._chain is None else self._drawn(*self._every(row))
        one, candidates = self._of(row, token)
        c.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        if one["logit"][0] == -inf:
            data, candidates = self._every(row)
            c.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
            if data["logit"].max() == -inf:  # to go on would end the process
                raise LocalUnavailable("the grammar permits none of the model's tokens here")
            token = int(data["id"][data["logit"].argmax()]) if self._chain is None else self._drawn(data, candidates)
        c.llama_sampler_accept(self._grammar, token)
        if self._chain is not None:
            c.llama_sampler_accept(self._chain, token)
        return token

    def _drawn(self, _: object, candidates: Any) -> int:
        self._c.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        token: int = candidates.data[candidates.selected].id
        return token

    def _every(self, row: NDArray[np.float32]) -> tuple[NDArray[np.void], Any]:
        data = self._context.candidates
        data["id"], data["logit"], data["p"] = self._context.every, row, 0
        return data, self._array(data)

    def _of(self, row: NDArray[np.float32], token: int) -> tuple[NDArray[np.void], Any]:
        data = self._context.candidates[:1]
        data["id"], data["logit"], data["p"] = token, row[token], 0
        return data, self._array(data)

    def _array(self, data: NDArray[np.void]) -> Any:
        array = self._c.llama_token_data_array()
        array.data = ctypes.cast(ctypes.c_void_p(data.ctypes.data), self._c.llama_token_data_p)
        array.size, array.selected, array.sorted = len(data), -1, False
        return array

    def free(self) -> None:
        for sampler in (self._grammar, self._chain):
            if sampler is not None:
                self._c.llama_sampler_free(sampler)
        self._grammar = self._chain = None


def _grammar(context: Context, text: str) -> Any:
    muted.on = True  # its complaints quote the grammar
    try:
        sampler = context.c.llama_sampler_init_grammar(context.model.vocabulary, text.encode(), b"root")
    finally:
        muted.on = False
    if not sampler:
        raise BadRequest("llama.cpp does not understand the grammar", provider="local", status_code=400)
    return sampler


def _chain(context: Context, ask: Ask) -> Any:
    c = context.c
    chain = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
    stages = []
    if ask.penalised:
        make = c.llama_sampler_init_penalties
        first = (context.model.size,) if len(make.argtypes) == 5 else ()  # a later version wants it
        stages.append(make(*first, _REMEMBERED, ask.repeat, ask.frequency, ask.presence))
    if ask.temperature <= 0:
        stages.append(c.llama_sampler_init_greedy())
    else:
        if ask.top_k > 0:
            stages.append(c.llama_sampler_init_top_k(ask.top_k))
        if ask.top_p < 1:
            stages.append(c.llama_sampler_init_top_p(ask.top_p, 1))
        if ask.min_p > 0:
            stages.append(c.llama_sampler_init_min_p(ask.min_p, 1))
        stages.append(c.llama_sampler_init_temp(ask.temperature))
        stages.append(c.llama_sampler_init_dist(getrandbits(32) if ask.seed is None else ask.seed))
    for stage in stages:
        c.llama_sampler_chain_add(chain, stage)
    return chain


def _logprob(row: NDArray[np.float32], token: int) -> float:
    top = float(row.max())
    return float(row[token]) - top - log(float(np.exp(row - np.float32(top)).sum(dtype=np.float64)))
