"""Models from scratch start with heads that look things up in their context."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from himac.models.structured_init import structure_attention


def fresh(structured: bool, kv_heads: int = 3) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=512,
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=3,
            num_key_value_heads=kv_heads,
            tie_word_embeddings=True,
            attn_implementation="eager",
        )
    )
    if structured:
        structure_attention(model, torch.Generator().manual_seed(0))
    return model.eval()


def test_first_head_attends_to_the_preceding_token():
    ids = torch.randint(0, 512, (4, 60), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        attention = fresh(True)(ids, output_attentions=True).attentions[0][:, 0]
    preceding = attention[:, range(1, 60), range(59)]
    assert preceding.min() > 0.8


def test_the_induction_head_looks_at_what_followed_the_earlier_occurrence():
    """In `s s` it finds, for each token of the second half, the successor of the same token in the first half."""
    generator = torch.Generator().manual_seed(1)
    half = torch.stack([torch.randperm(512, generator=generator)[:24] for _ in range(16)])
    ids = torch.cat([half, half], dim=1)

    def attention_on_the_target(model: Qwen2ForCausalLM) -> float:
        with torch.no_grad():
            attention = model(ids, output_attentions=True).attentions[1][:, 0]
        return float(attention[:, range(24, 47), range(1, 24)].mean())

    # Even attention over the 25 to 47 tokens seen would be about 0.03.
    assert attention_on_the_target(fresh(True)) > 0.15
    assert attention_on_the_target(fresh(False)) < 0.05


def test_grouped_query_attention_is_left_alone():
    plain, left = fresh(False, kv_heads=1), fresh(True, kv_heads=1)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), left.parameters(), strict=True))
