#!/usr/bin/env python3
"""Make a model folder in the shape of Qwen2.5-7B, without weights: configuration and tokenizer.

    make_model.py FOLDER

Served with ``--load-format dummy`` the compute is real and the text is noise, so it measures what
the real model would, on a machine that has no weights and no network.  Needs vLLM's environment.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 152_064
END_OF_TEXT, END_OF_TURN = 151_643, 151_645
SHAPE = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": END_OF_TEXT,
    "eos_token_id": END_OF_TURN,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "initializer_range": 0.02,
    "intermediate_size": 18_944,
    "max_position_embeddings": 32_768,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "sliding_window": 131_072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": VOCABULARY,
}
TEMPLATE = "{% for m in messages %}t1 {{ m['content'] }} t2 {% endfor %}"


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    words = Tokenizer(models.WordLevel({f"t{n}": n for n in range(VOCABULARY)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token=f"t{END_OF_TURN}",
        pad_token=f"t{END_OF_TEXT}",
        chat_template=TEMPLATE,
        model_max_length=SHAPE["max_position_embeddings"],
    ).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(SHAPE))
    generation = {"bos_token_id": END_OF_TEXT, "eos_token_id": END_OF_TURN, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    print("made", folder)


if __name__ == "__main__":
    main()
