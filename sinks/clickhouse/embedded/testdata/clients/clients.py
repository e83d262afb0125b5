"""What Python's clients of ClickHouse do with their defaults, against the embedded engine.

Usage: clients.py HOST PORT PASSWORD
"""

import datetime
import decimal
import ipaddress
import sys
import uuid
from zoneinfo import ZoneInfo

import clickhouse_connect
import pandas
import pyarrow
import sqlalchemy
from clickhouse_connect.cc_sqlalchemy.datatypes.sqltypes import UInt32, String
from clickhouse_connect.cc_sqlalchemy.ddl.tableengine import MergeTree
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

HOST, PORT, PASSWORD = sys.argv[1], int(sys.argv[2]), sys.argv[3]

TYPES = """
    id UInt64, name LowCardinality(String), at DateTime64(6, 'UTC'), here DateTime('Europe/Berlin'), then DateTime, tags Array(String),
    score Nullable(Float64), price Decimal(18, 4), key UUID, kind Enum8('a' = 1, 'b' = 2), pair Tuple(x Int8, y String),
    attrs Map(String, UInt8), ok Bool, day Date32, ip IPv4, deep Array(Nullable(Int64)), fixed FixedString(3), wide Int256"""


def refused(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except DatabaseError as e:
        assert f"Code: {code}." in str(e) or f"code {code}" in str(e).lower(), e
        return str(e)
    raise AssertionError(f"{args} was not refused")


def every_type(client):
    """Rows of every type go in and come out the same, as rows, columns, frames, Arrow and a stream."""
    client.command(f"CREATE TABLE types ({TYPES}) ENGINE = MergeTree ORDER BY id")
    at = datetime.datetime(2001, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
    here = datetime.datetime(2001, 7, 2, 3, 4, 5, tzinfo=ZoneInfo("Europe/Berlin"))
    row = (1, "one", at, here, at.replace(microsecond=0), ["x", "y"], None, decimal.Decimal("12.3400"), uuid.UUID(int=7), "a",
           {"x": 1, "y": "p"}, {"k": 1}, True, datetime.date(1950, 1, 2), ipaddress.IPv4Address("10.0.0.1"), [1, None], b"abc", 2**200)
    summary = client.insert("types", [row, (2, *row[1:])])
    assert summary.written_rows == 2, summary.summary
    result = client.query("SELECT * FROM types WHERE id = {id:UInt64}", parameters={"id": 1})
    got = dict(zip(result.column_names, result.first_row))
    want = dict(zip(result.column_names, row))
    assert got["here"] == here and got["here"].utcoffset() == here.utcoffset(), got["here"]
    assert got["then"].replace(tzinfo=datetime.timezone.utc) == want["then"], got["then"]
    for name in set(want) - {"here", "then", "at", "pair"}:
        assert got[name] == want[name], (name, got[name], want[name])
    assert got["at"].replace(tzinfo=datetime.timezone.utc) == at
    assert client.query("SELECT name FROM types WHERE id = %(id)s", parameters={"id": 2}).result_rows == [("one",)]
    assert client.query("SELECT * FROM types WHERE id > 9").result_rows == []
    assert client.query("SELECT * FROM types LIMIT 0").column_names[:2] == ("id", "name")
    assert client.query_df("SELECT * FROM types ORDER BY id")["id"].tolist() == [1, 2]
    assert client.query_np("SELECT id FROM types ORDER BY id").shape == (2, 1)
    assert client.query_arrow("SELECT id, name FROM types ORDER BY id").num_rows == 2
    with client.query_row_block_stream("SELECT number FROM numbers(300000)") as stream:
        assert sum(len(block) for block in stream) == 300_000
    with client.query_df_stream("SELECT number, toString(number) FROM numbers(300000)") as stream:
        assert sum(len(frame) for frame in stream) == 300_000


def inserts(client):
    client.command("CREATE TABLE frames (n UInt32, s String, t DateTime64(3)) ENGINE = MergeTree ORDER BY n")
    frame = pandas.DataFrame({"n": range(10_000), "s": [str(n) for n in range(10_000)], "t": pandas.Timestamp("2001-02-03 04:05:06.789")})
    client.insert_df("frames", frame)
    client.insert_arrow("frames", pyarrow.table({"n": pyarrow.array([10_000], pyarrow.uint32()), "s": ["10000"], "t": [datetime.datetime(2001, 1, 1)]}))
    client.raw_insert("frames", column_names=["n"], insert_block="10001\n10002\n", fmt="CSV")
    assert client.command("SELECT count() FROM frames") == 10_003
    assert client.query_df("SELECT * FROM frames ORDER BY n LIMIT 3")["s"].tolist() == ["0", "1", "2"]
    assert client.command("INSERT INTO frames (n) VALUES", data="(5), (6)") is not None
    assert client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'


def external(client):
    data = ExternalData(file_name="ext.csv", data=b"1,one\n2,two\n", fmt="CSV", structure=["id UInt32", "name String"])
    data.add_file(file_name="more", data=b"2\n", fmt="TSV", types=["UInt32"])
    rows = client.query("SELECT name, {p:String} FROM ext WHERE id IN (SELECT _1 FROM more)", parameters={"p": "it's"}, external_data=data).result_rows
    assert rows == [("two", "it's")], rows


def forms(host, port, password):
    """Queries and parameters as fields of a form, for those that are too long for a URL."""
    client = clickhouse_connect.get_client(host=host, port=port, username="default", password=password, form_encode_query_params=True)
    ids = list(range(50_000))
    assert client.query("SELECT count() FROM numbers(60000) WHERE has({ids:Array(UInt32)}, number)", parameters={"ids": ids}).first_row == (50_000,)
    client.close()


def sessions(client):
    assert "session_id" in client.params
    for statement in ("SET max_threads = 1", "CREATE TEMPORARY TABLE x (a Int8)", "USE system"):
        assert "keeps no sessions" in refused(48, client.command, statement)
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 3}) == 3


