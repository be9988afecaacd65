import pytest

from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.encoder.s3prl import S3PRLEncoder
from espnet2_secap.encoder.stored import StoredEncoder


def test_the_encoders_keep_to_the_interface():
    assert issubclass(StoredEncoder, AbsEncoder) and issubclass(S3PRLEncoder, AbsEncoder)


def test_both_methods_are_wanted():
    class Half(AbsEncoder):
        def output_size(self):
            return 1

    with pytest.raises(TypeError, match="forward"):
        Half()
