"""Generates the typed stubs in ``modelyard/v1`` and ``modelyard/oip/v2`` from the protos.

``--check`` writes nothing: it lints the contract, looks for breaking changes against ``protos/baseline.binpb``
and fails where the committed stubs differ from what the protos give.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).parent
ROOT = PROTOS.parent
PACKAGES = ("modelyard/v1", "modelyard/oip/v2")
"""Where stubs lie, below the repository as below a proto's folder."""
BASELINE = PROTOS / "baseline.binpb"
BIN = Path(sys.executable).parent


def generate(out: Path) -> None:
    """Runs protoc for every proto; imports in the output match the repository's paths."""
    sources = sorted(
        str(p.relative_to(PROTOS)) for package in PACKAGES for p in (PROTOS / package).glob("*.proto")
    )
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    command += [f"--plugin=protoc-gen-mypy={BIN / 'protoc-gen-mypy'}"]
    command += [f"--plugin=protoc-gen-mypy_grpc={BIN / 'protoc-gen-mypy_grpc'}"]
    command += [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    subprocess.run(command + sources, check=True, cwd=PROTOS, stderr=subprocess.DEVNULL)
    for source in sources:
        if "\nservice " not in (PROTOS / source).read_text(encoding="utf-8"):
            for useless in (out / source).parent.glob(f"{Path(source).stem}_pb2_grpc.py*"):
                useless.unlink()


def stub_texts(root: Path) -> dict[str, str]:
    """By their paths below the root."""
    return {
        f"{package}/{p.name}": p.read_text(encoding="utf-8")
        for package in PACKAGES
        for p in sorted((root / package).glob("*_pb2*.py*"))
    }


def buf(*arguments: str) -> None:
    subprocess.run([BIN / "buf", *arguments], check=True, cwd=PROTOS)


def check() -> int:
    """0 when the contract is clean and the stubs are in step with it."""
    buf("lint")
    buf("breaking", "--against", str(BASELINE))
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = stub_texts(Path(folder))
    committed = stub_texts(ROOT)
    stale = sorted(n for n in fresh.keys() | committed.keys() if fresh.get(n) != committed.get(n))
    if stale:
        print("stubs differ from the protos, run `make gen`: " + ", ".join(stale), file=sys.stderr)
    return 1 if stale else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on any difference")
    parser.add_argument(
        "--baseline", action="store_true", help="take today's contract as the one not to break"
    )
    options = parser.parse_args()
    if options.check:
        return check()
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        for stub in stub_texts(ROOT):
            (ROOT / stub).unlink()
        for name, text in stub_texts(Path(folder)).items():
            (ROOT / name).write_text(text, encoding="utf-8")
    if options.baseline or not BASELINE.exists():
        buf("build", "-o", str(BASELINE))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
