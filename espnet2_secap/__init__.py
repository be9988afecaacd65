"""Speech emotion captioning on ESPnet: parts, tasks, scoring and reports."""

from espnet2_secap.lazy import import_when_used, without_prints, without_type_checks

__version__ = "0.1.0"

# ESPnet imports these with every task, and no task here uses them: English phonemes, tokenizers, adapters, plots of
# attention, text and audio augmentation, HDF5.
import_when_used("g2p_en")  # it would download tables, or wait for a network that a cluster's nodes may not have
import_when_used("h5py")
import_when_used("librosa")
import_when_used("s3prl")
import_when_used("scipy.signal")
import_when_used("espnet2.layers.augmentation", "DataAugmentation")
import_when_used("espnet2.layers.create_adapter", "create_adapter")
import_when_used("espnet2.main_funcs.calculate_all_attentions", "calculate_all_attentions")
import_when_used("espnet2.text.build_tokenizer", "build_tokenizer")
import_when_used("espnet2.text.cleaner", "TextCleaner")
import_when_used("espnet2.text.hugging_face_token_id_converter", "HuggingFaceTokenIDConverter")
import_when_used("espnet2.text.qwen2audio_tokenizer", "Qwen2AudioTokenizer")
import_when_used("espnet2.text.whisper_token_id_converter", "OpenAIWhisperTokenIDConverter")
import_when_used("espnet2.text.whisper_tokenizer", "OpenAIWhisperTokenizer")
# Transformers imports it with every model, for object detection.
import_when_used("scipy.optimize", "linear_sum_assignment")
# A decoder's searches, which need transformers.
import_when_used("espnet2_secap.decoder.beam_sample", "beam_sample")
import_when_used("espnet2_secap.decoder.transformers_search", "transformers_search")
without_type_checks("espnet")
without_type_checks("espnet2")
without_prints("espnet.nets.pytorch_backend.transformer.attention")  # that flash_attn is not installed
