import pytest

# GLUE's files by task: header (or none, as CoLA has), then two rows. With the columns that nobody
# reads, since readers have to skip them.
GLUE_ROWS = {
    "cola": ["gj04\t1\t\tSue slept .", "gj04\t0\t*\tSlept Sue ."],
    "sst2": ["sentence\tlabel", "a fine film \t1", "dull \t0"],
    "mrpc": [
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        '1\t11\t12\tHe said " so .\t" So , he said .',
        "0\t13\t14\tA\tB",
    ],
    "stsb": [
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tmain\tMSRvid\t2012\t1\tnone\tnone\tA man plays .\tA man is playing .\t4.500",
        "1\tmain\tMSRvid\t2012\t2\tnone\tnone\tA dog .\tA cat .\t0.000",
    ],
    "qqp": [
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "1\t2\t3\tWhy ?\tWhat for ?\t1",
        "4\t5\t6\tWho ?\tWhen ?\t0",
    ],
    "mnli": [
        "index\tpromptID\tpairID\tgenre\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2"
        "\tlabel1\tgold_label",
        "0\t1\t1c\tfiction\t()\t()\tA man sleeps .\tNobody sleeps .\tneutral\tcontradiction",
        "1\t2\t2e\tfiction\t()\t()\tIt rains .\tWater falls .\tentailment\tentailment",
    ],
    "qnli": [
        "index\tquestion\tsentence\tlabel",
        "0\tWhen ?\tIn May .\tentailment",
        "1\tWho ?\tIn May .\tnot_entailment",
    ],
    "rte": [
        "index\tsentence1\tsentence2\tlabel",
        "0\tIt rained .\tIt was dry .\tnot_entailment",
        "1\tIt rained .\tWater fell .\tentailment",
    ],
    "wnli": [
        "index\tsentence1\tsentence2\tlabel",
        "0\tHe saw it .\tHe saw the dog .\t1",
        "1\tHe saw it .\tHe saw the cat .\t0",
    ],
}


@pytest.fixture
def glue_folder(tmp_path):
    """Writes a task of GLUE as the benchmark's TSV files; gives their folder."""

    def write(name):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("train", "dev", "dev_matched", "dev_mismatched"):
            text = "\n".join(GLUE_ROWS[name]) + "\n"
            (folder / f"{file}.tsv").write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def write_dataset():
    return _write_dataset


def _write_dataset(data_dir, name, features, splits):
    """Writes a prepared dataset, as TFDS documents it for files made elsewhere."""
    import tensorflow_datasets as tfds

    from tf_prune_ofa.keras_compat import tf

    folder = data_dir / name
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(features)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        dataset_name=name.split("/")[0],
        filetype_suffix="tfrecord",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    infos = []
    for split, examples in splits.items():
        in_split = template.replace(split=split)
        path = in_split.sharded_filepath(shard_index=0, num_shards=1)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in examples:
                writer.write(features.serialize_example(features.encode_example(example)))
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(examples)],
                num_bytes=path.stat().length,
                filename_template=in_split,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, filename_template=template
    )
