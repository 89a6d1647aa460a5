"""Start a tool by name: `tf-prune-ofa run_recipe --flag...` is `tools/run_recipe.py --flag...`.

Without a name it lists the tools.
"""

import ast
import difflib
import runpy
import sys
from pathlib import Path


def list_tools() -> dict[str, str]:
    """The tools beside this file, by name.

    Returns:
        The first line of each tool's docstring. Files are read, not imported: importing them all
        would load TensorFlow and define the flags of all tools at once.
    """
    tools = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        tools[path.stem] = (docstring or "").partition("\n")[0]
    return tools


def main() -> int:
    """Starts the tool that the first argument names; the others are its own.

    Returns:
        The exit code where no tool was started: 0 for the list, 1 for an unknown name.
    """
    tools = list_tools()
    given = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if given in ("-h", "--help", "--helpshort", "help"):
        width = max(map(len, tools))
        print("Usage: tf-prune-ofa TOOL --flag...   (TOOL --help lists its flags)\n")
        print("\n".join(f"  {name:{width}}  {line}" for name, line in tools.items()))
        return 0
    name = given.replace("-", "_")
    if name not in tools:
        near = difflib.get_close_matches(name, tools, n=1)
        advice = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(tools)}."
        print(f"Error: There is no tool '{given}'. {advice}", file=sys.stderr)
        return 1
    # The tool sees the arguments, and is `__main__`, as if its file had been started.
    sys.argv = [name, *sys.argv[2:]]
    runpy.run_module(f"tf_prune_ofa.tools.{name}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
