# SPDX-License-Identifier: Apache-2.0
"""VIBEE from Python: load a model, generate, tokenize, logits. docs/python.md is the walk through it.

    import vibee
    with vibee.load("smollm2-135m") as m:
        print(m.generate("Once upon a time", max_tokens=40))

The interpreter's lock is released while the library works, so other threads run. Ctrl-C ends a generation at the next step.
Whatever the library refuses is a vibee.Error with one line.
"""
from __future__ import annotations

import array
import ctypes
import operator
import os
import secrets
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
import numpy.typing as npt

from . import _library as _c

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Error", "Info", "Model", "Options", "Stats", "Text", "load"]
__version__: str = _c.library.vibee_version().decode()

_U32, _U64 = 2**32 - 1, 2**64 - 1


class Error(Exception):
    """What was wrong, where, and what to do, in one line. `code`: invalid, not_found, corrupt, unsupported, io or no_memory."""

    def __init__(self, line: str, code: str = "invalid") -> None:
        super().__init__(line)
        self.code = code


@dataclass(frozen=True)
class Info:
    """What was loaded. Bytes are of memory, as stated before loading; bos and eos are -1 where the model has none."""
    path: str
    architecture: str
    name: str
    kv: str
    isa: str
    parameters: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    trained_context: int
    context: int
    batch: int
    threads: int
    bos: int
    eos: int
    add_bos: bool
    chat_template: bool
    weight_bytes: int
    work_bytes: int
    kv_bytes: int
    load_seconds: float


@dataclass(frozen=True)
class Stats:
    """What a generation took, of all its prompts together. Times in seconds, rates in tokens a second, of the model's steps meanwhile."""
    prompt_tokens: int
    reused_tokens: int  #: of the prompts: computed by earlier generations that began alike
    generated_tokens: int
    first_token_seconds: float
    prompt_seconds: float
    decode_seconds: float
    decode_rate: float

    @property
    def prompt_rate(self) -> float:
        return (self.prompt_tokens - self.reused_tokens) / self.prompt_seconds if self.prompt_seconds > 0 else 0.0


class Text(str):
    """A generated text, and how it came about."""

    tokens: list[int]  #: ids, the end token included
    logprobs: list[float]  #: of each token, in the model's own distribution
    top: list[list[tuple[int, float]]]  #: the likeliest (id, logprob) at each token, if `logprobs` were asked for
    finish: str  #: end_token, stop_string, length (max_tokens) or context
    seed: int  #: gives this text again
    stats: Stats  #: of the whole call


class Options(TypedDict, total=False):
    """How to generate. The same request gives the same text, whatever else is generated beside it and on however many threads."""

    max_tokens: int  #: 256
    temperature: float  #: 0: greedy
    top_k: int  #: keep the k likeliest; 0: all
    top_p: float  #: keep the likeliest with this mass; 1: all
    min_p: float  #: drop those below this share of the likeliest; 0: none
    typical_p: float  #: keep the most typical with this mass; 1: all
    repetition_penalty: float  #: divides logits of seen tokens; 1: off
    presence_penalty: float  #: subtracted once for a seen token
    frequency_penalty: float  #: subtracted for each occurrence
    penalty_window: int  #: last tokens that count as seen; 256
    seed: int | None  #: None: a random one, which Text.seed tells
    stop: str | Sequence[str]  #: the text ends before any of these
    ignore_end: bool  #: go on after the model's end token
    logprobs: int  #: alternatives in Text.top, at most 100
    logit_bias: Mapping[int, float] | None  #: added to the logits of these ids


def _check(code: int) -> None:
    if code != _c.OK:
        raise Error(_c.library.vibee_last_error().decode("utf-8", "replace"), _c.CODES[code])


def _number(name: str, value: int, low: int, high: int) -> int:
    number = operator.index(value)
    if not low <= number <= high:
        raise Error(f"{name} {number} is not in {low} to {high}")
    return number


