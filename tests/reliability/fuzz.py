"""Coverage-guided fuzzing of the readers with atheris: `make fuzz`, or `NUMBA_DISABLE_JIT=1 python fuzz.py READER`.

Inputs that reach new code are kept in `runs/fuzz/<reader>`, outside the package; what breaks a
reader is written to `cases/<reader>`, where the tests read it again from then on.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main() -> int:
    """One reader in this process, or all in turn, each in one of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", nargs="?", help="the name in readers.py; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    arguments = parser.parse_args()
    if arguments.reader is not None:
        return fuzz(arguments.reader, arguments.seconds)
    from tests.reliability.readers import readers

    with tempfile.TemporaryDirectory() as folder:
        names = list(readers(Path(folder)))
    failed = [name for name in names if run_alone(name, arguments.seconds)]
    print(
        f"{len(names)} readers fuzzed for {arguments.seconds} s each; faults in {failed or 'none'}"
    )
    return len(failed)


def run_alone(name: str, seconds: int) -> int:
    """A process of its own, since the fuzzer ends the one that it runs in."""
    print(f"== {name}", flush=True)
    command = [sys.executable, "-m", "tests.reliability.fuzz", name, "--seconds", str(seconds)]
    # The instrumented bytecode is not what Numba can compile.
    return subprocess.run(
        command, check=False, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}
    ).returncode


def fuzz(name: str, seconds: int) -> int:
    """Fuzz one reader until the time is over; does not return."""
    import atheris

    with atheris.instrument_imports(include=["wm_envs", "wm_agents"]):
        from tests.reliability.readers import readers
        from tests.reliability.test_readers import fault_of

    corpus = ROOT / "runs" / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    reader = readers(folder)[name]
    (corpus / "good").write_bytes(reader.good)
    if reader.unpack is not None:
        (corpus / "unpacked").write_bytes(reader.unpack(reader.good))

    def try_one(data: bytes) -> None:
        for file in [data] if reader.pack is None else [data, reader.pack(data)]:
            fault = fault_of(reader, folder / name, file)
            if fault is not None:
                case = HERE / "cases" / name / sha256(file).hexdigest()[:12]
                case.parent.mkdir(parents=True, exist_ok=True)
                case.write_bytes(file)
                raise AssertionError(f"{fault}; kept as {case}")

    limits = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=20", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, f"-artifact_prefix={corpus}/"], try_one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
