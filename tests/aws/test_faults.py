"""Every error that AWS's own models name means something, and says it in words."""

from __future__ import annotations

import pickle

import botocore.exceptions
import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from smr_notebook import errors
from smr_notebook.backends.aws.faults import BOTO_ERRORS, MEANINGS, Mends, code_of, told
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

OPERATIONS = {
    "s3": "GetObject HeadObject PutObject CreateMultipartUpload UploadPart CompleteMultipartUpload AbortMultipartUpload ListObjectsV2 "
    "DeleteObjects HeadBucket",
    "dynamodb": "GetItem PutItem UpdateItem DeleteItem Query BatchWriteItem TransactWriteItems DescribeTable",
    "lambda": "Invoke GetFunction GetFunctionConfiguration GetAccountSettings GetFunctionConcurrency GetFunctionRecursionConfig "
    "PutFunctionRecursionConfig GetFunctionEventInvokeConfig UpdateFunctionCode UpdateFunctionConfiguration",
    "scheduler": "CreateSchedule UpdateSchedule DeleteSchedule GetSchedule GetScheduleGroup",
    "sqs": "SendMessage ReceiveMessage DeleteMessage DeleteMessageBatch GetQueueUrl GetQueueAttributes",
    "cloudformation": "CreateStack UpdateStack DeleteStack DescribeStacks DescribeStackEvents CreateChangeSet ExecuteChangeSet "
    "DescribeChangeSet ValidateTemplate",
    "sts": "GetCallerIdentity AssumeRole",
}


def modelled() -> list[str]:
    """Return the codes of all errors that AWS's models know for the operations that we use."""
    session = botocore.session.get_session()
    codes = set()
    for service, operations in OPERATIONS.items():
        model = session.get_service_model(service)
        for operation in operations.split():
            for shape in model.operation_model(operation).error_shapes:
                codes |= {shape.name, str(shape.metadata.get("error", {}).get("code", shape.name))}
    return sorted(codes)


def refusal(code: str, message: str = "Words of AWS.", *, operation: str = "GetObject", status: int = 400) -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


@pytest.mark.parametrize("code", modelled())
def test_every_code_of_the_models_is_in_the_table(code: str) -> None:
    assert code in MEANINGS
    error = told(refusal(code), "reading s3://b/k")
    assert isinstance(error, SmrError)
    assert str(error).startswith("Reading s3://b/k failed: ")


CLASSES = [
    (ThrottledError, "ThrottlingException TooManyRequestsException ProvisionedThroughputExceededException SlowDown RequestThrottled"),
    (ThrottledError, "Throttling EC2ThrottledException RequestLimitExceeded 429"),
    (ServiceError, "InternalError InternalServerError InternalServerException ServiceException ServiceUnavailable RequestTimeout 500 503"),
    (ServiceError, "ResourceConflictException ConflictException ConditionalRequestConflict TransactionConflictException 412"),
    (ServiceError, "ValidationException InvalidRequest NoSuchUpload InvalidObjectState BadDigest QuiteUnknown"),
    (CredentialsError, "ExpiredToken ExpiredTokenException RequestExpired InvalidClientTokenId UnrecognizedClientException"),
    (CredentialsError, "InvalidAccessKeyId SignatureDoesNotMatch RequestTimeTooSkewed InvalidSignatureException InvalidToken 401"),
    (AccessDeniedError, "AccessDenied AccessDeniedException UnauthorizedOperation KMSAccessDeniedException OptInRequired 403"),
    (DeploymentError, "ResourceNotFoundException NoSuchBucket QueueDoesNotExist AWS.SimpleQueueService.NonExistentQueue"),
    (DeploymentError, "RecursiveInvocationException ResourceNotReadyException KMSDisabledException InvalidRuntimeException"),
    (PayloadTooLargeError, "RequestTooLargeException RequestEntityTooLargeException 413"),
    (ObjectNotFoundError, "NoSuchKey 404"),
    (ConfigError, "PermanentRedirect AuthorizationHeaderMalformed 301"),
]


@pytest.mark.parametrize(("expected", "code"), [(expected, code) for expected, codes in CLASSES for code in codes.split()])
def test_a_code_leads_to_one_class(expected: type[SmrError], code: str) -> None:
    error = told(refusal(code), "calling it", unreachable=ServiceError)
    assert type(error) is expected
    for_a_store = StoreError if expected in {ThrottledError, ServiceError} else expected
    assert type(told(refusal(code), "calling it")) is for_a_store