def _nonzero(name: str, value: float) -> float:
    if value == 0:  # the library would read it as the default
        raise Error(f"{name} 0 is not allowed; 1 turns it off")
    return value


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as reason:
        raise Error(f"{name}: {reason}") from None


def _zero_terminated(name: str, text: str) -> bytes:
    if "\0" in text:
        raise Error(f"{name}: a zero byte at {text.index(chr(0))}")
    return _utf8(name, text)


def _ids(tokens: Iterable[int]) -> ctypes.Array[ctypes.c_int32]:
    try:
        ids = array.array("i", map(operator.index, tokens))
    except OverflowError:
        raise Error("a token id does not fit 32 bits") from None
    return (ctypes.c_int32 * len(ids)).from_buffer(ids) if ids else (ctypes.c_int32 * 0)()


def _fetch(kind: Any, guess: int, write: Callable[[Any, int, ctypes.c_size_t], int]) -> Any:
    """What `write(out, capacity, count)` of the library writes, which tells how much there is; `guess` is how much that may be."""
    out, count = (kind * guess)(), ctypes.c_size_t()
    _check(write(out, guess, count))
    return out[: count.value] if count.value <= guess else _fetch(kind, count.value, write)


class _Handle:
    """A handle of the library, freed when nothing uses it any more."""

    def __init__(self, pointer: ctypes.c_void_p, free: Any) -> None:
        self.pointer = pointer
        self.free = weakref.finalize(self, free, pointer)


class Model:
    """A loaded model; `load` makes one. Threads may share it: what they generate at the same time is computed together, up to
    `batch` sequences at once."""

    def __init__(self, handle: _Handle) -> None:
        self._handle: _Handle | None = handle
        raw = _c.ModelInfo()
        _check(_c.library.vibee_info(handle.pointer, raw))
        fields: dict[str, Any] = {name: getattr(raw, name) for name in Info.__dataclass_fields__}
        for name, value in fields.items():
            if isinstance(value, bytes):
                fields[name] = value.decode("utf-8", "replace")
        fields["add_bos"], fields["chat_template"] = bool(raw.add_bos), bool(raw.chat_template)
        self.info = Info(**fields)

    def __repr__(self) -> str:
        i = self.info
        return f"<vibee.Model {i.architecture} {i.name!r}, {i.parameters / 1e6:.1f} M parameters, context {i.context}>"

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the memory back, when calls that are under way have ended. Also done when the model is no longer referenced."""
        self._handle = None

    def _open(self) -> _Handle:
        if self._handle is None:
            raise Error("the model is closed")
        return self._handle

    # --- tokens

    def tokenize(self, text: str, prompt: bool = True) -> list[int]:
        """Ids of a text. As a prompt: the model's bos before it where it wants one, and special tokens spelled in the text count as
        such; otherwise the text alone."""
        data, handle = _utf8("text", text), self._open()
        ids: list[int] = _fetch(ctypes.c_int32, len(data) + 8, lambda out, capacity, count: _c.library.vibee_tokenize(
            handle.pointer, data, len(data), prompt, out, capacity, count))
        return ids

    def tokenize_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The prompt of a conversation through the model's own chat template, ready for the next answer. A message has `role` and
        `content`."""
        handle = self._open()
        rows = (_c.Message * len(messages))()
        for row, message in zip(rows, messages):
            row.role = _zero_terminated("role", message["role"])
            row.content = _zero_terminated("content", message["content"])
        ids: list[int] = _fetch(ctypes.c_int32, 1024, lambda out, capacity, count: _c.library.vibee_tokenize_chat(
            handle.pointer, rows, len(rows), out, capacity, count))
        return ids

    def detokenize(self, tokens: Iterable[int]) -> str:
        """The text of ids, special tokens left out."""
        ids, handle = _ids(tokens), self._open()
        text: bytes = _fetch(ctypes.c_char, 8 * len(ids), lambda out, capacity, size: _c.library.vibee_detokenize(
            handle.pointer, ids, len(ids), out, capacity, size))
        return text.decode("utf-8", "replace")

    # --- generation

    def stream(self, prompt: str | list[int], **options: Unpack[Options]) -> Iterator[str]:
        """The continuation of a prompt, a text or token ids, piece by piece as it comes. Leaving the loop ends it."""
        stream = self._start([prompt], options)  # here, so that errors come with the call
        return (event.text for event in stream if event.text)

    @overload
    def generate(self, prompt: str | list[int], **options: Unpack[Options]) -> Text: ...
    @overload
    def generate(self, prompt: list[str] | list[list[int]], **options: Unpack[Options]) -> list[Text]: ...
    def generate(self, prompt: str | list[int] | list[str] | list[list[int]], **options: Unpack[Options]) -> Text | list[Text]:
        """The continuation of a prompt, a text or token ids; of a list of prompts those of all, generated together. Prompt i of several
        draws with seed + i."""
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list)):
            return self._start(prompt, options).texts()
        return self._start([prompt], options).texts()[0]  # type: ignore[list-item]

    def chat(self, messages: Sequence[Mapping[str, str]], **options: Unpack[Options]) -> Text:
        """The answer to a conversation, through the model's own chat template."""
        return self.generate(self.tokenize_chat(messages), **options)

    def _start(self, prompts: Sequence[str | list[int]], options: Options) -> _Stream:
        ids = [self.tokenize(p) if isinstance(p, str) else p for p in prompts]
        return _Stream(self._open(), ids, **options)

    # --- logits

    def logits(self, tokens: str | Sequence[int], first: int = 0) -> npt.NDArray[np.float32]:
        """Logits [tokens - first, vocabulary] of the tokens from `first` on, each row about the token that follows."""
        ids, handle = _ids(self.tokenize(tokens) if isinstance(tokens, str) else tokens), self._open()
        rows = max(0, len(ids) - _number("first", first, 0, _U64))
        if len(ids) > self.info.context:  # before memory is asked for
            raise Error(f"{len(ids)} tokens exceed the context of {self.info.context}; load with a larger ctx")
        out = np.empty((rows, self.info.vocabulary), np.float32)
        _check(_c.library.vibee_logits(handle.pointer, ids, len(ids), first, out.ctypes.data, out.size))
        return out


