-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0001 tables, up: the tables of Outbox.
--
--   Purpose  tables for tasks, dead letters, incidents and alerts. The functions of the later migrations are the way in.
--   Locks    none on tables that exist already. A transaction-level advisory lock keeps two migrations apart.
--   Time     below a second.
--   Undo     0001_tables.down.sql, which refuses while there are tasks or open dead letters.
--   Run it   psql -v ON_ERROR_STOP=1 -f 0001_tables.up.sql      or      outbox migrate
--
-- Another schema name: replace it in the two lines marked (schema), or run `outbox migrate --schema NAME`.
--
--   business transaction             relay                                                        people
--   INSERT business rows
--   SELECT outbox.enqueue ─commit─▶ ready ──claim (lease, attempt + 1)──▶ running
--                                     ▲                                     │ settle, fenced by the attempt
--                                     │ promote (due)                       ├─ succeeded ─▶ row deleted
--                                   later ◀── retry (backoff) ──────────────┤
--                                     │                                     ├─ rejected, exhausted, expired … ─▶ dead + incident + alert
--                                   ready ◀── released, rescued ────────────┘                                        │
--                                     ▲────────────────────────────── replay ◀───────────────────────────────────────┘

BEGIN;

SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;
-- the same number in every migration and in `outbox migrate`; before the schema, whose name two could make at once
SELECT pg_advisory_xact_lock(7239417205116);

CREATE SCHEMA IF NOT EXISTS outbox;            -- (schema)
SET LOCAL search_path TO outbox, pg_temp;      -- (schema) every function below keeps this search_path for good

-- Which migrations are applied. Each migration records itself, so that psql and `outbox migrate` agree.
CREATE TABLE IF NOT EXISTS schema_version (
    version    int PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT session_user
);
DO $$
BEGIN
    IF EXISTS (SELECT FROM schema_version WHERE version >= 1) THEN
        RAISE EXCEPTION 'migration 0001 is applied already' USING HINT = 'nothing to do; see the table schema_version';
    END IF;
END $$;
INSERT INTO schema_version (version, name) VALUES (1, 'tables');


-- ── Home ──────────────────────────────────────────────────────────────────────────────────────────────────────────
--
-- home: the database that the tasks belong to, in one row. A dump that is restored elsewhere brings the row with it, and so
-- there no relay runs what the original still has to do: see home_v1 and adopt.
--
--   cluster     the system identifier of the server's data: given by initdb, so that a dump that is restored to another
--               server, and pg_upgrade, change it. A standby keeps it, hence a failover stops nobody; so does every copy of
--               the files, which therefore cannot be told from the original. Null where the server does not tell it
--   database    the database's oid: CREATE DATABASE … TEMPLATE and a dump change it, a new name does not
--   name        for people; nothing is decided by it
CREATE TABLE home (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    cluster    bigint,
    database   oid NOT NULL,
    name       text NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT now(),
    adopted_by text NOT NULL DEFAULT session_user
);

-- Where we are, in the terms of home. Postgres lets everybody read the identifier; not every service that is compatible
-- with it has one, and an administrator may have revoked the right.
CREATE FUNCTION this_database(OUT cluster bigint, OUT database oid, OUT name text)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    SELECT d.oid, d.datname INTO database, name FROM pg_database d WHERE d.datname = current_database();
    SELECT c.system_identifier INTO cluster FROM pg_control_system() c;
EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
    NULL;    -- then it is the oid alone that tells
END $$;
REVOKE ALL ON FUNCTION this_database() FROM PUBLIC;
INSERT INTO home (cluster, database, name) SELECT t.cluster, t.database, t.name FROM this_database() t;


-- ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────
--
-- ready: tasks that may run now or are running. Claimed in the order of seq within a lane, by an update that changes
-- no indexed column and so stays on its page (HOT): hence one index, half-filled pages, and no time in the index.
--
--   slot        which leaf: chosen by the time of the insert, so that a drained leaf can be given back by TRUNCATE
--   lane        the key by which relays schedule: 'PRIORITY:QUEUE', then ':e=ENDPOINT' or ':k=ORDERING KEY' where the
--               task has one, then ':!' for a task whose relay vanished and that has to run alone
--   seq         the order within the lane; never leaves the database, and a task gets a new one when it is promoted,
--               released, rescued or replayed, so that no relay's floor hides it
--   relay       who runs it; null while nobody does
--   lease_until until when nobody else may take it: the lease of a running task, '-infinity' of one that waits
--   attempt     rises at every claim and is never lowered. It is the fence: settle, renew and complete name it
--   charged     attempts that used up the retry budget          crashed    attempts that ended by an expired lease
--   acknowledged  claimed by a relay that acknowledges this kind before it runs: never to be run again
--   due_at      when it was first due, if not at once
--   payload     stored as Postgres does by itself: within the row, compressed and then out of line where the row would
--               have more than 2 KB. Uncompressed, repetitive JSON of 4 KB cost its claim and settlement half as much
--               CPU again and the log thirteen times as much; payloads that do not compress cost the same either way
CREATE SEQUENCE task_seq AS bigint;

