"""What the service says about itself: students, assignments, health, metrics."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from serving import metrics
from serving.payloads import MAX_ATTEMPTS, MAX_CHARACTERS, MAX_SAMPLES, MAX_TOTAL
from serving.state import state_of
from serving.students import ServedCourse, champion_name, version_name

router = APIRouter()


class ServedVersion(BaseModel):
    """A registered version: its model name, how it was trained, its figures, and whether it is in memory."""

    id: str
    version: int
    method: str
    loaded: bool
    metrics: dict[str, float]


class AboutCourse(BaseModel):
    """A course. `champion` is the version that answers for it; `problem`, why it is not the registry's."""

    course: str
    model: str
    synthetic: bool
    champion: str | None
    challenger: str | None
    problem: str | None
    models: list[ServedVersion]


class Limits(BaseModel):
    """What a request may have at most."""

    attempts: int
    characters: int
    total_characters: int
    samples: int


class About(BaseModel):
    """The served courses, and the limits of requests."""

    courses: list[AboutCourse]
    limits: Limits


class AssignmentText(BaseModel):
    """An assignment of a course."""

    course: str
    name: str
    task: str


class Assignments(BaseModel):
    """The assignments of all courses."""

    assignments: list[AssignmentText]


class CourseReadiness(BaseModel):
    """The version that answers for a course, the registry's champion, and why they differ if they do."""

    model: str | None
    champion: str | None
    problem: str | None


class Readiness(BaseModel):
    """Whether every course has a student that answers; who shows no key where one is needed, sees no more."""

    ready: bool
    problem: str | None = None
    courses: dict[str, CourseReadiness] | None = None


@router.get("/about")
async def about(request: Request) -> About:
    """Which students are served, and what they were trained on."""
    loaded = state_of(request).students.loaded
    return About(
        courses=[_about(course, loaded) for course in state_of(request).students.courses.values()],
        limits=Limits(
            attempts=MAX_ATTEMPTS,
            characters=MAX_CHARACTERS,
            total_characters=MAX_TOTAL,
            samples=MAX_SAMPLES,
        ),
    )


def _about(course: ServedCourse, loaded: list[str]) -> AboutCourse:
    entry, name = course.entry, course.name
    return AboutCourse(
        course=name,
        model=champion_name(name),
        synthetic=entry.synthetic,
        champion=course.student.model if course.student else None,
        challenger=None if entry.challenger is None else version_name(name, entry.challenger),
        problem=course.problem,
        models=[
            ServedVersion(
                id=version_name(name, number),
                version=number,
                method=version.method,
                loaded=version_name(name, number) in loaded,
                metrics=version.metrics,
            )
            for number, version in sorted(entry.versions.items())
        ],
    )


@router.get("/assignments")
async def assignments(request: Request) -> Assignments:
    """The assignments that students can be given by name."""
    return Assignments(
        assignments=[
            AssignmentText(course=course.name, name=name, task=assignment.task)
            for course in state_of(request).students.courses.values()
            for name, assignment in course.assignments.items()
        ]
    )


@router.get("/livez")
async def livez() -> dict[str, bool]:
    """Answers as long as the service runs."""
    return {"alive": True}


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(request: Request, response: Response) -> Readiness:
    """Whether every course has a student that answers, and whether it is the registry's champion."""
    students = state_of(request).students
    if not students.is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    if getattr(request.state, "unauthenticated", False):
        return Readiness(ready=students.is_ready)
    courses = {
        name: CourseReadiness(
            model=course.student.model if course.student else None,
            champion=course.champion,
            problem=course.problem,
        )
        for name, course in students.courses.items()
    }
    return Readiness(ready=students.is_ready, problem=students.problem, courses=courses)


@router.get("/metrics", response_class=PlainTextResponse)
async def prometheus() -> PlainTextResponse:
    """The service's metrics, for Prometheus."""
    return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")
