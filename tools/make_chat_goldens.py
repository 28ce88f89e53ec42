#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/golden/chat: a small tokenizer, and conversations by templates in the forms of published models, as ids and
as a mask of what an assistant said: what transformers gives for templates with {% generation %}.

    make_chat_goldens.py data/golden/chat
"""
import json
import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
           "<|eot_id|>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<s>", "</s>", "[INST]", "[/INST]"]

# @...@ is what an answer gives to learn.
TEMPLATES = {
    "chatml": "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n"
              "{% endif %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}@{{ m['content'] }}<|im_end|>@"
              "{% else %}{{ m['content'] }}<|im_end|>{% endif %}\n{% endfor %}"
              "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "headers": "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
               "{% if m['role'] == 'assistant' %}@{{ m['content'] | trim }}<|eot_id|>@"
               "{% else %}{{ m['content'] | trim }}<|eot_id|>{% endif %}{% endfor %}"
               "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "turns": "<bos>{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
             "{% if m['role'] == 'assistant' %}@{{ m['content'] | trim }}<end_of_turn>@"
             "{% else %}{{ m['content'] | trim }}<end_of_turn>{% endif %}\n{% endfor %}"
             "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "inst": "<s>{% for m in messages %}{% if m['role'] == 'assistant' %}@ {{ m['content'] }}</s>@"
            "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}",
}

CHATS = [
    [("user", "Where is the hen?"), ("assistant", "In the barn.")],
    [("system", "You know hens."), ("user", "Say \"hi\"\n to 3 hens"), ("assistant", "Hi, hens! 1, 2, 3: hi.\n\nMore?"),
     ("user", "No."), ("assistant", "Fine — good night.")],
    [("user", "Write a list:"), ("assistant", "- a\n- b\n"), ("user", "And\tthen?")],
    [("user", "a"), ("assistant", "")],
]


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [text for chat in CHATS for _, text in chat] + ["system user assistant model Be kind."] * 3
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    cases = []
    for name, template in TEMPLATES.items():
        pieces = template.split("@")
        marked = "{% generation %}".join(pieces[:2]) + "{% endgeneration %}" + pieces[2]
        hf = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", chat_template=marked)
        for chat in CHATS:
            if name == "inst" and chat[0][0] == "system":
                continue
            messages = [{"role": role, "content": content} for role, content in chat]
            made = hf.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            cases.append({"template": "".join(pieces), "messages": messages, "ids": made["input_ids"],
                          "learnt": made["assistant_masks"]})
    lines = ",\n".join(json.dumps(case) for case in cases)
    (out / "golden.json").write_text("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()