CREATE TABLE ready (
    seq             bigint NOT NULL DEFAULT nextval('task_seq'),
    enqueued_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until     timestamptz NOT NULL DEFAULT '-infinity',
    attempt         int NOT NULL DEFAULT 0,
    charged         int NOT NULL DEFAULT 0,
    crashed         int NOT NULL DEFAULT 0,
    slot            smallint NOT NULL,
    acknowledged    boolean NOT NULL DEFAULT false,
    relay           uuid,
    id              uuid NOT NULL,
    max_attempts    int,
    replays         int NOT NULL DEFAULT 0,
    due_at          timestamptz,
    expires_at      timestamptz,
    lane            text COLLATE "C" NOT NULL,
    kind            text COLLATE "C" NOT NULL,
    idempotency_key text,          -- null: the id
    endpoint        text,          -- null: the relay's routes decide
    content_type    text,          -- null: application/json
    headers         jsonb,
    payload         bytea NOT NULL,
    -- serves the claim, the settlements, the discovery of lanes and the rescue; there is no other index
    PRIMARY KEY (slot, lane, seq),
    -- a task is never charged or crashed more often than it was claimed
    CONSTRAINT counts CHECK (charged >= 0 AND crashed >= 0 AND charged + crashed <= attempt)
) PARTITION BY LIST (slot);

-- Half-filled pages leave room for the claim's new row version beside the old one. Plain thresholds let autovacuum
-- come after some thousand dead rows whatever the size; its own truncation would take an ACCESS EXCLUSIVE lock.
DO $$
BEGIN
    FOR leaf IN 0..3 LOOP
        EXECUTE format(
            'CREATE TABLE ready_%1$s PARTITION OF ready FOR VALUES IN (%1$s) WITH (fillfactor = 45,
             vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
             autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
             autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000000)', leaf);
    END LOOP;
END $$;

