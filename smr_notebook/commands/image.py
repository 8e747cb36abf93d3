"""What `smr image build`, `smr image push` and `smr image context` do: the image that the workers on AWS run."""

from __future__ import annotations

from argparse import Namespace

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import find_caller
from smr_notebook.backends.aws.image.builders import build_image, commands_elsewhere, find_builder
from smr_notebook.backends.aws.image.content import Image, plan_image, write_context
from smr_notebook.backends.aws.image.registry import find_pushed, push_image, repository_address
from smr_notebook.backends.aws.names import Names
from smr_notebook.commands.console import Console
from smr_notebook.config import from_machine


def read_place(options: Namespace) -> tuple[Clients, str]:
    """Return who asks, and the name of the stack, as the options or the settings say."""
    settings = from_machine({name: getattr(options, name) for name in ("stack", "region", "profile")})
    return Clients(settings.region, settings.profile), settings.stack


def find_place(options: Namespace) -> tuple[Clients, Names]:
    """Return who asks, and the names of the stack, as the options or the settings say.

    Raises:
        ConfigError: There is no region, or no such profile, or the stack's name is none.
        CredentialsError: AWS does not know who asks.
    """
    clients, stack = read_place(options)
    return clients, find_caller(clients, stack).names


def pushed_uri(clients: Clients, names: Names, image: Image) -> str:
    """Return the URI of an image in the repository of a stack; empty when it is not there."""
    digest = find_pushed(clients, names.repository, image.tag)
    return f"{repository_address(clients, names.repository)}@{digest}" if digest else ""


def _image(options: Namespace) -> Image:
    return plan_image(options.requirements or (), architecture=options.architecture or "", base=options.base)


def build(options: Namespace, console: Console) -> int:
    """Build the image on this machine."""
    built = build_image(_image(options), builder=find_builder(options.builder), wheels=options.wheels, tell=console.tell)
    console.tell(f"built {built.name}")
    return 0


def push(options: Namespace, console: Console) -> int:
    """Build the image unless it is in the repository of the stack, push it there, and tell what runs it."""
    clients, names = find_place(options)
    image = _image(options)
    uri = pushed_uri(clients, names, image)
    if not uri:
        builder = find_builder(options.builder)
        built = build_image(image, builder=builder, wheels=options.wheels, tell=console.tell)
        uri = push_image(built, clients=clients, repository=names.repository, tell=console.tell).uri
    console.tell(f"pushed {image.tag}; the functions run it after")
    console.tell(f"  smr deploy --stack {names.stack} --region {names.region} --image {uri}")
    return 0


def context(options: Namespace, console: Console) -> int:
    """Write what a build needs into a folder, and tell what to do there."""
    clients, names = find_place(options)
    image = _image(options)
    address = repository_address(clients, names.repository)
    write_context(image, options.folder, wheels=options.wheels)
    console.tell(f"{options.folder} holds all that a build needs. Where docker and the AWS CLI are, run")
    for command in commands_elsewhere(image, str(options.folder), repository=address):
        console.tell(f"  {command}")
    console.tell(f"  smr deploy --stack {names.stack} --region {names.region} --image {address}:{image.tag}")
    return 0
