"""What an error of AWS means: one table, by code and never by text.

Rules of this module:

* A code (`SlowDown`), an HTTP status where there is no code (`403`: the answer to a HEAD has no body), or the name of one of
  botocore's own exceptions (`NoCredentialsError`) leads to a cause, and a cause has one class of `smr_notebook.errors`.
* "Cannot be reached" is another class for a store than for a function service, so whoever calls says which.
* AWS's own words are kept in brackets, after what they mean and before what helps; whether a call may be repeated is the SDK's business.
* So the message says all that botocore's error says, and is raised `from None`: its trace through the SDK would only hide the sentence.
* Conditions that an adapter reads as an answer (a failed condition, a key that is not there) are in the table too: where
  nobody expects them they are errors as any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from smr_notebook.errors import (
    AccessDeniedError,
    ConfigError,
    CredentialsError,
    DeploymentError,
    ObjectNotFoundError,
    PayloadTooLargeError,
    PlatformError,
    ServiceError,
    SmrError,
    StoreError,
    ThrottledError,
)

BOTO_ERRORS: Final = (BotoCoreError, ClientError, ResponseParserError)
"""All that a call of a client raises."""

_WORDS = 400
"""Characters of AWS's own text that a message keeps at most."""


Mends = Mapping[type[SmrError], str]
"""What helps, by class."""


@dataclass(frozen=True, slots=True)
class _Cause:
    """What a code means: the class (`PlatformError` stands for the one that the caller names), in words, and what helps."""

    error: type[SmrError]
    what: str
    mend: str


_SIGN_IN = "Sign in again (`aws sso login`, with `--profile NAME` if you use a profile) or set AWS_PROFILE, then try again."
_SET_UP = "`aws configure` or `aws sso login` gives this machine some, and AWS_PROFILE says which of several."
_AGAIN = "Try again in a minute."
_DEPLOY = "`smr deploy` makes what is missing and mends the rest."
_DOCTOR = "`smr doctor` tells all that is missing."
_BUSY = _Cause(
    ThrottledError, "AWS wants fewer calls", "Try again later, with less at once; lasting limits are raised under Service Quotas."
)
_UNKNOWN = _Cause(PlatformError, "AWS refuses", "If it happens again, look the code up in the documentation of the service.")

