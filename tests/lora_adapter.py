# SPDX-License-Identifier: Apache-2.0
"""An adapter of random numbers, for tests."""
import json
import os
import random
import struct


def write_adapter(folder, seed, rank=4, layers=range(0, 30, 3), size=0.5):
    """A PEFT adapter of SmolLM2-135M: random numbers for queries and the down projection of some layers."""
    draw = random.Random(seed)
    header, data = {}, b""
    for layer in layers:
        for module, k, n in (("self_attn.q_proj", 576, 576), ("mlp.down_proj", 1536, 576)):
            for half, shape in (("A", [rank, k]), ("B", [n, rank])):
                numbers = struct.pack(f"<{shape[0] * shape[1]}f", *(size * (2 * draw.random() - 1) for _ in range(shape[0] * shape[1])))
                header[f"base_model.model.model.layers.{layer}.{module}.lora_{half}.weight"] = {
                    "dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
                data += numbers
    text = json.dumps(header).encode()
    os.makedirs(folder)
    with open(folder + "/adapter_model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    with open(folder + "/adapter_config.json", "w") as file:
        json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": 2, "target_modules": ["q_proj", "down_proj"], "bias": "none"}, file)
    return folder
