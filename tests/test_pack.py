"""A session as one portable file: it comes back whole, and nothing else gets in."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions.pack import pack_session
from sessions.pack_format import MANIFEST, SESSION, PackError
from sessions.pack_import import import_pack
from sessions.places import sessions_folder
from sessions.reader import Session
from tests.commands import BUNDLED, run
from tests.recorded import DEMO_HEADER, engine_on, writer_on
from tests.scripted import spec

CONFIG = "model/config.json"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the bundled model."""
    path = tmp_path_factory.mktemp("recording") / "run.wbs"
    ran = run("record", "--prompt", "def f(x):", "--max-tokens", 6, "-o", path)
    assert ran.code == 0, ran.err
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of sessions, in a place of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return sessions_folder()


@pytest.fixture
def pack(recording: Path, tmp_path: Path) -> Path:
    output = tmp_path / "run.wbpack"
    pack_session(recording, output)
    return output


def test_a_packed_session_comes_back_as_it_was_and_can_be_used(
    recording: Path, tmp_path: Path, home: Path
) -> None:
    output = tmp_path / "run.wbpack"
    packed = run("sessions", "pack", recording, "-o", output, "--json")
    assert packed.code == 0, packed.err
    said = json.loads(packed.out)
    assert said["left_out"] == []
    assert [file["name"] for file in said["files"]][:2] == [SESSION, CONFIG]

    taken = run("sessions", "import", output, "--name", "theirs", "--json")
    assert taken.code == 0, taken.err
    answer = json.loads(taken.out)
    assert Path(answer["session"]) == home / "theirs.wbs"
    assert (home / "theirs.wbs").read_bytes() == recording.read_bytes()
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        assert (Path(answer["model_files"]) / name).read_bytes() == (BUNDLED / name).read_bytes()
    assert not list(Path(answer["model_files"]).glob("*.safetensors"))

    for command in (
        ("sessions", "show", "theirs"),
        ("explain", "theirs"),
        ("replay", "theirs", "--model", BUNDLED),
    ):
        assert (ran := run(*command)).code == 0, (command, ran.err)
    assert run("export", "theirs", "--to", "jsonl", "-o", tmp_path / "x.jsonl").code == 0
    assert run("sessions", "rm", "theirs").code == 0
    assert list(home.iterdir()) == []


def test_what_is_read_is_never_overwritten(recording: Path, tmp_path: Path) -> None:
    session, workload, script = tmp_path / "run.wbs", tmp_path / "w.jsonl", tmp_path / "s.dbg"
    shutil.copy(recording, session)
    workload.write_text('{"prompt": "x"}')
    script.write_text("quit\n")
    for output, command in (
        (session, ["sessions", "pack", session]),
        (workload, ["record", "--workload", workload]),
        (script, ["record", "--prompt", "x", "--script", script]),
    ):
        before = output.read_bytes()
        ran = run(*command, "-o", output, "--force")
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "is what is read" in ran.err
        assert output.read_bytes() == before