def errors(client):
    refused(60, client.query, "SELECT * FROM nope")
    refused(62, client.command, "SELEC")
    refused(115, client.query, "SELECT 1", settings={"nope": 1}) if client.get_client_setting("nope") else None
    refused(395, client.query, "SELECT throwIf(number = 3) FROM numbers(9)")


def alchemy(database):
    engine = sqlalchemy.create_engine(f"clickhousedb://default:{PASSWORD}@{HOST}:{PORT}/{database}")
    metadata = sqlalchemy.MetaData()
    table = sqlalchemy.Table("made", metadata, sqlalchemy.Column("n", UInt32), sqlalchemy.Column("s", String), MergeTree(order_by="n"))
    metadata.create_all(engine)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.insert(table), [{"n": 1, "s": "it's"}, {"n": 2, "s": "b"}])
        assert connection.execute(sqlalchemy.select(table.c.s).where(table.c.n == 1)).scalar() == "it's"
        assert connection.execute(sqlalchemy.text("SELECT sum(n) FROM made")).scalar() == 3
    inspector = sqlalchemy.inspect(engine)
    assert "made" in inspector.get_table_names() and database in inspector.get_schema_names()
    assert [column["name"] for column in inspector.get_columns("made")] == ["n", "s"]
    reflected = sqlalchemy.Table("types", sqlalchemy.MetaData(), autoload_with=engine)
    assert len(reflected.columns) == 18
    with engine.connect() as connection:
        assert pandas.read_sql("SELECT n, s FROM made ORDER BY n", connection)["n"].tolist() == [1, 2]
    metadata.drop_all(engine)
    engine.dispose()


def reading(database):
    """Who has no password connects with the defaults too, and reads."""
    client = clickhouse_connect.get_client(host=HOST, port=PORT, database=database)
    assert client.query("SELECT count() FROM types").first_row == (2,)
    assert client.query_df("SELECT id, name FROM types ORDER BY id")["name"].tolist() == ["one", "one"]
    assert "password" in refused(164, client.command, "DROP TABLE types")
    client.close()
    engine = sqlalchemy.create_engine(f"clickhousedb://{HOST}:{PORT}/{database}")
    assert "types" in sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()


def main():
    admin = clickhouse_connect.get_client(host=HOST, port=PORT, username="default", password=PASSWORD)
    assert admin.ping() and admin.server_version.split(".")[0].isdigit()
    admin.command("CREATE DATABASE py")
    client = clickhouse_connect.get_client(dsn=f"clickhouse://default:{PASSWORD}@{HOST}:{PORT}/py")
    every_type(client)
    inserts(client)
    external(client)
    forms(HOST, PORT, PASSWORD)
    sessions(client)
    errors(client)
    alchemy("py")
    reading("py")
    for compress in (False, "lz4", "zstd", "gzip"):
        c = clickhouse_connect.get_client(host=HOST, port=PORT, username="default", password=PASSWORD, database="py", compress=compress)
        c.insert("frames", [[n] for n in range(1000)], column_names=["n"])
        assert len(c.query("SELECT number, toString(number) FROM numbers(100000)").result_rows) == 100_000, compress
        c.close()
    admin.command("DROP DATABASE py")
    client.close()
    admin.close()
    print("ok")


if __name__ == "__main__":
    main()
