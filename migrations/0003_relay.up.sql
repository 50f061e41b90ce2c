-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0003 relay, up: the functions that relays call. Their names carry a version: a relay calls the one it knows.
--   Locks    none on tables. A transaction-level advisory lock keeps two migrations apart.
--   Time     below a second.
--   Undo     0003_relay.down.sql
--   Run it   psql -v ON_ERROR_STOP=1 -f 0003_relay.up.sql      or      outbox migrate
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema) every function below keeps this search_path for good
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 2 THEN
        RAISE EXCEPTION 'migration 0003 follows 0002, and this schema is at %', (SELECT max(version) FROM schema_version)
            USING HINT = 'apply the migrations in the order of their numbers; see the table schema_version';
    END IF;
END $$;
INSERT INTO schema_version (version, name) VALUES (3, 'relay');

-- Every statement here is short, takes no lock above ROW EXCLUSIVE but for the trim of an empty leaf, and keeps no
-- session state, so that it may be sent through a pooler in transaction mode. All times are the database's clock;
-- relays give intervals. Plans are pinned by the functions' settings, because the statistics of a table that is
-- empty most of the time lie: a vacuum that finds it empty leaves an estimate of one row, however many come later.
-- Then reading an index from end to end seems as cheap as looking a key up in it, which the settings cannot forbid.
-- Hence `slot = ANY (ARRAY[x.slot])` where a row is named: it finds the row by the index as `slot = x.slot` does, but
-- is nothing to merge by, and an index is read from end to end only for an order that helps a merge.

-- The lanes that hold rows and that the caller does not know: a loose index scan that hops from lane to lane, but
-- only through the gaps between known lanes, so that it never walks the dead entries of a lane that is drained.
CREATE FUNCTION lanes_v1(known_slots smallint[], known_lanes text[], most int DEFAULT 1000)
RETURNS TABLE (slot smallint, lane text) LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
    WITH RECURSIVE
    edges (slot, lane) AS (
        SELECT s::smallint, '' COLLATE "C" FROM generate_series(0, 3) s
        UNION ALL
        SELECT k.slot, k.lane COLLATE "C" FROM unnest(known_slots, known_lanes) k (slot, lane)
    ),
    gaps (slot, below, above) AS (
        -- behind the last one: beyond every lane, which begins with a digit. Both bounds are conditions of the index, since a
        -- mere filter walks on to the end of the leaf where a gap is empty
        SELECT e.slot, e.lane, lead(e.lane, 1, '~' COLLATE "C") OVER (PARTITION BY e.slot ORDER BY e.lane) FROM edges e
    ),
    hops (slot, lane, above) AS (
        SELECT g.slot, next.lane, g.above
        FROM gaps g CROSS JOIN LATERAL (
            SELECT r.lane FROM ready r
            WHERE r.slot = g.slot AND r.lane > g.below AND r.lane < g.above
            ORDER BY r.lane LIMIT 1) next
        UNION ALL
        SELECT h.slot, next.lane, h.above
        FROM hops h CROSS JOIN LATERAL (
            SELECT r.lane FROM ready r
            WHERE r.slot = h.slot AND r.lane > h.lane AND r.lane < h.above
            ORDER BY r.lane LIMIT 1) next
    )
    SELECT h.slot, h.lane FROM hops h LIMIT most
$$;