@pytest.mark.parametrize("code", sorted({*MEANINGS, "QuiteUnknown"}))
def test_a_message_is_a_sentence_without_a_trace(code: str) -> None:
    """It keeps the code, for whoever asks AWS, and pickles."""
    error = told(refusal(code), "writing s3://b/k")
    text = str(error)
    assert code in text
    assert "Words of AWS" in text
    assert "Traceback" not in text
    assert "when calling" not in text
    assert text.endswith((".", ")"))
    assert "\n" not in text
    assert str(pickle.loads(pickle.dumps(error))) == text
    assert issubclass(type(error), PlatformError | ConfigError)
    assert getattr(errors, type(error).__name__) is type(error)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, CredentialsError), (403, AccessDeniedError), (404, ObjectNotFoundError), (413, PayloadTooLargeError), (503, StoreError)],
)
def test_a_status_speaks_where_there_is_no_known_code(status: int, expected: type[SmrError]) -> None:
    """The answer to a HEAD has no body, so that botocore calls it by its status."""
    assert type(told(refusal(str(status), "", operation="HeadObject", status=status), "looking at s3://b/k")) is expected
    assert type(told(refusal("", "", operation="HeadObject", status=status), "looking at s3://b/k")) is expected
    unknown = StoreError if status in {400, 404} else expected
    assert type(told(refusal("QuiteNew", "", status=status), "looking at s3://b/k")) is unknown


MADE = {
    botocore.exceptions.NoCredentialsError(): CredentialsError,
    botocore.exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"): CredentialsError,
    botocore.exceptions.TokenRetrievalError(provider="sso", error_msg="Token has expired and refresh failed"): CredentialsError,
    botocore.exceptions.UnauthorizedSSOTokenError(): CredentialsError,
    botocore.exceptions.SSOTokenLoadError(error_msg="Token for work does not exist"): CredentialsError,
    botocore.exceptions.LoginRefreshRequired(): CredentialsError,
    botocore.exceptions.CredentialRetrievalError(provider="custom-process", error_msg="exit 1"): CredentialsError,
    botocore.exceptions.NoRegionError(): ConfigError,
    botocore.exceptions.ProfileNotFound(profile="work"): ConfigError,
    botocore.exceptions.ConfigParseError(path="~/.aws/config"): ConfigError,
    botocore.exceptions.InvalidRegionError(region_name="über"): ConfigError,
    botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1/"): StoreError,
    botocore.exceptions.ConnectTimeoutError(endpoint_url="http://127.0.0.1:1/"): StoreError,
    botocore.exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1:1/"): StoreError,
    botocore.exceptions.ConnectionClosedError(endpoint_url="http://127.0.0.1:1/"): StoreError,
    botocore.exceptions.SSLError(endpoint_url="https://127.0.0.1:1/", error="self-signed certificate"): StoreError,
    botocore.exceptions.ProxyConnectionError(proxy_url="http://127.0.0.1:1/"): StoreError,
    botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2): StoreError,
    botocore.exceptions.ResponseStreamingError(error="connection broken"): StoreError,
    botocore.exceptions.FlexibleChecksumError(error_msg="expected x, got y"): StoreError,
    botocore.exceptions.ParamValidationError(report="Invalid length\nfor parameter Key"): StoreError,
    botocore.exceptions.WaiterError(name="w", reason="r", last_response={}): StoreError,
    ResponseParserError("Unable to parse response, invalid XML"): StoreError,
}


@pytest.mark.parametrize(("error", "expected"), MADE.items(), ids=lambda value: type(value).__name__)
def test_what_botocore_raises_itself_is_told_as_well(error: Exception, expected: type[SmrError]) -> None:
    assert isinstance(error, BOTO_ERRORS)
    told_of = told(error, "reading s3://b/k")
    assert type(told_of) is expected
    assert "\n" not in str(told_of)
    assert code_of(error) == ""
    if expected is StoreError:
        assert type(told(error, "starting a worker", unreachable=ServiceError)) is ServiceError


def test_expired_credentials_say_how_to_get_new_ones() -> None:
    error = told(refusal("ExpiredToken", "The provided token has expired.", operation="ListObjectsV2"), "listing s3://b/")
    assert str(error) == (
        "Listing s3://b/ failed: your credentials for AWS have expired (ExpiredToken: The provided token has expired). Sign in again "
        "(`aws sso login`, with `--profile NAME` if you use a profile) or set AWS_PROFILE, then try again."
    )


DENIED = (
    "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: s3:PutObject on resource: "
    '"arn:aws:s3:::b/k" because no identity-based policy allows the s3:PutObject action'
)


