-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0006 operate, up: what people see and do: the view of tasks, replay, discard, adopt, status.
--   Locks    none on tables. A transaction-level advisory lock keeps two migrations apart.
--   Time     below a second.
--   Undo     0006_operate.down.sql
--   Run it   psql -v ON_ERROR_STOP=1 -f 0006_operate.up.sql      or      outbox migrate
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema) every function below keeps this search_path for good
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 5 THEN
        RAISE EXCEPTION 'migration 0006 follows 0005, and this schema is at %', (SELECT max(version) FROM schema_version)
            USING HINT = 'apply the migrations in the order of their numbers; see the table schema_version';
    END IF;
END $$;
INSERT INTO schema_version (version, name) VALUES (6, 'operate');

-- A payload as text, or null where its bytes are not UTF-8.
CREATE FUNCTION payload_text(payload bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN convert_from(payload, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN NULL;
END $$;

-- What is waiting and running. Reading it costs what it reads: give it a LIMIT where the backlog may be large.
CREATE VIEW tasks AS
SELECT t.id, t.kind, split_part(t.lane, ':', 2) AS queue, split_part(t.lane, ':', 1)::int AS priority, t.state,
       t.attempt, t.charged, t.crashed, t.max_attempts, t.replays, t.run_at, t.lease_until, t.relay, t.enqueued_at,
       t.expires_at, coalesce(t.idempotency_key, t.id::text) AS idempotency_key, t.endpoint, t.headers,
       coalesce(t.content_type, 'application/json') AS content_type, octet_length(t.payload) AS bytes,
       payload_text(t.payload) AS payload
FROM (
    SELECT id, kind, lane, CASE WHEN relay IS NULL THEN 'ready' ELSE 'running' END AS state, attempt, charged, crashed,
           max_attempts, replays, NULL::timestamptz AS run_at, nullif(lease_until, '-infinity') AS lease_until, relay,
           enqueued_at, expires_at, idempotency_key, endpoint, headers, content_type, payload
    FROM ready
    UNION ALL
    SELECT id, kind, lane, 'waiting', attempt, charged, crashed, max_attempts, replays, run_at, NULL, NULL,
           enqueued_at, expires_at, idempotency_key, endpoint, headers, content_type, payload
    FROM later
) t;

-- Dead letters, the open ones (resolution is null) and those that were replayed or discarded.
CREATE VIEW dead_letters AS
SELECT d.number, d.id, d.kind, split_part(d.lane, ':', 2) AS queue, d.reason, d.error_type, d.error_message,
       d.error_detail, d.http_status, d.response_excerpt, d.attempt, d.charged, d.crashed, d.replays, d.dead_at,
       d.enqueued_at, d.incident, d.resolution, d.resolved_at, d.resolved_by, d.resolution_note,
       coalesce(d.idempotency_key, d.id::text) AS idempotency_key, d.endpoint, d.headers,
       coalesce(d.content_type, 'application/json') AS content_type, octet_length(d.payload) AS bytes,
       payload_text(d.payload) AS payload
FROM dead d;

-- Marks open dead letters as resolved, and their incidents where none is left open. Private to the two below.
CREATE FUNCTION resolve(numbers bigint[], how text, who text, note text) RETURNS SETOF dead
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- incidents first and in the order of their keys, as everyone locks them: relays know no number before
    PERFORM FROM incidents n
    WHERE n.number IN (SELECT d.incident FROM dead d WHERE d.number = ANY (numbers) AND d.resolution IS NULL)
    ORDER BY n.group_key FOR UPDATE;
    RETURN QUERY
    WITH done AS (
        UPDATE dead d SET resolution = how, resolved_at = clock_timestamp(), resolved_by = coalesce(who, session_user),
                          resolution_note = note
        WHERE d.number = ANY (numbers) AND d.resolution IS NULL
        RETURNING d.*
    ), counted AS (
        UPDATE incidents n SET open = n.open - c.many, resolved_at = CASE WHEN n.open = c.many THEN clock_timestamp() END
        FROM (SELECT incident, count(*) AS many FROM done GROUP BY incident) c
        WHERE n.number = c.incident
    )
    SELECT * FROM done;
END $$;

-- Replays open dead letters: each becomes a task again, with its id, its idempotency key and its attempts' history,
-- and a new retry budget. Returns the number of each that was replayed; one that is not open stays as it is.
CREATE FUNCTION replay(numbers bigint[], who text DEFAULT session_user, note text DEFAULT NULL) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN QUERY
    WITH done AS MATERIALIZED (SELECT * FROM resolve(numbers, 'replayed', who, note)), again AS (
        -- an expiry that has passed would make it a dead letter at once: replaying it says that it shall run
        INSERT INTO ready (slot, enqueued_at, attempt, id, max_attempts, replays, due_at, expires_at, lane, kind,
                           idempotency_key, endpoint, content_type, headers, payload)
        SELECT slot_at(clock_timestamp()), d.enqueued_at, d.attempt, d.id, d.max_attempts, d.replays + 1, clock_timestamp(),
               CASE WHEN d.expires_at > clock_timestamp() THEN d.expires_at END, d.lane, d.kind,
               d.idempotency_key, d.endpoint, d.content_type, d.headers, d.payload
        FROM done d ORDER BY d.number
    )
    SELECT d.number FROM done d ORDER BY d.number;
END $$;

-- Discards open dead letters with a reason. The rows stay, as evidence.
CREATE FUNCTION discard(numbers bigint[], note text, who text DEFAULT session_user) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF coalesce(note, '') !~ '\S' THEN
        RAISE EXCEPTION 'discard needs a reason' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'say why nobody will need this task; the next person reads it';
    END IF;
    RETURN QUERY SELECT d.number FROM resolve(numbers, 'discarded', who, note) d ORDER BY d.number;
END $$;

-- Makes dead letters of all tasks, reason 'restored', and returns how many. They are open, so that replay takes it back.
-- Nobody is alerted: neither to them, nor any more to what the original has to tell. Private to adopt.
CREATE FUNCTION bury(home_name text) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    buried bigint;
BEGIN
    WITH gone AS (
        DELETE FROM ready RETURNING id, relay, enqueued_at, attempt, charged, crashed, max_attempts, replays, due_at, expires_at,
                                    regexp_replace(lane, ':!$', '') AS lane, kind, idempotency_key, endpoint, content_type, headers, payload
    ), gone_later AS (
        DELETE FROM later RETURNING id, NULL::uuid, enqueued_at, attempt, charged, crashed, max_attempts, replays, due_at, expires_at,
                                    lane, kind, idempotency_key, endpoint, content_type, headers, payload
    ), tasks AS MATERIALIZED (
        SELECT t.*, encode(sha256(convert_to(concat_ws(E'\x1f', t.kind, coalesce(t.endpoint, ''), 'restored'), 'UTF8')), 'hex') AS group_key,
               'the task waited in a copy of the database ' || coalesce(home_name, 'that it belongs to')
               || ', and was buried when the copy was adopted' AS message
        FROM (SELECT * FROM gone UNION ALL SELECT * FROM gone_later) t
    ), causes AS (
        -- in the order of the keys, as everyone locks them
        INSERT INTO incidents AS n (group_key, kind, endpoint, fingerprint, error_type, error_message, sample, count, open)
        SELECT group_key, min(kind), min(endpoint), 'restored', 'restored', min(message), min(id::text)::uuid, count(*), count(*)
        FROM tasks GROUP BY group_key ORDER BY group_key
        ON CONFLICT (group_key) WHERE resolved_at IS NULL
        DO UPDATE SET count = n.count + excluded.count, open = n.open + excluded.open, last_at = clock_timestamp()
        RETURNING n.number, n.group_key
    )
    INSERT INTO dead (id, reason, incident, relay, error_type, error_message, enqueued_at, attempt, charged, crashed, max_attempts,
                      replays, due_at, expires_at, lane, kind, idempotency_key, endpoint, content_type, headers, payload)
    SELECT t.id, 'restored', c.number, t.relay, 'restored', t.message, t.enqueued_at, t.attempt, t.charged, t.crashed, t.max_attempts,
           t.replays, t.due_at, t.expires_at, t.lane, t.kind, t.idempotency_key, t.endpoint, t.content_type, t.headers, t.payload
    FROM tasks t JOIN causes c USING (group_key) ORDER BY t.enqueued_at, t.id;
    GET DIAGNOSTICS buried = ROW_COUNT;
    UPDATE alerts a SET told = n.count, due_at = NULL FROM incidents n WHERE n.number = a.incident AND a.due_at IS NOT NULL;
    RETURN buried;
END $$;

-- Says that the tasks belong to this database from now on, so that relays run them here, and what becomes of those that
-- wait or run at this moment; returns how many these are:
--
--   deliver   they are run from here, as if nothing had happened: for the database that takes the other's place
--   bury      they become dead letters, reason 'restored', with which replay and discard do what they always do: for a
--             copy. Where the tasks belong to this database already, it refuses
CREATE FUNCTION adopt(waiting text, who text DEFAULT session_user) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    o record;
    concerned bigint;
BEGIN
    IF waiting IS NULL OR waiting NOT IN ('deliver', 'bury') THEN
        RAISE EXCEPTION 'adopt says what becomes of the tasks that wait: deliver or bury, not %', coalesce(waiting, 'null')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM ' || quote_ident(current_schema()) || '.origin() says where they come from';
    END IF;
    LOCK TABLE home IN SHARE ROW EXCLUSIVE MODE;    -- one at a time
    SELECT * INTO o FROM origin();
    IF waiting = 'bury' THEN
        IF o.is_here THEN
            RAISE EXCEPTION 'the tasks belong to this database, so none is buried' USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'a copy of the server''s files cannot be told from the original: there, DELETE FROM '
                       || quote_ident(current_schema()) || '.home first';
        END IF;
        concerned := bury(o.name);
    ELSE
        SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM later) INTO concerned;
    END IF;
    IF NOT o.is_here THEN
        INSERT INTO home (cluster, database, name, adopted_by) VALUES (o.here_cluster, o.here_database, o.here_name, coalesce(who, session_user))
        ON CONFLICT (singleton) DO UPDATE
        SET cluster = excluded.cluster, database = excluded.database, name = excluded.name, adopted_at = now(), adopted_by = excluded.adopted_by;
    END IF;
    RETURN concerned;
END $$;

-- The backlog of each lane, counted up to a bound so that the answer costs the same at any size.
CREATE FUNCTION backlog(most int DEFAULT 10000)
RETURNS TABLE (queue text, priority int, state text, count bigint, oldest interval)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT split_part(b.lane, ':', 2), split_part(b.lane, ':', 1)::int, b.state, sum(b.count)::bigint,
           clock_timestamp() - min(b.oldest)
    FROM (
        SELECT l.lane, s.state, s.count, s.oldest
        FROM lanes_v1('{}', '{}') l CROSS JOIN LATERAL (
            SELECT CASE WHEN r.relay IS NULL THEN 'ready' ELSE 'running' END AS state, count(*),
                   min(coalesce(r.due_at, r.enqueued_at)) AS oldest
            FROM (SELECT * FROM ready r WHERE r.slot = l.slot AND r.lane = l.lane ORDER BY r.seq LIMIT most) r
            GROUP BY 1) s
        UNION ALL
        SELECT w.lane, 'waiting', count(*), NULL FROM (SELECT lane FROM later ORDER BY run_at, seq LIMIT most) w GROUP BY w.lane
    ) b
    GROUP BY 1, 2, 3 ORDER BY 2, 1, 3
$$;

-- Nobody but the owner may call a function until roles are granted: see roles.sql.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', current_schema());
END $$;

COMMIT;
