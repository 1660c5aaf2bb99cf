"""The data plane: takes OpenAI requests, decides whose turn it is, passes them to vLLM.

Stands on its own: it never imports ``dashboard``.  Read ``proxy.py`` first.
"""