def test_who_was_denied_reads_the_statement_that_is_missing() -> None:
    error = told(refusal("AccessDenied", DENIED, operation="PutObject", status=403), "writing s3://b/k")
    assert "arn:aws:iam::123456789012:user/ann may not do s3:PutObject on arn:aws:s3:::b/k" in str(error)
    assert "no identity-based policy allows" in str(error)
    assert "Allow s3:PutObject on arn:aws:s3:::b/k in the policy" in str(error)


def test_a_denial_without_reasons_names_the_action_of_the_operation() -> None:
    error = told(refusal("AccessDenied", "Access Denied", operation="CompleteMultipartUpload", status=403), "writing s3://b/k")
    assert "do not allow s3:PutObject (AccessDenied: Access Denied). Allow s3:PutObject there" in str(error)
    assert "`smr doctor`" in str(error)
    assert "s3:ListBucket" not in str(error)
    read = told(refusal("403", "Forbidden", operation="HeadObject", status=403), "looking at s3://b/k")
    assert "Allow s3:GetObject there" in str(read)
    assert "a missing object looks alike" in str(read)
    other = told(refusal("AccessDeniedException", "no", operation="GetSchedule"), "setting an alarm", unreachable=ServiceError)
    assert "Allow it in the policy" in str(other)


def test_a_denial_that_names_no_resource_is_read_as_well() -> None:
    words = "User: arn:aws:iam::1:user/ann is not authorized to perform: s3:ListBucket because no identity-based policy allows it"
    error = told(refusal("AccessDenied", words, operation="ListObjectsV2", status=403), "listing s3://b/")
    assert "arn:aws:iam::1:user/ann may not do s3:ListBucket, because no identity-based policy allows it (AccessDenied)" in str(error)
    assert "Allow s3:ListBucket there" in str(error)


def test_no_permission_helps_against_a_statement_that_forbids() -> None:
    words = DENIED.replace(
        "because no identity-based policy allows the s3:PutObject action", "with an explicit deny in a service control policy"
    )
    error = told(refusal("AccessDenied", words, operation="PutObject", status=403), "writing s3://b/k")
    assert "with an explicit deny in a service control policy (AccessDenied). Whoever wrote the policy" in str(error)
    assert "Allow" not in str(error).replace("AccessDenied", "")


def test_a_caller_may_know_better_what_helps() -> None:
    mends: Mends = {AccessDeniedError: "Ask ann."}
    error = told(refusal("AccessDenied", DENIED, operation="PutObject", status=403), "writing s3://b/k", mends=mends)
    assert str(error).endswith("(AccessDenied). Ask ann.")
    key = DENIED.replace("s3:PutObject", "kms:Decrypt").replace("arn:aws:s3:::b/k", "arn:aws:kms:eu-west-1:1:key/k")
    error = told(refusal("AccessDenied", key, operation="PutObject", status=403), "writing s3://b/k", mends=mends)
    assert "Allow kms:Decrypt on arn:aws:kms:eu-west-1:1:key/k in the policy" in str(error)
    error = told(refusal("NoSuchBucket", status=404), "writing s3://b/k", mends={DeploymentError: "Deploy."})
    assert str(error).endswith("(NoSuchBucket: Words of AWS). Deploy.")


def test_a_bucket_that_is_not_there_is_named() -> None:
    error = refusal("NoSuchBucket", "The specified bucket does not exist", status=404)
    error.response["Error"]["BucketName"] = "smr-data"
    assert "there is no such bucket (NoSuchBucket: The specified bucket does not exist, smr-data)" in str(
        told(error, "listing s3://smr-data/")
    )


def test_a_bucket_elsewhere_is_told_with_its_region() -> None:
    error = refusal("301", "Moved Permanently", operation="HeadObject", status=301)
    error.response["ResponseMetadata"]["HTTPHeaders"] = {"x-amz-bucket-region": "eu-west-1"}
    assert "in another region (301: Moved Permanently, region eu-west-1)" in str(told(error, "looking at s3://b/k"))
    wrong = refusal("AuthorizationHeaderMalformed", "The region 'us-east-1' is wrong; expecting 'eu-west-1'")
    wrong.response["Error"]["Region"] = "eu-west-1"
    assert "region eu-west-1)" in str(told(wrong, "reading s3://b/k"))


def test_a_long_text_of_aws_is_cut() -> None:
    assert len(str(told(refusal("ValidationException", "x" * 10_000), "reading s3://b/k"))) < 700
