"""Make the environments of other runtimes, for a benchmark suite to compare with.

    make_peers.py --folder=DIR [--peers=onnxruntime,openvino,deepsparse]

Each gets a virtual environment of its own in the folder (once; needs the network; 0.2 to 0.7 GB).
`benchmark.py --suite=NAME --peers=DIR` then measures those that are there.
"""

from absl import flags

from tf_prune_ofa.experiments import peers
from tf_prune_ofa.tools._main import run

_FOLDER = flags.DEFINE_string("folder", None, "where the environments go", required=True)
_PEERS = flags.DEFINE_list("peers", list(peers.PEERS), "which runtimes")


def main(argv: list[str]) -> None:
    """Makes what is missing, and says where it is."""
    del argv
    made = peers.make(
        _FOLDER.value, _PEERS.value, on_peer=lambda name: print(f"  {name}", flush=True)
    )
    for name, python in made.items():
        print(f"{name}: {', '.join(peers.PEERS[name])}, started by {python}")


if __name__ == "__main__":
    run(main)
