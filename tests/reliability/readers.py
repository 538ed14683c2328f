"""Every reader of files with a good file of its kind, the one error that it may raise, and what holds of what it reads.

A reader takes the path of a file. What it accepts must be well-formed (`check`); all else ends in
its typed error.
"""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from tests.reliability.model_files import model_readers
from tests.reliability.reader import Reader
from wm_agents.domains.debate.model import DebateModel, Debaters
from wm_agents.errors import CheckpointError, ConfigError, ProgramError
from wm_agents.errors import TrajectoryError as ArraysError
from wm_agents.training.checkpoints import load_checkpoint, save_checkpoint
from wm_agents.training.loggers import JSONLLogger, read_jsonl
from wm_agents.world_models.program import ProgramModel
from wm_envs.data.trajectories import Trajectories
from wm_envs.debate.observations import MAX_BYTES, Observations, load_corpus
from wm_envs.driving.track import read_csv
from wm_envs.errors import ObservationError, OptionError, TrackError, TrajectoryError
from wm_envs.resolutions.digital_library import read_digital_library, read_marc
from wm_envs.resolutions.generator import fitted_source, recorded_source
from wm_envs.resolutions.records import MAX_MEMBERS, read_trajectories
from wm_envs.resolutions.unvotes import read_unvotes

TRAJECTORY = {
    "trajectory_id": "A/RES/78/196",
    "metadata": {
        "symbol": "A/RES/78/196", "title": "Rights", "subject": "RIGHTS", "session": 78, "committee": 3,
        "final_outcome": "adopted", "issues": ["Human rights"], "kind": "whole",
    },
    "timesteps": [
        {"t": 0, "stage": "draft_submission", "date": "2023-10-30",
         "action": {"sponsors": ["US", "FR"], "co_sponsors": ["DE"]}},
        {"t": 1, "stage": "committee_deliberation", "action": {"utterances": [{"word_count": 120}]}},
        {"t": 2, "stage": "plenary_vote", "date": "2023-12-19",
         "action": {"votes": {"in_favour": ["US", "FR", "DE"], "against": ["RU"], "abstaining": ["CN"]}},
         "observation": {"vote_tally": {"yes": 3, "no": 1, "abstain": 1}}},
    ],
}  # fmt: skip

MARC = b"""<?xml version="1.0" encoding="UTF-8"?>
<collection xmlns="http://www.loc.gov/MARC21/slim"><record>
<datafield tag="191"><subfield code="a">A/C.3/78/L.5</subfield></datafield>
<datafield tag="245"><subfield code="a">Rights of the child :</subfield>
<subfield code="b">draft resolution /</subfield>
<subfield code="c">Albania, France and Germany</subfield></datafield>
<datafield tag="269"><subfield code="a">2023-10-30</subfield></datafield>
<datafield tag="515"><subfield code="a">Additional sponsors: Japan and Chile</subfield></datafield>
<datafield tag="710"><subfield code="a">Albania</subfield></datafield>
<datafield tag="991"><subfield code="b">71b</subfield><subfield code="d">RIGHTS</subfield></datafield>
<datafield tag="993"><subfield code="a">A/RES/78/196</subfield></datafield>
</record></collection>"""

ROLL_CALLS = (
    b"rcid,session,importantvote,date,unres,amend,para,short,descr\n"
    b'3,1,0,1946-01-01,R/1/66,1,0,"AMENDMENTS","TO ADOPT A CUBAN AMENDMENT"\n'
    b'4,1.0,0,1946-01-02,R/1/79,0,0,"Peace : resolution / adopted by the General Assembly","RIGHTS"\n'
)
VOTES = (
    b"rcid,country,country_code,vote\n3,United States,US,yes\n3,France,FR,no\n3,Cuba,CU,abstain\n4,France,FR,yes\n"
    b"4,Cuba,CU,yes\n4,Egypt,EG,no\n"
)
LOG = b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": null}\n'
ISSUES = b"rcid,issue\n3,Human rights\n3,Colonialism\n4,Arms control and disarmament\n"
LIBRARY = (
    b"undl_id,ms_code,ms_name,ms_vote,date,session,resolution,draft,title,agenda_title,subjects,total_yes,total_no,"
    b"total_abstentions\n"
    b'7,USA,UNITED STATES,N,2003-12-22,58,A/RES/58/147,A/58/508,"Rights : resolution","SOCIAL","WOMEN",1,1,1\n'
    b'7,FRA,FRANCE,Y,2003-12-22,58,A/RES/58/147,A/58/508,"Rights : resolution","SOCIAL","WOMEN",1,1,1\n'
    b'7,CUB,CUBA,A,2003-12-22,58,A/RES/58/147,A/58/508,"Rights : resolution","SOCIAL","WOMEN",1,1,1\n'
    b'8,CUB,CUBA,Y,2004-01-22,58,A/RES/58/148,A/58/509,"Peace","",,1,,\n'
)
FITTED = {
    "countries": {
        "US": [0.1, 0.2, 0.3, 0.1, 0.05],
        "FR": [0.2, -0.2, 0.3, 0.1, 0.1],
        "CU": [-1, 0.5, 0, 0.1, 0],
    },
    "drafts": [
        {
            "symbol": "A/1",
            "title": "Peace",
            "topic": 2,
            "parameters": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        }
    ],
}


