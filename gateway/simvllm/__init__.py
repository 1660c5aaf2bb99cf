"""A simulated vLLM: the engine model in real time, behind vLLM's HTTP interface.

The demo, the load tests and every developer without a GPU run against it.  It stands alone: it
imports the engine model and nothing else of the gateway, so that it cannot share a mistake with
what it is there to test, and it knows no Django.  Start it with ``manage.py simvllm`` or
``python -m gateway.simvllm``; ``app.py`` is the place to begin reading.
"""
