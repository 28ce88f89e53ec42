/* SPDX-License-Identifier: Apache-2.0
 *
 * VIBEE from C: load a model, tokenize, generate, logits. docs/c.md walks through it; vibee.hpp is the same for C++.
 *
 * Errors. Functions that can fail return a vibee_code; vibee_last_error() is then one line that says what was wrong,
 * where, and what to do. Nothing prints, throws, or ends the process over bad input. After a failure what `out` points
 * to is unchanged, unless said otherwise.
 *
 * Structs that begin with struct_size are zeroed and told their own size: `vibee_stats s = {.struct_size = sizeof s};`.
 * Zero and NULL mean the default of every field. Later versions append fields; a program built with an older header
 * goes on working.
 *
 * Threads. Every function may be called from any thread, unless said otherwise. What is generated on one model at the
 * same time, by one thread or several, is computed together; two models compute each on threads of its own. A process
 * that forks loads its models in the child.
 *
 * Text is UTF-8. Sizes and offsets are bytes, counts are elements, times are seconds.
 */
#ifndef VIBEE_VIBEE_H
#define VIBEE_VIBEE_H

#include <stddef.h>
#include <stdint.h>

#define VIBEE_API __attribute__((visibility("default")))

/* Grows when a program built with an older header would not work; also the major number of libvibee.so. */
#define VIBEE_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vibee_code {
  VIBEE_OK = 0,
  VIBEE_INVALID = 1,     /* an argument is wrong */
  VIBEE_NOT_FOUND = 2,   /* no such file or model */
  VIBEE_CORRUPT = 3,     /* a file is damaged */
  VIBEE_UNSUPPORTED = 4, /* this build cannot do it */
  VIBEE_IO = 5,          /* reading failed */
  VIBEE_NO_MEMORY = 6,   /* it does not fit; the line names settings that would */
  VIBEE_CANCELLED = 7,   /* vibee_stream_stop was called */
  VIBEE_END = 8          /* the stream has no more events; no error */
} vibee_code;

/* The ABI version of the library that is loaded, to compare with VIBEE_ABI_VERSION. */
VIBEE_API uint32_t vibee_abi_version(void);
/* "0.1.0". */
VIBEE_API const char* vibee_version(void);
/* The line of the last call that failed on this thread, valid until the next one fails there; "" if none did. */
VIBEE_API const char* vibee_last_error(void);

/* --- models --- */

typedef struct vibee_model vibee_model;

typedef struct vibee_load_options {
  size_t struct_size;
  uint32_t threads;   /* 0: one a core */
  uint32_t context;   /* positions a sequence; 0: the model's own, at most 4096 */
  uint32_t batch;     /* sequences generated at once, the others wait; 0: 1 */
  uint32_t chunk;     /* prompt rows a step; 0: 256 */
  uint32_t logits;    /* rows whose logits a step computes; 0: 32, or batch if that is more */
  const char* kv;     /* format of keys and values: f32, f16, q8_0; NULL: f16 */
  const char* act;    /* rows that meet an integer weight: int8, llm_int8, bf16 (docs/formats.md), f32 (slow); NULL: int8 */
  const char* isa;    /* scalar, avx2, avx512; NULL: the best of this CPU */
  const char* prefix; /* what is kept for prompts that begin alike: radix, off; NULL: radix */
  uint64_t memory;    /* refuse to take more than this many bytes; 0: what the system has */
} vibee_load_options;

/* Loads `model`: a GGUF file, a directory of transformers, or a name that `vibee list` shows. The memory it will take
 * is checked before anything is loaded. `options` may be NULL. */
VIBEE_API vibee_code vibee_load(const char* model, const vibee_load_options* options, vibee_model** out);
/* Gives the model back; streams that are still open keep what they need. NULL is allowed. No other call on this handle
 * may be running or follow. */
VIBEE_API void vibee_free(vibee_model* model);

typedef struct vibee_model_info {
  size_t struct_size;
  const char *path, *architecture, *name, *kv, *isa; /* live as long as the model */
  uint64_t parameters;
  uint32_t layers, width, heads, kv_heads, head_width;
  uint32_t vocabulary;      /* logits a row */
  uint32_t trained_context; /* positions the model can be asked for */
  uint32_t context, batch, threads;
  int32_t bos, eos;                            /* token ids; -1: none */
  int32_t add_bos;                             /* 1: a prompt begins with bos */
  int32_t chat_template;                       /* 1: the model has one */
  uint64_t weight_bytes, work_bytes, kv_bytes; /* of memory, as stated before loading */
  double load_seconds;
} vibee_model_info;

/* Fills the first out->struct_size bytes of `out`. */
VIBEE_API vibee_code vibee_info(const vibee_model* model, vibee_model_info* out);

/* --- tokens --- */

/* Token ids of the `size` bytes at `text`. With `prompt` nonzero as a prompt: the model's bos before it where it wants
 * one, and special tokens spelled in the text count as such. Otherwise the text alone. *count becomes the number of
 * ids; the first `capacity` of them are written to `tokens`. Call with capacity 0 to ask for the number. */
VIBEE_API vibee_code vibee_tokenize(const vibee_model* model, const char* text, size_t size, int prompt,
                                    int32_t* tokens, size_t capacity, size_t* count);
/* The text of ids, special tokens left out. *size becomes its length; the first `capacity` bytes are written, no zero
 * behind. */
VIBEE_API vibee_code vibee_detokenize(const vibee_model* model, const int32_t* tokens, size_t count, char* text,
                                      size_t capacity, size_t* size);

typedef struct vibee_message {
  const char *role, *content; /* "system", "user" or "assistant"; zero-terminated */
} vibee_message;