def test_the_same_session_packs_to_the_same_bytes(recording: Path, pack: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.wbpack"
    pack_session(recording, again)
    assert again.read_bytes() == pack.read_bytes()


def test_a_session_that_still_grows_is_packed_as_far_as_it_is_written(tmp_path: Path) -> None:
    path, output = tmp_path / "run.wbs", tmp_path / "run.wbpack"
    engine = engine_on(writer_on(path, DEMO_HEADER), DEMO_HEADER)
    engine.submit(spec(range(9), 20))
    engine.run(5)
    packed = pack_session(path, output)
    engine.run()
    engine.close()
    assert packed.left_out[-1].startswith("what came after step 5: the session was still being recorded")
    taken = import_pack(output, tmp_path / "taken")
    with Session.open(taken.session) as session:
        assert session.last_step() == 5
    assert [file.name for file in taken.session.parent.iterdir()] == ["run.wbs"]


def test_what_is_left_out_is_said_and_a_wrong_model_is_refused(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved.wbs"
    moved.write_bytes(recording.read_bytes())
    with closing(sqlite3.connect(moved)) as connection, connection:
        connection.execute("UPDATE header SET value = '\"/nowhere/model\"' WHERE name = 'model_path'")
    packed = run("sessions", "pack", moved, "-o", tmp_path / "m.wbpack")
    assert packed.code == 0
    assert "left out: the model's files: /nowhere/model is not there" in packed.err
    named = run("sessions", "pack", moved, "-o", tmp_path / "n.wbpack", "--model", BUNDLED)
    assert "left out" not in named.err

    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    refused = run("sessions", "pack", moved, "-o", tmp_path / "o.wbpack", "--model", other)
    assert refused.code == 2
    assert "another model" in refused.err
    assert not (tmp_path / "o.wbpack").exists()


def test_nothing_is_overwritten_without_force(pack: Path, recording: Path, home: Path) -> None:
    assert run("sessions", "pack", recording, "-o", pack).code == 2
    assert run("sessions", "pack", recording, "-o", pack, "--force").code == 0
    assert run("sessions", "import", pack).code == 0
    (home / "run.wbs").write_bytes(b"precious")
    refused = run("sessions", "import", pack)
    assert refused.code == 2
    assert "exists" in refused.err
    assert (home / "run.wbs").read_bytes() == b"precious"
    assert run("sessions", "import", pack, "--force").code == 0
    assert (home / "run.wbs").read_bytes() == recording.read_bytes()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", ".hidden", "", "a/b", "a\\b", "x" * 300, "a\nb"])
def test_a_name_that_leads_elsewhere_is_refused(pack: Path, tmp_path: Path, name: str) -> None:
    changed = _rewrite(pack, tmp_path / "bad.wbpack", manifest=lambda text: {**text, "name": name})
    for attempt in (
        lambda: import_pack(pack, tmp_path / "in", name),
        lambda: import_pack(changed, tmp_path / "in"),
    ):
        with pytest.raises(PackError):
            attempt()
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(
    "member", ["../evil", "/etc/evil", "model/../../evil", "model/x.py", "model/", "weights"]
)
def test_a_member_that_is_none_of_a_pack_is_refused(pack: Path, tmp_path: Path, member: str) -> None:
    bad = _rewrite(pack, tmp_path / "bad.wbpack", extra={member: b"x"})
    with pytest.raises(PackError, match="is no pack"):
        import_pack(bad, tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_tampering_is_seen(pack: Path, tmp_path: Path) -> None:
    wrong = "0" * 64

    def rehash(text: dict[str, object]) -> dict[str, object]:
        files = [{**file, "sha256": wrong} if file["name"] == CONFIG else file for file in text["files"]]  # type: ignore[attr-defined]
        return {**text, "files": files}

    changes: list[dict[str, object]] = [
        {"manifest": rehash},
        {"manifest": lambda text: {**text, "version": 2}},
        {"manifest": lambda text: {**text, "files": text["files"][1:]}},
        {"replaced": {CONFIG: b"{}"}},
        {"replaced": {SESSION: b"SQLite format 3\0" + bytes(200)}},
        {"replaced": {MANIFEST: b"[]"}},
    ]
    for change in changes:
        bad = _rewrite(pack, tmp_path / "bad.wbpack", **change)  # type: ignore[arg-type]
        with pytest.raises(PackError) as caught:
            import_pack(bad, tmp_path / "in")
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "in").glob("*")) if (tmp_path / "in").exists() else True


def test_a_consistent_pack_of_something_else_is_refused(tmp_path: Path, pack: Path) -> None:
    """Hashes that fit do not make a session, nor another model's files."""
    for name, data in ((SESSION, b"no session at all"), (CONFIG, b"{}")):
        bad = _rewrite(pack, tmp_path / "bad.wbpack", replaced={name: data}, consistent=True)
        with pytest.raises(PackError, match="session"):
            import_pack(bad, tmp_path / "in")


def test_a_bomb_is_refused_before_it_is_unpacked(pack: Path, tmp_path: Path) -> None:
    bomb = _rewrite(pack, tmp_path / "bomb.wbpack", replaced={SESSION: bytes(1 << 26)}, consistent=True)
    with pytest.raises(PackError, match="which no session does"):
        import_pack(bomb, tmp_path / "in")
    assert not (tmp_path / "in").exists()
    crowd = tmp_path / "crowd.wbpack"
    with zipfile.ZipFile(crowd, "w") as zip_:
        for number in range(2_000):
            zip_.writestr(f"{number}", b"")
    with pytest.raises(PackError, match="2000 members"):
        import_pack(crowd, tmp_path / "in")


def test_a_member_that_is_longer_than_it_says_is_refused(pack: Path, tmp_path: Path) -> None:
    """The directory and the manifest agree on a size that is not the data's."""
    with zipfile.ZipFile(pack) as zip_:
        size = zip_.getinfo(SESSION).file_size

    def shorten(text: dict[str, object]) -> dict[str, object]:
        session, *others = text["files"]  # type: ignore[misc]
        return {**text, "files": [{**session, "size_bytes": size - 1}, *others]}

    shorter = _rewrite(pack, tmp_path / "short.wbpack", manifest=shorten)
    data = bytearray(shorter.read_bytes())
    at = data.rindex(size.to_bytes(4, "little"))
    data[at : at + 4] = (size - 1).to_bytes(4, "little")
    shorter.write_bytes(data)
    with pytest.raises(PackError, match="damaged"):
        import_pack(shorter, tmp_path / "in")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_one_error_or_harmless(
    data: st.DataObject, pack: Path, tmp_path: Path, recording: Path
) -> None:
    whole = pack.read_bytes()
    broken = bytearray(whole)
    if data.draw(st.booleans()):
        del broken[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            broken[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    bad, folder = tmp_path / "bad.wbpack", tmp_path / "in"
    bad.write_bytes(broken)
    try:
        taken = import_pack(bad, folder, "it", force=True)
    except PackError:
        pass
    else:
        assert taken.session.read_bytes() == recording.read_bytes()
    assert not list(folder.glob(".import-*"))


def _rewrite(
    pack: Path,
    target: Path,
    *,
    manifest: Callable[[dict[str, object]], dict[str, object]] | None = None,
    replaced: dict[str, bytes] | None = None,
    extra: dict[str, bytes] | None = None,
    consistent: bool = False,
) -> Path:
    """`pack` with changed members; `consistent` makes the manifest fit what was replaced."""
    import hashlib

    with zipfile.ZipFile(pack) as source:
        members = {name: source.read(name) for name in source.namelist()}
    members |= replaced or {}
    if consistent:
        text = json.loads(members[MANIFEST])
        for file in text["files"]:
            content = members[file["name"]]
            file["size_bytes"], file["sha256"] = len(content), hashlib.sha256(content).hexdigest()
        members[MANIFEST] = json.dumps(text).encode()
    if manifest is not None:
        members[MANIFEST] = json.dumps(manifest(json.loads(members[MANIFEST]))).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as zip_:
        for name, content in (members | (extra or {})).items():
            zip_.writestr(name, content)
    return target
