"""What can be wrong with a file or its upload."""

from collections.abc import Sequence

from domain.errors import Conflict, Invalid, NotFound

_MOST_NAMED = 20


class InvalidFile(Invalid):
    """A property of the file breaks a rule."""

    code = "files.invalid"


class FileNotFound(NotFound):
    """There is no such file, or not for this caller."""

    code = "files.not_found"

    def __init__(self) -> None:
        super().__init__("There is no such file")


class QuotaExceeded(Conflict):
    """The user has no room for the file."""

    code = "files.quota_exceeded"


class UploadBusy(Conflict):
    """Another request is completing this upload."""

    code = "files.busy"

    def __init__(self) -> None:
        super().__init__("The upload is just being completed; ask again in a second")


class UploadDone(Conflict):
    """The file is stored; there is no upload any more."""

    code = "files.stored"

    def __init__(self) -> None:
        super().__init__("The file is stored already; delete it instead")


class NotInParts(Conflict):
    """The file is uploaded with one request."""

    code = "files.not_in_parts"

    def __init__(self) -> None:
        super().__init__("This file is uploaded with one request, and not in parts")


class NotStored(Conflict):
    """The file is not stored yet."""

    code = "files.not_stored"

    def __init__(self) -> None:
        super().__init__("The file is not stored yet; complete its upload first")


class NotUploaded(Conflict):
    """Nothing has arrived yet."""

    code = "files.not_uploaded"

    def __init__(self) -> None:
        super().__init__("Nothing has been uploaded yet; send the content first")


class PartsMissing(Conflict):
    """Some parts have not arrived, or are not as large as they should be."""

    code = "files.incomplete"

    def __init__(self, missing: Sequence[int]) -> None:
        named = ", ".join(str(number) for number in missing[:_MOST_NAMED])
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        super().__init__(f"Parts are missing or of another size: {named}{more}")
        self.missing = missing


class UploadRejected(Invalid):
    """What was uploaded is not what was announced; it is deleted."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="content")


class SizeMismatch(UploadRejected):
    """The object is larger or smaller than announced."""

    code = "files.size_mismatch"


class ChecksumMismatch(UploadRejected):
    """The object has another checksum than announced."""

    code = "files.checksum_mismatch"


class ContentMismatch(UploadRejected):
    """The object is not of the announced type, or has headers that were not announced."""

    code = "files.content_mismatch"


class NotAnImage(Invalid):
    """The content is no image, or too large a one."""

    code = "files.not_an_image"

    def __init__(self) -> None:
        super().__init__(
            "This is no JPEG, PNG, WebP or GIF of at most 16 million pixels", field="content"
        )
