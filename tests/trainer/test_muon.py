"""The optimizer of the base, against torch's own."""

import torch

from tutee_trainer.tiny.muon import Muon, orthogonal


def test_singular_values_come_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 40, 24)))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_it_steps_as_torch_does() -> None:
    """torch works in bfloat16, so only nearly: the updates point the same way and are as long."""
    torch.manual_seed(0)
    starts = [torch.randn(shape) for shape in ((32, 16), (32, 16), (16, 48))]
    ours, theirs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    optimizers = (
        Muon(ours, lr=0.02, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95),
    )
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for start, one, other in zip(starts, ours, theirs, strict=True):
        moved, expected = (one - start).flatten(), (other - start).flatten()
        assert torch.cosine_similarity(moved, expected, dim=0) > 0.99
        assert 0.97 < moved.norm() / expected.norm() < 1.03
