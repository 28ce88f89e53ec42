#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/bert/: tiny random BERTs as `transformers` saves them, with what it computes of them in float32.

Made with torch 2.15.0 (CPU), transformers 5.24.0, gguf 0.19.0 and numpy 2.4.6:  python tools/make_bert_goldens.py data/golden/bert
  NAME/config.json, NAME/model.safetensors   as save_pretrained writes them, and for some the files of sentence-transformers
  NAME/tokenizer.json   of st-mean and cross: WordPiece of letters
  NAME/strings.json  of these: `strings`, texts with their `ids` and the length-one mean (cut at max_seq_length), or pairs with `ids`,
                     `types` and `logit` (cut at 64 tokens, the longer first)
  NAME/golden.json   `texts`: ids and token types of each; `dim`, and `labels` of a classifier (0: none)
  NAME/golden.bin    float32; of each text its hidden rows [tokens][dim], then its mean, max, cls and last pooled [4][dim] (mean,
                     max: over all tokens), the mean with length one [dim], and the classifier's logits [labels]
  mlm-cls.gguf       the model of that directory, with the names and keys of GGUF
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import tokenizers as tk
import torch
import transformers as t

LENGTHS = (1, 2, 7, 16, 17, 40, 64)
MODELS = {
    "st-mean": (t.BertModel, dict(vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=44,
                                  max_position_embeddings=64), "mean", True),
    "st-max": (t.BertModel, dict(vocab_size=50, hidden_size=40, num_hidden_layers=1, num_attention_heads=5, intermediate_size=52,
                                 max_position_embeddings=64, type_vocab_size=3), "max", False),
    "cross": (t.BertForSequenceClassification, dict(vocab_size=60, hidden_size=48, num_hidden_layers=2, num_attention_heads=3,
                                                    intermediate_size=64, max_position_embeddings=64, num_labels=1), None, None),
    "mlm-cls": (t.BertForMaskedLM, dict(vocab_size=64, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=50,
                                        max_position_embeddings=64), "cls", False),
}
HALF = {"st-max", "cross"}  # matrices in float16


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            if p.dim() > 1:
                p.copy_((x * (0.8 if "embeddings" in key else 1.5 * p.shape[-1] ** -0.5)).half().float())
            else:
                p.copy_(0.1 * x if key.endswith("bias") else 1 + 0.2 * x)


def sentence_transformers(folder, dim, pooling, normalise):
    modules = ["Transformer", "Pooling"] + ["Normalize"] * normalise
    (folder / "modules.json").write_text(json.dumps(
        [dict(idx=i, name=str(i), path="" if i == 0 else f"{i}_{m}", type=f"sentence_transformers.models.{m}")
         for i, m in enumerate(modules)], indent=2) + "\n")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "mean_sqrt_len_tokens": ""}
    (folder / "1_Pooling/config.json").write_text(json.dumps(
        {"word_embedding_dimension": dim, **{f"pooling_mode_{k}": v == pooling for k, v in modes.items()}}, indent=2) + "\n")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 48, "do_lower_case": false}\n')


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [p + c for p in ("", "##") for c in map(chr, range(97, 123))] + [".", ",", "?"]
STRINGS = ["a cat sleeps.", "Dogs, cats?", "", "x", "Éa 7!", "the quick brown fox jumps over the lazy dog and runs away."]
LONG = "so many words that none of them all will ever fit in here, not even half of them."


def tokenizer(most):
    made = tk.Tokenizer(tk.models.WordPiece({w: i for i, w in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.normalizer = tk.normalizers.BertNormalizer()
    made.pre_tokenizer = tk.pre_tokenizers.BertPreTokenizer()
    made.decoder = tk.decoders.WordPiece()
    made.post_processor = tk.processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)])
    made.enable_truncation(most, strategy="longest_first")
    return made


def write_strings(folder, name, model):
    made, rows = tokenizer(48 if name == "st-mean" else 64), []
    for i, text in enumerate(STRINGS + [LONG]):
        other = (STRINGS + [LONG])[-1 - i]
        coded = made.encode(text, other) if name == "cross" else made.encode(text)
        inputs = dict(input_ids=torch.tensor([coded.ids]), token_type_ids=torch.tensor([coded.type_ids]))
        with torch.no_grad():
            if name == "cross":
                rows.append(dict(query=text, document=other, ids=coded.ids, types=coded.type_ids, logit=float(model(**inputs).logits[0, 0])))
            else:
                mean = torch.nn.functional.normalize(model(**inputs).last_hidden_state[0].mean(0), dim=0)
                rows.append(dict(text=text, ids=coded.ids, embedding=mean.tolist()))
    made.no_truncation()
    made.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "strings.json").write_text(json.dumps(dict(strings=rows), ensure_ascii=False) + "\n")


def write_gguf(path, model, pooling):
    c = model.config
    w = gguf.GGUFWriter(path, "bert")
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_layer_norm_eps(c.layer_norm_eps)
    w.add_causal_attention(False)
    w.add_pooling_type({"mean": gguf.PoolingType.MEAN, "cls": gguf.PoolingType.CLS}[pooling])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, c.num_hidden_layers)
    for key, p in model.bert.state_dict().items():
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise SystemExit(f"GGUF has no name for {key}")
        w.add_tensor(name, p.float().numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    out = Path(sys.argv[1])
    for name, (make, sizes, pooling, normalise) in MODELS.items():
        config = t.BertConfig(**sizes, attn_implementation="eager")
        model = make(config).float().eval()
        randomise(model, sum(map(ord, name)))
        rng = np.random.default_rng(len(name))
        texts, values = [], []
        for n in LENGTHS:
            ids = rng.integers(1, config.vocab_size, n)
            types = (np.arange(n) * config.type_vocab_size // n) if name in ("cross", "st-max") else np.zeros(n, int)
            texts.append(dict(ids=ids.tolist(), types=types.tolist()))
            inputs = dict(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
            with torch.no_grad():
                x = getattr(model, "bert", model)(**inputs).last_hidden_state[0]
                mean = x.mean(0)
                values += [x, mean, x.max(0).values, x[0], x[-1], torch.nn.functional.normalize(mean, dim=0)]
                if name == "cross":
                    values.append(model(**inputs).logits[0])
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        if name in ("st-mean", "cross"):
            write_strings(folder, name, model)
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() > 1 and name in HALF:
                    p.data = p.data.half()
        model.save_pretrained(folder)
        if pooling and name != "mlm-cls":
            sentence_transformers(folder, config.hidden_size, pooling, normalise)
        if name == "mlm-cls":
            write_gguf(out / f"{name}.gguf", model, pooling)
        (folder / "golden.json").write_text(json.dumps(dict(texts=texts, dim=config.hidden_size, labels=int(name == "cross"))) + "\n")
        np.concatenate([v.numpy().astype(np.float32).ravel() for v in values]).tofile(folder / "golden.bin")
        print(name, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
