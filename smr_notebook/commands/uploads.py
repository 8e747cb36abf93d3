"""`smr upload` and `smr uploads`: data and code that are stored once for many jobs."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from smr_notebook.commands.console import Console
from smr_notebook.commands.jobs import add_platform, session_of
from smr_notebook.control.uploads import Upload
from smr_notebook.dataflow.uploaded import SCHEME, UploadKind
from smr_notebook.errors import ConfigError
from smr_notebook.showing.amounts import counted, quantity


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser."""
    upload = commands.add_parser("upload", help="store data or code once, for any number of jobs; prints the identifier")
    kinds = upload.add_subparsers(required=True, metavar="KIND")
    data = kinds.add_parser("data", help="files that jobs read: a file, a folder or a glob")
    data.add_argument("path", metavar="PATH")
    data.set_defaults(run=_upload, kind=UploadKind.DATA)
    code = kinds.add_parser("code", help="a folder of Python files that jobs run")
    code.add_argument("path", metavar="FOLDER")
    code.set_defaults(run=_upload, kind=UploadKind.CODE)
    uploads = commands.add_parser("uploads", help="list what was uploaded, the latest first; or the files of one; or remove one")
    uploads.add_argument("what", nargs="*", metavar="[ID | remove ID]")
    uploads.set_defaults(run=_uploads)
    for command in (data, code, uploads):
        add_platform(command)


def _upload(options: Namespace, console: Console) -> int:
    session = session_of(options)
    upload = session.upload_data(options.path) if options.kind is UploadKind.DATA else session.upload_code(options.path)
    console.note(f"{_amount(upload)} {'stored' if upload.used == upload.created else 'stood there already: nothing was uploaded'}")
    console.tell(upload.id)
    return 0


def _uploads(options: Namespace, console: Console) -> int:
    match options.what:
        case []:
            for upload in session_of(options).uploads():
                created = datetime.fromtimestamp(int(upload.created), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
                console.tell(f"{upload.id}  {created}  {_amount(upload):<22} {upload.name}")
        case ["remove", id]:
            upload = session_of(options).remove_upload(id)
            console.tell(f"{upload.id} is removed: {_amount(upload)}")
        case [id] if id != "remove":
            for file in session_of(options).backend.sources[SCHEME].find(id):
                console.tell(f"{file.size:>15,}  {file.key.partition('/')[2]}")
        case words:
            raise ConfigError(f"`smr uploads {' '.join(words)}`: say an identifier, or `remove` and one, or nothing for a list.")
    return 0


def _amount(upload: Upload) -> str:
    return f"{counted(upload.files, 'file')}, {quantity(upload.bytes, 'B')}"
