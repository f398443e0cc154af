"""The engine: one thread that owns a model and answers several requests at once. It loads on the first one.

Whoever asks only ever touches the inbox. A step is the shortest thing that cannot be interrupted.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING

from fastclient.errors import LocalUnavailable
from fastclient.local.ask import Ask
from fastclient.local.batching import Batching
from fastclient.local.gguf import BadModel, header
from fastclient.local.port import Sink
from fastclient.local.settings import Local
from fastclient.local.slots import Slot, choose
from fastclient.local.speed import Known, LocalState, Prediction, Speed
from fastclient.local.work import Work

if TYPE_CHECKING:
    from array import array

    from fastclient.local.sampling import Chooser

__all__ = ["Engine"]

_FORKED = "the process forked after the model was loaded: load it in the child"


class Engine:
    """A `Host` in this process."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._changed = threading.Condition()
        self._inbox: deque[Work] = deque()
        self._active: list[Work] = []
        self._slots: list[Slot] = [Slot(number) for number in range(local.slots)]
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pid = os.getpid()
        self._used = False  # native code has run here
        self._loaded: _Loaded | None = None
        self._speed = Speed()
        self._known: tuple[Known, ...] = ()

    # -- from any thread

    def submit(self, ask: Ask | None, sink: Sink) -> Work:
        """Have a request answered. Raises LocalUnavailable if it is not even taken."""
        self._check()
        with self._changed:
            if self._closed:
                raise LocalUnavailable("the local model is closed")
            if ask is not None and len(self._inbox) + len(self._active) >= self._local.slots + self._local.max_queue:
                raise LocalUnavailable(f"{self._local.max_queue} requests are waiting for the local model already")
            work = Work(ask, sink, self._wake)
            self._inbox.append(work)
            if self._thread is None:
                self._start()
            self._changed.notify()
        return work

    def state(self) -> LocalState:
        """What it is doing now."""
        if os.getpid() != self._pid:
            return LocalState(slots=self._local.slots)
        loaded = self._loaded
        return LocalState(
            loaded=loaded is not None,
            queue=len(self._inbox),
            busy=len(self._active),
            slots=self._local.slots,
            cached=tuple([len(slot.held) for slot in self._slots]),
            prefill=self._speed.prefill,
            decode=self._speed.decode,
            limit=loaded.limit if loaded else 0,
            engine=loaded.version if loaded else "",
            gpu=loaded.offloaded if loaded else False,
        )

    def predict(self, texts: Sequence[str], limit: int | None) -> Prediction | None:
        """How long a request would take."""
        slots = self._local.slots
        waiting = len(self._inbox) + max(0, len(self._active) + 1 - slots)
        return self._speed.predict(texts, self._known, limit, waiting, slots)

    def close(self, *, wait: bool) -> None:
        """End it: what is being answered ends with an error after the current step."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify()
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()

    def _wake(self) -> None:
        if os.getpid() == self._pid:
            with self._changed:
                self._changed.notify()

    def _check(self) -> None:
        if os.getpid() == self._pid:
            return
        if self._used:
            raise LocalUnavailable(_FORKED)
        self._inbox.clear()
        self._thread, self._closed = None, False
        self._pid, self._changed = os.getpid(), threading.Condition()  # nothing had been loaded yet

    def _start(self) -> None:
        self._used = True
        self._thread = threading.Thread(target=self._run, name="fastclient local", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # from Python 3.12 on no thread starts at exit
            self._thread = None
            self._inbox.clear()
            raise LocalUnavailable("the interpreter is exiting") from None

    # -- on the thread

    def _run(self) -> None:
        error: Exception = LocalUnavailable("the local model was closed")
        try:
            self._loaded = _Loaded(self._local, self._speed)
            while self._turn(self._loaded):
                pass
        except Exception as failure:
            error = failure
        finally:
            self._end(error)

    def _end(self, error: Exception) -> None:
        """Nobody is answered any more by this thread; after a failure the next request tries again with another one."""
        with self._changed:
            left, self._active = [*self._active, *self._inbox], []
            self._inbox.clear()
            loaded, self._loaded, self._thread = self._loaded, None, None
            self._slots = [Slot(number) for number in range(self._local.slots)]
            self._known = ()
        for work in left:
            work.failed(copy(error))  # each in its own task
            work.free()
        if loaded is not None:
            loaded.free()

    def _turn(self, loaded: _Loaded) -> bool:
        """Settle what has changed, and take one step. Returns whether to go on."""
        with self._changed:
            while not (self._inbox or self._active or self._closed):
                self._changed.wait()
            if self._closed:
                return False
        for work in [work for work in self._active if work.cancelled]:
            self._over(work)
        self._admit(loaded)
        if self._active:
            for work in loaded.stepper.step(self._active):
                self._over(work)
        return True

    def _admit(self, loaded: _Loaded) -> None:
        """Give free slots to those who wait, in order."""
        while self._inbox:
            work = self._inbox[0]
            if not work.cancelled:
                try:
                    if not self._placed(work, loaded):
                        return
                except Exception as error:  # a prompt too long, a bad grammar: the others go on
                    work.failed(error)
                    work.free()
            self._inbox.popleft()

    def _placed(self, work: Work, loaded: _Loaded) -> bool:
        """Whether the request has got what it wants: a slot, most often. Nothing has changed if this raises."""
        if work.ask is None:
            work.done()
            return True
        if work.prompt is None:
            prompt = loaded.tokens(work.ask)
            work.fits(prompt, loaded.limit, loaded.model.piece)
            self._speed.characters.add(sum(len(text) for _, text in work.ask.messages) / len(prompt))
        assert work.prompt is not None  # noqa: S101
        choice = choose(self._slots, work.prompt)
        if choice is None:
            return False
        chooser = loaded.chooser(work.ask)
        slot, kept, context = choice.slot, choice.kept, loaded.context
        if kept and choice.source is not slot:
            context.copy(choice.source.number, slot.number)
            slot.held = choice.source.held[:]
        if kept < len(slot.held) or not kept:
            kept = kept if context.cut(slot.number, kept) else 0
            del slot.held[kept:]
        slot.busy, slot.texts = True, tuple([text for _, text in work.ask.messages])
        self._known = tuple([Known(slot.texts, len(slot.held)) for slot in self._slots if slot.texts])
        self._active.append(work)
        work.placed(slot, kept, chooser)
        return True

    def _over(self, work: Work) -> None:
        """The slot is free again, and keeps what it has read."""
        self._active.remove(work)
        work.free()
        if work.slot is not None:
            loaded = self._loaded
            work.slot.busy = False
            if loaded is not None:
                loaded.uses += 1
                work.slot.used = loaded.uses
        if not work.cancelled:
            self._speed.written.add(work.written)
            self._speed.service.add(max(0.0, monotonic() - work.begun))


class _Loaded:
    """All that exists once the model is loaded. Raises LocalUnavailable with the reason if it cannot be."""

    def __init__(self, local: Local, speed: Speed) -> None:
        try:
            header(local.path)
        except BadModel as error:
            raise LocalUnavailable(f"{os.path.basename(local.path)}: {error}") from None
        from fastclient.local.llama import Model, version

        self.model = Model(os.fspath(local.path), local.gpu_layers)
        self.uses = 0
        try:
            self._build(local, speed)
        except BaseException:
            with suppress(AttributeError):
                self.context.free()
            self.model.free()
            raise
        self.version, self.offloaded = version(), self.model.offloaded

    def _build(self, local: Local, speed: Speed) -> None:
        from fastclient.local.context import Context
        from fastclient.local.sampling import Chooser
        from fastclient.local.step import Stepper
        from fastclient.local.template import Template

        model = self.model
        source = local.chat_template or model.template()
        if source is None:
            raise LocalUnavailable("the model has no chat template: say chat_template=")
        self._template = Template(source, model.texts, model.controls() if local.escape_special else None)
        self.context = context = Context(
            model, tokens=local.context, sequences=local.slots, batch=local.batch, threads=local.threads
        )
        self.limit = context.limit
        self.stepper = Stepper(context, Batching(local.slots, always=model.offloaded), speed)
        self._choosing = Chooser

    def chooser(self, ask: Ask) -> Chooser:
        """What chooses the tokens of one answer. Raises BadRequest."""
        return self._choosing(self.context, ask)

    def tokens(self, ask: Ask) -> array[int]:
        """The prompt as tokens. Raises BadRequest."""
        messages = [{"role": role, "content": text} for role, text in ask.messages]
        return self.model.tokens(self._template.pieces(messages))

    def free(self) -> None:
        self.context.free()
        self.model.free()
