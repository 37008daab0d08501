"""Recording from another process: nothing committed is lost, whoever dies, and one file is left."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
import xxhash
from msgspec.structs import replace

from engine import events as ev
from engine.capture import Captured, TensorKey
from engine.engine import Engine
from sessions.creating import create_session, seal_file
from sessions.errors import RecorderError, SessionError
from sessions.places import default_path, file_system, place_for, side_files
from sessions.reader import Session
from sessions.recorder import Recorder
from sessions.request_rows import signed
from sessions.writer import Writer
from tests.fold_process import digest
from tests.recorded import DEMO_HEADER, engine_on, header, run_demo
from tests.scripted import spec

WAL_VERSION = 2


def long_run(recorder: Recorder) -> Engine:
    engine = engine_on(recorder, DEMO_HEADER)
    engine.submit(spec(range(9), 40))
    engine.submit(spec([3] * 5, 40))
    return engine


def is_one_plain_file(path: Path) -> bool:
    return not any(file.exists() for file in side_files(path)) and path.read_bytes()[18] != WAL_VERSION


def test_a_run_is_recorded_and_leaves_one_file(tmp_path) -> None:
    path = tmp_path / "new folder" / "run.wbs"
    recorder = Recorder(path, DEMO_HEADER)
    engine = engine_on(recorder, DEMO_HEADER)
    run_demo(engine)
    recorder.close()
    recorder.close()
    assert is_one_plain_file(path)
    with Session.open(path) as session:
        assert digest(session.state_at(session.last_step())) == digest(engine.state)
        assert session.details("1", 12) is not None


def test_logits_that_need_larger_slots_leave_those_of_the_step_before_alone(tmp_path) -> None:
    """The writer is halted while it still has step 3 to read, and step 4 brings many times the rows."""
    path, about = tmp_path / "run.wbs", header(64, max_running=40, token_budget=200)
    recorder = Recorder(path, about)
    engine = engine_on(recorder, about)
    engine.submit(spec(range(9), 6))
    engine.run(2)
    recorder.flush()
    os.kill(recorder.pid, signal.SIGSTOP)
    step = engine.step()
    for _ in range(30):
        engine.submit(spec([7], 2))
    threading.Timer(0.2, os.kill, (recorder.pid, signal.SIGCONT)).start()
    engine.run()
    recorder.close()
    assert step is not None
    row = step.details.logits
    assert row is not None
    with Session.open(path) as session:
        [token] = [token for token in session.tokens("1") if token.chosen_step == 3]
        assert token.logits_hash == signed(xxhash.xxh3_64_intdigest(row[0].tobytes()))


def test_captured_tensors_come_back(tmp_path) -> None:
    path = tmp_path / "run.wbs"
    key = TensorKey(0, 3, "1", 2, "attn_out", 7)
    large = Captured(key, "F32", (1, 300_000), bytes(1_200_000))
    small = Captured(replace(key, layer=None, stage="final_norm"), "BF16", (2, 3), bytes(range(12)))
    recorder = Recorder(path, DEMO_HEADER)
    recorder.capture([large, small])
    recorder.close()
    with Session.open(path) as session:
        found = session.tensors(3)
        assert [(row.key, row.dtype, row.shape) for row in found] == [
            (tensor.key, tensor.dtype, tensor.shape) for tensor in (large, small)
        ]
        assert [session.tensor_bytes(row) for row in found] == [large.data, small.data]
        assert session.tensors(4) == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE tensors SET data = 'x'")
        connection.commit()
    with Session.open(path) as session, pytest.raises(SessionError, match="tensor 1 is damaged"):
        session.tensor_bytes(found[0])


def test_a_reader_sees_the_step_before_as_soon_as_commit_returns(tmp_path) -> None:
    recorder = Recorder(tmp_path / "run.wbs", DEMO_HEADER)
    engine = long_run(recorder)
    recorder.flush()
    with Session.open(tmp_path / "run.wbs") as session:
        assert len(session.requests()) == 2
        while engine.step() is not None:
            assert session.last_step() >= engine.state.step - 1
        recorder.flush()
        assert session.last_step() == engine.state.step
    recorder.close()


def test_a_plan_can_be_read_while_its_step_takes_long(tmp_path) -> None:
    recorder = Recorder(tmp_path / "run.wbs", DEMO_HEADER)
    engine = long_run(recorder)
    engine.begin()
    with Session.open(tmp_path / "run.wbs") as session:
        deadline = time.monotonic() + 5
        while session.step_under_way() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert session.state_under_way().batch == engine.state.batch
    recorder.close()


@pytest.mark.parametrize("steps", [1, 2, 17])
def test_killing_the_writer_loses_at_most_the_step_being_written(tmp_path, steps) -> None:
    path = tmp_path / "run.wbs"
    recorder = Recorder(path, DEMO_HEADER)
    engine = long_run(recorder)
    digests = {}
    for _ in range(steps):
        engine.step()
        digests[engine.state.step] = digest(engine.state)
    os.kill(recorder.pid, signal.SIGKILL)
    with Session.open(path) as session:
        assert session.last_step() >= steps - 1
        if session.last_step():
            assert digest(session.state_at(session.last_step())) == digests[session.last_step()]
    with pytest.raises(RecorderError, match="its writer ended"):
        engine.run(3)
    with pytest.raises(RecorderError, match="its writer ended"):
        recorder.close()


def test_killing_writers_at_random_moments_leaves_whole_steps(tmp_path) -> None:
    """A writer with nothing to wait for, killed in the middle of its work."""
    code = (
        "import sys; from pathlib import Path; from tests.recorded import *;"
        "w = writer_on(Path(sys.argv[1]), DEMO_HEADER, 20); e = engine_on(w, DEMO_HEADER); run_demo(e);"
        "print(flush=True); [run_demo(e) for _ in range(1000)]"
    )
    for number in range(4):
        path = tmp_path / f"{number}.wbs"
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.017 + 0.037 * number)
        process.kill()
        process.wait()
        process.stdout.close()
        with Session.open(path) as session:
            assert session.last_step() > 30
            assert session.step_under_way() in (None, session.last_step() + 1)
            session.state_at(session.last_step()).check_invariants()
            assert session.step_row(session.last_step()).last_seq <= session.last_seq


def test_killing_the_engine_leaves_a_closed_session(tmp_path) -> None:
    path = tmp_path / "run.wbs"
    code = (
        "import sys; from pathlib import Path; from tests.test_recorder import *;"
        "r = Recorder(Path(sys.argv[1]), DEMO_HEADER); long_run(r).run(9);"
        "print(r.pid, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    writer = int(process.stdout.readline())
    os.kill(writer, signal.SIGINT)
    os.kill(writer, signal.SIGTERM)
    process.kill()
    process.wait()
    process.stdout.close()
    process.stdin.close()
    deadline = time.monotonic() + 5
    while not is_one_plain_file(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert is_one_plain_file(path)
    with Session.open(path) as session:
        assert session.last_step() == 9


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1, reason="there is no other core to keep to"
)
def test_the_writer_keeps_off_the_core_where_the_engine_computes(tmp_path) -> None:
    cores = os.sched_getaffinity(0)
    recorder = Recorder(tmp_path / "run.wbs", DEMO_HEADER)
    engine = long_run(recorder)
    try:
        for core in sorted(cores)[:2]:
            os.sched_setaffinity(0, {core})
            engine.step()
            assert os.sched_getaffinity(recorder.pid) == cores - {core}
    finally:
        os.sched_setaffinity(0, cores)
    recorder.close()


def test_a_full_disk_pauses_the_run_and_loses_nothing(tmp_path) -> None:
    path = tmp_path / "run.wbs"
    recorder = Recorder(path, DEMO_HEADER)
    engine = long_run(recorder)
    engine.run(3)
    recorder.flush()
    _, hard = resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE)
    written = path.with_name(path.name + "-wal").stat().st_size
    resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (written, hard))
    with pytest.raises(RecorderError, match=r"run\.wbs cannot be written .*: nothing is lost") as full:
        engine.run(3)
    assert "\n" not in str(full.value)
    with pytest.raises(RecorderError, match="cannot be written"):
        recorder.flush()
    with Session.open(path) as session:
        assert session.last_step() == 3
    resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (hard, hard))
    recorder.flush()
    engine.run()
    recorder.close()
    with Session.open(path) as session:
        assert digest(session.state_at(session.last_step())) == digest(engine.state)


def test_events_that_make_no_sense_end_the_recording_and_keep_what_was_there(tmp_path) -> None:
    recorder = Recorder(tmp_path / "run.wbs", DEMO_HEADER)
    engine = long_run(recorder)
    engine.run(2)
    recorder.record([ev.Token(branch=0, step=2, request="1", position=3, token=1, draw=None)])
    with pytest.raises(RecorderError, match="recording stopped at step 2: AssertionError"):
        recorder.flush()
    with pytest.raises(RecorderError, match="recording stopped"):
        recorder.close()
    with Session.open(tmp_path / "run.wbs") as session:
        assert session.last_step() == 2


def test_a_session_that_a_reader_holds_is_closed_all_the_same(tmp_path) -> None:
    path = tmp_path / "run.wbs"
    recorder = Recorder(path, DEMO_HEADER)
    engine = long_run(recorder)
    with Session.open(path) as session:
        engine.run()
        recorder.close()
        session.refresh()
        assert session.last_step() == engine.state.step
    assert seal_file(path)
    assert is_one_plain_file(path)


def test_a_file_that_exists_is_replaced_only_by_force(tmp_path) -> None:
    path = tmp_path / "run.wbs"
    path.write_text("precious")
    with pytest.raises(RecorderError, match="exists: choose another name, or overwrite it with --force"):
        Recorder(path, DEMO_HEADER)
    assert path.read_text() == "precious"
    Recorder(path, DEMO_HEADER, force=True).close()
    with Session.open(path) as session:
        assert session.last_step() == 0


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecorderError, match="cannot be written") as refused:
        create_session(tmp_path / "file" / "run.wbs", DEMO_HEADER)
    assert "\n" not in str(refused.value)


def test_a_writer_by_itself_is_a_sink(tmp_path) -> None:
    create_session(tmp_path / "run.wbs", DEMO_HEADER)
    writer = Writer(tmp_path / "run.wbs")
    run_demo(engine_on(writer, DEMO_HEADER))
    assert not writer.pending
    writer.close()


def test_sessions_are_named_by_time_and_model(tmp_path) -> None:
    now = datetime(2026, 11, 20, 16, 5, 12)
    path = default_path("tiny-python", now, tmp_path)
    assert path.name == "2026-11-20T16-05-12-tiny-python.wbs"
    path.touch()
    assert default_path("tiny-python", now, tmp_path).name == "2026-11-20T16-05-12-tiny-python-2.wbs"
    assert default_path("../my model/", now, tmp_path).name == "2026-11-20T16-05-12-my-model.wbs"


def test_a_network_file_system_is_left_for_a_local_folder(tmp_path, monkeypatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/vda / ext4 rw 0 0\nserver:/home /mnt/my\\040home nfs4 rw 0 0\n")
    assert file_system(Path("/mnt/my home/x/run.wbs"), mounts) == "nfs4"
    assert file_system(Path("/mnt/my/run.wbs"), mounts) == "ext4"
    monkeypatch.setattr("sessions.places.file_system", lambda path: "nfs4")
    place = place_for(Path("/mnt/my home/run.wbs"))
    assert place.path.parent.is_dir()
    assert place.warning is not None
    assert "network file system (nfs4)" in place.warning
    assert str(place.path) in place.warning
    place.path.parent.rmdir()