/* The prompt of a conversation through the model's own chat template, ready for the next answer; out as in
 * vibee_tokenize. */
VIBEE_API vibee_code vibee_tokenize_chat(const vibee_model* model, const vibee_message* messages, size_t message_count,
                                         int32_t* tokens, size_t capacity, size_t* count);

/* --- generation --- */

typedef struct vibee_logit_bias {
  int32_t token;
  float bias;
} vibee_logit_bias;

/* Filters act in this order: bias and penalties, temperature, top_k, typical_p, top_p, min_p. The same request gives
 * the same bytes, whatever else is in the batch and however many threads there are. */
typedef struct vibee_generate_options {
  size_t struct_size;
  uint32_t max_tokens;      /* 0: 256 */
  uint32_t top_k;           /* keep the k likeliest; 0: all */
  float temperature;        /* 0: greedy */
  float top_p;              /* keep the likeliest with this mass; 0: all */
  float min_p;              /* drop those below this share of the likeliest; 0: none */
  float typical_p;          /* keep the most typical with this mass; 0: all */
  float repetition_penalty; /* divides logits of seen tokens; 0: off */
  float presence_penalty;   /* subtracted once for a seen token */
  float frequency_penalty;  /* subtracted for each occurrence */
  uint32_t penalty_window;  /* last tokens that count as seen; 0: 256 */
  uint64_t seed;            /* prompt i of several draws with seed + i */
  uint32_t logprobs;        /* alternatives in each event, at most 100 */
  int32_t ignore_end;       /* nonzero: go on after the model's end token */
  const char* const* stop;  /* the text ends before any of these strings */
  size_t stop_count;
  const vibee_logit_bias* logit_bias;
  size_t logit_bias_count;
} vibee_generate_options;

typedef enum vibee_finish {
  VIBEE_RUNNING = 0,
  VIBEE_FINISH_END_TOKEN = 1,
  VIBEE_FINISH_STOP_STRING = 2,
  VIBEE_FINISH_LENGTH = 3,   /* max_tokens */
  VIBEE_FINISH_CONTEXT = 4,  /* no position is left */
  VIBEE_FINISH_CANCELLED = 5 /* ended from outside; no event says this */
} vibee_finish;

typedef struct vibee_token_logprob {
  int32_t token;
  float logprob;
} vibee_token_logprob;

/* What one token gave to one prompt. It lives until the next call on the stream, or the end of the callback. Later
 * versions append fields. */
typedef struct vibee_event {
  uint32_t prompt;  /* which of the prompts */
  int32_t token;    /* -1: a step for prompt rows or other streams; the other fields are empty then */
  const char* text; /* whole characters, zero-terminated; empty while a character or a stop string is undecided */
  size_t text_size;
  vibee_finish finish; /* not VIBEE_RUNNING in the last event of the prompt */
  float logprob;       /* of the token in the model's own distribution, before bias, penalties and temperature */
  const vibee_token_logprob* top; /* logprobs of them, best first */
  size_t top_count;
} vibee_event;

typedef struct vibee_stats {
  size_t struct_size;
  uint64_t prompt_tokens;
  uint64_t reused_tokens; /* of the prompts: computed by earlier generations that began alike */
  uint64_t generated_tokens;
  double first_token_seconds; /* until the first token of any prompt */
  double prompt_seconds;      /* of steps with prompt rows */
  double decode_seconds;      /* of the others */
  double decode_rate;         /* tokens a second of the others */
} vibee_stats;

/* Continues one prompt, as vibee_tokenize with `prompt` reads it. `on_event` gets every token as it comes; a nonzero
 * return stops. `options`, `on_event` and `stats` may be NULL. VIBEE_OK also when the callback stopped it. The callback
 * may call every function but vibee_free of this model. */
VIBEE_API vibee_code vibee_generate(vibee_model* model, const char* prompt, const vibee_generate_options* options,
                                    int (*on_event)(const vibee_event* event, void* user), void* user,
                                    vibee_stats* stats);

/* Several prompts together, an event at a time: what vibee_generate is made of. Any stream's next step computes for all
 * streams of the model; what a stream has not taken yet waits for it. */
typedef struct vibee_stream vibee_stream;

typedef struct vibee_prompt {
  const int32_t* tokens;
  size_t count;
} vibee_prompt;

/* Checks and queues the prompts; nothing is computed yet. A batch's worth of them runs at once, the others as places
 * get free. The arguments are copied. */
VIBEE_API vibee_code vibee_stream_open(vibee_model* model, const vibee_prompt* prompts, size_t prompt_count,
                                       const vibee_generate_options* options, vibee_stream** out);
/* The next event, after one step at most. VIBEE_END when every prompt is finished. One thread at a time. */
VIBEE_API vibee_code vibee_stream_next(vibee_stream* stream, const vibee_event** out);
/* The coming step of vibee_stream_next gives VIBEE_CANCELLED instead. May be called from any thread and from a signal
 * handler while the stream is open. */
VIBEE_API void vibee_stream_stop(vibee_stream* stream);
/* What it took until now; fills the first out->struct_size bytes. Times are those of the model's steps meanwhile. */
VIBEE_API vibee_code vibee_stream_stats(const vibee_stream* stream, vibee_stats* out);
/* Ends the stream; unfinished prompts are dropped. NULL is allowed. */
VIBEE_API void vibee_stream_free(vibee_stream* stream);

/* --- logits --- */

/* Logits [count - first][vocabulary] of the last count - first of `tokens`, each row about the token that follows.
 * `capacity`, in floats, must hold them. On an error the buffer holds anything. */
VIBEE_API vibee_code vibee_logits(vibee_model* model, const int32_t* tokens, size_t count, size_t first, float* logits,
                                  size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