def readers(folder: Path) -> dict[str, Reader]:
    """All of them; `folder` takes what has to be written to be had."""
    trajectory, line = json.dumps(TRAJECTORY).encode(), json.dumps(TRAJECTORY).encode() + b"\n"
    arrays, model = _arrays(folder), _debate_model(folder)
    listed = [
        Reader("trajectory.json", trajectory, read_trajectories, TrajectoryError, _check_resolutions),
        Reader("trajectories.jsonl", line, read_trajectories, TrajectoryError, _check_resolutions),
        Reader(
            "trajectories.jsonl.gz", gzip.compress(line, mtime=0), read_trajectories, TrajectoryError,
            _check_resolutions, gzip.decompress, lambda data: gzip.compress(data, 1, mtime=0),
        ),
        Reader("votes.csv", VOTES, _with_roll_calls(folder), TrajectoryError, _check_resolutions),
        Reader("roll_calls.csv", ROLL_CALLS, _with_votes(folder), TrajectoryError, _check_resolutions),
        Reader("drafts.xml", MARC, read_marc, TrajectoryError, _check_resolutions),
        Reader("spatial_model.json", json.dumps(FITTED).encode(), fitted_source, TrajectoryError, _check_source),
        Reader("issues.csv", ISSUES, _as_issues(folder), TrajectoryError, _check_resolutions),
        Reader("library.csv", LIBRARY, read_digital_library, TrajectoryError, _check_resolutions),
        Reader(
            "replay.jsonl", line, lambda path: recorded_source(path, "US"), (TrajectoryError, OptionError),
            _check_source,
        ),
        Reader("circuit.csv", _circuit(), read_csv, TrackError, _check_track),
        Reader("observations.json", _observations(), Observations.load, ObservationError, _check_observations),
        Reader("model.json", model, DebateModel.load, CheckpointError, _check_model),
        Reader("log.jsonl", LOG, _records, ConfigError, _check_log),
        Reader("resumed.jsonl", LOG, _resumed_log, ConfigError, _check_log),
        Reader("arrays.npz", arrays, Trajectories.load, ArraysError, _check_arrays, _first_member, _as_member(arrays)),
        Reader("checkpoint.safetensors", _checkpoint(folder), load_checkpoint, CheckpointError, _never),
        Reader("program.json", _program(folder), ProgramModel.load, (CheckpointError, ProgramError), _check_program),
        *model_readers(folder),
    ]  # fmt: skip
    return {reader.name: reader for reader in listed}


def _program(folder: Path) -> bytes:
    text = (
        "feature x: 0..3 at column 0\ntable t: 1 0 3 2\nx = t[x] if action == 0 else (x + 1) % 4\n"
    )
    spaces = gym.spaces.Box(0, 3, (1,)), gym.spaces.Discrete(2)
    return ProgramModel(text, *spaces).save(folder / "program").read_bytes()


def _check_program(model: ProgramModel) -> None:
    assert model.num_features == model.program.num_columns


def _circuit() -> bytes:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rows = [f"{150 * np.cos(a):.2f},{100 * np.sin(a):.2f},5.0,5.5" for a in angles]
    return ("# x_m,y_m,w_tr_right_m,w_tr_left_m\n" + "\n".join(rows) + "\n").encode()


