"""Modules that are imported where they are used, and modules that are imported with less."""

import subprocess
import sys
from pathlib import Path

import pytest

from espnet2_secap import lazy

REPO = Path(__file__).resolve().parent.parent
LAZY = "from espnet2_secap.lazy import import_when_used, without_prints, without_type_checks\n"
START = LAZY + "import_when_used('late', 'Shape', 'area')\nimport inspect, late\n"


def run(code: str, folder) -> str:
    """What a fresh Python prints that finds packages in `folder`."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


@pytest.fixture
def late(tmp_path):
    package = tmp_path / "late"
    package.mkdir()
    (package / "__init__.py").write_text(
        "print('imported')\n"
        "from late.inner import value\n"
        "__version__ = '1'\n"
        "class Shape:\n    sides = 3\n    def __init__(self, size=1):\n        self.size = size\n"
        "def area(width, height=2):\n    return width * height\n"
    )
    (package / "inner.py").write_text("value = 5\n")
    return tmp_path


def test_a_name_imports_it(late):
    code = "print(late.value, late.value)\nfirst = late\nimport late\n"
    code += "print(late is first, late.value, type(late), late.__file__.endswith('__init__.py'))"
    assert run(START + code, late) == "imported\n5 5\nTrue 5 <class 'module'> True\n"


def test_its_version_and_all_of_its_names_are_there(late):
    assert run(START + "print(late.__version__)", late) == "imported\n1\n"
    assert run(LAZY + "import_when_used('late')\nfrom late import *\nprint(value)", late) == "imported\n5\n"


def test_a_name_that_it_lacks_is_an_attribute_error(late):
    assert run(START + "print(hasattr(late, 'nothing'), hasattr(late, 'nothing'))", late) == "imported\nFalse False\n"


def test_its_modules_are_there_before_and_after(late):
    code = "import late.inner\nprint(late.inner.value)\nlate.value\nimport late.inner\nprint(late.inner.value)"
    assert run(START + code, late) == "5\nimported\n5\n"


def test_a_module_of_a_package_can_be_the_one(late):
    (late / "late" / "inner.py").write_text("print('inner')\ndef value():\n    return 5\n")
    code = LAZY + "import_when_used('late.inner', 'value')\nimport late.inner\nprint(late.value)\nprint(late.value())"
    assert run(code, late) == "imported\n<late.inner.value, imported when used>\ninner\n5\n"


@pytest.mark.parametrize(
    "use, expected",
    [
        ("print(Shape(4).size)", "4"),
        ("print(Shape.sides)", "3"),
        ("class Square(Shape):\n    sides = 4\nprint(Square.__mro__[1].__name__, Square(2).size)", "Shape 2"),
        ("print(isinstance(3, Shape), isinstance(late.Shape(), (int, Shape)))", "False True"),
        ("print(issubclass(int, Shape), issubclass(late.Shape, Shape), issubclass(Shape, int))", "False True False"),
        ("Shape.sides = 6\nprint(late.Shape.sides)", "6"),
        ("print(inspect.signature(area), area(3))", "(width, height=2) 6"),
        ("import copy, pickle\nprint(pickle.loads(pickle.dumps(Shape)), copy.copy(area)(1))", "<class 'late.Shape'> 2"),
        ("print(isinstance(1, Shape | int), isinstance(1, int | Shape))", "True True"),
    ],
    ids=["call", "attribute", "subclass", "isinstance", "issubclass", "set", "signature", "pickle", "union"],
)
def test_a_class_or_function_taken_out_of_it_imports_it_when_used(late, use, expected):
    code = "from late import Shape, area\nprint(Shape.__name__, area.__module__, 'late.inner' in sys.modules)\n"
    assert run(START + code + use, late) == f"Shape late False\nimported\n{expected}\n"


def test_another_name_taken_out_of_it_imports_it(late):
    assert run(START + "from late import value\nprint(value)", late) == "imported\n5\n"


def test_what_looks_at_all_modules_imports_none(late):
    """So do inspect, warnings, unittest and torch; a placeholder in a class or annotation changes nothing either."""
    code = """from late import Shape, area
import doctest, importlib.util, typing, unittest, warnings
inspect.getmodule(inspect.getmodule), inspect.getmembers(late), dir(late), repr(late), late.__file__
inspect.getmembers(sys.modules[__name__]), inspect.isclass(Shape), inspect.unwrap(area), repr(Shape), hash(Shape)
with warnings.catch_warnings(record=True), unittest.TestCase().assertWarns(UserWarning):
    warnings.warn("some")
