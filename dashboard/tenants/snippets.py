"""A first request with a key, in the words of four tools.  Pure text."""

from collections.abc import Sequence
from typing import NamedTuple


class Snippet(NamedTuple):
    id: str
    name: str
    text: str


def snippets(key: str, address: str, models: Sequence[str]) -> list[Snippet]:
    model = models[0] if models else "MODEL"
    return [
        Snippet("env", ".env", f"OPENAI_API_KEY={key}\nOPENAI_BASE_URL={address}\n"),
        Snippet("curl", "curl", _curl(key, address, model)),
        Snippet("python", "Python", _python(key, address, model)),
        Snippet("node", "Node", _node(key, address, model)),
    ]


def _curl(key: str, address: str, model: str) -> str:
    return f"""curl {address}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""


def _python(key: str, address: str, model: str) -> str:
    return f"""from openai import OpenAI

client = OpenAI(
    base_url="{address}",
    api_key="{key}",
)
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)
"""


def _node(key: str, address: str, model: str) -> str:
    return f"""import OpenAI from "openai";

const client = new OpenAI({{
  baseURL: "{address}",
  apiKey: "{key}",
}});
const answer = await client.chat.completions.create({{
  model: "{model}",
  messages: [{{ role: "user", content: "Hello" }}],
}});
console.log(answer.choices[0].message.content);
"""
