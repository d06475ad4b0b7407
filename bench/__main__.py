"""`python -m bench NAME [options]`"""

import ast
import sys
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    names = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print("usage: ./run bench NAME [options]\n")
        for name in names:
            about = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or ""
            print(f"  {name:12s} {about.splitlines()[0]}")
        sys.exit(0 if len(sys.argv) < 2 else 2)
    name = sys.argv.pop(1)
    sys.argv[0] = f"./run bench {name}"
    import_module(f"bench.{name}").main()


main()
