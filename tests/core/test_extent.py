"""How much work a request asks for."""

import json

import pytest

from gateway.core.extent import GENERATED_SEQUENCES, IMAGE_TOKENS, POOLED_SEQUENCES
from tests.support.calls import parsed, refusal

COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
BASE64 = "iVBORw0KGgo" * 1000


# Sequences


@pytest.mark.parametrize(
    ("fields", "sequences"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": ["a", "b, [c]", "d"]}, 3),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": []}, 1),
        ({"prompt": None, "prompt_embeds": ["x", "y"]}, 2),
        ({"prompt": ["a", "b"], "n": 3}, 6),
        ({"prompt": "a", "n": 2, "best_of": 5}, 5),
        ({"prompt": "a", "n": 4, "use_beam_search": True}, 4),
        ({"prompt": "a", "n": None}, 1),
        ({"prompt": "a", "n": 0}, 1),
        ({"prompt": "a", "n": -3}, 1),
    ],
)
def test_sequences_are_choices_times_prompts(fields, sequences):
    assert parsed(endpoint=COMPLETIONS, **fields).sequences == sequences


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": GENERATED_SEQUENCES + 1}, "n"),
        ({"n": "33"}, "n"),
        ({"n": 1e300}, "n"),
        ({"best_of": 40.0}, "n"),
        ({"n": 100, "use_beam_search": True}, "n"),
        ({"prompt": ["a"] * 33}, "prompt"),
        ({"prompt": ["a"] * 17, "n": 2}, "prompt"),
        ({"prompt": [[1]] * 33}, "prompt"),
    ],
)
def test_more_sequences_than_fit_are_refused(fields, param):
    assert refusal(endpoint=COMPLETIONS, **fields) == ("too_many_sequences", param)


def test_as_many_as_fit_are_not():
    call = parsed(endpoint=COMPLETIONS, prompt=["a"] * 16, n=2)

    assert call.sequences == GENERATED_SEQUENCES


@pytest.mark.parametrize(
    ("endpoint", "fields", "sequences"),
    [
        (EMBEDDINGS, {"input": "a"}, 1),
        (EMBEDDINGS, {"input": ["a"] * 500}, 500),
        (EMBEDDINGS, {"input": [1, 2, 3]}, 1),
        (EMBEDDINGS, {"input": [[1, 2], [3]]}, 2),
        (EMBEDDINGS, {"input": ["a"], "n": 99}, 1),
        ("/v1/rerank", {"query": "q", "documents": ["a", "b", {"content": []}]}, 3),
        ("/score", {"text_1": "q", "text_2": ["a", "b"]}, 2),
        ("/score", {"data_1": ["q"] * 4, "data_2": ["a"] * 4}, 4),
        ("/v1/score", {"queries": "q", "items": ["a", "b"]}, 2),
        ("/classify", {"input": ["a", "b"]}, 2),
        ("/pooling", {}, 1),
    ],
)
def test_inputs_to_embed_or_score_are_counted(endpoint, fields, sequences):
    assert parsed(endpoint=endpoint, **fields).sequences == sequences


def test_as_many_inputs_pass_as_openai_takes():
    assert parsed(endpoint=EMBEDDINGS, input=["a"] * POOLED_SEQUENCES).sequences == 2048
    too_many = refusal(endpoint=EMBEDDINGS, input=["a"] * (POOLED_SEQUENCES + 1))
    assert too_many == ("too_many_sequences", "input")


# Tokens


def test_a_prompt_of_text_counts_four_bytes_a_token():
    text = "lorem ipsum dolor sit amet " * 100

    tokens = parsed(messages=[{"role": "user", "content": text}]).prompt_tokens

    assert tokens == pytest.approx(len(text) / 4, rel=0.02)


def test_even_nothing_has_a_token():
    assert parsed(messages=[]).prompt_tokens == 1


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_token_ids_are_counted_not_weighed(separators):
    def tokens(prompt: object) -> int:
        document = {"model": "qwen", "prompt": prompt}
        return parsed(json.dumps(document, separators=separators).encode()).prompt_tokens

    assert tokens(list(range(10_000, 11_000))) == 1000
    assert tokens([list(range(500)), list(range(500))]) == 1000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + BASE64}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
        {"type": "input_image", "image_url": "data:image/png;base64," + BASE64},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BASE64}},
        {"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}},
    ],
    ids=["data URL", "web URL", "responses", "anthropic", "audio"],
)
def test_an_image_counts_flat_and_not_by_its_base64(part):
    content = [{"type": "text", "text": "What is this?"}, part]

    def tokens(images: int) -> int:
        return parsed(
            messages=[{"role": "user", "content": [*content, *[part] * (images - 1)]}]
        ).prompt_tokens

    assert IMAGE_TOKENS <= tokens(1) < IMAGE_TOKENS + 100
    assert 3 * IMAGE_TOKENS <= tokens(3) < 3 * IMAGE_TOKENS + 200


def test_tools_and_documents_are_part_of_the_prompt():
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 4000}}]

    assert parsed(tools=tools).prompt_tokens > 1000


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6, "max_tokens": 5}, 6),
        ({"max_completion_tokens": None, "max_tokens": 5}, 5),
        ({"max_output_tokens": 7}, 7),
        ({"max_tokens": 0}, None),
    ],
)
def test_the_output_limit_is_found_under_each_name(fields, tokens):
    assert parsed(**fields).max_tokens == tokens


# Prefix


def test_calls_that_begin_alike_share_a_prefix():
    system = {"role": "system", "content": "You are helpful. " * 100}

    def prefix(question: str, **fields: object) -> str:
        messages = [system, {"role": "user", "content": question}]
        return parsed(messages=messages, **fields).prefix

    assert prefix("one") == prefix("two", temperature=0.5, n=2)
    assert prefix("one") != prefix("one", model="other")
    assert len(prefix("one")) == 16


def test_calls_that_begin_differently_do_not():
    prompts = ["a", "b", ["a"], [1, 2]]

    prefixes = {parsed(endpoint=COMPLETIONS, prompt=prompt).prefix for prompt in prompts}

    assert len(prefixes) == len(prompts)
    systems = {parsed(endpoint="/v1/messages", system=s).prefix for s in ("a", "b")}
    assert len(systems) == 2
