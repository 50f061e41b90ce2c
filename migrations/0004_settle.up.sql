-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0004 settle, up: how relays and handlers record what an attempt came to.
--   Locks    none on tables. A transaction-level advisory lock keeps two migrations apart.
--   Time     below a second.
--   Undo     0004_settle.down.sql
--   Run it   psql -v ON_ERROR_STOP=1 -f 0004_settle.up.sql      or      outbox migrate
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema) every function below keeps this search_path for good
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 3 THEN
        RAISE EXCEPTION 'migration 0004 follows 0003, and this schema is at %', (SELECT max(version) FROM schema_version)
            USING HINT = 'apply the migrations in the order of their numbers; see the table schema_version';
    END IF;
END $$;
INSERT INTO schema_version (version, name) VALUES (4, 'settle');

-- What 0003_claim says of all functions of relays holds for these too.

-- Settles attempts that succeeded and returns the seq of each that took effect. The attempt is the fence: a task that
-- another relay has claimed since, or that is settled already, stays as it is. With the id, since after a failover to an
-- asynchronous standby a seq may be issued again, and a relay that lived through it still holds the first.
CREATE FUNCTION settle_v1(slots smallint[], lanes text[], seqs bigint[], attempts int[], ids uuid[])
RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s' AS $$
#variable_conflict use_column
BEGIN
    IF 1 >= ALL (attempts) THEN    -- as nearly always: there is no history, and nothing to pass on to its deletion
        RETURN QUERY
        DELETE FROM ready r USING unnest(slots, lanes, seqs, attempts, ids) s (slot, lane, seq, attempt, id)
        WHERE r.slot = ANY (ARRAY[s.slot]) AND r.lane = s.lane AND r.seq = s.seq AND r.attempt = s.attempt AND r.id = s.id
          AND r.relay IS NOT NULL
        RETURNING r.seq;
        RETURN;
    END IF;
    RETURN QUERY
    WITH done AS (
        DELETE FROM ready r USING unnest(slots, lanes, seqs, attempts, ids) s (slot, lane, seq, attempt, id)
        WHERE r.slot = ANY (ARRAY[s.slot]) AND r.lane = s.lane AND r.seq = s.seq AND r.attempt = s.attempt AND r.id = s.id
          AND r.relay IS NOT NULL
        RETURNING r.seq, r.id, r.attempt
    ), cleared AS (
        -- the history goes with the task, unless a dead letter still tells of it
        DELETE FROM attempts a USING done d
        WHERE d.attempt > 1 AND a.task = ANY (ARRAY[d.id]) AND NOT EXISTS (SELECT FROM dead x WHERE x.id = ANY (ARRAY[d.id]))
    )
    SELECT d.seq FROM done d;
END $$;