_CAUSES: Final[tuple[tuple[_Cause, str], ...]] = (
    (
        _BUSY,
        """Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException TooManyRequestsException
        ProvisionedThroughputExceededException RequestLimitExceeded BandwidthLimitExceeded LimitExceededException SlowDown
        PriorRequestNotComplete EC2ThrottledException KmsThrottled OverLimit CapacityNotAvailableError 429""",
    ),
    (
        _Cause(PlatformError, "AWS fails", _AGAIN),
        """InternalError InternalServerError InternalServerException InternalFailure ServiceUnavailable ServiceUnavailableException
        ServiceException ServerException RequestTimeout RequestTimeoutException EC2UnexpectedException 500 502 503 504""",
    ),
    (
        _Cause(PlatformError, "AWS cannot be reached", "Look at the network, the proxy and AWS_ENDPOINT_URL, then try again."),
        "HTTPClientError ConnectionError IncompleteReadError",
    ),
    (
        _Cause(PlatformError, "what arrived is not what was sent", "Try again; if it happens again, look at the proxy."),
        """FlexibleChecksumError ChecksumError ResponseParserError AwsChunkedWrapperError BadDigest InvalidDigest
        XAmzContentSHA256Mismatch""",
    ),
    (
        _Cause(PlatformError, "somebody else changed it at that moment", _AGAIN),
        """ConditionalRequestConflict OperationAborted ConditionalCheckFailedException PreconditionFailed PreconditionFailedException
        TransactionConflictException TransactionCanceledException TransactionInProgressException ReplicatedWriteConflictException
        IdempotentParameterMismatchException ResourceConflictException ConflictException AlreadyExistsException
        TokenAlreadyExistsException DurableExecutionAlreadyStartedException BucketAlreadyExists BucketAlreadyOwnedByYou 409 412""",
    ),
    (
        _Cause(CredentialsError, "your credentials for AWS have expired", _SIGN_IN),
        """ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired TokenRetrievalError SSOError LoginError
        RefreshWithMFAUnsupportedError""",
    ),
    (
        _Cause(CredentialsError, "AWS does not know your credentials", _SIGN_IN),
        """InvalidClientTokenId UnrecognizedClientException InvalidAccessKeyId InvalidToken SignatureDoesNotMatch InvalidSignatureException
        IncompleteSignature IncompleteSignatureException MissingAuthenticationToken MissingAuthenticationTokenException
        MissingSecurityHeader AuthFailure InvalidSecurity 401""",
    ),
    (
        _Cause(CredentialsError, "there are no credentials for AWS", _SET_UP),
        """NoCredentialsError PartialCredentialsError CredentialRetrievalError MetadataRetrievalError NoAuthTokenError
        UnknownCredentialError UnknownTokenProviderError""",
    ),
    (
        _Cause(CredentialsError, "the clock of this machine is wrong", "Set it: AWS takes no call that is 15 minutes off."),
        "RequestTimeTooSkewed",
    ),
    (
        _Cause(CredentialsError, "S3 does not say why it refuses", f"Expired credentials look like this. {_SIGN_IN}"),
        "400",
    ),
    (
        _Cause(AccessDeniedError, "you may not do that", ""),
        """AccessDenied AccessDeniedException UnauthorizedOperation UnauthorizedException NotAuthorized Forbidden AllAccessDisabled
        AccountProblem OptInRequired NotSignedUp RegionDisabledException LoginInsufficientPermissions KMSAccessDeniedException
        KmsAccessDenied KmsOptInRequired EC2AccessDeniedException 403""",
    ),
    (
        _Cause(DeploymentError, "there is no such bucket", f"Check its name and AWS_PROFILE. If it is the bucket of a stack: {_DEPLOY}"),
        "NoSuchBucket",
    ),
    (
        _Cause(DeploymentError, "what it needs is not there", f"Check the stack, the region and AWS_PROFILE. {_DEPLOY}"),
        """ResourceNotFoundException QueueDoesNotExist AWS.SimpleQueueService.NonExistentQueue RepositoryNotFoundException
        ImageNotFoundException NoPublishedVersionException RuntimeAliasDeletedException RuntimeVersionDeletedException
        CodeSigningConfigNotFoundException ChangeSetNotFound ChangeSetNotFoundException""",
    ),
    (
        _Cause(DeploymentError, "Lambda ended a chain of calls", f"The functions must have `RecursiveLoop: Allow`. {_DEPLOY}"),
        "RecursiveInvocationException",
    ),
    (
        _Cause(DeploymentError, "the function cannot start as it was deployed", f"{_AGAIN} If it stays so: {_DEPLOY}"),
        """ResourceNotReadyException InvalidRuntimeException InvalidZipFileException InvalidSecurityGroupIDException
        InvalidSubnetIDException SubnetIPAddressLimitReachedException ENILimitReachedException ENINotReadyException EFSIOException
        EFSMountConnectivityException EFSMountFailureException EFSMountTimeoutException S3FilesMountConnectivityException
        S3FilesMountFailureException S3FilesMountTimeoutException SnapStartException SnapStartNotReadyException
        SnapStartTimeoutException SnapStartRegenerationFailureException CodeArtifactUserDeletedException
        CodeArtifactUserFailedException CodeArtifactUserPendingException CodeVerificationFailedException InvalidCodeSignatureException
        ModeNotSupportedException""",
    ),
    (
        _Cause(DeploymentError, "the key that encrypts it does not serve", "Enable the key in KMS, or deploy without one."),
        """KMSDisabledException KMSInvalidStateException KMSNotFoundException KMS.DisabledException KMS.KMSInvalidStateException
        KMS.NotFoundException KmsDisabled KmsInvalidState KmsNotFound KmsInvalidKeyUsage""",
    ),
    (
        _Cause(DeploymentError, "a quota of the account is used up", "Raise it under Service Quotas, or remove what nobody needs."),
        "ServiceQuotaExceededException CodeStorageExceededException TooManyBuckets ItemCollectionSizeLimitExceededException",
    ),
    (
        _Cause(DeploymentError, "CloudFormation does not do that", "Look at the stack's events in the console."),
        "InsufficientCapabilitiesException InvalidChangeSetStatus InvalidChangeSetStatusException",
    ),
    (
        _Cause(PayloadTooLargeError, "it is too large for one call", "Send less at once."),
        "RequestTooLargeException RequestEntityTooLargeException SerializedRequestEntityTooLargeException MaxMessageLengthExceeded 413",
    ),
    (
        _Cause(ObjectNotFoundError, "there is no such object", "It was never written, or has been deleted since."),
        "NoSuchKey 404",
    ),
    (
        _Cause(PlatformError, "the object is archived", "Restore it first (`aws s3api restore-object`)."),
        "InvalidObjectState ObjectNotInActiveTierError",
    ),
    (
        _Cause(PlatformError, "the upload is gone", f"Something else ended it, such as a lifecycle rule for incomplete uploads. {_AGAIN}"),
        "NoSuchUpload",
    ),
    (
        _Cause(ConfigError, "the bucket is in another region", 'Say region="…" or set AWS_REGION to its region.'),
        "PermanentRedirect TemporaryRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException 301 307",
    ),
    (
        _Cause(ConfigError, "no region is set", 'Say region="eu-west-1", for one, or set AWS_REGION.'),
        "NoRegionError",
    ),
    (
        _Cause(ConfigError, "there is no such profile", "`aws configure list-profiles` names those that are: set AWS_PROFILE to one."),
        "ProfileNotFound",
    ),
    (
        _Cause(ConfigError, "the settings of AWS are wrong", "Mend ~/.aws/config, or the variables AWS_… of the environment."),
        """ConfigNotFound ConfigParseError InvalidConfigError InvalidRegionError UnknownRegionError EndpointProviderError
        BaseEndpointResolverError InvalidEndpointConfigurationError InvalidRetryConfigurationError InvalidIMDSEndpointError
        InvalidIMDSEndpointModeError InvalidProxiesConfigError InvalidS3AddressingStyleError InvalidDefaultsMode ServiceNotInRegionError
        InvalidChecksumConfigError InvalidHostLabelError MissingDependencyException""",
    ),
    (
        _Cause(PlatformError, "AWS does not understand the call", "Check the names in it. If they are right, please report it as a bug."),
        """ValidationException ValidationError ParamValidationError InvalidRequest InvalidArgument InvalidRange InvalidBucketName
        KeyTooLongError InvalidPart InvalidPartOrder EntityTooSmall EntityTooLarge TooManyParts InvalidWriteOffset EncryptionTypeMismatch
        InvalidParameterException InvalidParameterValueException InvalidRequestContentException UnsupportedMediaTypeException
        UnsupportedOperation InvalidAddress InvalidMessageContents InvalidAttributeName InvalidIdFormat ReceiptHandleIsInvalid
        TooManyEntriesInBatchRequest EmptyBatchRequest BatchEntryIdsNotDistinct InvalidBatchEntryId MalformedXML MethodNotAllowed
        MalformedPolicyDocument MalformedPolicyDocumentException PackedPolicyTooLarge PackedPolicyTooLargeException
        InvalidContextAssertion InvalidContextAssertionException 405 416""",
    ),
)

