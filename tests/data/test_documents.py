import pytest

from tf_prune_ofa.data.documents import split_sentences, tokenize_documents


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("No end", ["No end"]),
        ("One. Two! Three? four", ["One.", "Two!", "Three? four"]),
        ('He said "No." Then left.', ['He said "No."', "Then left."]),
        ("It cost 3.50 in 1999. 2000 came…  \nSo!", ["It cost 3.50 in 1999.", "2000 came…", "So!"]),
        ("First. (Second.) “Third.”", ["First.", "(Second.)", "“Third.”"]),
    ],
)
def test_split_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_tokenize_documents(wordpiece):
    documents = [["The film. Good!", "bad"], [], ["a b"]]
    ids = tokenize_documents(documents, wordpiece)
    assert [[one.tolist() for one in document] for document in ids] == [
        [[6, 7, 13, 9, 15], [10]],
        [],
        [[17, 18]],
    ]
    in_sentences = tokenize_documents(documents, wordpiece, sentences=True)
    assert [[len(one) for one in document] for document in in_sentences] == [[3, 2, 1], [], [2]]