@dataclass
class _Event:
    """A token of one of the prompts."""
    prompt: int
    token: int
    text: str
    finish: str
    logprob: float
    top: list[tuple[int, float]]


class _Stream:
    """Prompts that are being continued together."""

    def __init__(self, model: _Handle, prompts: Sequence[Sequence[int]], *, max_tokens: int = 256, temperature: float = 0,
                 top_k: int = 0, top_p: float = 1, min_p: float = 0, typical_p: float = 1, repetition_penalty: float = 1,
                 presence_penalty: float = 0, frequency_penalty: float = 0, penalty_window: int = 256, seed: int | None = None,
                 stop: str | Sequence[str] = (), ignore_end: bool = False, logprobs: int = 0,
                 logit_bias: Mapping[int, float] | None = None) -> None:
        self.seed = _number("seed", secrets.randbits(64) if seed is None else seed, 0, _U64)
        self.prompts = len(prompts)
        o = _c.GenerateOptions()
        o.max_tokens, o.top_k = _number("max_tokens", max_tokens, 1, _U32), _number("top_k", top_k, 0, _U32)
        o.temperature, o.top_p, o.min_p, o.typical_p = temperature, _nonzero("top_p", top_p), min_p, _nonzero("typical_p", typical_p)
        o.repetition_penalty = _nonzero("repetition_penalty", repetition_penalty)
        o.presence_penalty, o.frequency_penalty = presence_penalty, frequency_penalty
        o.penalty_window, o.logprobs = _number("penalty_window", penalty_window, 1, _U32), _number("logprobs", logprobs, 0, _U32)
        o.seed, o.ignore_end = self.seed, ignore_end
        stops = [_zero_terminated("stop", text) for text in ([stop] if isinstance(stop, str) else stop)]
        o.stop, o.stop_count = (ctypes.c_char_p * len(stops))(*stops), len(stops)
        bias = logit_bias or {}
        o.logit_bias = (_c.LogitBias * len(bias))(*(_c.LogitBias(_number("logit_bias", t, 0, 2**31 - 1), b) for t, b in bias.items()))
        o.logit_bias_count = len(bias)
        ids = [_ids(p) for p in prompts]
        rows = (_c.Prompt * len(ids))(*(_c.Prompt(ctypes.cast(row, ctypes.POINTER(ctypes.c_int32)), len(row)) for row in ids))
        pointer = ctypes.c_void_p()
        _check(_c.library.vibee_stream_open(model.pointer, rows, len(rows), o, pointer))
        self._handle = _Handle(pointer, _c.library.vibee_stream_free)

    def __iter__(self) -> Iterator[_Event]:
        step, pointer, out = _c.library.vibee_stream_next, self._handle.pointer, ctypes.POINTER(_c.Event)()
        try:
            while (code := step(pointer, out)) != _c.END:
                _check(code)
                raw = out.contents
                if raw.token < 0:  # a step of prompt rows only
                    continue
                text = ctypes.string_at(raw.text, raw.text_size).decode("utf-8", "replace") if raw.text_size else ""
                top = [(t.token, t.logprob) for t in raw.top[: raw.top_count]]
                yield _Event(raw.prompt, raw.token, text, _c.FINISHES[raw.finish], raw.logprob, top)
        finally:
            self.stats = self._stats()
            self._handle.free()

    def _stats(self) -> Stats:
        raw = _c.Stats()
        _check(_c.library.vibee_stream_stats(self._handle.pointer, raw))
        return Stats(**{name: getattr(raw, name) for name in Stats.__dataclass_fields__})

    def texts(self) -> list[Text]:
        """Runs to the end."""
        events: list[list[_Event]] = [[] for _ in range(self.prompts)]
        for event in self:
            events[event.prompt].append(event)
        out = []
        for i, row in enumerate(events):
            text = Text("".join(e.text for e in row))
            text.tokens, text.logprobs, text.top = [e.token for e in row], [e.logprob for e in row], [e.top for e in row]
            text.finish, text.seed, text.stats = row[-1].finish, (self.seed + i) & _U64, self.stats
            out.append(text)
        return out


