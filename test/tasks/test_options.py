import dataclasses

from espnet2_secap.tasks.options import TaskOptions
from espnet2_secap.tasks.sec import SECTask


def test_every_option_is_in_the_parser_once_with_its_default():
    defaults = SECTask.defaults()
    text = SECTask.get_parser().format_help()
    for field in dataclasses.fields(TaskOptions):
        assert defaults[field.name] == field.default, field.name
        assert f"--{field.name} " in text
    assert defaults["init_model"] == [] and defaults["template_conf"] == {}
