"""Unlabelled text of any size as records of token ids; only `reading` imports TensorFlow.

The text goes through two kinds of work, each with whole results that nothing but its input and the
plan decides:

    unit (a part of a source) -> documents as ids, in buckets by their hash   `bundles`
    bucket (a range of hashes) -> examples, as TFRecords                      `examples`

A loop, some processes (`build`) or Apache Beam (`beam_run`) call the same functions, so the records
are the same whoever does it and in whatever order.
"""
