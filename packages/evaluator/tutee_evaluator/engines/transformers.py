"""A language model, loaded with the library transformers, that plays a student."""

from pathlib import Path
from typing import Any

from tutee_evaluator.engines.generator import KEPT_BYTES
from tutee_evaluator.engines.local import LocalStudent, base_of, load_tokenizer
from tutee_grader.errors import UnavailableError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat


class Student(LocalStudent):
    """A language model that plays a student.

    `batch` is the number of dialogs continued at once, `prefix_bytes` the memory for what was read and
    written and need not be read again.
    """

    def __init__(
        self, model: Any, chat: Chat, card: StudentCard, *, batch: int = 16, prefix_bytes: int = KEPT_BYTES
    ) -> None:
        from tutee_evaluator.engines.generation import BatchGenerator

        self.model = model
        generator = BatchGenerator(
            model, chat.end, card.max_new_tokens, batch=batch, prefix_bytes=prefix_bytes
        )
        super().__init__(generator, chat, card, batch=batch)

    @classmethod
    def load(cls, folder: Path | str, device: str | None = None, **settings: Any) -> "Student":
        """The student in `folder`: an adapter with its base, or a base alone.

        An adapter is merged into its base unless the base is quantised, which saves two small products
        per layer and token. `device` defaults to CUDA where there is a GPU. `settings` are those of the
        constructor. Raises InputError where `folder` holds no student, and UnavailableError where its
        model cannot be loaded.
        """
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # of a second, and without a terminal the log's longest lines
        folder = Path(folder)
        card = StudentCard.load(folder)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        base, revision = base_of(folder, card)
        try:
            tokenizer = load_tokenizer(folder, base, revision)
            # Float32 on a CPU: few multiply bfloat16 faster, and an adapter merged into it is rounded.
            model = AutoModelForCausalLM.from_pretrained(
                base,
                revision=revision,
                dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32,
                device_map=device,
            )
            if (folder / "adapter_config.json").exists():
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, folder)
                if getattr(model.config, "quantization_config", None) is None:
                    model = model.merge_and_unload()
        except (OSError, torch.cuda.OutOfMemoryError) as error:
            raise UnavailableError(
                f"{folder}: the model (base {base}) cannot be loaded: {error}; train it again, or check "
                "that the base is there and the memory is large enough"
            ) from error
        model.eval()
        return cls(model, Chat(tokenizer), card, **settings)
