"""Serve a local page: type a text, see what two files say of it, and how long each takes.

    serve_demo.py FILE.tflite [OTHER.tflite] [--port=8000] [--threads=1]

One file alone is run without and with the sparse INT8 delegate. The page is for this machine only,
unless --host says otherwise; nothing that is typed is kept or sent on. Ctrl-C ends it.
"""

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tools._main import run

_PORT = flags.DEFINE_integer(
    "port", 8000, "port of the page; 0 for a free one", lower_bound=0, upper_bound=65535
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "address to listen on")
_THREADS = flags.DEFINE_integer("threads", 1, "threads of the runtime", lower_bound=1)


def main(argv: list[str]) -> None:
    """Serves until Ctrl-C."""
    from tf_prune_ofa.demo.contest import Contest
    from tf_prune_ofa.demo.server import DemoServer

    if len(argv) < 2:
        raise UserError("name one or two .tflite files that take text")
    with DemoServer(
        Contest(argv[1:], threads=_THREADS.value), host=_HOST.value, port=_PORT.value
    ) as server:
        print(f"{server.address}   (Ctrl-C ends it)", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    run(main)
