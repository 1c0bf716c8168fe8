"""Inner rows as they would be done by hand: one line of words in, one line of JSON out."""

import json
import sys
import time

import duckdb


def database(lake):
    # Its progress bar would go where the answers go.
    duckdb.execute("SET enable_progress_bar = false")
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    for table, files in [("users", "users.parquet"), ("orders", "orders/*.parquet"), ("emails", "emails.parquet")]:
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{lake}/{files}')")
    return connection


def timed(work):
    start = time.perf_counter()
    answer = work() or {}
    return {"seconds": time.perf_counter() - start, **answer}


def model(connection, into, sql):
    """A model's rows, written as Muster writes them."""
    return timed(lambda: connection.execute(f"COPY ({sql}) TO '{into}' (FORMAT parquet, COMPRESSION zstd)") and {})


def difference(desired, delivered, columns):
    """Records of one of two sorted files that the other has not, or has otherwise."""
    distinct = " OR ".join(f'd."{column}" IS DISTINCT FROM p."{column}"' for column in columns)
    sql = (
        f"SELECT count(*) FROM read_parquet('{desired}') d FULL JOIN read_parquet('{delivered}') p "
        f"USING (record_key) WHERE d.subject IS NULL OR p.subject IS NULL OR {distinct}"
    )
    return timed(lambda: {"rows": duckdb.execute(sql).fetchone()[0]})


def encode(path, most):
    """Messages of a file of changes, row by row."""
    table = duckdb.sql(
        f"SELECT subject, email, message_id, COLUMNS('value\\..*') FROM read_parquet('{path}') LIMIT {most}"
    ).to_arrow_table()
    names = [name for name in table.column_names if name.startswith("value.")]
    rows = table.to_pylist()

    def work():
        size = 0
        for row in rows:
            traits = {name[6:]: row[name] for name in names}
            traits["email"] = row["email"]
            message = {
                "type": "identify",
                "messageId": row["message_id"].hex(),
                "timestamp": "2026-11-20T09:00:00Z",
                "userId": row["subject"],
                "traits": traits,
                "context": {"personas": {"computation_class": "trait", "computation_key": names[0][6:]}},
            }
            size += len(json.dumps(message, separators=(",", ":")).encode())
        return {"rows": len(rows), "bytes": size}

    return timed(work)


def main():
    connection = database(sys.argv[1])
    for line in sys.stdin:
        kind, _, rest = line.rstrip("\n").partition("\t")
        words = rest.split("\t")
        if kind == "model":
            answer = model(connection, *words)
        elif kind == "difference":
            answer = difference(words[0], words[1], words[2:])
        else:
            answer = encode(words[0], int(words[1]))
        print(json.dumps(answer), flush=True)


main()
