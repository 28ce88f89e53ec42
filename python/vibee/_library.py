# SPDX-License-Identifier: Apache-2.0
"""libvibee.so as vibee.h declares it. A call releases the interpreter's lock while it works."""
import ctypes
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

ABI_VERSION = 1
OK, CANCELLED, END = 0, 7, 8
CODES = ("ok", "invalid", "not_found", "corrupt", "unsupported", "io", "no_memory", "cancelled", "end")
FINISHES = ("running", "end_token", "stop_string", "length", "context", "cancelled")


class Sized(ctypes.Structure):
    """A struct that begins with its own size; everything else is zero, which means the default."""

    def __init__(self) -> None:
        super().__init__(ctypes.sizeof(self))


class LoadOptions(Sized):
    _fields_ = [("struct_size", c_size_t), ("threads", c_uint32), ("context", c_uint32), ("batch", c_uint32), ("chunk", c_uint32),
                ("logits", c_uint32), ("kv", c_char_p), ("act", c_char_p), ("isa", c_char_p), ("prefix", c_char_p),
                ("memory", c_uint64)]


class ModelInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("path", c_char_p), ("architecture", c_char_p), ("name", c_char_p), ("kv", c_char_p),
                ("isa", c_char_p), ("parameters", c_uint64), ("layers", c_uint32), ("width", c_uint32), ("heads", c_uint32),
                ("kv_heads", c_uint32), ("head_width", c_uint32), ("vocabulary", c_uint32), ("trained_context", c_uint32),
                ("context", c_uint32), ("batch", c_uint32), ("threads", c_uint32), ("bos", c_int32), ("eos", c_int32),
                ("add_bos", c_int32), ("chat_template", c_int32), ("weight_bytes", c_uint64), ("work_bytes", c_uint64),
                ("kv_bytes", c_uint64), ("load_seconds", c_double)]


class Message(ctypes.Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class LogitBias(ctypes.Structure):
    _fields_ = [("token", c_int32), ("bias", c_float)]


class GenerateOptions(Sized):
    _fields_ = [("struct_size", c_size_t), ("max_tokens", c_uint32), ("top_k", c_uint32), ("temperature", c_float),
                ("top_p", c_float), ("min_p", c_float), ("typical_p", c_float), ("repetition_penalty", c_float),
                ("presence_penalty", c_float), ("frequency_penalty", c_float), ("penalty_window", c_uint32), ("seed", c_uint64),
                ("logprobs", c_uint32), ("ignore_end", c_int32), ("stop", POINTER(c_char_p)), ("stop_count", c_size_t),
                ("logit_bias", POINTER(LogitBias)), ("logit_bias_count", c_size_t)]


class TokenLogprob(ctypes.Structure):
    _fields_ = [("token", c_int32), ("logprob", c_float)]


class Event(ctypes.Structure):
    _fields_ = [("prompt", c_uint32), ("token", c_int32), ("text", c_void_p), ("text_size", c_size_t), ("finish", c_int),
                ("logprob", c_float), ("top", POINTER(TokenLogprob)), ("top_count", c_size_t)]


class Stats(Sized):
    _fields_ = [("struct_size", c_size_t), ("prompt_tokens", c_uint64), ("reused_tokens", c_uint64),
                ("generated_tokens", c_uint64), ("first_token_seconds", c_double), ("prompt_seconds", c_double), ("decode_seconds", c_double),
                ("decode_rate", c_double)]


class Prompt(ctypes.Structure):
    _fields_ = [("tokens", POINTER(c_int32)), ("count", c_size_t)]


FUNCTIONS = {
    "vibee_abi_version": (c_uint32, []),
    "vibee_version": (c_char_p, []),
    "vibee_last_error": (c_char_p, []),
    "vibee_load": (c_int, [c_char_p, POINTER(LoadOptions), POINTER(c_void_p)]),
    "vibee_free": (None, [c_void_p]),
    "vibee_info": (c_int, [c_void_p, POINTER(ModelInfo)]),
    "vibee_tokenize": (c_int, [c_void_p, c_char_p, c_size_t, c_int, POINTER(c_int32), c_size_t, POINTER(c_size_t)]),
    "vibee_detokenize": (c_int, [c_void_p, POINTER(c_int32), c_size_t, c_char_p, c_size_t, POINTER(c_size_t)]),
    "vibee_tokenize_chat": (c_int, [c_void_p, POINTER(Message), c_size_t, POINTER(c_int32), c_size_t, POINTER(c_size_t)]),
    "vibee_stream_open": (c_int, [c_void_p, POINTER(Prompt), c_size_t, POINTER(GenerateOptions), POINTER(c_void_p)]),
    "vibee_stream_next": (c_int, [c_void_p, POINTER(POINTER(Event))]),
    "vibee_stream_stats": (c_int, [c_void_p, POINTER(Stats)]),
    "vibee_stream_free": (None, [c_void_p]),
    "vibee_logits": (c_int, [c_void_p, POINTER(c_int32), c_size_t, c_size_t, c_void_p, c_size_t]),
}


def _open() -> ctypes.CDLL:
    path = Path(__file__).with_name("libvibee.so")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as reason:
        raise ImportError(f"vibee: its library cannot be loaded: {reason}") from None
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if library.vibee_abi_version() != ABI_VERSION:
        raise ImportError(f"vibee: {path} is of ABI {library.vibee_abi_version()}, this package of {ABI_VERSION}; install it again")
    return library


library = _open()
