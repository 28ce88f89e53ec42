#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the committed golden data again with the outside oracles of tools/goldens.txt, in a Python environment under build/.
# usage: tools/goldens.sh SMOLLM2.gguf GEMMA3.gguf     (both come with `vibee pull`)
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 2 ] && [ -f "$1" ] && [ -f "$2" ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
python3 -m venv build/goldens
build/goldens/bin/pip install --quiet -r tools/goldens.txt
build/goldens/bin/python tools/make_token_goldens.py --gpt2 "$1" --llama "$2" --out data/golden/token
build/goldens/bin/python tools/make_pipeline_goldens.py --out data/golden/token
build/goldens/bin/python tools/make_block_goldens.py data/golden/blocks
build/goldens/bin/python tools/make_any_precision_goldens.py data/golden
build/goldens/bin/python tools/make_template_goldens.py data/golden/template
build/goldens/bin/python tools/make_chat_goldens.py data/golden/chat
build/goldens/bin/python tools/make_model_goldens.py data/golden/model
build/goldens/bin/python tools/make_hf_goldens.py data/golden/hf
build/goldens/bin/python tools/make_quantized_goldens.py data/golden/quantized
build/goldens/bin/python tools/make_quanto_goldens.py data/golden
build/goldens/bin/python tools/make_hqq_goldens.py data/golden
build/goldens/bin/python tools/make_llm_int8_goldens.py data/golden
build/goldens/bin/python tools/make_torchao_goldens.py data/golden
build/goldens/bin/python tools/make_gradient_goldens.py data/golden
build/goldens/bin/python tools/make_train_goldens.py data/golden
build/goldens/bin/python tools/make_precision_goldens.py data/golden
build/goldens/bin/python tools/make_optimiser_goldens.py data/golden/optimiser
build/goldens/bin/python tools/make_lora_goldens.py data/golden/hf data/golden/lora
build/goldens/bin/python tools/make_bert_goldens.py data/golden/bert
build/goldens/bin/python tools/make_bpe_train_goldens.py data/golden
build/goldens/bin/python tools/make_schema_goldens.py data/golden/grammar/schemas.json
git --no-pager diff --stat -- data/golden
