"""Secrets are found in addresses of every form, and innocent addresses and messages stay as they are."""

import pytest

from evergreen.core import redaction
from evergreen.core.errors import DataError
from evergreen.core.redaction import mask, redact, secrets_of

SECRET = "gEhe1m"
HELD = """\
https://h/x.csv?token={}
https://h/x.csv?a=1&api_key={}&b=2
https://h/x?TOKEN={}
https://h/x?%74oken={}
https://h/x%3Ftoken%3D{}
https://h/x?u=https%3A%2F%2Fada%3A{}%40h%2F
https://h/x?u=https%253A%252F%252Fada%253A{}%2540h%252F
https://h/x#access_token={}
https://h/x;token={}
https://h/x?client_secret={}
https://h/x?key={}
https://h/x?X-Amz-Signature={}&X-Amz-Credential={}&X-Amz-Security-Token={}
https://h/x?token=${{A}}{}
https://ada:{}@h/x.csv
https://{}@h/x.csv
HTTPS://U:{}@H/x
https:\\\\u:{}@h\\x
https://u:p@{}@h/x
https://u:p/{}@h/x
https://u:12{}@h/
s3://KEY:{}@bucket/x/
s3://bucket/AKIAABCDEFGHIJKLMNOP/{}?secret_access_key={}
abfss://c@a.dfs.core.windows.net/x?sv=2022&se=x&sig={}%2Bb%3D
gs://b/x?access_token=ya29.{}
redis://:{}@h/0
mydb:ada:{}@host/x
postgresql://ada@h/db?table=t&sslpassword={}
postgresql:host=h password={} dbname=x
postgresql:host=h password = '{} with spaces' dbname=x
postgresql:password={}
postgresql://h/db?options=-c%20password%3D{}
sqlite:x.db?query=SELECT * FROM dblink('host=h password={}', 'x')
fsspec:ftp://u:{}@h/x
fsspec:simplecache::https://u:{}@h/x.csv
fsspec:simplecache::https://h/x.csv?token={}
fsspec:zip://x.csv::s3://K:{}@b/x.zip
fsspec:ftp://h/{{"password": "{}"}}
mssql:Server=tcp:x;Database=y;User ID=z;Password={};
mssql:Server=tcp:x;User ID=z;PWD={};{}
az:DefaultEndpointsProtocol=https;AccountName=x;AccountKey={}==;EndpointSuffix=core"""
FREE = """\
https://h/x.csv?token=${TOKEN}
https://ada:${PW}@h/x.csv
https://${A}:${B}@h/x
https://h:8080/@scope/x.csv
https://localhost:${PORT}/a@b/x.csv
https://[::1]:8080/x@y.csv
https://h/x?sv=2022&sig=${SIG}
https://h/x?${SAS}
https://h/a%20b.csv?x=1%26y
abfss://container@account.dfs.core.windows.net/x/
postgresql://ada@h:5432/db?table=orders
postgresql://ada@h/db?query=SELECT * FROM t WHERE key='x' AND token = 5
sqlite:shop.db?query=SELECT token, key=3 FROM t WHERE password = 'x'
sqlite:shop.db?query=SELECT ':' || email || '@x' FROM t
fsspec:sftp://ada@host/folder/
fsspec:github://org:repo@main/path/x.csv
fsspec:zip://x.csv::s3://${K}:${S}@b/x.zip
simplecache::s3://b/x@y
delta:s3://bucket/table?version=3
s3://bucket/key=1/token=2/x.parquet
s3://bucket/x@y/z?anonymous=true
key=1/x.parquet
python:docs?characters=100
data/a:b@c.csv
C:\\data\\x@y.csv
${DATA}/people.csv
did you mean 'orders'; add ?table=…: empty, orders
pipelines/digits.yaml:12: unknown key 'token'
digits@v1.2.0: write key: value"""


@pytest.mark.parametrize("address", HELD.splitlines())
def test_a_secret_is_masked_wherever_it_stands(address):
    masked = mask(address.format(*[SECRET] * 3))
    assert redaction.MASK in masked
    assert SECRET not in masked.partition(redaction.MASK)[0]
    assert mask(masked) == masked
    if address.count("{}") == 1 and "s3://bucket" not in address:
        assert SECRET not in masked


@pytest.mark.parametrize("text", FREE.splitlines())
def test_what_holds_no_secret_stays_as_it_is(text):
    assert mask(text) == text
    assert list(secrets_of(text)) == []


def test_what_came_from_the_environment_is_shown_by_its_name(monkeypatch):
    monkeypatch.setattr(redaction, "_filled", {})
    redaction.remember("p@ss word", "${PW}")
    assert redact("no user p@ss word; p%40ss%20word; p%40ss+word") == "no user ${PW}; ${PW}; ${PW}"


def test_errors_never_show_a_secret():
    error = DataError(f"cannot log in with password={SECRET}", place=f"https://u:{SECRET}@h", fix=f"Bearer: {SECRET}x")
    assert SECRET not in f"{error}".partition("Bearer")[0]
    assert str(error) == f"https://u:***@h: cannot log in with password=***; Bearer: {SECRET}x"
    assert SECRET not in str(DataError(f"sent Authorization: Bearer {SECRET}"))


@pytest.mark.parametrize("part", ["a", "a:", "://", "://a:", "?a=", ";token", "%25", "key:", "a@", "'", "${A}", " a=b"])
def test_a_long_text_takes_no_longer_than_its_length(part):
    assert mask(part * (50_000 // len(part)))
