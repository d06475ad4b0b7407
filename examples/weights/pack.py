"""Packs a dataset's noise-free focal stacks for `sweepdepth train --endless --data OUT.pack` on another machine.

python examples/weights/pack.py DATASET OUT.pack
"""

import sys
from pathlib import Path

from sweepdepth.synth.endless.packed import truths_of, write_pack

if __name__ == "__main__":
    dataset, out = map(Path, sys.argv[1:])
    count = write_pack(out, truths_of(dataset), force=True)
    print(f"{count} scenes, {out.stat().st_size / 1e6:.1f} MB")