doctest.DocTestFinder().find(sys.modules[__name__], "main")
def annotated(shape: typing.Optional[Shape], shapes: typing.List[Shape]) -> typing.Union[Shape, int]: pass
class Owner:
    make = Shape
inspect.getmembers(Owner)
for module in list(sys.modules.values()):
    getattr(module, "__torch_function__", None), getattr(module, "__path__", None), getattr(module, "__spec__", None)
print(importlib.util.find_spec("late").origin.endswith("__init__.py"), "late.inner" in sys.modules)
print("class Shape" in inspect.getsource(late), "late.inner" in sys.modules)
"""
    assert run(START + code, late) == "True False\nTrue False\n"


def test_one_that_is_imported_or_missing_is_left_alone(late):
    code = "import late\n" + LAZY + "first = late\nimport_when_used('late')\nimport late\nprint(late is first)\n"
    code += "import_when_used('no_such_package', 'some')\nimport_when_used('late.no_such_module')\n"
    code += "without_type_checks('no_such_package')\nwithout_prints('no_such_package')\n"
    code += "try:\n    from no_such_package import some\nexcept ModuleNotFoundError as err:\n    print(err)\n"
    code += "try:\n    import late.no_such_module\nexcept ModuleNotFoundError as err:\n    print(err)"
    expected = "imported\nTrue\nNo module named 'no_such_package'\nNo module named 'late.no_such_module'\n"
    assert run(code, late) == expected


def test_one_that_cannot_be_imported_says_so_at_each_use(late):
    (late / "late" / "inner.py").write_text("import no_such_package\n")
    code = "from late import Shape\nfor _ in range(2):\n    try:\n        Shape()\n    except ImportError as err:\n"
    code += "        print(err)\ntry:\n    late.value\nexcept ImportError as err:\n    print(err)"
    assert run(START + code, late) == "imported\nNo module named 'no_such_package'\n" * 3


def test_one_that_puts_another_in_its_place(late):
    (late / "late" / "__init__.py").write_text(
        "import sys, types\nclass Other(types.ModuleType):\n    value = 7\nsys.modules[__name__] = Other(__name__)\n"
    )
    code = "first = late\nprint(first.value)\nimport late\nprint(late.value, first.value, type(late).__name__)"
    assert run(START + code, late) == "7\n7 7 Other\n"


def test_threads_that_use_it_at_once(late):
    (late / "late" / "inner.py").write_text("import time\ntime.sleep(0.2)\nvalue = 5\n")
    code = """from late import Shape
from threading import Barrier, Thread
seen, barrier = [], Barrier(8)
def use(number):
    barrier.wait()
    seen.append(late.value if number % 2 else Shape(5).size)
