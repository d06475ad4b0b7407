"""`python -m bench NAME [--page F.html [--force]] [options]`"""

import ast
import shlex
import sys
import time
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    names = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print("usage: ./run bench NAME [--page F.html [--force]] [options]\n")
        for name in names:
            print(f"  {name:12s} {_about(name).splitlines()[0]}")
        print("\n--page also writes what is printed, and the facts of this machine, as a page to send to somebody.")
        sys.exit(0 if len(sys.argv) < 2 else 2)
    command = shlex.join(["./run", "bench", *sys.argv[1:]])
    name = sys.argv.pop(1)
    sys.argv[0] = f"./run bench {name}"
    target = _take_page()
    if target is None:
        import_module(f"bench.{name}").main()
    else:
        _with_page(name, command, *target)


def _about(name: str) -> str:
    return ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or ""


def _take_page() -> tuple[Path, bool] | None:
    """Remove --page and --force from the options; returns the page and whether it may replace a file."""
    for at, word in enumerate(sys.argv):
        if word == "--page" or word.startswith("--page="):
            inside = word.partition("=")[2]
            if not inside and at + 1 == len(sys.argv):
                sys.exit("--page needs the name of a file")
            path = Path(inside or sys.argv[at + 1])
            del sys.argv[at : at + (1 if inside else 2)]
            force = "--force" in sys.argv
            if force:
                sys.argv.remove("--force")
            return path, force
    return None


def _with_page(name: str, command: str, path: Path, force: bool) -> None:
    """Run a benchmark and write its page; if it is stopped or fails, with its output until then."""
    from sweepdepth.capture.atomic import PartialFile
    from sweepdepth.capture.errors import SweepdepthError

    from ._page import Caught, catching, load, write_page

    try:
        partial = PartialFile(path, force)
    except SweepdepthError as error:
        sys.exit(f"error: {error}")
    before, start = load(), time.monotonic()

    def keep() -> None:
        write_page(partial.path, name, _about(name), command, caught, before, time.monotonic() - start)
        partial.commit()
        print(f"written {path}", file=sys.stderr)

    caught = Caught()
    try:
        with catching(caught):
            import_module(f"bench.{name}").main()
    finally:
        if caught.parts:
            keep()
        else:
            partial.discard()


if __name__ == "__main__":
    main()
