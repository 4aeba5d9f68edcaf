"""What can be wrong with a bucket: found before a task is created, said in words, or mended. Nothing stays behind."""

from __future__ import annotations

import json
import re
import sys
import threading

import pytest

from tests.support.buckets import BUCKET, Fault, error_body, fetch, images_of, picture
from xalora_client import ConfigurationError, InputImage, NetworkError, StorageError, TaskRecords, UpscalerTask
from xalora_client.http import upload as web
from xalora_client.uploads import bucket as uploads_bucket


@pytest.fixture
def keeper(subject):
    subject.options["ledger"] = True
    return subject


def create(keeper, seed=0, side=16):
    image = InputImage.from_bytes(picture(seed, side), name="photo.png")
    return keeper.do(lambda client: client.execute_workflow(UpscalerTask(image)))


def refused(keeper, bucket, sequencer, error, match, **options):
    with pytest.raises(error, match=match) as caught:
        create(keeper, **options)
    assert "photo.png" in str(caught.value)
    assert sequencer.seen == []
    assert "DELETE" not in bucket.methods() or "PUT" in bucket.methods()
    with TaskRecords(keeper.options["home"]) as records:
        assert {record.state for record in records.tasks()[0]} == {"refused"}
    assert caught.value.sent == "no"
    in_comfyui = caught.value.text("nodes")
    assert not re.search(r"XALORA_BUCKET|`xalora |(?<!\w)--[a-z]", in_comfyui)
    bucket.faults.clear()
    assert bucket.names() == []
    return str(caught.value)


