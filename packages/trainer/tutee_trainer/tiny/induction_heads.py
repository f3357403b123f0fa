"""Gives a tiny model's random weights two layers of heads that copy, before training.

A model of a million weights learns to repeat a line of the program, with the student's own names, only after
some hundred thousand tokens: attention has to find the way first. Two layers are enough for it, and how they
do it is known (an induction head: Olsson et al. 2022, arXiv 2209.11895), so they begin with it, as Trockman
and Kolter (2023, arXiv 2305.09828) start attention near what training makes of it. Every weight is trained.

Layer 0: two heads look one and two tokens back, by position alone, and write down what they find there.
Layer 1: its heads look for positions that follow the same two tokens, and write down what they find there.
"""

import math
from itertools import product
from typing import Any

import torch

DISTANCE = 300  # tokens; over this distance the rotary dimensions that compare tokens must hardly turn
FAST_PLANES = 4  # the rotary planes that turn fastest, which tell a token from its neighbours
SHARPNESS_POSITION, SHARPNESS_MATCH = 1.75, 1.9  # of attention in layers 0 and 1: norms of queries and keys
COPY_STRENGTH = 6.0  # the copied token against the present one


def add_induction_heads(model: Any) -> bool:
    """Writes the heads into a Qwen3 model's weights; returns False where the model is too small for them."""
    config = model.config
    width, size = config.hidden_size, config.head_dim
    groups = config.num_attention_heads // config.num_key_value_heads
    turns = [config.rope_parameters["rope_theta"] ** (-2 * plane / size) for plane in range(size // 2)]
    slow = [
        dimension
        for plane, turn in enumerate(turns)
        if turn * DISTANCE < 0.8
        for dimension in (plane, plane + size // 2)
    ]
    compared = min(len(slow) // 2, (width - 1) // 4)  # dimensions of a token
    if config.num_hidden_layers < 2 or config.num_key_value_heads < 2 or compared < 8:
        return False
    # The dimensions where layer 0 writes down the last token and the one before it.
    one, two = range(compared, 2 * compared), range(2 * compared, 3 * compared)
    constant = width - 1
    own = [dimension for dimension in range(width - 1) if dimension not in {*one, *two}]
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    scale = config.initializer_range
    written = scale * math.sqrt(2)  # gives back an embedding's own size after the layer's norm
    with torch.no_grad():
        for layer in model.model.layers:  # all else begins at zero, and so does not drown the copy
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding = model.get_input_embeddings().weight
        embedding[:, [*one, *two]] = 0
        embedding[:, constant] = scale * math.sqrt(width)  # the same for all tokens: position alone decides
        for head, (back, place) in enumerate(((1, one), (2, two))):
            query, key, value, output = _head(first, head, groups, size)
            for plane, half in product(range(FAST_PLANES), (0, 1)):
                angle = back * turns[plane]
                key[plane + half * size // 2, constant] = math.sin(angle) if half else math.cos(angle)
                query[plane, constant] = 1
            for row in range(compared):
                value[row, row] = written
                output[place[row], row] = 1
        for head in range(config.num_key_value_heads):
            query, key, value, output = _head(second, head, groups, size)
            for row in range(compared):
                present, previous = slow[row], slow[compared + row]
                query[present, row] = key[present, one[row]] = 1
                query[previous, one[row]] = key[previous, two[row]] = 1
            for row, dimension in enumerate(own[head * size : (head + 1) * size]):
                value[row, dimension] = COPY_STRENGTH * written
                output[dimension, row] = 1
        for attention, sharpness in ((first, SHARPNESS_POSITION), (second, SHARPNESS_MATCH)):
            attention.q_norm.weight.fill_(sharpness)
            attention.k_norm.weight.fill_(sharpness)
    return True


def _head(
    attention: Any, head: int, groups: int, size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views of one head's query, key, value (rows) and output (columns) weights, set to zero."""
    queries = slice(head * groups * size, (head * groups + 1) * size)
    keys = slice(head * size, (head + 1) * size)
    views = (
        attention.q_proj.weight[queries],
        attention.k_proj.weight[keys],
        attention.v_proj.weight[keys],
        attention.o_proj.weight[:, queries],
    )
    for view in views:
        view.zero_()
    return views