threads = [Thread(target=use, args=(number,)) for number in range(8)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(seen)
"""
    assert run(START + code, late) == f"imported\n{[5] * 8}\n"


def test_types_are_checked_everywhere_but_in_the_named_package(tmp_path):
    (tmp_path / "loose").mkdir()
    source = "from typeguard import typechecked\n@typechecked\ndef half(x: int) -> float:\n    return x / 2\n"
    source += (
        "class Owner:\n    @classmethod\n    @typechecked\n    def half(cls, x: int) -> float:\n        return x / 2\n"
    )
    (tmp_path / "loose" / "__init__.py").write_text("import strict\n" + source)
    (tmp_path / "loose" / "broken.py").write_text("raise ValueError('broken')\n")
    (tmp_path / "strict.py").write_text(source)
    code = """import typeguard
before = typeguard.typechecked
without_type_checks("loose")
import loose, strict
try:
    import loose.broken
except ValueError:
    pass
print(loose.half(0.5), loose.Owner.half(0.5), typeguard.typechecked is before)
for owner in (strict, strict.Owner):
    try:
        owner.half(0.5)
    except typeguard.TypeCheckError as err:
        print(str(err)[:12])
"""
    assert run(LAZY + code, tmp_path) == '0.25 0.25 True\nargument "x"\nargument "x"\n'


def test_a_module_prints_nothing_while_it_is_imported(tmp_path):
    (tmp_path / "loud.py").write_text("print('at import')\ndef say():\n    print('later')\n")
    assert run(LAZY + "without_prints('loud')\nimport loud\nloud.say()", tmp_path) == "later\n"


HEAVY = """espnet2.gan_tts espnet2.layers.create_adapter_fn flash_attn g2p_en.g2p h5py._hl inflect jaconv librosa.core
matplotlib nltk numba pandas s3prl.hub s3prl.upstream scipy.optimize._optimize scipy.signal._signaltools scipy.stats
sklearn sympy tacotron_cleaner tensorboard torch._dynamo torch._inductor torch.distributed.tensor
torch.utils.tensorboard torchaudio transformers triton whisper""".split()


def test_the_task_imports_nothing_heavy(tmp_path):
    """ESPnet is there, and its types are not checked; nothing is printed."""
    code = f"import espnet2_secap.tasks.sec\nfor name in {HEAVY!r}:\n    if name in sys.modules:\n        print(name)\n"
    code += "import espnet2.text.phoneme_tokenizer as used\nprint(used.g2p_en.__name__, 'nltk' in sys.modules)\n"
    code += (
        "from espnet2.train.trainer import Trainer\nprint('typeguard' in Trainer.train_one_epoch.__code__.co_names)\n"
    )
    assert run(code, tmp_path) == "g2p_en False\nFalse\n"


@pytest.mark.slow(15)
def test_what_espnet_uses_of_it_is_the_real_thing(tmp_path):
    """Its placeholders, by the names under which ESPnet holds them; importing them prints nothing either."""
    code = """import espnet2_secap.tasks.sec, espnet2.tasks.abs_task as task, espnet2.train.preprocessor as preprocessor
from espnet2.train import trainer, dataset
import inspect
print(list(inspect.signature(trainer.calculate_all_attentions).parameters))
print(list(inspect.signature(task.create_adapter).parameters)[:2])
print(preprocessor.build_tokenizer("char").text2tokens("ab"), preprocessor.TextCleaner(None)("a"))
print(preprocessor.scipy.signal.convolve([1, 2], [3]).tolist(), dataset.h5py.File.__name__)
"""
    lines = run(code, tmp_path).splitlines()
    assert lines[0] == "['model', 'batch']" and lines[1] == "['model', 'adapter']"
    assert lines[2:] == ["['a', 'b'] a", "[3, 6] File"]


def test_without_torch_parts_and_options_can_be_looked_at_and_nothing_heavy_is_imported():
    """sec_check asks the real parser, the real registry and the real models, in a process that has no torch."""
    code = """
import sys
from espnet2_secap.lazy import HEAVY, without_torch
without_torch(); without_torch()
from espnet2_secap.tasks.parts import CHOICES, PARTS
for kind, name, _ in PARTS:
    CHOICES[kind].get_class(name)
model = CHOICES["model"].get_class("align")
print(sorted(model.needs({})), model.parts)
CHOICES["bridge"].check("linear", {"hidden_size": 3})
from espnet2_secap.tasks.sec import SECTask
args = SECTask.get_parser().parse_args(["--optim", "adamw", "--optim_conf", "lr=1e-4", "--max_epoch", "3"])
print(args.optim, args.max_epoch)
print([name for name in HEAVY if name in sys.modules and getattr(sys.modules[name], "__file__", None)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr[-2000:]
    parts = "('encoder', 'text_encoder', 'bridge')"
    assert done.stdout.splitlines() == [f"['caption', 'emotion', 'text'] {parts}", "adamw 3", "[]"]


def test_without_torch_comes_too_late_where_torch_is():
    import torch  # noqa: F401

    with pytest.raises(RuntimeError, match="torch has been imported already"):
        lazy.without_torch()


def test_the_arguments_of_hollow_classes_are_those_of_the_real_ones(tmp_path):
    code = (
        "from espnet2_secap import lazy\n"
        "import torch\nfrom espnet2.tasks.abs_task import optim_classes, scheduler_classes\n"
        "from espnet2_secap.values import parameters_of\n"
        "for name, one in sorted((optim_classes | scheduler_classes).items()):\n"
        "    print(name, {key: required for key, (_, required) in parameters_of(lazy.declared(one)).items()})\n"
    )
    hollow = run(f"from espnet2_secap import lazy\nlazy.without_torch()\n{code}", tmp_path)
    assert hollow == run(code, tmp_path) and hollow.count("\n") > 20 and "'weight_decay': False" in hollow
    code = "lazy.without_torch()\nimport torch\nprint(lazy.declared(torch.no.Such), lazy.declared(int))"
    assert run(f"from espnet2_secap import lazy\n{code}", tmp_path) == "None <class 'int'>\n"
