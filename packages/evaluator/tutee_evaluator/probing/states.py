"""The hidden states of a student's model where it would begin the next turn."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.rollout.grading import Known
from tutee_grader.errors import InputError
from tutee_grader.progress import progress_bar
from tutee_serializer.dialogs.dialog import Dialog

LAYERS = ("middle", "last")


@dataclass(frozen=True)
class States:
    """`of[layer]` has a row for each dialog: NaN where it is `too_long`, so that the model cannot read it.

    `cut`: where the model reads the dialog without its oldest turns.
    """

    of: dict[str, NDArray[np.float32]]
    too_long: NDArray[np.bool_]
    cut: NDArray[np.bool_]


def dialogs_at(rows: pl.DataFrame, dialogs: pl.DataFrame, known: Known, student: Student) -> Iterator[Dialog]:
    """For each row (dialog_id, turn, assignment, code) the dialog as `student` reads it, up to the feedback.

    `known` has the verdicts: no dialog has the feedback on its last turn. Raises InputError where a dialog
    of the student's format and feedback level is missing.
    """
    of_student = dialogs.filter(format=student.format, feedback=student.feedback)
    readable = {row["dialog_id"]: row for row in of_student.iter_rows(named=True)}
    missing = set(rows["dialog_id"]) - set(readable)
    if missing:
        raise InputError(
            f"{len(missing)} held-out dialogs are not there in format {student.format!r} with feedback "
            f"{student.feedback!r}, on which {student.card.method} was trained; run `tutee serialize` with "
            "the preset it was trained with"
        )
    for row in rows.iter_rows(named=True):
        dialog = Dialog.from_row(readable[row["dialog_id"]]).before(row["turn"])
        dialog.append(row["code"], known[row["assignment"], row["code"]])
        yield dialog


def read_states(student: Student, dialogs: Iterable[Dialog], progress: bool = False) -> States:
    """The states at the end of each dialog, which ends with the feedback on a submission.

    The end is the last token of the prompt for the student's next turn: the model chooses how that begins
    from this state, so whatever it knows of what comes next has to be there. The layers are the last one,
    whose state is normed, and the one in the middle.
    """
    prompts, fits = [], []
    for dialog in dialogs:
        prompts.append(student.prompt(dialog))
        fits.append(student.fits(dialog))
    too_long = np.array([student.too_long(prompt) is not None for prompt in prompts], dtype=bool)
    # Prompts of about one length are read together, so that little of what is read is padding.
    order = sorted(np.flatnonzero(~too_long).tolist(), key=lambda place: len(prompts[place]))
    shape = (len(LAYERS), len(prompts), student.model.config.get_text_config().hidden_size)
    states = np.full(shape, np.nan, dtype=np.float32)
    with progress_bar(f"states {student.card.method}", len(order), "submissions", shown=progress) as bar:
        for start in range(0, len(order), student.batch):
            places = order[start : start + student.batch]
            states[:, places] = _read(student, [prompts[place] for place in places])
            bar.update(len(places))
    return States(dict(zip(LAYERS, states, strict=True)), too_long, ~np.array(fits, dtype=bool))


def _read(student: Student, prompts: Sequence[list[int]]) -> NDArray[np.float32]:
    """The states after the last token of each prompt, [layer, prompt, size]."""
    import torch

    lengths = torch.tensor([len(prompt) for prompt in prompts])
    width = int(lengths.max())
    ids = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts])
    mask = torch.arange(width)[None] < lengths[:, None]
    with torch.inference_mode():
        found = student.model(
            input_ids=ids.to(student.model.device),
            attention_mask=mask.long().to(student.model.device),
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,
        ).hidden_states  # of the embeddings, then of each layer
    layers = torch.stack([found[len(found) // 2], found[-1]])
    ends = layers[:, torch.arange(len(prompts)), lengths - 1]
    return ends.float().cpu().numpy()
