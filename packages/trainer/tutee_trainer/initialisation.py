"""A head that copies, laid into a tiny model's random weights before training.

A model of a million weights learns to write a line of the program before it again, with the student's own
names, only after some hundred thousand tokens: that is what attention must find first. Two layers suffice
for it, and how they do it is known (an induction head: Olsson et al. 2022, arXiv 2209.11895), so they begin
with it, as Trockman and Kolter (2023, arXiv 2305.09828) let attention begin near what training makes of it.
Every weight is still trained.

Layer 0: two heads look one and two tokens back, by position alone, and write down what stood there.
Layer 1: its heads look for places that came after the same two tokens, and write down what stands there.
"""

import math
from itertools import product
from typing import Any

import torch

REACH = 300  # tokens; over this distance rotary dimensions that match contents must hardly turn
STEEP = 4  # quickest rotary planes, which tell a token from its neighbours
SHARP_BEFORE, SHARP_SAME = 1.75, 1.9  # attention's sharpness, in the norms of queries and keys
LOUD = 6.0  # the copied token against the token at hand


def lay_induction(model: Any) -> bool:
    """Lays the copying heads into a Qwen3 model; returns False where it is too small to hold them."""
    config = model.config
    width, size = config.hidden_size, config.head_dim
    groups = config.num_attention_heads // config.num_key_value_heads
    turns = [config.rope_parameters["rope_theta"] ** (-2 * plane / size) for plane in range(size // 2)]
    slow = [
        place
        for plane, turn in enumerate(turns)
        if turn * REACH < 0.8
        for place in (plane, plane + size // 2)
    ]
    seen = min(len(slow) // 2, (width - 1) // 4)  # dimensions of a token that are compared
    if config.num_hidden_layers < 2 or config.num_key_value_heads < 2 or seen < 8:
        return False
    one, two = range(seen, 2 * seen), range(2 * seen, 3 * seen)  # where the last two tokens are written down
    constant = width - 1
    own = [dimension for dimension in range(width - 1) if dimension not in {*one, *two}]
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    scale = config.initializer_range
    with torch.no_grad():
        for layer in model.model.layers:  # all else begins silent, and so does not drown the copy
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding = model.get_input_embeddings().weight
        embedding[:, [*one, *two]] = 0
        embedding[:, constant] = scale * math.sqrt(width)  # the same for all tokens: position alone decides
        written = scale * math.sqrt(2)  # gives back an embedding's own size after the layer's norm
        for head, (back, place) in enumerate(((1, one), (2, two))):
            query, key, value, output = _head(first, head, groups, size)
            for plane, half in product(range(STEEP), (0, 1)):
                angle = back * turns[plane]
                key[plane + half * size // 2, constant] = math.sin(angle) if half else math.cos(angle)
                query[plane, constant] = 1
            for row in range(seen):
                value[row, row] = written
                output[place[row], row] = 1
        for head in range(config.num_key_value_heads):
            query, key, value, output = _head(second, head, groups, size)
            for row in range(seen):
                now, before = slow[row], slow[seen + row]
                query[now, row] = key[now, one[row]] = 1
                query[before, one[row]] = key[before, two[row]] = 1
            for row, dimension in enumerate(own[head * size : (head + 1) * size]):
                value[row, dimension] = LOUD * written
                output[dimension, row] = 1
        for attention, sharp in ((first, SHARP_BEFORE), (second, SHARP_SAME)):
            attention.q_norm.weight.fill_(sharp)
            attention.k_norm.weight.fill_(sharp)
    return True


def _head(
    attention: Any, head: int, groups: int, size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views of one head's query, key, value (rows) and output (columns) weights, emptied."""
    asks, answers = (
        slice(head * groups * size, (head * groups + 1) * size),
        slice(head * size, (head + 1) * size),
    )
    views = (
        attention.q_proj.weight[asks],
        attention.k_proj.weight[answers],
        attention.v_proj.weight[answers],
        attention.o_proj.weight[:, asks],
    )
    for view in views:
        view.zero_()
    return views
