"""Random segments and captions for tests of decoders."""

import torch

from espnet2_secap.text.template import Segment


def random_batch(decoder, lengths=((3, 4, 5), (1, 2, 2))):
    """BOS, speech and prompt of utterances of different lengths, and their captions, padded with rubbish."""
    torch.manual_seed(1)
    sizes = [max(column) for column in zip(*lengths, strict=True)]
    speech = torch.randn(len(lengths), sizes[0], decoder.embedding_size())
    ids = [torch.randint(3, 360, (len(lengths), size)) for size in sizes[1:]]
    masks = [torch.arange(size) < torch.tensor([one[i] for one in lengths])[:, None] for i, size in enumerate(sizes)]
    speech[~masks[0]] = 1e3
    ids = [torch.where(mask, one, 5) for one, mask in zip(ids, masks[1:], strict=True)]
    bos = Segment.constant([decoder.tokenizer.bos_id], len(lengths), speech.device)
    return [bos, Segment(speech, masks[0]), Segment(ids[0], masks[1])], Segment(ids[1], masks[2])


def alone(segments, i):
    """The segments of utterance i, without padding."""
    return [Segment(one.content[i : i + 1, one.mask[i]], one.mask[i : i + 1, one.mask[i]]) for one in segments]
