"""Readers of files against thousands of altered ones: a well-formed value or the one typed error, which names the file.

What went wrong once lies in `cases/<file name>/` and is read again by every run.
"""

import gzip
import json
import resource
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.reliability.mutations import mutated
from tests.reliability.readers import MARC, ROLL_CALLS, VOTES, readers
from wm_envs.debate.observations import Observations
from wm_envs.errors import ObservationError, TrajectoryError
from wm_envs.resolutions.digital_library import read_marc
from wm_envs.resolutions.records import read_trajectories
from wm_envs.resolutions.unvotes import read_unvotes

CASES = Path(__file__).with_name("cases")
NAMES = (
    "trajectory.json", "trajectories.jsonl", "trajectories.jsonl.gz", "votes.csv", "roll_calls.csv", "drafts.xml",
    "spatial_model.json", "issues.csv", "library.csv", "replay.jsonl", "circuit.csv", "observations.json", "model.json",
    "log.jsonl", "resumed.jsonl", "arrays.npz", "checkpoint.safetensors", "program.json", "deterministic.model",
    "ensemble.model",
    "recurrent.model", "latent.model", "token.model", "history.model", "tabular.model", "objects.model",
    "reinforce.model",
    "policy.model", "state.run",
)  # fmt: skip
SLOWEST = 5.0  # seconds for one small file


@pytest.fixture(scope="module")
def all_readers(tmp_path_factory):
    found = readers(tmp_path_factory.mktemp("good"))
    assert tuple(found) == NAMES
    return found


def fault_of(reader, path, data):
    """What is wrong with how a file is read.

    None when it is read well, or refused as it should be.
    """
    path.write_bytes(data)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # What is left out of a file is said aloud, which is no fault.
            warnings.simplefilter("ignore", UserWarning)
            value = reader.read(path)
    except reader.error as error:
        fault = None if path.name in str(error) else f"the message does not name the file: {error}"
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    else:
        try:
            fault = None if data == reader.good else reader.check(value)
        except Exception as error:
            fault = f"accepted: {type(error).__name__}: {error}"
    return fault if fault is not None or time.perf_counter() - began < SLOWEST else "slow"


@pytest.mark.parametrize("name", NAMES)
def test_altered_files_are_refused_with_the_typed_error(
    name, all_readers, tmp_path, is_long, counted, random
):
    reader, path = all_readers[name], tmp_path / name
    path.write_bytes(reader.good)
    reader.read(path)
    num_tried, faults = 1500 if is_long else 60, []
    for number in range(num_tried):
        data = mutated(reader.good, random)
        if reader.unpack is not None and number % 2:
            data = reader.pack(mutated(reader.unpack(reader.good), random))
        fault = None if data == reader.good else fault_of(reader, path, data)
        if fault is not None:
            faults.append((fault, data[:300]))
    counted("altered files, only the typed error", name, tried=num_tried, failed=len(faults))
    assert not faults, (len(faults), faults[:3])


