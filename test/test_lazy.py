"""Modules that are imported where they are used."""

import subprocess
import sys

import pytest


def run(code: str, folder) -> str:
    """What a fresh Python prints that finds packages in `folder`."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def late(tmp_path):
    package = tmp_path / "late"
    package.mkdir()
    (package / "__init__.py").write_text("print('imported')\nfrom late.inner import value\n")
    (package / "inner.py").write_text("value = 5\n")
    return tmp_path


START = "from espnet2_secap.lazy import import_when_used; import_when_used('late')\nimport inspect, late\n"


def test_a_name_imports_it(late):
    code = "inspect.getmodule(inspect.getmodule)\nprint(hasattr(late, '__file__'))\nprint(late.value, late.value)\n"
    code += "first = late\nimport late\nprint(late is first, late.value, late.__file__.endswith('__init__.py'))"
    assert run(START + code, late) == "False\nimported\n5 5\nFalse 5 True\n"


def test_its_modules_are_there(late):
    assert run(START + "import late.inner\nprint(late.inner.value)", late) == "5\n"


def test_one_that_is_imported_or_missing_is_left_alone(late):
    code = "import late, espnet2_secap.lazy as lazy\nlazy.import_when_used('late')\nprint(late.__file__ != '')\n"
    code += "lazy.import_when_used('no_such_package')\nprint('no_such_package' in sys.modules)"
    assert run(code, late) == "imported\nTrue\nFalse\n"


def test_espnet_downloads_no_phonemes(tmp_path):
    """g2p_en, which ESPnet imports, would."""
    code = "import espnet2_secap.tasks.sec, espnet2.text.phoneme_tokenizer as used\n"
    assert run(code + "print(used.g2p_en.__name__, 'nltk' in sys.modules)", tmp_path).endswith("\ng2p_en False\n")