MEANINGS: Final[Mapping[str, _Cause]] = {name: cause for cause, names in _CAUSES for name in names.split()}
"""Each known code, status and exception, and its cause."""

_ACTIONS: Final[Mapping[str, str]] = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "DeleteObjects": "s3:DeleteObject",
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "PutBucketNotificationConfiguration": "s3:PutBucketNotification",
}
"""What a policy calls an operation: the only service that does not always say so itself is S3."""

_DENIED = re.compile(
    r'^User: (\S+) is not authorized to perform: (\S+)(?: on (?:resource:? )?"?([^\s"]+)"?)?(?: ((?:because|with) .*?))?\.?$'
)


_NO_MENDS: Final[Mends] = {}


def code_of(error: Exception) -> str:
    """Return AWS's code for an error, or its HTTP status where there is none; empty for what did not come from AWS."""
    return next((name for name in _names(error) if name), "") if isinstance(error, ClientError) else ""


def told(error: Exception, doing: str, *, unreachable: type[PlatformError] = StoreError, mends: Mends = _NO_MENDS) -> SmrError:
    """Return the error that says what an error of botocore means.

    Args:
        error: One of `BOTO_ERRORS`.
        doing: What was tried, for people, as it follows "while": `reading s3://bucket/key`.
        unreachable: Class for what cannot be reached, fails or refuses; throttling is a `ThrottledError` where it is a `ServiceError`.
        mends: What helps, by class, where the caller knows it better than the table.
    """
    cause = next((MEANINGS[name] for name in _names(error) if name in MEANINGS), _UNKNOWN)
    doing = doing[:1].upper() + doing[1:]
    if cause.error is AccessDeniedError:
        return AccessDeniedError(f"{doing} failed: {_denied(error, mends.get(AccessDeniedError, ''))}")
    kind = cause.error
    if kind is PlatformError or (kind is ThrottledError and not issubclass(unreachable, ServiceError)):
        kind = unreachable
    return kind(f"{doing} failed: {cause.what} ({_words(error)}). {mends.get(kind, cause.mend)}")


