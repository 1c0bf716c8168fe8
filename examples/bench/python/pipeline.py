"""The whole pipeline made by hand: a DuckDB query, a pyarrow difference, asyncio posting.

It does no more than it must: no journal, no retries, no guard, no recovery. What was sent is written
down at the end.
"""

import asyncio
import hashlib
import json
import os
import sys

import aiohttp
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

COLUMNS = ["revenue", "orders_count"]


def desired(lake, sql):
    connection = duckdb.connect()
    # It would go where the report goes.
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"CREATE VIEW orders AS SELECT * FROM read_parquet('{lake}/orders/*.parquet')")
    connection.execute(f"CREATE VIEW emails AS SELECT * FROM read_parquet('{lake}/emails.parquet')")
    query = f"SELECT m.*, e.value AS email FROM ({sql}) m LEFT JOIN emails e USING (user_id)"
    return connection.sql(query).to_arrow_table()


def difference(now, state):
    if not os.path.exists(state):
        return now
    before = pq.read_table(state).rename_columns(
        [name if name in ("user_id", "email") else f"before_{name}" for name in now.column_names]
    )
    joined = now.join(before, keys=["user_id", "email"], join_type="left outer")
    changed = pa.array([False] * joined.num_rows)
    for name in COLUMNS:
        same = pc.equal(joined[name], joined[f"before_{name}"])
        changed = pc.or_(changed, pc.invert(pc.fill_null(same, False)))
    return joined.filter(changed).select(now.column_names)


def bodies(changes, batch):
    """Encoded requests, one slice of rows at a time."""
    for slice_ in changes.to_batches(max_chunksize=batch):
        rows = []
        for row in slice_.to_pylist():
            user = row.pop("user_id")
            key = hashlib.sha256(repr((user, row)).encode()).hexdigest()[:32]
            rows.append(
                {
                    "type": "identify",
                    "messageId": key,
                    "timestamp": "2026-11-20T09:00:00Z",
                    "userId": user,
                    "traits": row,
                    "context": {"personas": {"computations": [
                        {"computation_class": "trait", "computation_key": name} for name in COLUMNS]}},
                }
            )
        body = rows[0] if batch == 1 else {"batch": rows}
        yield json.dumps(body, separators=(",", ":")).encode()


async def post(url, changes, batch, concurrency):
    pending = bodies(changes, batch)
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def worker():
            count = 0
            for body in pending:
                async with session.post(url, data=body, headers={"content-type": "application/json"}) as reply:
                    await reply.read()
                    reply.raise_for_status()
                count += 1
            return count

        return sum(await asyncio.gather(*(worker() for _ in range(concurrency))))


def main():
    lake, sql, state, url, batch, concurrency = sys.argv[1:]
    now = desired(lake, sql)
    changes = difference(now, state)
    requests = asyncio.run(post(url, changes, int(batch), int(concurrency))) if changes.num_rows else 0
    pq.write_table(now, state + ".new", compression="zstd")
    os.replace(state + ".new", state)
    print(json.dumps({"records": changes.num_rows, "requests": requests}))


main()