-- Moves tasks that are due from later to ready, the earliest first, and returns how many.
-- within bounds the look back, so that the dead rows of the past are not walked each time; null looks at all.
CREATE FUNCTION promote_v1(within interval, most int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    moved int;
BEGIN
    WITH due AS MATERIALIZED (
        SELECT l.run_at, l.seq FROM later l
        WHERE l.run_at <= clock_timestamp() AND l.run_at >= coalesce(clock_timestamp() - within, '-infinity')
        ORDER BY l.run_at, l.seq LIMIT most FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM later l USING due d WHERE l.run_at = ANY (ARRAY[d.run_at]) AND l.seq = d.seq RETURNING l.*
    )
    INSERT INTO ready (slot, enqueued_at, attempt, charged, crashed, id, max_attempts, replays, due_at, expires_at,
                       lane, kind, idempotency_key, endpoint, content_type, headers, payload)
    SELECT slot_at(clock_timestamp()), enqueued_at, attempt, charged, crashed, id, max_attempts, replays, due_at,
           expires_at, lane, kind, idempotency_key, endpoint, content_type, headers, payload
    FROM gone ORDER BY run_at, seq;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END $$;

-- Returns tasks whose lease expired to ready, with the crash counted and noted, and says how many. A task of a kind
-- in isolate (null: any) goes to the lane of those that run alone, since it may be what killed its relay; a delivery to
-- an endpoint cannot have. Each lane is read up to a ceiling: beyond the highest seq that anyone claimed there is
-- nothing to rescue.
-- A lease that ends more than a day from now was written before the clock was set back: it is taken for expired.
-- held, if not null, has every seq that the caller, me, knows that it holds: what else it holds by the table was claimed
-- for it by a statement whose reply was lost, was never run, and is no crash.
CREATE FUNCTION rescue_v1(
    me uuid, held bigint[], kinds text[], endpoints text[], isolate text[], slots smallint[], lanes text[], ceilings bigint[], most int
) RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    rescued int;
BEGIN
    WITH expired AS MATERIALIZED (
        SELECT r.slot, r.lane, r.seq, r.unheard
        FROM unnest(slots, lanes, ceilings) a (slot, lane, ceiling) CROSS JOIN LATERAL (
            SELECT r.slot, r.lane, r.seq, coalesce(r.relay = me AND r.seq <> ALL (held), false) AS unheard FROM ready r
            WHERE r.slot = a.slot AND r.lane = a.lane AND r.seq <= a.ceiling AND r.relay IS NOT NULL
              AND (r.lease_until < clock_timestamp() OR r.lease_until > clock_timestamp() + interval '1 day'
                   OR r.relay = me AND r.seq <> ALL (held))
              AND CASE WHEN r.endpoint IS NULL THEN kinds IS NULL OR r.kind = ANY (kinds) ELSE r.endpoint = ANY (endpoints) END
            ORDER BY r.seq LIMIT most FOR UPDATE SKIP LOCKED) r
        LIMIT most
    ), gone AS (
        DELETE FROM ready r USING expired e
        WHERE r.slot = ANY (ARRAY[e.slot]) AND r.lane = e.lane AND r.seq = e.seq
        RETURNING r.*, e.unheard
    ), noted AS (
        INSERT INTO attempts (task, attempt, outcome, charged, error_type, error_message, relay)
        SELECT id, attempt, 'crashed', false, 'lease_expired',
               'the relay vanished, or stood still for longer than its lease', relay
        FROM gone WHERE NOT unheard
    )
    INSERT INTO ready (slot, enqueued_at, attempt, charged, crashed, acknowledged, id, max_attempts, replays, due_at,
                       expires_at, lane, kind, idempotency_key, endpoint, content_type, headers, payload)
    SELECT slot_at(clock_timestamp()), enqueued_at, attempt, charged, crashed + (NOT unheard)::int,
           -- a claim that nobody heard of has acknowledged nothing; an earlier one, that ended by a crash, has
           acknowledged AND NOT (unheard AND crashed = 0), id, max_attempts, replays, due_at, expires_at,
           CASE WHEN unheard OR endpoint IS NOT NULL OR lane LIKE '%:!' OR NOT coalesce(kind = ANY (isolate), true) THEN lane ELSE lane || ':!' END,
           kind, idempotency_key, endpoint, content_type, headers, payload
    FROM gone ORDER BY lane, seq;
    GET DIAGNOSTICS rescued = ROW_COUNT;
    RETURN rescued;
END $$;

-- One round of a relay: claims tasks and, as asked, does the upkeep that any relay may do.
--
--   relay, lease          who claims, and for how long
--   kinds, endpoints      what it can run: tasks of these kinds (null: every kind), and tasks for these endpoints
--   early                 kinds that are acknowledged by the claim itself, and so never run twice
--   slots, lanes, floors, limits   the lanes to ask, in this order: from which seq, and for how many. A floor is a hint
--                         that keeps a claim from walking what is done; a round with floors of 0, a sweep, finds what
--                         committed late behind it
--   total, bytes          at most so many tasks, and payload bytes (but one task always)
--   discover              how many tasks may be claimed in each lane that was not named; null: look for none
--   promote_within        promote what fell due within this interval; null: do not promote
--   promote_most, rescue_ceilings (one for each lane named; null: rescue nothing), isolate   as above
--   alerts                channels to look for due alerts of; null: do not look
--   held                  with rescue_ceilings, after a claim whose reply was lost: every seq that the relay knows that it holds
--
-- Returns a row for each task, and then one whose id is null with the news: the current slot, how many were promoted
-- and rescued, whether an alert is due, the microseconds that discovery, promotion and rescue took, and the lanes found.
CREATE FUNCTION claim_v1(
    relay uuid, lease interval, kinds text[], endpoints text[], early text[],
    slots smallint[], lanes text[], floors bigint[], limits int[], total int, bytes bigint,
    discover int, promote_within interval, promote_most int, rescue_ceilings bigint[], isolate text[], alerts text[],
    held bigint[] DEFAULT NULL
) RETURNS TABLE (
    slot smallint, lane text, seq bigint, id uuid, kind text, attempt int, charged int, crashed int,
    acknowledged boolean, max_attempts int, idempotency_key text, endpoint text, content_type text, headers text[],
    age bigint, expires_in bigint, payload bytea,
    current_slot smallint, promoted int, rescued int, alert_due boolean, took int[], found_slots smallint[], found_lanes text[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    IF claim_v1.lease NOT BETWEEN interval '1 second' AND interval '1 hour' THEN
        RAISE EXCEPTION 'a lease is 1 second to 1 hour, not %', claim_v1.lease USING ERRCODE = 'invalid_parameter_value';
    END IF;
    took := ARRAY[0, 0, 0];
    IF claim_v1.promote_most > 0 THEN
        promoted := promote_v1(claim_v1.promote_within, claim_v1.promote_most);
        took[2] := 1000000 * extract(epoch FROM clock_timestamp() - began);
    END IF;
    IF claim_v1.rescue_ceilings IS NOT NULL THEN
        began := clock_timestamp();
        rescued := rescue_v1(claim_v1.relay, claim_v1.held, claim_v1.kinds, claim_v1.endpoints, claim_v1.isolate, claim_v1.slots,
                             claim_v1.lanes, claim_v1.rescue_ceilings, 500);
        took[3] := 1000000 * extract(epoch FROM clock_timestamp() - began);
    END IF;
    IF claim_v1.discover IS NOT NULL THEN
        began := clock_timestamp();
        SELECT array_agg(f.slot), array_agg(f.lane) INTO found_slots, found_lanes
        FROM lanes_v1(claim_v1.slots, claim_v1.lanes) f
        -- For a lane of tasks that run alone a relay lets everything else come to its end: only if there is something for it
        -- to claim there, or to rescue.
        WHERE f.lane NOT LIKE '%:!' OR EXISTS (
            SELECT FROM ready r
            WHERE r.slot = f.slot AND r.lane = f.lane
              AND (r.relay IS NULL OR r.lease_until < clock_timestamp() OR r.lease_until > clock_timestamp() + interval '1 day')
              AND CASE WHEN r.endpoint IS NULL THEN claim_v1.kinds IS NULL OR r.kind = ANY (claim_v1.kinds)
                       ELSE r.endpoint = ANY (claim_v1.endpoints) END);
        took[1] := 1000000 * extract(epoch FROM clock_timestamp() - began);
    END IF;
    IF claim_v1.total > 0 THEN
        RETURN QUERY
        WITH asked AS MATERIALIZED (
            SELECT a.slot, a.lane, a.floor, a.most
            FROM unnest(claim_v1.slots, claim_v1.lanes, claim_v1.floors, claim_v1.limits) a (slot, lane, floor, most)
            WHERE a.most > 0
            UNION ALL
            -- a lane of tasks that run alone is only ever asked by name
            SELECT f.slot, f.lane, 0, claim_v1.discover
            FROM unnest(found_slots, found_lanes) f (slot, lane) WHERE f.lane NOT LIKE '%:!'
        ), locked AS MATERIALIZED (
            SELECT r.slot, r.lane, r.seq, r.size, r.acknowledged
            FROM asked a CROSS JOIN LATERAL (
                SELECT r.slot, r.lane, r.seq, octet_length(r.payload) AS size, r.acknowledged FROM ready r
                WHERE r.slot = a.slot AND r.lane = a.lane AND r.seq >= a.floor
                  AND r.relay IS NULL AND r.lease_until <= clock_timestamp()
                  AND CASE WHEN r.endpoint IS NULL THEN claim_v1.kinds IS NULL OR r.kind = ANY (claim_v1.kinds)
                           ELSE r.endpoint = ANY (claim_v1.endpoints) END
                ORDER BY r.seq LIMIT a.most FOR NO KEY UPDATE SKIP LOCKED) r
            LIMIT claim_v1.total
        ), affordable AS MATERIALIZED (
            SELECT s.slot, s.lane, s.seq, s.acknowledged
            FROM (SELECT l.*, sum(l.size) OVER (ROWS UNBOUNDED PRECEDING) - l.size AS before FROM locked l) s
            WHERE s.before < claim_v1.bytes
        )
        UPDATE ready r
        SET lease_until = clock_timestamp() + claim_v1.lease, relay = claim_v1.relay, attempt = r.attempt + 1,
            acknowledged = r.acknowledged OR (r.endpoint IS NULL AND coalesce(r.kind = ANY (claim_v1.early), false))
        FROM affordable t
        WHERE r.slot = ANY (ARRAY[t.slot]) AND r.lane = t.lane AND r.seq = t.seq
        RETURNING r.slot, r.lane, r.seq, r.id, r.kind, r.attempt, r.charged, r.crashed,
                  t.acknowledged,   -- what the row said before: then an earlier claim took it for good, and it must not run
                  r.max_attempts, r.idempotency_key, r.endpoint, r.content_type,
                  CASE WHEN r.headers IS NOT NULL THEN   -- name, value, name, value …
                      ARRAY(SELECT unnest(ARRAY[h.key, h.value]) FROM jsonb_each_text(r.headers) h ORDER BY h.key) END,
                  (1000000 * extract(epoch FROM clock_timestamp() - coalesce(r.due_at, r.enqueued_at)))::bigint,
                  -- never an error, which would keep every claim from this lane
                  CASE WHEN isfinite(r.expires_at) THEN (1000000 * extract(epoch FROM r.expires_at - clock_timestamp()))::bigint END,
                  r.payload, NULL::smallint, NULL::int, NULL::int, NULL::boolean, NULL::int[], NULL::smallint[], NULL::text[];
    END IF;
    current_slot := slot_at(clock_timestamp());
    alert_due := claim_v1.alerts IS NOT NULL AND EXISTS (
        SELECT FROM alerts a WHERE a.due_at <= clock_timestamp() AND a.channel = ANY (claim_v1.alerts)
          AND (a.lease_until <= clock_timestamp() OR a.lease_until > clock_timestamp() + interval '1 day'));
    RETURN NEXT;
END $$;

-- Renews leases that are still the caller's and returns their seq. It waits for nobody: a row that somebody has locked,
-- as a handler's transaction does that has completed the task and not yet committed, must not cost the leases of the
-- others. Its lease stays as it is, and counts as held until it ends: so long nobody else can take it.
CREATE FUNCTION renew_v1(slots smallint[], lanes text[], seqs bigint[], attempts int[], ids uuid[], lease interval)
RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET lock_timeout = '5s' AS $$
    WITH held AS MATERIALIZED (
        SELECT r.slot, r.lane, r.seq, r.attempt, r.id, r.lease_until
        FROM unnest(slots, lanes, seqs, attempts, ids) h (slot, lane, seq, attempt, id) CROSS JOIN LATERAL (
            SELECT r.slot, r.lane, r.seq, r.attempt, r.id, r.lease_until FROM ready r
            WHERE r.slot = ANY (ARRAY[h.slot]) AND r.lane = h.lane AND r.seq = h.seq AND r.attempt = h.attempt AND r.id = h.id
              AND r.relay IS NOT NULL) r
    ), free AS MATERIALIZED (
        SELECT r.slot, r.lane, r.seq
        FROM held h CROSS JOIN LATERAL (
            SELECT r.slot, r.lane, r.seq FROM ready r
            WHERE r.slot = ANY (ARRAY[h.slot]) AND r.lane = h.lane AND r.seq = h.seq AND r.attempt = h.attempt AND r.id = h.id
              AND r.relay IS NOT NULL
            FOR NO KEY UPDATE SKIP LOCKED) r
    ), renewed AS (
        UPDATE ready r SET lease_until = clock_timestamp() + lease
        FROM free f WHERE r.slot = ANY (ARRAY[f.slot]) AND r.lane = f.lane AND r.seq = f.seq
        RETURNING r.seq
    )
    SELECT n.seq FROM renewed n
    UNION
    SELECT h.seq FROM held h WHERE h.lease_until > clock_timestamp()
$$;

-- Settles attempts that succeeded and returns the seq of each that took effect. The attempt is the fence: a task that
-- another relay has claimed since, or that is settled already, stays as it is. With the id, since after a failover to an
-- asynchronous standby a seq may be issued again, and a relay that lived through it still holds the first.
CREATE FUNCTION settle_v1(slots smallint[], lanes text[], seqs bigint[], attempts int[], ids uuid[])
RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET lock_timeout = '5s' AS $$
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
    SELECT d.seq FROM done d
$$;

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
RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET lock_timeout = '5s' AS $$
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
    SELECT g.seq FROM gone g
$$;

-- Claims alerts that are due for the caller's channels and says what there is to tell.
CREATE FUNCTION claim_alerts_v1(relay uuid, channels text[], lease interval, most int)
RETURNS TABLE (incident bigint, subject text, channel text, attempt int, told bigint, count bigint, open bigint, group_key text, kind text,
               endpoint text, fingerprint text, error_type text, error_message text, sample uuid, opened_at timestamptz,
               last_at timestamptz, failures int, response_excerpt text)
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
    WITH due AS MATERIALIZED (
        SELECT a.incident, a.channel FROM alerts a
        WHERE a.due_at <= clock_timestamp() AND a.channel = ANY (channels)
          AND (a.lease_until <= clock_timestamp() OR a.lease_until > clock_timestamp() + interval '1 day')
        ORDER BY a.due_at LIMIT most FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE alerts a SET attempt = a.attempt + 1, relay = claim_alerts_v1.relay, lease_until = clock_timestamp() + lease
    FROM due d JOIN incidents n ON n.number = d.incident
    WHERE a.incident = d.incident AND a.channel = d.channel
    RETURNING a.incident, n.subject, a.channel, a.attempt, a.told, n.count, n.open, n.group_key, n.kind, n.endpoint, n.fingerprint,
              n.error_type, n.error_message, n.sample, n.opened_at, n.last_at, a.failures,
              (SELECT left(x.response_excerpt, 300) FROM dead x
               WHERE x.incident = n.number AND x.resolution IS NULL ORDER BY x.number LIMIT 1)
$$;

-- Records that a channel was told of an incident's first `told` dead letters, or why it was not; false: the lease is lost.
-- What came meanwhile is due after group_interval, and so is what comes within it (quiet_until): a channel hears of one
-- incident no more often than that.
CREATE FUNCTION settle_alert_v1(
    incident bigint, channel text, attempt int, told bigint, error text, backoff interval, group_interval interval
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
    known bigint;
BEGIN
    -- the incident first, as the dead letters take them, and locked: a dead letter that comes now waits, and then sees due_at
    SELECT n.count INTO known FROM incidents n WHERE n.number = settle_alert_v1.incident FOR UPDATE;
    UPDATE alerts a
    SET lease_until = '-infinity', relay = NULL, last_error = settle_alert_v1.error,
        failures = CASE WHEN settle_alert_v1.error IS NULL THEN 0 ELSE a.failures + 1 END,
        told = CASE WHEN settle_alert_v1.error IS NULL THEN settle_alert_v1.told ELSE a.told END,
        told_at = CASE WHEN settle_alert_v1.error IS NULL THEN clock_timestamp() ELSE a.told_at END,
        quiet_until = CASE WHEN settle_alert_v1.error IS NULL THEN clock_timestamp() + settle_alert_v1.group_interval ELSE a.quiet_until END,
        due_at = CASE WHEN settle_alert_v1.error IS NOT NULL THEN clock_timestamp() + settle_alert_v1.backoff
                      WHEN known > settle_alert_v1.told THEN clock_timestamp() + settle_alert_v1.group_interval END
    WHERE a.incident = settle_alert_v1.incident AND a.channel = settle_alert_v1.channel AND a.attempt = settle_alert_v1.attempt;
    RETURN FOUND;
END $$;

-- Says that a relay is alive, and adds what it has done since it last said so: {"kind": {"outcome": count}}.
CREATE FUNCTION heartbeat_v1(
    relay uuid, name text, version text, kinds text[], endpoints text[], channels text[], done jsonb, stopping boolean
)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO relays AS r (id, name, version, kinds, endpoints, channels)
    VALUES (heartbeat_v1.relay, heartbeat_v1.name, heartbeat_v1.version, heartbeat_v1.kinds, heartbeat_v1.endpoints,
            heartbeat_v1.channels)
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(),
        stopped_at = CASE WHEN heartbeat_v1.stopping THEN clock_timestamp() END;
    IF heartbeat_v1.done <> '{}' THEN
        INSERT INTO statistics AS s (minute, kind, outcome, count)
        SELECT date_trunc('minute', clock_timestamp()), k.key, o.key, o.value::bigint
        FROM jsonb_each(heartbeat_v1.done) k CROSS JOIN LATERAL jsonb_each_text(k.value) o
        ORDER BY k.key, o.key
        ON CONFLICT (minute, kind, outcome) DO UPDATE SET count = s.count + excluded.count;
        DELETE FROM statistics WHERE minute < now() - interval '7 days';
        DELETE FROM relays WHERE seen_at < now() - interval '7 days';
    END IF;
END $$;

-- Finds kinds, and endpoints that producers named, of which tasks have waited for longer than a time although no relay that is
-- alive can run them; opens an incident for each, so that a person is told, and closes it when one can. It looks at the
-- first tasks of each lane.
CREATE FUNCTION unhandled_v1(after interval, channels text[], group_wait interval)
RETURNS TABLE (kind text, endpoint text, waiting interval) LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET lock_timeout = '5s' AS $$
#variable_conflict use_column
BEGIN
    IF NOT pg_try_advisory_xact_lock(7239417205118) THEN
        RETURN;    -- another relay is at it
    END IF;
    RETURN QUERY
    WITH waiting AS MATERIALIZED (
        SELECT r.kind, r.endpoint, min(r.since) AS since, min(r.id::text)::uuid AS sample
        FROM lanes_v1('{}', '{}') l CROSS JOIN LATERAL (
            SELECT r.kind, r.endpoint, r.id, coalesce(r.due_at, r.enqueued_at) AS since FROM ready r
            WHERE r.slot = l.slot AND r.lane = l.lane AND r.relay IS NULL ORDER BY r.seq LIMIT 500) r
        GROUP BY r.kind, r.endpoint
    ), unhandled AS MATERIALIZED (
        SELECT w.*, encode(sha256(convert_to(concat_ws(E'\x1f', 'unhandled', w.kind, w.endpoint), 'UTF8')), 'hex') AS group_key
        FROM waiting w
        WHERE NOT EXISTS (
            SELECT FROM relays a
            WHERE a.stopped_at IS NULL AND a.seen_at > clock_timestamp() - interval '3 minutes'
              AND CASE WHEN w.endpoint IS NULL THEN a.kinds IS NULL OR w.kind = ANY (a.kinds) ELSE w.endpoint = ANY (a.endpoints) END)
    ), found AS MATERIALIZED (
        SELECT u.* FROM unhandled u WHERE u.since < clock_timestamp() - after
    ), opened AS (
        INSERT INTO incidents AS n (subject, group_key, kind, endpoint, fingerprint, error_type, error_message, sample, count, open)
        SELECT 'unhandled', f.group_key, f.kind, f.endpoint, 'unhandled', 'unhandled',
               'tasks wait, and no relay that is alive can run them', f.sample, 1, 0
        FROM found f ORDER BY f.group_key
        ON CONFLICT (group_key) WHERE resolved_at IS NULL DO UPDATE SET last_at = clock_timestamp()
        RETURNING n.number
    ), closed AS (
        -- whatever their age: relays with different patience would close and open in turn, and tell each time
        UPDATE incidents n SET resolved_at = clock_timestamp()
        WHERE n.subject = 'unhandled' AND n.resolved_at IS NULL AND n.group_key NOT IN (SELECT u.group_key FROM unhandled u)
    ), alerted AS (
        INSERT INTO alerts (incident, channel, due_at)
        SELECT o.number, channel, clock_timestamp() + group_wait
        FROM opened o CROSS JOIN unnest(channels) channel ORDER BY o.number, channel
        ON CONFLICT (incident, channel) DO NOTHING
    )
    SELECT f.kind, f.endpoint, clock_timestamp() - f.since FROM found f;
END $$;

-- Gives the space of drained leaves back and says how many. A leaf is truncated only if it is neither the current one
-- nor small, if nobody holds a lock on it, and if it is empty when looked at again under the lock. A snapshot that is
-- older than the lock could find it empty although it is not: hence READ COMMITTED alone.
CREATE FUNCTION trim_v1(least_bytes bigint DEFAULT 33554432) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    trimmed int := 0;
    occupied boolean;
    leaf text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'trim_v1 needs READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF NOT pg_try_advisory_xact_lock(7239417205117) THEN
        RETURN 0;    -- another relay is at it
    END IF;
    FOR n IN 0..3 LOOP
        leaf := 'ready_' || n;
        CONTINUE WHEN n = slot_at(clock_timestamp()) OR pg_relation_size(leaf::regclass) < least_bytes;
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', leaf) INTO occupied;
        CONTINUE WHEN occupied;
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE NOWAIT', leaf);
            EXECUTE format('SELECT EXISTS (SELECT FROM %I)', leaf) INTO occupied;
            IF NOT occupied THEN
                EXECUTE format('TRUNCATE ONLY %I', leaf);
                trimmed := trimmed + 1;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            NULL;    -- in use, for example by pg_dump: the next trim will see to it
        END;
    END LOOP;
    RETURN trimmed;
END $$;

-- Nobody but the owner may call a function until roles are granted: see roles.sql.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', current_schema());
END $$;

COMMIT;
