"""Files: their bytes go between the client and the store; the API signs, checks and remembers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import Body, Query
from pydantic import AfterValidator, Field, StrictInt
from starlette.requests import Request
from starlette.responses import Response

from application.use_cases.files.avatar import GetAvatar, SetAvatar
from application.use_cases.files.completion import CompleteUpload
from application.use_cases.files.files import DeleteFile, GetDownload, GetFile, ListFiles
from application.use_cases.files.uploads import (
    MOST_SIGNED,
    AbortUpload,
    FileDraft,
    ListParts,
    SignedPart,
    SignParts,
    StartedUpload,
    StartUpload,
)
from domain.files.content import MediaType
from domain.files.files import (
    LARGEST,
    Checksum,
    File,
    FileId,
    FileName,
    FileState,
    Visibility,
)
from domain.identity import UserId
from entrypoints.http.envelope import (
    ApiModel,
    CreatedEnvelope,
    Envelope,
    MayBeLeftOut,
    Parsed,
    Plain,
    locate,
)
from entrypoints.http.paging import Slice, SliceQuery
from entrypoints.http.router import Router
from entrypoints.http.security import (
    AuthenticatedRoute,
    CallerDep,
    GuardedRoute,
    VerifyPermissionDep,
)
from entrypoints.wiring import UseCase

router = Router()


# --- bodies -------------------------------------------------------------------------------------


class FileDraftBody(ApiModel):
    """The file to upload."""

    name: Annotated[FileName, Parsed(FileName, FileName.LENGTH)] = Field(
        description="Only a name, on one line: at most 1024 bytes in UTF-8.",
        examples=["report.pdf"],
    )
    content_type: Annotated[MediaType, Parsed(MediaType, MediaType.LENGTH)] = Field(
        examples=["application/pdf"]
    )
    size: StrictInt = Field(ge=1, le=LARGEST, description="In bytes.", examples=[48213])
    checksum: MayBeLeftOut[Annotated[Checksum, Parsed(Checksum, Checksum.LENGTH)]] = Field(
        default=None,
        description=(
            "`sha256:` or `crc32:` and the digest of the whole file in Base64; from 16 MiB on only `crc32:`."
        ),
        examples=["sha256:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="],
    )
    visibility: Visibility = Field(
        default=Visibility.PRIVATE,
        description="`shared`: every user who knows the id may download it.",
    )

    def draft(self) -> FileDraft:
        """Return the argument of the use case."""
        return self.argument(FileDraft, media_type=self.content_type)


class FileBody(ApiModel):
    """A file, or an upload that is to become one."""

    id: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b26"])
    owner: UUID = Field(examples=["0199a3f0-7c1e-7a52-9d6b-3f1f0c7e4b21"])
    name: Plain = Field(examples=["report.pdf"])
    content_type: Plain = Field(examples=["application/pdf"])
    size: int = Field(description="In bytes.", examples=[48213])
    visibility: Visibility
    state: FileState = Field(examples=["stored"])
    created_at: datetime = Field(examples=["2026-01-01T00:00:00Z"])
    stored_at: datetime | None = Field(examples=["2026-01-01T00:00:10Z"])
    expires_at: datetime | None = Field(
        description="When the upload is given up; null for a stored file.",
        examples=["2026-01-02T00:00:00Z"],
    )

    @classmethod
    def of(cls, file: File) -> Self:
        """Present `file`."""
        return cls.present(
            file,
            content_type=file.media_type,
            expires_at=file.expires_at if file.state is FileState.PENDING else None,
        )


_EXAMPLE_URL = "https://objects.example.org/portico/users/…?X-Amz-Signature=…"


class SignedRequestBody(ApiModel):
    """A request to the store that needs no other credentials, for some minutes."""

    method: str = Field(examples=["PUT"])
    url: str = Field(examples=[_EXAMPLE_URL])
    headers: Mapping[str, str] = Field(
        description="Exactly those to send, besides the length of the body.",
        examples=[{"Content-Type": "application/pdf", "If-None-Match": "*"}],
    )


class SignedPartBody(SignedRequestBody):
    """The request that sends one part."""

    number: int = Field(examples=[1])
    size: int = Field(description="In bytes.", examples=[8388608])

    @classmethod
    def of_part(cls, part: SignedPart) -> Self:
        """Present `part`."""
        return cls.present(part.request, number=part.number, size=part.size)


class StartedUploadBody(ApiModel):
    """What to send where: either one request, or parts."""

    file: FileBody
    upload: SignedRequestBody | None = Field(description="Null if the file is sent in parts.")
    part_size: int | None = Field(
        description="Size of each part but the last, in bytes; null if the file is sent with one request.",
        examples=[8388608],
    )
    part_count: int | None = Field(examples=[13])
    parts: Sequence[SignedPartBody] = Field(
        description="The first parts; `POST /files/{file_id}/parts` signs the others."
    )

    @classmethod
    def of(cls, started: StartedUpload) -> Self:
        """Present `started`."""
        file, request = started.file, started.request
        return cls(
            file=FileBody.of(file),
            upload=None if request is None else SignedRequestBody.present(request),
            part_size=file.part_size,
            part_count=None if file.part_size is None else file.part_count,
            parts=[SignedPartBody.of_part(part) for part in started.parts],
        )


def _distinct(numbers: Sequence[int]) -> Sequence[int]:
    if len(set(numbers)) < len(numbers):
        raise ValueError("Input should not have the same number twice")
    return numbers


class SignPartsBody(ApiModel):
    """The parts to sign, by their numbers from 1."""

    numbers: Annotated[
        Sequence[Annotated[StrictInt, Field(ge=1, le=10_000)]],
        AfterValidator(_distinct),
        Field(min_length=1, max_length=MOST_SIGNED, examples=[[21, 22]]),
    ]


class PartBody(ApiModel):
    """A part that has arrived."""

    number: int = Field(examples=[1])
    size: int = Field(description="In bytes.", examples=[8388608])


class DownloadBody(ApiModel):
    """Where to download a file from, without other credentials."""

    url: str = Field(examples=[_EXAMPLE_URL])


class DownloadQuery(ApiModel):
    """How a browser is to treat the file."""

    disposition: Literal["attachment", "inline"] = Field(
        default="attachment",
        description="`inline` shows images, audio, video and PDF in the page; everything else is downloaded.",
    )

    @property
    def inline(self) -> bool:
        """Whether it is to be shown."""
        return self.disposition == "inline"


# The file or upload may be in a state in which this cannot be done.
_IN_ANOTHER_STATE: Mapping[int | str, dict[str, Any]] = {409: {}}


# --- one's own files ----------------------------------------------------------------------------


@router.post("/files", status_code=201, dependencies=[AuthenticatedRoute])
async def start_upload(
    body: FileDraftBody,
    caller: CallerDep,
    start_upload: UseCase[StartUpload],
    request: Request,
    response: Response,
) -> CreatedEnvelope[StartedUploadBody]:
    """Reserve room for a file, and get the requests that upload it to the store."""
    started = await start_upload(caller, body.draft())
    locate(request, response, f"files/{started.file.id}")
    return CreatedEnvelope(data=StartedUploadBody.of(started))


@router.get("/files", dependencies=[AuthenticatedRoute])
async def list_files(
    query: Annotated[SliceQuery, Query()], caller: CallerDep, list_files: UseCase[ListFiles]
) -> Envelope[Slice[FileBody]]:
    """List the files and open uploads of the caller, newest first."""
    found = await list_files(caller.user_id, after=query.after(), limit=query.page_size)
    return Envelope(data=Slice.of(found, FileBody.of))


@router.get("/files/{file_id}", dependencies=[AuthenticatedRoute])
async def get_file(
    file_id: UUID, caller: CallerDep, get_file: UseCase[GetFile]
) -> Envelope[FileBody]:
    """Get what is known of a file: one's own, or a shared one."""
    return Envelope(data=FileBody.of(await get_file(caller, FileId(file_id))))


