"""The models that ship with the project load anywhere, agree on their tokens, and know some Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models import measure  # noqa: E402
from models.corpus import Document, load_corpus  # noqa: E402
from models.stream import IGNORED, Stream, repeated_spans  # noqa: E402

FOLDERS = (measure.TARGET, measure.DRAFT)
MEGABYTE = 1_000_000

UNSEEN = '''\
class Shelf:
    """Books in the order they were put up."""

    def __init__(self, books=None):
        self._books = list(books) if books is not None else []

    def __len__(self):
        return len(self._books)

    def __iter__(self):
        return iter(self._books)

    def add(self, book):
        if not isinstance(book, str):
            raise TypeError("expected a string, got %r" % type(book).__name__)
        self._books.append(book)

    def remove(self, book):
        try:
            self._books.remove(book)
        except ValueError:
            raise KeyError(book) from None


if __name__ == "__main__":
    shelf = Shelf()
    for name in ("Middlemarch", "Emma"):
        shelf.add(name)
    print(len(shelf))
'''


@pytest.fixture(scope="module")
def target() -> tuple[transformers.LlamaForCausalLM, Tokenizer]:
    return measure.load(measure.TARGET)


@pytest.fixture(scope="module")
def draft() -> transformers.LlamaForCausalLM:
    return measure.load(measure.DRAFT)[0]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_transformers_loads_the_folder_as_it_is(folder: Path) -> None:
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.dtype == torch.bfloat16
    assert len(tokenizer) == model.config.vocab_size == 4096
    assert tokenizer.eos_token_id == model.config.eos_token_id == 0
    prompt = tokenizer("import os\n", return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] > prompt["input_ids"].shape[1]


def test_both_folders_are_small_and_hold_no_pickle() -> None:
    files = [file for folder in FOLDERS for file in folder.iterdir()]
    assert sum(file.stat().st_size for file in files) < 12 * MEGABYTE
    assert {file.suffix for file in files} == {".json", ".safetensors"}


def test_the_folders_say_nothing_about_the_machine_that_made_them() -> None:
    for folder in FOLDERS:
        config = json.loads((folder / "config.json").read_text())
        assert "_name_or_path" not in config
        assert not [value for value in config.values() if isinstance(value, str) and "/" in value]


def test_target_and_draft_share_one_tokenizer() -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (measure.TARGET / name).read_bytes() == (measure.DRAFT / name).read_bytes()


@given(text=st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(measure.TARGET / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_target_predicts_python_it_has_not_seen(target) -> None:
    score = measure.score_text(*target, [UNSEEN])
    assert score.bits_per_byte < 1.2
    assert score.accuracy > 0.5


def test_a_newcomer_can_find_an_induction_head(target) -> None:
    found = measure.induction(target[0], rows=4)
    assert found.score > 0.8
    assert found.score == max(max(layer) for layer in found.scores)


def test_the_draft_often_says_what_the_target_says(target, draft) -> None:
    model, tokenizer = target
    prompts = [tokenizer.encode(UNSEEN[:end]).ids for end in (120, 330, 500)]
    found = measure.agreement(model, draft, prompts, new_tokens=24)
    assert found.same > 0.5


def test_windows_score_every_token_once_and_never_overrun_the_context() -> None:
    for length in (2, 1024, 1025, 1026, 5000):
        windows = list(measure.windows(length))
        assert sum(new for _, new in windows) == length - 1
        assert all(window.stop - window.start <= 1025 for window, _ in windows)
        assert all(new < window.stop - window.start for window, new in windows)


def test_a_file_is_held_out_by_its_path_alone() -> None:
    assert Document("typing.py", "").held_out
    assert not Document("os.py", "").held_out


def test_no_held_out_text_is_trained_on(tmp_path: Path) -> None:
    for name in ("typing.py", "os.py", "copy_of_os.py", "encodings/cp437.py", "site-packages/x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("table" if "/" in name else name.removeprefix("copy_of_"))
    corpus = load_corpus(tmp_path)
    assert [document.path for document in corpus.held_out] == ["typing.py"]
    assert len(corpus.train) == 1


def test_a_batch_depends_on_its_step_alone() -> None:
    import numpy as np

    documents = [np.arange(1, 1500), np.arange(2000, 4000)]
    straight, resumed = Stream(documents), Stream(documents)
    batches = [straight.batch(step, 512) for step in range(4)]
    inputs, labels = resumed.batch(3, 512)
    assert torch.equal(inputs, batches[3][0])
    assert torch.equal(labels, batches[3][1])
    assert inputs.shape == (8, 512)


def test_repeated_spans_have_labels_only_where_looking_back_helps() -> None:
    import numpy as np

    piece, labels = repeated_spans(np.random.default_rng(0))
    known = np.flatnonzero(labels != IGNORED)
    span = known[0]
    assert np.array_equal(piece[known + 1], piece[known + 1 - span])
    assert np.array_equal(labels[known], piece[known + 1])
