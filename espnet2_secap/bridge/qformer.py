"""The Q-Former of SECap (Model Architecture, Eq. 1 and 2): transformers' Blip2QFormerModel inside."""

import torch

from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.bridge.frames import average_frames
from espnet2_secap.errors import SecError
from espnet2_secap.masks import lengths_to_mask, masked_statistics
from espnet2_secap.values import Count, Dropout, Place, Positive


class QFormer(AbsBridge):
    """Learned queries that read the speech by cross-attention; text goes through the same layers without it.

    Speech: features -> linear to `encoder_width` -> keys and values of the cross-attention; the `num_queries` outputs
    are the Q-Embedding. Text: embeddings (mapped to `hidden_size` where their width differs) -> the same layers'
    self-attention and feed-forward; the outputs are a caption's C-Embedding or a transcription's T-Embedding.

    Args:
        input_size: features per speech frame.
        num_queries: n_q, number of output vectors (paper: 32).
        hidden_size: d_q, their width (paper: 768).
        num_layers, num_heads, intermediate_size: as in BERT (paper: 12, 12, 3072).
        cross_attention_frequency: every how many layers one attends to the speech, from the first (paper: 2).
        encoder_width: width of keys' and values' input (paper: 768).
        dropout: of hidden states and attention weights.
        initializer_range: standard deviation of random weights. BERT's 0.02 suits 768 wide; a narrow Q-Former that
            starts at random learns faster with about 1 / sqrt(hidden_size), for it then hears the speech at once.
        stride: the queries read the mean of every so many frames (paper: every frame, 1).
        statistics: the mean and the standard deviation of each feature over all frames are read too (not in the paper):
            through a linear layer as one more key and value of the cross-attention, and through another, added to every
            query.
        text_size: width of the text embeddings; `hidden_size` if none.
        init: folder or hub name of a BERT whose layers start ours (paper: bert-base-chinese); random if none. The
            cross-attention and the queries are always random.
    """

    has_text_branch = True
    text_branch = ("text_projection.",)
    speech_branch = ("input_projection.", "queries", "statistics.", ".crossattention.")

    def __init__(
        self,
        input_size: Count,
        num_queries: Count = 32,
        hidden_size: Count = 768,
        num_layers: Count = 12,
        num_heads: Count = 12,
        intermediate_size: Count = 3072,
        cross_attention_frequency: Count = 2,
        encoder_width: Count = 768,
        dropout: Dropout = 0.1,
        initializer_range: Positive = 0.02,
        stride: Count = 1,
        statistics: bool = False,
        text_size: Count | None = None,
        init: Place | None = None,
    ):
        super().__init__()
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        if hidden_size % num_heads:
            raise SecError(f"bridge_conf: hidden_size={hidden_size} is not a multiple of num_heads={num_heads}")
        if stride < 1:
            raise SecError(f"bridge_conf: stride={stride}, expected 1 or more")
        self.stride, self.num_vectors = stride, num_queries
        self.input_projection = torch.nn.Linear(input_size, encoder_width)
        self.queries = torch.nn.Parameter(torch.randn(1, num_queries, hidden_size) * 0.02)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=hidden_size,
                num_hidden_layers=num_layers,
                num_attention_heads=num_heads,
                intermediate_size=intermediate_size,
                cross_attention_frequency=cross_attention_frequency,
                encoder_hidden_size=encoder_width,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                initializer_range=initializer_range,
            )
        )
        if text_size is None or text_size == hidden_size:
            self.text_projection = torch.nn.Identity()
        else:
            self.text_projection = torch.nn.Linear(text_size, hidden_size)
        if init is not None:
            self._init_from_bert(init)
        self.statistics: torch.nn.ModuleDict | None = None
        if statistics:
            parts = {"key": torch.nn.Linear(2 * input_size, encoder_width)}
            parts["queries"] = torch.nn.Linear(2 * input_size, hidden_size)
            # What is added begins at the queries' own scale for features of unit variance.
            torch.nn.init.normal_(parts["queries"].weight, std=0.02 / (2 * input_size) ** 0.5)
            torch.nn.init.zeros_(parts["queries"].bias)
            self.statistics = torch.nn.ModuleDict(parts)

    def output_size(self) -> int:
        """d_q."""
        return self.queries.size(-1)

    def forward(self, feats: torch.Tensor, feats_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Speech features (B, T, D), lengths (B,) -> Q-Embedding (B, n_q, d_q), mask of ones (B, n_q)."""
        means, mask = average_frames(feats, feats_lengths, self.stride)
        queries, keys = self.queries.expand(len(feats), -1, -1), self.input_projection(means)
        if self.statistics is not None:
            of_all = masked_statistics(feats, lengths_to_mask(feats_lengths, feats.size(1)))  # (B, 2 D)
            queries = queries + self.statistics["queries"](of_all)[:, None]
            keys = torch.cat([keys, self.statistics["key"](of_all)[:, None].to(keys.dtype)], dim=1)
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        output = self.qformer(
            query_embeds=queries,
            encoder_hidden_states=keys,
            encoder_attention_mask=mask.long(),
        ).last_hidden_state
        return output, output.new_ones(output.shape[:2], dtype=torch.bool)

    def forward_text(self, embeddings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Text embeddings (B, L, text_size), mask (B, L) -> C- or T-Embedding (B, L, d_q)."""
        from transformers.masking_utils import create_bidirectional_mask

        model = self.qformer
        hidden = model.dropout(model.layernorm(self.text_projection(embeddings)))
        attention_mask = create_bidirectional_mask(
            config=model.config, inputs_embeds=hidden, attention_mask=mask.long()
        )
        for layer in model.encoder.layer:  # the layer's own forward insists on speech where it has cross-attention
            hidden = layer.feed_forward_chunk_query(layer.attention(hidden, attention_mask=attention_mask))
        return hidden

    def _init_from_bert(self, path: str) -> None:
        from espnet2_secap.pretrained import load_pretrained

        bert = load_pretrained("AutoModel", path, "bridge_conf init")
        state = bert.state_dict()
        ours = self.qformer.state_dict()
        renamed = {}
        for name in ours:
            if ".crossattention." in name:
                continue
            theirs = name.replace(".attention.attention.", ".attention.self.")
            theirs = theirs.replace(".intermediate_query.", ".intermediate.").replace(".output_query.", ".output.")
            theirs = theirs.replace("layernorm.", "embeddings.LayerNorm.")
            if theirs not in state or state[theirs].shape != ours[name].shape:
                found = tuple(state[theirs].shape) if theirs in state else "nothing"
                raise SecError(
                    f"{path}: cannot start the Q-Former: {theirs} should be {tuple(ours[name].shape)}, is {found};"
                    " give bridge_conf the sizes of that BERT (num_layers may be smaller)"
                )
            renamed[name] = state[theirs]
        self.qformer.load_state_dict(renamed, strict=False)