@pytest.mark.parametrize("name", NAMES)
def test_former_faults_stay_mended(name, all_readers, tmp_path):
    for case in sorted((CASES / name).glob("*")):
        assert fault_of(all_readers[name], tmp_path / name, case.read_bytes()) is None, case


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_file_is_refused(name, all_readers, tmp_path):
    reader = all_readers[name]
    if name != "resumed.jsonl":  # a log that is not there yet is begun
        with pytest.raises(reader.error):
            reader.read(tmp_path / f"absent-{name}")
    (tmp_path / name).mkdir()
    with pytest.raises(reader.error):
        reader.read(tmp_path / name)
    shutil.rmtree(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    if "jsonl" not in name:  # no line is no record, which is no fault
        with pytest.raises(reader.error):
            reader.read(tmp_path / name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["trajectory_id", "metadata", "timesteps", "stage", "action", "votes", "in_favour", "observation",
             "vote_tally", "yes", "no", "abstain", "sponsors", "t", "observations", "content", "id", "count", "owner"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@QUICK
@given(document=JSON)
def test_any_json_is_read_or_refused(document, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    text = json.dumps(document)
    for read, error, name in (
        (read_trajectories, TrajectoryError, "any.json"),
        (Observations.load, ObservationError, "any_observations.json"),
    ):
        (folder / name).write_text(text)
        try:
            read(folder / name)
        except error as refusal:
            assert name in str(refusal)  # noqa: PT017


@settings(QUICK, max_examples=25)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data, all_readers, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    for name, reader in all_readers.items():
        assert fault_of(reader, folder / f"any-{name}", data) is None, name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_entities_are_never_unfolded_in_any_encoding(encoding, tmp_path):
    entities = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx">' + "".join(
        f'<!ENTITY x{i} "{f"&x{i - 1 if i else str()};" * 10}">' for i in range(12)
    )
    text = f'<?xml version="1.0" encoding="{encoding}"?>{entities}]><collection>&x11;</collection>'
    (tmp_path / "bomb.xml").write_bytes(text.encode(encoding))
    with pytest.raises(TrajectoryError, match=r"DOCTYPE|not well-formed"):
        read_marc(tmp_path / "bomb.xml")


@pytest.mark.parametrize(
    ("name", "begin", "part", "end", "message"),
    [
        ("drafts.xml.gz", b"<collection>", b"<a/>", b"</collection>", "more than 400000 elements"),
        ("trajectory.json.gz", b"[", b"[],", b"[]]", "write it as JSON lines"),
    ],
)
def test_small_files_that_become_millions_of_objects(
    name, begin, part, end, message, tmp_path, monkeypatch
):
    """Three hundred kilobytes become 70 megabytes, and by one more factor of four what they stand for is gigabytes."""
    monkeypatch.setattr("wm_envs.resolutions.digital_library.MAX_ELEMENTS", 400_000)
    path, read = tmp_path / name, read_marc if "xml" in name else read_trajectories
    path.write_bytes(gzip.compress(begin + part * (70 * 2**20 // len(part)) + end, 1))
    assert path.stat().st_size < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TrajectoryError, match=message):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kilobytes


def test_what_appears_twice_among_very_many_is_found_at_once(tmp_path):
    keys = ",".join(f'"{number}":0' for number in range(300_000))
    (tmp_path / "keys.json").write_text(f'{{{keys},"x":0,"x":0}}')
    with pytest.raises(TrajectoryError, match="duplicate key 'x'"):
        read_trajectories(tmp_path / "keys.json")
    files = [tmp_path / name for name in ("votes.csv", "roll_calls.csv", "issues.csv")]
    files[0].write_bytes(VOTES)
    files[1].write_bytes(ROLL_CALLS)
    files[2].write_text("rcid,issue\n" + "".join(f"3,{number}\n" for number in range(300_000)))
    with pytest.raises(TrajectoryError, match="line 52: issue: more than 50 on roll call 3"):
        read_unvotes(*files)


@pytest.mark.parametrize(
    "name", ["checkpoint.safetensors", "observations.json", "model.json", "log.jsonl"]
)
def test_a_file_without_end_is_refused_without_reading_it(name, all_readers, tmp_path):
    """A device, and a file of a terabyte with nothing in it."""
    (tmp_path / "device").symlink_to("/dev/zero")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for endless in ("device", "sparse"):
        with pytest.raises(all_readers[name].error):
            all_readers[name].read(tmp_path / endless)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19


def test_numbers_of_any_length_and_long_texts_end_at_once(tmp_path):
    (tmp_path / "a.xml").write_bytes(
        MARC.replace(b"A/C.3/78/L.5", b"A/C.3/" + b"7" * 5000 + b"/L.5")
    )
    with pytest.raises(TrajectoryError, match="none of 1 records is a draft"):
        read_marc(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_bytes(MARC.replace(b"Albania, France", b"[" * 100_000))
    with pytest.raises(TrajectoryError, match=r"record 1: 245c: 100\d+ characters"):
        read_marc(tmp_path / "a.xml")
    (tmp_path / "votes.csv").write_text("rcid,country,country_code,vote\n3,France,FR,yes\n")
    short = "x" + " " * 100_000 + "y"
    (tmp_path / "calls.csv").write_text(
        f"rcid,session,date,unres,amend,para,short,descr\n3,1,1946-01-01,R/1/1,0,0,{short},{short}\n"
    )
    began = time.perf_counter()
    assert len(read_unvotes(tmp_path / "votes.csv", tmp_path / "calls.csv")) == 1
    assert time.perf_counter() - began < SLOWEST


def test_a_packed_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setattr("wm_envs.resolutions.files.MAX_BYTES", 10**6)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b" " * 10**7))
    with pytest.raises(TrajectoryError, match="more than 1000000 bytes"):
        read_trajectories(tmp_path / "a.jsonl.gz")
    from wm_agents.errors import TrajectoryError as ArraysError
    from wm_envs.data.trajectories import Trajectories

    monkeypatch.setattr("wm_envs.data.trajectories.MAX_BYTES", 10**4)
    np.savez_compressed(tmp_path / "a.npz", observations=np.zeros(10**6))
    with pytest.raises(ArraysError, match="unpacks to"):
        Trajectories.load(tmp_path / "a.npz")


def test_a_damaged_minari_dataset_is_a_typed_error(tmp_path, monkeypatch, is_long, counted, random):
    pytest.importorskip("minari")
    from wm_envs import record
    from wm_envs.data.minari import load_minari, save_minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    recording = record("wm/TMaze-v0", episodes=3, seed=0)
    save_minari(recording, "wm/t-maze/test-v0", "wm/TMaze-v0")
    file = next(tmp_path.rglob("main_data.hdf5"))
    good, num_tried, faults = file.read_bytes(), 200 if is_long else 15, []
    for number in range(num_tried):
        data = bytearray(good)
        for position in random.integers(len(good), size=1 + number % 50):
            data[position] ^= 1 << int(random.integers(8))
        file.write_bytes(data if number % 5 else data[: int(random.integers(len(data)))])
        try:
            loaded = load_minari("wm/t-maze/test-v0")
            assert np.isfinite(loaded.observations).all()
        except TrajectoryError:
            pass
        except Exception as error:
            faults.append(repr(error))
    counted(
        "altered files, only the typed error", "Minari HDF5", tried=num_tried, failed=len(faults)
    )
    assert not faults, faults[:3]
