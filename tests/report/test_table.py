import synthetic

from tf_prune_ofa.report.collect import Run, Stage, collect_run
from tf_prune_ofa.report.table import console_table


def test_table_of_a_whole_run(tmp_path):
    text = console_table(collect_run(synthetic.write_run(tmp_path / "quickstart")))
    assert (
        text
        == """\
model                        sparsity  accuracy     MB  MB gzip  latency ms  ratio
---------------------------  --------  --------  -----  -------  ----------  -----
dense teacher (Keras)           0.0 %     0.868      -        -           -      -
sparse model, float (Keras)    85.0 %     0.859      -        -           -      -
float32 file                   85.0 %     0.859  90.90    22.10       15.20   2.92
dynamic-range INT8 file        85.0 %     0.858  23.10    10.20        5.10   0.98
dense INT8 file                85.0 %     0.857  23.20    10.10        5.20   1.00
sparse INT8 file               85.0 %     0.857  15.70    11.00        5.25   1.01

model       what is measured: a Keras model or an exported .tflite file
sparsity    share of zeros in the layers that were pruned
accuracy    share of held-out examples with the right label
MB          size of the file, in million bytes
MB gzip     the same after gzip, as an app store ships it
latency ms  median time of one run, batch of one (ai-edge-litert 2.3.0, 1 thread)
ratio       latency divided by that of dense_int8_s64.tflite: 0.50 is twice as fast"""
    )


def test_a_regression_task_is_judged_by_correlation():
    stages = (
        Stage("teacher", "finetune", {"figures": {"pearson": 0.87, "zeros_in_kernels": 0.0}}),
        Stage("transfer", "transfer", {"figures": {"pearson": 0.86, "sparsity": 0.9}}),
    )
    lines = console_table(Run("stsb", {}, stages)).splitlines()
    assert lines[0].split() == "model sparsity pearson MB MB gzip latency ms ratio".split()
    assert lines[2].split() == "dense teacher (Keras) 0.0 % 0.870 - - - -".split()
    assert lines[3].split() == "sparse model, float (Keras) 90.0 % 0.860 - - - -".split()


def test_says_so_when_files_were_judged_on_fewer_examples():
    stages = (
        Stage("transfer", "transfer", {"figures": {"accuracy": 0.8, "dev_examples": 2400}}),
        Stage("verify", "verify", details={"verify": {"files": [{"file": "a", "examples": 16}]}}),
    )
    text = console_table(Run("tiny", {}, stages))
    assert "with the right label (files: of the first 16 only)" in text


def test_says_so_when_nothing_was_measured():
    assert "No stage" in console_table(Run("new", {}, ()))
