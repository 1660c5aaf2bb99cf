"""``python -m tests.vllm.record``: write ``tests/support/vllm_contract.json`` anew.

For another version of vLLM: the difference shows what changed, and what the simulated one, the
fake and the gateway have to learn.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")  # noqa: TID251

from tests.support.vllm_contract import record
from tests.vllm.servers import every, serving

if __name__ == "__main__":
    servers = every(Path(tempfile.mkdtemp()))
    with serving(servers["tiny"], servers["tiny-pool"]):
        record(servers["tiny"].url, servers["tiny-pool"].url, "tiny")