def _names(error: Exception) -> tuple[str, ...]:
    """Return what the table may call an error, the most telling first."""
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        # These two say nothing where a code says something, though we do not know it.
        return (code,) if code and status in {"400", "404"} else (code, status)
    return tuple(cls.__name__ for cls in type(error).__mro__)


def _words(error: Exception) -> str:
    if not isinstance(error, ClientError):
        return _cut(str(error))
    fields = error.response.get("Error", {})
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = fields.get("Region") or headers.get("x-amz-bucket-region") or ""
    words = [str(fields.get("Message") or ""), str(fields.get("BucketName") or ""), f"region {region}" if region else ""]
    text = ", ".join(word.rstrip(". ") for word in words if word)
    return _cut(f"{code_of(error)}: {text}" if text else code_of(error))


def _cut(text: str) -> str:
    text = " ".join(text.split()).rstrip(". ")
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"


def _denied(error: Exception, mend: str) -> str:
    """Return who may not do what to what, and what helps: the statement that a policy lacks, as far as it is known, or `mend`."""
    fields = error.response.get("Error", {}) if isinstance(error, ClientError) else {}
    operation = error.operation_name if isinstance(error, ClientError) else ""
    action, resource, why = _ACTIONS.get(operation, ""), "", ""
    hint = "; a missing object looks alike where s3:ListBucket is not allowed" if operation in {"GetObject", "HeadObject"} else ""
    if found := _DENIED.match(" ".join(str(fields.get("Message", "")).split())):
        who, action, resource, why = (part or "" for part in found.groups())
        told = f"{who} may not do {action}{f' on {resource}' if resource else ''}{f', {why}' if why else ''} ({code_of(error)}{hint})."
    else:
        told = f"your credentials do not allow {action or 'it'} ({_words(error)}{hint})."
    if "explicit deny" in why:
        return f"{told} Whoever wrote the policy that forbids it can change it."
    if mend and not action.startswith("kms:"):
        return f"{told} {mend}"
    where = f"on {resource}" if resource else "there"
    statement = f"Allow {action} {where}" if action else "Allow it"
    return f"{told} {statement} in the policy of the user or role, or set AWS_PROFILE to one that may; {_DOCTOR}"
