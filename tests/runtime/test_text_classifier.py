import json
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import text_files
import tflite_files

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.text_classifier import TextClassifier
from tf_prune_ofa.tflite.text_settings import TextSettings


@pytest.fixture
def write(tmp_path):
    def written(content, name="model.tflite"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return written


def test_label_and_probabilities(write):
    classify = TextClassifier(write(text_files.classifier()))
    found = classify("The film is GOOD.")
    assert found.label == "good"
    assert found.scores == pytest.approx({"bad": 0.2689, "good": 0.7311}, abs=1e-4)
    assert found.score == found.scores["good"]
    assert [one.label for one in classify(["bad film", "good film"])] == ["bad", "good"]
    assert classify([]) == []


def test_pairs_and_long_texts_are_cut_to_the_files_length(write):
    classify = TextClassifier(write(text_files.classifier(length=9)))
    assert classify("the film", "is good").label == "good"
    # [CLS] bad and six more of the first text, [SEP]: "good" is beyond the end.
    assert classify("bad " + "the " * 20 + "good good").label == "bad"
    with pytest.raises(UserError, match="2 texts but 1 second texts"):
        classify(["a", "film"], ["is"])


def test_a_regression_has_a_score_and_no_label(write):
    found = TextClassifier(write(text_files.classifier(labels=["score"])))("good")
    assert (found.label, found.scores) == ("", {})
    assert found.score == pytest.approx(1)


def test_the_file_says_how_it_was_trained(write):
    settings = TextSettings(lower_case=False, strip_accents=False)
    classify = TextClassifier(write(text_files.classifier(settings=settings)))
    assert classify.settings == settings.for_length(12)
    assert classify.wordpiece.tokens(classify.wordpiece.tokenize(["Good good"])[0]) == [
        "[UNK]",
        "good",
    ]


def test_without_settings_the_vocabulary_tells_the_case(write):
    assert TextClassifier(write(text_files.classifier())).settings.lower_case


def test_settings_that_are_not_known_are_refused(write):
    path = write(text_files.classifier())
    for text, problem in (
        (json.dumps({"lower_case": True, "byte_level": True}), "has byte_level, which"),
        (json.dumps({"stride": 0}), "says stride = 0"),
        (json.dumps({"lower_case": 1}), "says lower_case = 1"),
        ("[1", "not a JSON object"),
    ):
        path.write_bytes(text_files.classifier())
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("text_settings.json", text)
        with pytest.raises(UserError, match=problem):
            TextClassifier(path)


def test_files_that_take_no_text(write):
    with pytest.raises(UserError, match="carries no vocabulary"):
        TextClassifier(write(tflite_files.classifier()))
    with pytest.raises(UserError, match="no classifier: it gives end_logits, start_logits"):
        TextClassifier(write(text_files.span()))
    damaged = text_files.classifier()
    place = damaged.rindex(b"[UNK]\n")
    with pytest.raises(UserError, match="cannot be read"):
        TextClassifier(write(damaged[:place] + b"!" + damaged[place + 1 :]))


def test_a_closed_one_says_so_and_threads_take_turns(write):
    with TextClassifier(write(text_files.classifier())) as classify:
        texts = ["good film", "bad film"] * 50
        with ThreadPoolExecutor(4) as pool:
            found = [one.label for one in pool.map(classify, texts)]
        assert found == ["good", "bad"] * 50
    with pytest.raises(UserError, match="was closed"):
        classify("good")


def test_no_tensorflow_is_needed(write):
    path = write(text_files.classifier())
    program = (
        "import sys\n"
        "from tf_prune_ofa.runtime.text_classifier import TextClassifier\n"
        "from tf_prune_ofa.runtime.question_answerer import QuestionAnswerer\n"
        f"print(TextClassifier({str(path)!r})('good').label)\n"
        "heavy = {'tensorflow', 'keras', 'tf_keras', 'tensorflow_datasets'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["good"]