-- Completes one task in the caller's transaction, so that it is done exactly if the transaction commits. Raises
-- SQLSTATE OB001 where the lease is lost, so that the transaction's other effects do not happen either.
CREATE FUNCTION complete_v1(slot smallint, lane text, seq bigint, attempt int, id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM settle_v1(ARRAY[slot], ARRAY[lane], ARRAY[seq], ARRAY[attempt], ARRAY[id]);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'outbox: the lease is lost: attempt % no longer holds the task', attempt
            USING ERRCODE = 'OB001', HINT = 'let the transaction roll back; the task runs again elsewhere, or is done already';
    END IF;
END $$;

-- Settles attempts that did not succeed and returns the seq of each that took effect. failed is a JSON array; each
-- element names slot, lane, seq, attempt and id, and the move:
--
--   later   try again after delay (microseconds)           ready   given back without a result: claimable at once
--   dead    never again, for reason: a dead letter in its incident, and the incident's alerts due, in this statement
--
-- and the failure: charged, type, message, detail, status, excerpt, fingerprint, took (microseconds), endpoint (where
-- the relay's routes delivered it).
-- A new incident's first alert is due after group_wait, so that it can count what belongs together.
CREATE FUNCTION fail_v1(failed jsonb, channels text[], group_wait interval)
RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s' AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH input AS MATERIALIZED (
        SELECT i.* FROM jsonb_to_recordset(failed) AS i (
            slot smallint, lane text, seq bigint, attempt int, id uuid, move text, delay bigint, reason text, charged boolean,
            type text, message text, detail text, status int, excerpt text, fingerprint text, took bigint, endpoint text)
        ORDER BY i.slot, i.lane, i.seq
    ), gone AS (
        DELETE FROM ready r USING input i
        WHERE r.slot = ANY (ARRAY[i.slot]) AND r.lane = i.lane AND r.seq = i.seq AND r.attempt = i.attempt AND r.id = i.id
          AND r.relay IS NOT NULL
        RETURNING r.seq, r.enqueued_at, r.attempt, r.charged + (i.charged AND i.move <> 'ready')::int AS charged, r.crashed,
                  r.relay, r.id, r.max_attempts, r.replays, r.due_at, r.expires_at, r.kind, r.idempotency_key, r.endpoint,
                  r.content_type, r.headers, r.payload,
                  -- a task that came to its end alone has not killed its relay: it may run among others again
                  CASE WHEN i.move = 'ready' THEN r.lane ELSE regexp_replace(r.lane, ':!$', '') END AS lane,
                  i.move, i.delay, i.reason, i.charged AS charge, i.type, i.message, i.detail, i.status, i.excerpt,
                  coalesce(i.fingerprint, i.type) AS fingerprint, i.took, coalesce(r.endpoint, i.endpoint) AS delivered_to,
                  encode(sha256(convert_to(concat_ws(E'\x1f', r.kind, coalesce(r.endpoint, i.endpoint, ''),
                                                     coalesce(i.fingerprint, i.type)), 'UTF8')), 'hex') AS group_key
    ), noted AS (
        INSERT INTO attempts (task, attempt, outcome, charged, error_type, error_message, error_detail, http_status,
                              response_excerpt, relay, started_at)
        SELECT id, attempt, CASE move WHEN 'dead' THEN 'dead' ELSE 'retried' END, charge, type, message, detail, status, excerpt,
               relay, clock_timestamp() - coalesce(took, 0) * interval '1 microsecond'
        FROM gone WHERE move <> 'ready'
    ), waiting AS (
        INSERT INTO later (run_at, enqueued_at, attempt, charged, crashed, id, max_attempts, replays, due_at, expires_at,
                           lane, kind, idempotency_key, endpoint, content_type, headers, payload)
        SELECT clock_timestamp() + delay * interval '1 microsecond', enqueued_at, attempt, charged, crashed, id, max_attempts,
               replays, due_at, expires_at, lane, kind, idempotency_key, endpoint, content_type, headers, payload
        FROM gone WHERE move = 'later'
    ), released AS (
        INSERT INTO ready (slot, enqueued_at, attempt, charged, crashed, id, max_attempts, replays, due_at, expires_at,
                           lane, kind, idempotency_key, endpoint, content_type, headers, payload)
        SELECT slot_at(clock_timestamp()), enqueued_at, attempt, charged, crashed, id, max_attempts, replays, due_at,
               expires_at, lane, kind, idempotency_key, endpoint, content_type, headers, payload
        FROM gone WHERE move = 'ready' ORDER BY lane, seq
    ), causes AS (
        -- in the order of the keys, so that two relays cannot wait for each other
        INSERT INTO incidents AS n (group_key, kind, endpoint, fingerprint, error_type, error_message, sample, count, open)
        SELECT group_key, min(kind), min(delivered_to), min(fingerprint), min(type), min(message), min(id::text)::uuid, count(*), count(*)
        FROM gone WHERE move = 'dead' GROUP BY group_key ORDER BY group_key
        ON CONFLICT (group_key) WHERE resolved_at IS NULL
        DO UPDATE SET count = n.count + excluded.count, open = n.open + excluded.open, last_at = clock_timestamp()
        RETURNING n.number, n.group_key
    ), buried AS (
        INSERT INTO dead (id, reason, incident, relay, error_type, error_message, error_detail, http_status, response_excerpt,
                          enqueued_at, attempt, charged, crashed, max_attempts, replays, due_at, expires_at, lane, kind,
                          idempotency_key, endpoint, content_type, headers, payload)
        SELECT g.id, g.reason, c.number, g.relay, g.type, g.message, g.detail, g.status, g.excerpt, g.enqueued_at, g.attempt,
               g.charged, g.crashed, g.max_attempts, g.replays, g.due_at, g.expires_at, g.lane, g.kind, g.idempotency_key,
               g.endpoint, g.content_type, g.headers, g.payload
        FROM gone g JOIN causes c USING (group_key) WHERE g.move = 'dead'
    ), alerted AS (
        INSERT INTO alerts AS a (incident, channel, due_at)
        SELECT c.number, channel, clock_timestamp() + group_wait
        FROM causes c CROSS JOIN unnest(channels) channel ORDER BY c.number, channel
        ON CONFLICT (incident, channel) DO UPDATE SET due_at = greatest(excluded.due_at, a.quiet_until) WHERE a.due_at IS NULL
    )
    SELECT g.seq FROM gone g;
END $$;

-- Nobody but the owner may call a function until roles are granted: see roles.sql.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', current_schema());
END $$;

COMMIT;
