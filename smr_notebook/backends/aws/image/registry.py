"""The image in ECR: the push, and the proof that Lambda can take what lies there.

A tag follows from the content, and the repository lets nobody move one: what is there already is not pushed again. The repository
itself belongs to the stack.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import asking
from smr_notebook.backends.aws.image.builders import BuiltImage, Login, Tell, silent, upload
from smr_notebook.errors import DeploymentError

_MANIFESTS: Final = ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json")
_INDEXES: Final = ("application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.oci.image.index.v1+json")


@dataclass(frozen=True, slots=True)
class PushedImage:
    """An image in ECR.

    Attributes:
        uri: What a function's `ImageUri` says: repository and digest, so that it stands for these bytes and no others.
        tag: Its tag.
        digest: `sha256:…`.
    """

    uri: str
    tag: str
    digest: str


def push_image(built: BuiltImage, *, clients: Clients, repository: str, tell: Tell = silent) -> PushedImage:
    """Push an image to ECR, unless it is there.

    Args:
        repository: Name of the repository of the stack.
        tell: Is given each line that the tool says.

    Raises:
        DeploymentError: There is no such repository, it does not take the image, or what arrived is not what Lambda takes.
        CredentialsError: AWS does not know us.
        AccessDeniedError: We may not.
    """
    address = repository_address(clients, repository)
    digest = find_pushed(clients, repository, built.tag)
    if not digest:
        upload(built, f"{address}:{built.tag}", login=ecr_login(clients), tell=tell)
        digest = find_pushed(clients, repository, built.tag)
    if not digest:
        raise DeploymentError(f"{address} does not show {built.tag} after the push. Push it again.")
    return PushedImage(f"{address}@{digest}", built.tag, digest)


def repository_address(clients: Clients, repository: str) -> str:
    """Return the address of a repository, registry first.

    Raises:
        DeploymentError: There is no such repository: `smr deploy` makes it.
    """
    with asking(f"looking for the repository {repository} in ECR"):
        found = clients["ecr"].describe_repositories(repositoryNames=[repository])["repositories"]
    return str(found[0]["repositoryUri"])


def find_pushed(clients: Clients, repository: str, tag: str) -> str:
    """Return the digest of an image in ECR, or an empty text when there is none.

    Raises:
        DeploymentError: It is an index of several images, or there is no such repository.
    """
    with asking(f"looking for the image {repository}:{tag} in ECR"):
        answer = clients["ecr"].batch_get_image(
            repositoryName=repository, imageIds=[{"imageTag": tag}], acceptedMediaTypes=[*_MANIFESTS, *_INDEXES]
        )
    for image in answer["images"]:
        if image.get("imageManifestMediaType") in _INDEXES:
            raise DeploymentError(
                f"{repository}:{tag} is an index of several images, which Lambda does not take. Delete it in ECR and push it again, "
                "built for one platform and with `--provenance=false`."
            )
        return str(image["imageId"]["imageDigest"])
    return ""


def ecr_login(clients: Clients) -> Login:
    """Return a login to the account's registry, good for twelve hours."""
    with asking("logging in to ECR"):
        data = clients["ecr"].get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return Login(str(data["proxyEndpoint"]).partition("://")[2], user, password)
