"""Work that is done at the same time."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from serving.errors import ApiError, as_api_error
from tutee_grader.errors import TuteeError

Result = TypeVar("Result")


async def together(works: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results of all; where one fails, the others are cancelled and ApiError is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except* (ApiError, TuteeError) as errors:
        raise as_api_error(errors) from None
    return [task.result() for task in tasks]