-- later: tasks that wait for a time, because they were delayed or because they are in backoff.
CREATE TABLE later (
    run_at          timestamptz NOT NULL,
    seq             bigint NOT NULL DEFAULT nextval('task_seq'),
    enqueued_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempt         int NOT NULL DEFAULT 0,
    charged         int NOT NULL DEFAULT 0,
    crashed         int NOT NULL DEFAULT 0,
    id              uuid NOT NULL,
    max_attempts    int,
    replays         int NOT NULL DEFAULT 0,
    due_at          timestamptz,
    expires_at      timestamptz,
    lane            text COLLATE "C" NOT NULL,
    kind            text COLLATE "C" NOT NULL,
    idempotency_key text,
    endpoint        text,
    content_type    text,
    headers         jsonb,
    payload         bytea NOT NULL,
    PRIMARY KEY (run_at, seq),     -- serves the promotion
    CONSTRAINT counts CHECK (charged >= 0 AND crashed >= 0 AND charged + crashed <= attempt)
) WITH (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- attempts: what went wrong in each attempt that did not succeed. It goes with the task when the task succeeds, and
-- stays with a dead letter. Not unique: recording a failure must never fail.
CREATE TABLE attempts (
    task             uuid NOT NULL,
    attempt          int NOT NULL,
    outcome          text NOT NULL CHECK (outcome IN ('retried', 'dead', 'crashed')),
    charged          boolean NOT NULL,
    error_type       text NOT NULL,
    error_message    text NOT NULL,
    error_detail     text,
    http_status      int,
    response_excerpt text,
    relay            uuid,
    started_at       timestamptz,   -- null: the relay did not live to say
    ended_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX attempts_task ON attempts (task, attempt);   -- serves `outbox dead show` and the deletion at success

-- dead: tasks that will not be tried again. A row stays when it is replayed or discarded, with who said so and why.
-- The key is a number of its own: a producer may have given two tasks one id, and recording must never fail.
CREATE TABLE dead (
    number           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id               uuid NOT NULL,
    reason           text NOT NULL CHECK (reason IN ('rejected', 'exhausted', 'expired', 'crashed', 'interrupted', 'restored')),
    incident         bigint NOT NULL,
    dead_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    relay            uuid,
    error_type       text NOT NULL,
    error_message    text NOT NULL,
    error_detail     text,
    http_status      int,
    response_excerpt text,
    resolution       text CHECK (resolution IN ('replayed', 'discarded')),
    resolved_at      timestamptz,
    resolved_by      text,
    resolution_note  text,
    -- the task as it was
    enqueued_at      timestamptz NOT NULL,
    attempt          int NOT NULL,
    charged          int NOT NULL,
    crashed          int NOT NULL,
    max_attempts     int,
    replays          int NOT NULL,
    due_at           timestamptz,
    expires_at       timestamptz,
    lane             text COLLATE "C" NOT NULL,
    kind             text COLLATE "C" NOT NULL,
    idempotency_key  text,
    endpoint         text,
    content_type     text,
    headers          jsonb,
    payload          bytea NOT NULL,
    -- a dead letter is open, or someone resolved it at some time
    CONSTRAINT resolved CHECK ((resolution IS NULL) = (resolved_at IS NULL)
                           AND (resolution IS NULL) = (resolved_by IS NULL))
);
CREATE INDEX dead_id ON dead (id);                                         -- serves `outbox dead show ID`
CREATE INDEX dead_open ON dead (incident, number) WHERE resolution IS NULL; -- serves replay and discard by incident


-- ── Incidents and alerts ──────────────────────────────────────────────────────────────────────────────────────────
--
-- incidents: dead letters of one cause, open while one of them is neither replayed nor discarded; or tasks of a kind that no
-- relay can run (subject 'unhandled'), open until one can.
CREATE TABLE incidents (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject       text NOT NULL DEFAULT 'dead_letter' CHECK (subject IN ('dead_letter', 'unhandled')),
    group_key     text NOT NULL,       -- sha256 of kind, endpoint and fingerprint, in hexadecimal
    kind          text NOT NULL,
    endpoint      text,
    fingerprint   text NOT NULL,       -- the error without its values
    error_type    text NOT NULL,       -- of the first dead letter, as a sample
    error_message text NOT NULL,
    sample        uuid NOT NULL,       -- the first dead letter's task
    opened_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    count         bigint NOT NULL,     -- dead letters since it was opened
    open          bigint NOT NULL,     -- of these, neither replayed nor discarded
    resolved_at   timestamptz,
    CONSTRAINT open_count CHECK (open >= 0 AND open <= count)
) WITH (fillfactor = 50);
-- at most one open incident of a cause; serves the grouping
CREATE UNIQUE INDEX incidents_open ON incidents (group_key) WHERE resolved_at IS NULL;

-- alerts: what each channel has been told of each incident. While told < incidents.count there is something to tell,
-- and due_at says when: an alert is a difference that is still there after any crash, not a message that can be lost.
--
--        dead letter: due_at = now + group_wait if none is set, but not within group_interval of the last
--   told = count ────────────────────────────────────────────────────▶ told < count ──claim──▶ being sent
--        ▲                                                                  ▲                     │ delivered: told := count told
--        └── nothing new ───────────────────────────────────────────────────┴── more meanwhile ───┤   due_at := last + group_interval, or null
--                                                                           ▲── not delivered ────┘   due_at := now + backoff
CREATE TABLE alerts (
    incident    bigint NOT NULL,
    channel     text NOT NULL,
    told        bigint NOT NULL DEFAULT 0,    -- how many of the incident's dead letters the channel knows of
    due_at      timestamptz,                  -- null: nothing to tell
    attempt     int NOT NULL DEFAULT 0,       -- rises at every claim; the fence of the settlement
    failures    int NOT NULL DEFAULT 0,       -- in a row
    relay       uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    told_at     timestamptz,
    quiet_until timestamptz NOT NULL DEFAULT '-infinity',   -- no alert of this incident is due before
    last_error  text,
    PRIMARY KEY (incident, channel)
) WITH (fillfactor = 50);
CREATE INDEX alerts_due ON alerts (due_at) WHERE due_at IS NOT NULL;       -- serves the claim of alerts


-- ── Relays, and rooms that stand ready ────────────────────────────────────────────────────────────────────────────

-- relays: who is alive, what it can run and tell, and what it has done since it started.
CREATE TABLE relays (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    version    text NOT NULL,
    kinds      text[],                         -- null: every kind
    endpoints  text[] NOT NULL,                -- that producers may name
    channels   text[] NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopped_at timestamptz
) WITH (fillfactor = 50);

-- statistics: attempts by outcome, a row for each minute in which there were any. Never counted from the hot tables.
CREATE TABLE statistics (
    minute  timestamptz NOT NULL,
    kind    text NOT NULL,
    outcome text NOT NULL,
    count   bigint NOT NULL,
    PRIMARY KEY (minute, kind, outcome)
) WITH (fillfactor = 50);

-- steps: results of named parts of a handler, so that a later attempt does not run them again. Not used yet.
CREATE TABLE steps (
    task        uuid NOT NULL,
    name        text NOT NULL,
    result      bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (task, name)
);
-- dedupe: the ledger of dedupe keys, apart from the tasks, so that a key can never break a state change. Not used yet.
CREATE TABLE dedupe (
    dedupe_key text PRIMARY KEY,
    task       uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
-- endpoints: the health of HTTP endpoints, shared by all relays. Not used yet.
CREATE TABLE endpoints (
    name            text PRIMARY KEY,
    throttled_until timestamptz,
    disabled_at     timestamptz,
    disabled_reason text,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

COMMIT;
