"""Text in and out against transformers, on tokenizers of the kinds that models use."""

import codecs
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import Tokenizer as Fast
from transformers import AutoTokenizer

from engine.text import OutputText, StopMatcher, TextError, TextStream, Tokenizer
from engine.text.chat import ChatTemplate
from engine.text.convert import load_tokenizer

BUNDLED = Path(__file__).parent.parent / "models" / "tiny-python"
CORPUS = ["def f(x):\n    return x + 1\n", "the cat sat on the mat, the end", "naïve café 日本語 👍🏽"] * 5
KINDS = ["byte_level", "qwen", "llama", "metaspace", "wordpiece"]

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30) | st.lists(
    st.sampled_from(["def f(x):", "\n    ", "the cat", " ", "é", "日本", "👍🏽", "<|im_end|>", "<s>"]), max_size=8
).map("".join)


def byte_level() -> Fast:
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    fast.train_from_iterator(CORPUS, trainer)
    return fast


def qwen() -> Fast:
    """Qwen's: NFC, its split expression, added tokens of which not all are special."""
    fast = byte_level()
    fast.normalizer = normalizers.NFC()
    split = Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    fast.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(split, "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    fast.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    fast.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    return fast


def llama() -> Fast:
    """Llama 2's: SentencePiece BPE with byte pieces, and BOS put in front."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = sorted(
        {character for text in CORPUS for character in text if character.isascii() and character > " "}
    )
    merged = ["th", "the", "▁t", "ca", "cat", "▁the"]
    merges = [("t", "h"), ("th", "e"), ("▁", "t"), ("c", "a"), ("ca", "t"), ("▁", "the")]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "▁", *letters, *merged])}
    fast = Fast(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    fast.add_special_tokens(["<unk>", "<s>", "</s>"])
    return fast


def metaspace() -> Fast:
    fast = Fast(models.Unigram())
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    fast.train_from_iterator(CORPUS, trainer)
    return fast


def wordpiece() -> Fast:
    fast = Fast(models.WordPiece(unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=["[UNK]"], show_progress=False)
    fast.train_from_iterator(CORPUS, trainer)
    return fast


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    made = {"bundled": BUNDLED}
    for kind in KINDS:
        folder = made[kind] = tmp_path_factory.mktemp(kind)
        globals()[kind]().save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return made


@pytest.fixture(scope="module")
def tokenizers(folders) -> dict[str, Tokenizer]:
    return {kind: Tokenizer.from_folder(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def theirs(folders) -> dict:
    return {kind: AutoTokenizer.from_pretrained(folder) for kind, folder in folders.items()}


# --- ids and text


@pytest.mark.parametrize("kind", [*KINDS, "bundled"])
@settings(max_examples=40, deadline=None)
@given(text=texts, specials=st.booleans())
def test_ids_and_text_are_those_of_transformers(tokenizers, theirs, kind, text, specials):
    mine, other = tokenizers[kind], theirs[kind]
    ids = mine.encode(text, add_special_tokens=specials)
    assert ids == other.encode(text, add_special_tokens=specials)
    for skip in (False, True):
        assert mine.decode(ids, skip_special_tokens=skip) == other.decode(
            ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
        )


@pytest.mark.parametrize("kind", [*KINDS, "bundled"])
def test_vocabulary_and_special_ids_are_those_of_transformers(tokenizers, theirs, kind):
    mine, other = tokenizers[kind], theirs[kind]
    assert mine.vocab_size == len(other)
    assert mine.special_ids >= set(other.all_special_ids)
    assert all(mine.id_of(other.convert_ids_to_tokens(token)) == token for token in range(len(other)))


def test_truncation_and_padding_that_a_file_asks_for_are_off(tmp_path):
    fast = byte_level()
    fast.enable_truncation(3)
    fast.enable_padding(length=50)
    fast.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert (
        tokenizer.decode(tokenizer.encode("a text of more than three tokens"))
        == "a text of more than three tokens"
    )
    assert len(tokenizer.encode("ab")) < 3


# --- the bytes of a token


@pytest.mark.parametrize("kind", ["byte_level", "qwen", "bundled"])
@given(text=texts)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizers, kind, text):
    tokenizer = tokenizers[kind]
    ids = tokenizer.encode(text)
    joined = b"".join(map(tokenizer.token_bytes, ids))
    assert joined.decode(errors="replace") == tokenizer.decode(ids)


def test_byte_pieces_are_bytes(tokenizers):
    llama = tokenizers["llama"]
    assert llama.token_bytes(llama.id_of("<0x0A>")) == b"\n"
    assert llama.token_bytes(llama.id_of("<0xE2>")) == b"\xe2"
    assert llama.token_text(llama.id_of("<0xE2>")) == "\ufffd"
    assert llama.token_bytes(llama.id_of("▁the")) == b" the"
    assert llama.token_bytes(llama.id_of("</s>")) == b"</s>"


def test_pieces_of_words_know_whether_a_space_goes_before_them(tokenizers):
    wordpiece = tokenizers["wordpiece"]
    assert wordpiece.token_text(wordpiece.id_of("the")) == " the"
    piece = next(piece for piece in ("##t", "##e", "##a") if wordpiece.id_of(piece) is not None)
    assert wordpiece.token_text(wordpiece.id_of(piece)) == piece[2:]


def test_an_unknown_id_has_no_text(tokenizers):
    assert tokenizers["llama"].token_bytes(10**6) == b""


# --- text as it comes


@pytest.mark.parametrize("kind", [*KINDS, "bundled"])
@settings(max_examples=60, deadline=None)
@given(prompt=texts, text=texts)
def test_a_stream_adds_up_to_what_follows_the_prompt(tokenizers, kind, prompt, text):
    tokenizer = tokenizers[kind]
    prompt_ids = tokenizer.encode("the" + prompt + "the")
    ids = tokenizer.encode(text, add_special_tokens=False)
    stream = TextStream(tokenizer, prompt_ids, skip_special_tokens=False)
    streamed = "".join(map(stream.append, ids)) + stream.finish()
    whole = tokenizer.decode(prompt_ids + ids)
    assert whole == tokenizer.decode(prompt_ids) + streamed


def test_a_stream_holds_back_half_a_character(tokenizers):
    tokenizer = tokenizers["llama"]
    ids = [tokenizer.id_of(f"<0x{byte:02X}>") for byte in "€".encode()]
    stream = TextStream(tokenizer)
    assert [stream.append(token) for token in ids] == ["", "", "€"]
    assert stream.append(ids[0]) == ""
    assert stream.append(tokenizer.id_of("cat")) == "\ufffdcat"
    stream.append(ids[0])
    assert stream.finish() == "\ufffd"


def test_a_stream_completes_a_character_that_the_prompt_began(tokenizers):
    tokenizer = tokenizers["bundled"]
    ids = [tokenizer.id_of(piece) for piece in ["ð", "Ł", "ĺ", "Ģ"]]
    assert tokenizer.decode(ids) == "😀"
    stream = TextStream(tokenizer, ids[:2])
    assert [stream.append(token) for token in ids[2:]] == ["", "😀"]


def test_special_tokens_have_text_only_when_asked(tokenizers):
    tokenizer = tokenizers["qwen"]
    ids = tokenizer.encode("the<|im_end|><tool_call>")
    for skip, text in ((True, "the<tool_call>"), (False, "the<|im_end|><tool_call>")):
        stream = TextStream(tokenizer, skip_special_tokens=skip)
        assert "".join(map(stream.append, ids)) == text


@given(st.lists(st.binary(max_size=3), max_size=12))
def test_bytes_that_are_no_text_are_replaced_as_decode_does(tokenizers, chunks):
    tokenizer = tokenizers["byte_level"]
    alphabet = {tokenizer.token_bytes(token): token for token in range(tokenizer.vocab_size)}
    ids = [alphabet[bytes([byte])] for chunk in chunks for byte in chunk]
    stream = TextStream(tokenizer)
    assert "".join(map(stream.append, ids)) + stream.finish() == tokenizer.decode(ids)
    assert codecs.decode(b"".join(chunks), "utf-8", "replace") == tokenizer.decode(ids)


# --- stop strings


def first_stop(text: str, stops: list[str]) -> tuple[str, int] | None:
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            stop = max(complete, key=len)
            return stop, end - len(stop)
    return None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text("ab", max_size=4), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=5), max_size=3),
)
def test_a_stop_string_is_found_whatever_the_borders(chunks, stops):
    matcher = StopMatcher(stops)
    found = next((match for chunk in chunks if (match := matcher.push(chunk))), None)
    assert (found and (found.stop, found.length)) == first_stop("".join(chunks), stops)


def test_the_output_ends_before_the_stop_string(tokenizers):
    tokenizer = tokenizers["bundled"]
    output = OutputText(tokenizer, tokenizer.encode("def f():"), ["\n\ndef", "return x\n"])
    ids = tokenizer.encode("\n    return x\n\n\ndef g():")
    found = [output.push(token) for token in ids]
    stop = next(index for index, stop in enumerate(found) if stop)
    assert found[stop] == "return x\n"
    fresh = OutputText(tokenizer, [], ["return x\n"])
    assert [fresh.push(token) for token in ids[: stop + 1]][-1] == "return x\n"
    assert fresh.text == "\n    "


def test_without_stops_the_output_is_just_text(tokenizers):
    tokenizer = tokenizers["bundled"]
    output = OutputText(tokenizer, [])
    assert {output.push(token) for token in tokenizer.encode("x = 1\n")} == {None}
    assert output.text == "x = 1\n"


# --- chat templates

CHATML = """{%- if tools %}{{ tools | tojson(indent=2) }}{%- endif %}
{%- set ns = namespace(turns=0) %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}{{ raise_exception('no role ' + message.role) }}{% endif %}
    {%- set ns.turns = ns.turns + 1 %}
    {%- if loop.index > 5 %}{% break %}{% endif %}
    {{- '<|im_start|>' + message['role'] + '\n' }}
    {%- if message.role == 'assistant' %}{% generation %}{{ message.content | trim }}{% endgeneration %}
    {%- else %}{{ message.content }}{% endif %}
    {{- eos_token + '\n' }}
{%- endfor %}
    {% if true %}
plain line
    {% endif %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
{{- ns.turns }}{{ bos_token }}{{ mood }}"""
TALK = [{"role": "user", "content": "<b>ü & 'x'"}, {"role": "assistant", "content": " ok "}] * 2
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def chat_folder(tmp_path: Path, **config: object) -> Path:
    qwen().save(str(tmp_path / "tokenizer.json"))
    common = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(common | config))
    return tmp_path


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_templates_render_as_in_transformers(tmp_path, prompt, tools):
    folder = chat_folder(
        tmp_path, chat_template=CHATML, bos_token={"content": "<|im_start|>", "__type": "AddedToken"}
    )
    expected = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        TALK, tools=tools, add_generation_prompt=prompt, tokenize=False, mood="sunny"
    )
    rendered = ChatTemplate.from_folder(folder).render(
        TALK, tools=tools, add_generation_prompt=prompt, mood="sunny"
    )
    assert rendered == expected
    assert "sunny" in rendered


def test_a_template_comes_from_the_configuration_a_list_or_a_file(tmp_path):
    named = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
    folder = chat_folder(tmp_path, chat_template=named)
    assert ChatTemplate.from_folder(folder).render([]) == "D"
    assert ChatTemplate.from_folder(folder, "tool_use").render([]) == "T"
    (folder / "chat_template.jinja").write_text("F")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("R")
    assert ChatTemplate.from_folder(folder).render([]) == "F"
    assert ChatTemplate.from_folder(folder, "rag").render([]) == "R"


@pytest.mark.parametrize(("template", "problem"), [
    ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ("{{ messages[0].content + 1 }}", "the chat template failed"),
    ("{{ messages.__class__.__mro__ }}", "unsafe|undefined"),
    ("{{ messages.append(1) }}", "unsafe|not safely callable"),
    ("{% set ns = namespace() %}{% set ns.__class__ = 1 %}", "no place for '__class__'"),
    ("{{ namespace(_x=1) }}", "no place for '_x'"),
    ("{{ cycler.__init__.__globals__ }}", "unsafe|undefined"),
])  # fmt: skip
def test_a_template_that_fails_or_reaches_out_is_refused(template, problem):
    with pytest.raises(TextError, match=problem):
        ChatTemplate(template, {}).render([{"role": "user", "content": "x"}])


def test_a_template_that_does_not_parse_is_refused():
    with pytest.raises(TextError, match="does not parse: line 2"):
        ChatTemplate("\n{% if %}", {})


def test_a_folder_without_a_template_is_told_so(tmp_path):
    with pytest.raises(TextError, match="no default chat template: give a raw prompt"):
        ChatTemplate.from_folder(chat_folder(tmp_path))
    folder = chat_folder(tmp_path, chat_template=[{"name": "rag", "template": ""}])
    with pytest.raises(TextError, match="no default chat template; it has rag"):
        ChatTemplate.from_folder(folder)


@pytest.mark.parametrize(("config", "problem"), [
    ("{", "is not JSON"),
    ("[]", "is not a JSON object"),
    ('{"chat_template": 3}', "neither text nor a list"),
    ('{"chat_template": [{"name": "x"}]}', "neither text nor a list"),
])  # fmt: skip
def test_a_broken_configuration_is_refused(tmp_path, config, problem):
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(TextError, match=problem):
        ChatTemplate.from_folder(tmp_path)


# --- loading


def test_a_missing_tokenizer_is_told_so(tmp_path):
    with pytest.raises(TextError, match=r"has no tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": {"type": "BPE"}}', "\x00\x01"])
def test_a_corrupt_tokenizer_is_told_so(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TextError, match=r"tokenizer\.json cannot be read") as error:
        Tokenizer.from_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_older_files_are_converted_through_transformers(tmp_path, tokenizers):
    parts = json.loads(byte_level().to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(parts["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, parts["merges"])) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "GPT2Tokenizer", "unk_token": "<|end|>"}'
    )
    converted = load_tokenizer(tmp_path)
    text = "def f(x):\n    return café"
    assert converted.encode(text) == tokenizers["byte_level"].encode(text)
    assert converted.token_bytes(converted.encode("é")[0])


def test_a_folder_that_nothing_can_read_is_told_so(tmp_path):
    with pytest.raises(TextError, match="transformers cannot make one"):
        load_tokenizer(tmp_path)


def test_text_needs_neither_torch_nor_transformers():
    code = (
        "import sys, engine.text, engine.sanitise; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
