"""What all tests share: one thread per process, since pytest-xdist already uses every core."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