@router.get(
    "/files/{file_id}/url", dependencies=[AuthenticatedRoute], responses={**_IN_ANOTHER_STATE}
)
async def get_download(
    file_id: UUID,
    query: Annotated[DownloadQuery, Query()],
    caller: CallerDep,
    get_download: UseCase[GetDownload],
) -> Envelope[DownloadBody]:
    """Get a URL that downloads a file from the store for some minutes."""
    url = await get_download(caller, FileId(file_id), inline=query.inline)
    return Envelope(data=DownloadBody(url=url))


@router.post(
    "/files/{file_id}/parts", dependencies=[AuthenticatedRoute], responses={**_IN_ANOTHER_STATE}
)
async def sign_parts(
    file_id: UUID, body: SignPartsBody, caller: CallerDep, sign_parts: UseCase[SignParts]
) -> Envelope[Sequence[SignedPartBody]]:
    """Sign further parts of an upload, or parts whose URLs have expired."""
    signed = await sign_parts(caller, FileId(file_id), body.numbers)
    return Envelope(data=[SignedPartBody.of_part(part) for part in signed])


@router.get(
    "/files/{file_id}/parts", dependencies=[AuthenticatedRoute], responses={**_IN_ANOTHER_STATE}
)
async def list_parts(
    file_id: UUID, caller: CallerDep, list_parts: UseCase[ListParts]
) -> Envelope[Sequence[PartBody]]:
    """List the parts of an upload that have arrived, to go on with the others."""
    found = await list_parts(caller, FileId(file_id))
    return Envelope(data=[PartBody.present(part) for part in found])


