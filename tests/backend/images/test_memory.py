"""What a large image took is given back."""

import ctypes
import subprocess
import sys

import pytest

_PROGRAM = """
import io, sys, threading
from PIL import Image
from backend.images.memory import give_back_memory
from backend.images.picture import open_image

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) >> 8

file = io.BytesIO()
Image.new("RGBA", (6000, 6000)).save(file, "PNG", compress_level=1)
before = resident_mib()
thread = threading.Thread(target=open_image, args=(file.getvalue(),), kwargs={"max_pixels": 10**8})
thread.start(); thread.join()
left = resident_mib() - before
give_back_memory()
print(left, resident_mib() - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc alone trims"
)
def test_what_a_large_image_took_goes_back_to_the_system() -> None:
    run = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    left_mib, after_mib = map(int, run.stdout.split())
    assert after_mib < 40, f"{after_mib} MiB are kept, {left_mib} before they were given back"
