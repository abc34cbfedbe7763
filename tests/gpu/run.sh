#!/usr/bin/env bash
# Checks and measures samloop on a GPU, in some minutes and without a network: tests/gpu/run.sh [PYTHON [--nuclei FOLDER]]
# PYTHON is an interpreter that has a CUDA build of PyTorch; samloop's other packages are fetched only if it lacks them.
set -euo pipefail
cd "$(dirname "$0")/../.."
python="${1:-python3}"
export HF_HUB_OFFLINE=1 PYTHONPATH="$PWD:$PWD/tests${PYTHONPATH:+:$PYTHONPATH}"
"$python" -c 'import torch, sys; sys.exit(None if torch.cuda.is_available() else "PyTorch sees no CUDA device: run this where nvidia-smi lists one, with a CUDA build of PyTorch")'
timeout 240 "$python" -m pytest -q -p no:cacheprovider tests/gpu tests/backend/sam/layers
timeout 240 "$python" tests/gpu/measure.py "${@:2}"
