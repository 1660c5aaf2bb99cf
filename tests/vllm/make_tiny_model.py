# ruff: noqa: TID251 -- transformers reads the environment, and reads it when it is imported
"""A Qwen2 of 200 thousand random weights, with its tokenizer and chat template: half a megabyte.

Run with the environment that install.sh made; nothing is downloaded. What the model says is noise,
so tests set `ignore_eos` and `max_tokens` and read lengths from `usage`.
"""

import os
import random
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

SEED = 0
VOCABULARY = 2048
HIDDEN = 64
HEADS = 2  # 32 wide each, the narrowest vLLM's CPU attention takes
LAYERS = 2
CONTEXT = 8192
END, START, PAD = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
TEXT = (
    "priority queue request tenant policy token latency wait server gateway model stream urgent "
    "batch user system assistant hello world the a of to in and is for on with that this be are "
    "as at by from or an it not was can will all more when which one you me your"
)
# ChatML as Qwen has it; tools are listed in the system turn, so that a request with tools renders.
TEMPLATE = (
    "{% if tools %}<|im_start|>system\n<tools>{% for tool in tools %}{{ tool | tojson }}"
    "{% endfor %}</tools><|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on sentences made up here."""
    dice = random.Random(SEED)
    sentences = [" ".join(dice.choices(TEXT.split(), k=40)) + "." for _ in range(400)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    sentences += [
        "".join(dice.choices(letters, k=dice.randrange(2, 9))) + f" {dice.randrange(100000)}"
        for _ in range(4000)
    ]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        sentences,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[PAD, START, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        chat_template=TEMPLATE,
    )


def model(end: int, pad: int) -> Qwen2ForCausalLM:
    torch.manual_seed(SEED)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=2 * HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=pad,
        )
    ).to(torch.bfloat16)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    words = tokenizer()
    words.save_pretrained(folder)
    model(words.eos_token_id, words.pad_token_id).save_pretrained(folder)
    (folder / ".made").touch()