WRONG = {
    "wrong key": ("InvalidAccessKeyId", 403, "credentials are not accepted.*AWS_ACCESS_KEY_ID"),
    "wrong secret": ("SignatureDoesNotMatch", 403, "credentials are not accepted.*AWS_SECRET_ACCESS_KEY"),
    "expired token": ("ExpiredToken", 400, "answered 400 ExpiredToken"),
    "no such bucket": ("NoSuchBucket", 404, "does not exist.*XALORA_BUCKET"),
    "clock": ("RequestTimeTooSkewed", 403, "clock.*Set this machine's clock"),
    "region that is not named": ("PermanentRedirect", 301, "another region.*AWS_REGION"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_the_first_look_finds(what, bucket, counted, keeper):
    code, status, match = WRONG[what]
    bucket.faults.append(Fault("GET", status, error_body(code)))
    refused(keeper, bucket, counted, StorageError, match)
    assert "PUT" not in bucket.methods()


FULL = {"quota": ("QuotaExceeded", 403), "MinIO": ("XMinioStorageFull", 507), "any": ("", 507)}


@pytest.mark.parametrize("what", FULL)
def test_a_full_bucket(what, bucket, counted, keeper):
    code, status = FULL[what]
    bucket.faults.append(Fault("PUT", status, error_body(code)))
    refused(keeper, bucket, counted, StorageError, r"it is full.*xalora prune --bucket")
    assert bucket.methods().count("PUT") == 1


def test_no_leave_to_write(bucket, counted, keeper):
    bucket.faults.append(Fault("PUT", 403, error_body("AccessDenied")))
    refused(keeper, bucket, counted, StorageError, r"AccessDenied: the credentials are not accepted.*allowed to")


def test_no_leave_to_read(bucket, counted, keeper):
    bucket.faults.append(Fault("GET", 403, error_body("AccessDenied")))
    refused(keeper, bucket, counted, StorageError, r"AccessDenied: the credentials are not accepted.*allowed to read")


def test_a_bucket_that_is_really_not_there(bucket, counted, keeper, monkeypatch):
    monkeypatch.setenv("XALORA_BUCKET", "s3://not-there")
    refused(keeper, bucket, counted, StorageError, r"s3://not-there answered 404 NoSuchBucket: it does not exist")


@pytest.mark.parametrize(("skew", "word"), [(3600, "behind"), (-3600, "ahead")])
def test_a_clock_off_by_an_hour_is_told_from_wrong_credentials(skew, word, bucket, counted, keeper):
    bucket.skew = skew
    bucket.faults.append(Fault("GET", 403, error_body("AccessDenied", "Request has expired")))
    bucket.faults.append(Fault("PUT", 403, error_body("AccessDenied", "Request has expired")))
    refused(keeper, bucket, counted, StorageError, rf"clock is 60 min {word}\. Set this machine's clock")


@pytest.mark.parametrize("said", ["header", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"])
def test_the_right_region_is_taken_from_the_answer(said, bucket, counted, keeper):
    if said == "header":
        fault = Fault("GET", 301, error_body("PermanentRedirect"), {"x-amz-bucket-region": "eu-central-1"}, times=1)
    else:
        fault = Fault("GET", 400, error_body(said, Region="eu-central-1"), times=1)
    bucket.faults.append(fault)
    create(keeper)
    assert "eu-central-1" in images_of(counted)[0]
    assert fetch(images_of(counted)[0])[0] == 200


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_busy_bucket_is_asked_again(method, bucket, counted, keeper):
    bucket.faults.append(Fault(method, 503, error_body("SlowDown"), times=3))
    create(keeper)
    assert len(bucket.names()) == 1


def test_a_bucket_that_stays_busy(bucket, counted, keeper):
    bucket.faults.append(Fault("PUT", 503, error_body("SlowDown")))
    refused(keeper, bucket, counted, StorageError, "answered 503 SlowDown")
    assert bucket.methods().count("PUT") == 5


def test_a_cut_in_the_middle_of_an_upload_is_mended(bucket, counted, keeper):
    bucket.faults.append(Fault("PUT", cut_after=100_000, times=2))
    create(keeper, side=512)
    assert fetch(images_of(counted)[0]) == (200, picture(side=512))


def test_a_network_that_stays_cut(bucket, counted, keeper):
    bucket.faults.append(Fault("PUT", cut_after=100_000))
    refused(keeper, bucket, counted, NetworkError, "was not uploaded, so no task was created", side=512)


def test_nobody_listens(bucket, counted, keeper, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused(keeper, bucket, counted, NetworkError, r"no task was created.*127\.0\.0\.1:9.*endpoint")


@pytest.mark.parametrize(
    "written", ["{host}", " http://{host}\t", '"http://{host}"', "\ufeff{host}/", "http://{host} \r\n"]
)
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_an_endpoint_as_people_write_it(bucket, counted, keeper, monkeypatch, name, written):
    """Without its scheme, or with what comes along when it is copied."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(name, written.format(host=bucket.url.removeprefix("http://")))
    create(keeper)
    assert fetch(images_of(counted)[0])[0] == 200


@pytest.mark.parametrize("written", ["http://", "my storage", "ftp://10.0.0.1", "http://10.0.0.1:port"])
def test_an_endpoint_that_is_none(bucket, counted, keeper, monkeypatch, written):
    monkeypatch.setenv("AWS_ENDPOINT_URL", written)
    refused(keeper, bucket, counted, ConfigurationError, "endpoint cannot be used.*AWS_ENDPOINT_URL")


def test_a_bucket_that_never_answers_is_looked_at_once(bucket, counted, keeper, monkeypatch):
    monkeypatch.setattr(web, "SILENCE", 0.3)
    monkeypatch.setattr(uploads_bucket, "CHECK_SECONDS", 0.2)
    ended = threading.Event()
    bucket.faults.append(Fault("GET", hold=ended))
    with pytest.raises(NetworkError, match=r"[Pp]hoto\.png.*no task was created"):
        create(keeper)
    assert bucket.methods() == ["GET"]
    assert counted.seen == []
    ended.set()
    bucket.quiet()


def test_no_credentials_at_all(bucket, counted, keeper, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    # Where a machine of Amazon's would find them.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    refused(keeper, bucket, counted, StorageError, "no usable credentials.*AWS_ACCESS_KEY_ID")


def test_credentials_of_a_profile_are_found(bucket, counted, keeper, monkeypatch, tmp_path):
    values = {name: bucket.settings[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    (tmp_path / "credentials").write_text(
        "[studio]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in values.items())
    )
    (tmp_path / "config").write_text(f"[profile studio]\nregion = eu-west-3\nendpoint_url = {bucket.url}\n")
    for name in (*values, "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "studio")
    create(keeper)
    assert "eu-west-3" in images_of(counted)[0]


@pytest.fixture
def profile(bucket, monkeypatch, tmp_path):
    """``profile(config, credentials)`` writes the files with the profile that is used, in place of variables with keys.

    ``PROGRAM`` in them stands for a program of the user's, which runs the code.
    """

    def write(config, credentials="", code=""):
        (tmp_path / "program.py").write_text(code)
        config = config.replace("PROGRAM", f"{sys.executable} {tmp_path / 'program.py'}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name, text in {"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": credentials}.items():
            (tmp_path / name).write_text(text)
            monkeypatch.setenv(name, str(tmp_path / name))
        monkeypatch.setenv("AWS_PROFILE", "studio")

    return write


def test_credentials_that_a_program_says_are_found(bucket, counted, keeper, profile):
    keys = {"Version": 1, "AccessKeyId": "said-by-a-program", "SecretAccessKey": "its-secret", "SessionToken": "t-1"}
    profile("[profile studio]\nregion = eu-west-3\ncredential_process = PROGRAM\n", code=f"print('{json.dumps(keys)}')")
    create(keeper)
    link = images_of(counted)[0]
    assert "said-by-a-program" in link
    assert "X-Amz-Security-Token=t-1" in link
    assert "its-secret" not in link


def test_a_role_of_a_profile_is_taken(bucket, counted, keeper, profile):
    keys = "aws_access_key_id = of-the-user\naws_secret_access_key = s\n"
    role = "role_arn = arn:aws:iam::123456789012:role/images\nsource_profile = user\nregion = us-east-1\n"
    profile(f"[profile studio]\n{role}[profile user]\nregion = us-east-1\n", f"[user]\n{keys}")
    create(keeper)
    link = images_of(counted)[0]
    assert "X-Amz-Security-Token=" in link  # Those of the role, for a time.
    assert "of-the-user" not in link


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ("[profile other]\n", r"ProfileNotFound.*AWS_PROFILE"),
        (
            "[profile studio]\ncredential_process = PROGRAM\n",
            "CredentialRetrievalError",
        ),
        ("[profile studio]\ncredential_process = PROGRAM\nregion = x\n", "could not be loaded"),
        (
            "[profile studio]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
            "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://sso.example/start\n",
            r"(Token|SSO)\w*\).*aws sso login",
        ),
    ],
    ids=["no such profile", "the program fails", "a list", "no login"],
)
def test_credentials_that_cannot_be_had(config, match, bucket, counted, keeper, profile):
    profile(config, code="print('[1]')" if "region" in config else "import sys; sys.exit('a-secret')")
    refused(keeper, bucket, counted, StorageError, match)
    with pytest.raises(StorageError) as caught:
        create(keeper)
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize("config", ["[profile other]\n", "no file of Amazon's\n"])
def test_keys_in_variables_need_no_profile(config, bucket, counted, keeper, profile, monkeypatch):
    profile(config)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, bucket.settings[name])
    create(keeper)
    assert fetch(images_of(counted)[0])[0] == 200


@pytest.mark.parametrize("stored", [{"access_key_id": "half"}, {"aws_secret_access_key": "half"}])
def test_half_of_the_stored_keys_is_not_completed_by_others(stored, bucket, counted, keeper, home):
    from xalora_client import config

    config.store(home, bucket=f"s3://{BUCKET}/prefix", bucket_options={**stored, "endpoint": bucket.url})
    refused(keeper, bucket, counted, StorageError, "not complete.*xalora login --bucket")


def test_stored_credentials_are_used(bucket, counted, keeper, home, monkeypatch):
    from xalora_client import config

    for name in bucket.settings:
        monkeypatch.delenv(name)
    config.store(
        home,
        bucket=f"s3://{BUCKET}/prefix",
        bucket_options={
            "access_key_id": bucket.settings["AWS_ACCESS_KEY_ID"],
            "secret_access_key": bucket.settings["AWS_SECRET_ACCESS_KEY"],
            "endpoint": bucket.url,
        },
    )
    # Those of another account, which the stored keys must not be mixed with.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "of-another")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    create(keeper)
    link = images_of(counted)[0]
    assert fetch(link)[0] == 200
    assert bucket.settings["AWS_ACCESS_KEY_ID"] in link
    assert "us-east-1" in link
    assert "of-another" not in link


@pytest.mark.parametrize("bucket_set", [False, True])
def test_an_upload_method_that_cannot_be_used(bucket_set, bucket, counted, keeper, monkeypatch):
    if not bucket_set:
        monkeypatch.delenv("XALORA_BUCKET")
    monkeypatch.setenv("XALORA_IMAGE_DELIVERY", "sequencer" if bucket_set else "bucket")
    with pytest.raises(ConfigurationError, match=r"XALORA_BUCKET to a bucket of yours.*README"):
        create(keeper)
    assert images_of(counted) == []