@router.post(
    "/files/{file_id}/complete", dependencies=[AuthenticatedRoute], responses={**_IN_ANOTHER_STATE}
)
async def complete_upload(
    file_id: UUID, caller: CallerDep, complete_upload: UseCase[CompleteUpload]
) -> Envelope[FileBody]:
    """Verify what was uploaded, and make it a file. A second request answers the same."""
    return Envelope(data=FileBody.of(await complete_upload(caller, FileId(file_id))))


@router.delete(
    "/files/{file_id}/upload", dependencies=[AuthenticatedRoute], responses={**_IN_ANOTHER_STATE}
)
async def abort_upload(
    file_id: UUID, caller: CallerDep, abort_upload: UseCase[AbortUpload]
) -> Envelope[None]:
    """Give up an upload; 409 once the file is stored."""
    await abort_upload(caller, FileId(file_id))
    return Envelope(data=None)


@router.delete("/files/{file_id}", dependencies=[AuthenticatedRoute])
async def delete_file(
    file_id: UUID, caller: CallerDep, delete_file: UseCase[DeleteFile]
) -> Envelope[None]:
    """Delete a file or an upload. A URL that was handed out works until a job has removed the object."""
    await delete_file(caller, FileId(file_id))
    return Envelope(data=None)


# --- avatars ------------------------------------------------------------------------------------


@router.get("/auth/user/avatar", dependencies=[AuthenticatedRoute], responses={404: {}})
async def get_avatar(caller: CallerDep, get_avatar: UseCase[GetAvatar]) -> Envelope[FileBody]:
    """Get what is known of the caller's avatar; `GET /files/{file_id}/url` shows it to every user."""
    return Envelope(data=FileBody.of(await get_avatar(caller)))


@router.put("/auth/user/avatar", dependencies=[AuthenticatedRoute])
async def set_avatar(
    content: Annotated[bytes, Body(media_type="image/*", examples=["RIFF…"])],
    caller: CallerDep,
    set_avatar: UseCase[SetAvatar],
) -> Envelope[FileBody]:
    """Make a JPEG, PNG, WebP or GIF of at most 2 MiB the caller's avatar: a WebP without metadata."""
    return Envelope(data=FileBody.of(await set_avatar(caller, content)))


# --- files of others ----------------------------------------------------------------------------


@router.get("/users/{user_id}/files", dependencies=[GuardedRoute])
async def list_user_files(
    user_id: UUID, query: Annotated[SliceQuery, Query()], list_files: UseCase[ListFiles]
) -> Envelope[Slice[FileBody]]:
    """List the files and open uploads of a user, newest first."""
    found = await list_files(UserId(user_id), after=query.after(), limit=query.page_size)
    return Envelope(data=Slice.of(found, FileBody.of))


@router.get("/users/{user_id}/files/{file_id}", dependencies=[GuardedRoute])
async def get_user_file(
    user_id: UUID, file_id: UUID, caller: VerifyPermissionDep, get_file: UseCase[GetFile]
) -> Envelope[FileBody]:
    """Get what is known of a file of a user."""
    file = await get_file(caller, FileId(file_id), owner=UserId(user_id))
    return Envelope(data=FileBody.of(file))


@router.get(
    "/users/{user_id}/files/{file_id}/url",
    dependencies=[GuardedRoute],
    responses={**_IN_ANOTHER_STATE},
)
async def get_user_download(
    user_id: UUID,
    file_id: UUID,
    query: Annotated[DownloadQuery, Query()],
    caller: VerifyPermissionDep,
    get_download: UseCase[GetDownload],
) -> Envelope[DownloadBody]:
    """Get a URL that downloads a file of a user from the store for some minutes."""
    owner = UserId(user_id)
    url = await get_download(caller, FileId(file_id), inline=query.inline, owner=owner)
    return Envelope(data=DownloadBody(url=url))


@router.delete("/users/{user_id}/files/{file_id}", dependencies=[GuardedRoute])
async def delete_user_file(
    user_id: UUID, file_id: UUID, caller: VerifyPermissionDep, delete_file: UseCase[DeleteFile]
) -> Envelope[None]:
    """Delete a file or an upload of a user."""
    await delete_file(caller, FileId(file_id), owner=UserId(user_id))
    return Envelope(data=None)