def _corpus(num: int) -> Observations:
    corpus = load_corpus()
    return Observations(corpus[i] for i in range(num))


def _observations() -> bytes:
    return json.dumps(_corpus(4).to_plain()).encode()


def _arrays(folder: Path) -> bytes:
    observations = np.arange(12, dtype=np.float32).reshape(6, 2)
    trajectories = Trajectories.from_arrays(
        observations, [0, 1, 1, 0], [0.0, 1, 0, 1], [0, 1, 0, 0], lengths=[2, 2]
    )
    return trajectories.save(folder / "arrays.npz").read_bytes()


def _debate_model(folder: Path) -> bytes:
    DebateModel("Person", _corpus(3), Debaters()).save(folder / "model.json")
    return (folder / "model.json").read_bytes()


def _checkpoint(folder: Path) -> bytes:
    tensors = {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7)}
    return save_checkpoint(
        folder / "good.safetensors", tensors, {"kind": "test", "note": "x"}
    ).read_bytes()


def _with_roll_calls(folder: Path) -> Callable[[Path], Any]:
    (folder / "other_roll_calls.csv").write_bytes(ROLL_CALLS)
    return lambda path: read_unvotes(path, folder / "other_roll_calls.csv")


def _with_votes(folder: Path) -> Callable[[Path], Any]:
    (folder / "other_votes.csv").write_bytes(VOTES)
    return lambda path: read_unvotes(folder / "other_votes.csv", path)


def _as_issues(folder: Path) -> Callable[[Path], Any]:
    (folder / "some_votes.csv").write_bytes(VOTES)
    (folder / "some_roll_calls.csv").write_bytes(ROLL_CALLS)
    return lambda path: read_unvotes(
        folder / "some_votes.csv", folder / "some_roll_calls.csv", path
    )


def _resumed_log(path: Path) -> list[dict[str, Any]]:
    """A log that goes on from step 1.

    Later lines and a half-written one are cut off, anything else is refused.
    """
    with JSONLLogger(path, resume_step=1) as logger:
        logger.log(2, {"loss": 0.25})
    return list(read_jsonl(path))


def _records(path: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(path))


def _first_member(data: bytes) -> bytes:
    """The array of rewards as it lies in the archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("rewards.npy")


def _as_member(good: bytes) -> Callable[[bytes], bytes]:
    """Puts other bytes in the place of the rewards."""

    def pack(data: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(good)) as archive, zipfile.ZipFile(stream, "w") as packed:
            for name in archive.namelist():
                packed.writestr(name, data if name == "rewards.npy" else archive.read(name))
        return stream.getvalue()

    return pack


def _check_resolutions(trajectories: Any) -> None:
    for trajectory in trajectories:
        assert trajectory.trajectory_id
        for ballot in (trajectory.committee_ballot, trajectory.plenary_ballot):
            if ballot is not None:
                assert all(
                    type(number) is int and 0 <= number <= MAX_MEMBERS for number in ballot.tally
                )
                assert sum(ballot.tally) <= MAX_MEMBERS
                named = [*ballot.in_favour, *ballot.against, *ballot.abstaining]
                assert len(set(named)) == len(named)


def _check_source(source: Any) -> None:
    for name in source.parameters.dtype.names:
        values = source.parameters[name]
        assert values.dtype.kind != "f" or np.isfinite(values).all(), name


def _check_track(track: Any) -> None:
    for name in ("x", "y", "heading", "curvature", "right", "left"):
        assert np.isfinite(getattr(track, name)).all(), name
    assert track.right.min() > 0
    assert track.left.min() > 0


def _check_observations(observations: Any) -> None:
    assert all(0 < len(observation.content.encode()) <= MAX_BYTES for observation in observations)
    json.dumps(observations.to_plain(), allow_nan=False)


def _check_model(model: Any) -> None:
    _check_observations(model.observations)
    assert abs(sum(model.agents.allocations.values()) - 1) < 1e-6


def _check_log(records: Any) -> None:
    assert all(type(record["step"]) is int for record in records)


def _check_arrays(trajectories: Any) -> None:
    assert np.isfinite(trajectories.observations).all()
    assert np.isfinite(trajectories.rewards).all()


def _never(_: Any) -> None:
    raise AssertionError("an altered checkpoint was loaded")