def load(model: str, *, ctx: int | None = None, threads: int | None = None, batch: int = 1, chunk: int = 256, kv: str = "f16",
         act: str = "int8", isa: str | None = None, prefix: str = "radix", memory: int | None = None) -> Model:
    """Loads a model: a GGUF file, a directory of transformers, or a name that `vibee list` shows.

    ctx: positions a sequence (None: the model's own, at most 4096). threads: None is one a core. batch: sequences generated at once.
    chunk: prompt rows a step. kv: format of keys and values, f32, f16 or q8_0. act: int8, llm_int8 (the largest elements stay floats), bf16 (where 32 stand in a step, by AMX), or f32 (slow; activations are not rounded).
    isa: scalar, avx2 or avx512 (None: the best of this CPU). prefix: what is kept for prompts that begin alike, radix or off. memory: refuse to take more than this many bytes."""
    o = _c.LoadOptions()
    o.context = 0 if ctx is None else _number("ctx", ctx, 1, _U32)
    o.threads = 0 if threads is None else _number("threads", threads, 1, _U32)
    o.batch, o.chunk = _number("batch", batch, 1, _U32), _number("chunk", chunk, 1, _U32)
    o.kv, o.act = _zero_terminated("kv", kv), _zero_terminated("act", act)
    o.isa = None if isa is None else _zero_terminated("isa", isa)
    o.prefix = _zero_terminated("prefix", prefix)
    o.memory = 0 if memory is None else _number("memory", memory, 1, _U64)
    pointer = ctypes.c_void_p()
    _check(_c.library.vibee_load(_zero_terminated("model", os.fspath(model)), o, pointer))
    return Model(_Handle(pointer, _c.library.vibee_free))
