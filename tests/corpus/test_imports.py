import subprocess
import sys


def test_making_records_needs_no_tensorflow():
    """It takes seconds and 400 MB in every process: as long as making records of ten megabytes."""
    code = (
        "import sys\n"
        "from tf_prune_ofa.models.finding import find_encoder\n"
        "import tf_prune_ofa.tools.prepare_corpus\n"
        "find_encoder('tiny_bpe')\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
