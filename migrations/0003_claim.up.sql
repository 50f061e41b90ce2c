-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0003 claim, up: how relays take tasks: claim, renew, and what goes along with it. The names of the
--            functions carry a version: a relay calls the one it knows.
--   Locks    none on tables. A transaction-level advisory lock keeps two migrations apart.
--   Time     below a second.
--   Undo     0003_claim.down.sql
--   Run it   psql -v ON_ERROR_STOP=1 -f 0003_claim.up.sql      or      outbox migrate
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
INSERT INTO schema_version (version, name) VALUES (3, 'claim');

-- Every statement here is short, takes no lock above ROW EXCLUSIVE but for the trim of an empty leaf, and keeps no
-- session state, so that it may be sent through a pooler in transaction mode. All times are the database's clock;
-- relays give intervals. Plans are pinned by the functions' settings, because the statistics of a table that is
-- empty most of the time lie: a vacuum that finds it empty leaves an estimate of one row, however many come later.
-- Then reading an index from end to end seems as cheap as looking a key up in it, which the settings cannot forbid.
-- Hence `slot = ANY (ARRAY[x.slot])` where a row is named: it finds the row by the index as `slot = x.slot` does, but
-- is nothing to merge by, and an index is read from end to end only for an order that helps a merge.
-- All are in plpgsql, which keeps the plan of a statement: the body of a function in SQL is planned anew at each call.

-- The lanes that hold rows and that the caller does not know: a loose index scan that hops from lane to lane, but
-- only through the gaps between known lanes, so that it never walks the dead entries of a lane that is drained.
CREATE FUNCTION lanes_v1(known_slots smallint[], known_lanes text[], most int DEFAULT 1000)
RETURNS TABLE (slot smallint, lane text) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
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
    SELECT h.slot, h.lane FROM hops h LIMIT most;
END $$;

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
-- No lease is longer than an hour: one that ends later than that was written before the clock was set back, and is expired.
-- held, if not null, has every seq that the caller, me, knows that it holds: what else it holds by the table was claimed
-- for it by a statement whose reply was lost, and is no crash. It may also be one that it ran and had to let go of, so a
-- task that was acknowledged stays so: it must not run twice.
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
              AND (r.lease_until < clock_timestamp() OR r.lease_until > clock_timestamp() + interval '61 minutes'
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
    SELECT slot_at(clock_timestamp()), enqueued_at, attempt, charged, crashed + (NOT unheard)::int, acknowledged, id,
           max_attempts, replays, due_at, expires_at,
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
        took[2] := 1000000 * date_part('epoch', clock_timestamp() - began);
    END IF;
    IF claim_v1.rescue_ceilings IS NOT NULL THEN
        began := clock_timestamp();
        rescued := rescue_v1(claim_v1.relay, claim_v1.held, claim_v1.kinds, claim_v1.endpoints, claim_v1.isolate, claim_v1.slots,
                             claim_v1.lanes, claim_v1.rescue_ceilings, 500);
        took[3] := 1000000 * date_part('epoch', clock_timestamp() - began);
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
              AND (r.relay IS NULL OR r.lease_until < clock_timestamp() OR r.lease_until > clock_timestamp() + interval '61 minutes')
              AND CASE WHEN r.endpoint IS NULL THEN claim_v1.kinds IS NULL OR r.kind = ANY (claim_v1.kinds)
                       ELSE r.endpoint = ANY (claim_v1.endpoints) END);
        took[1] := 1000000 * date_part('epoch', clock_timestamp() - began);
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
            SELECT r.slot, r.at, r.size, r.acknowledged
            FROM asked a CROSS JOIN LATERAL (
                SELECT r.slot, r.ctid AS at, octet_length(r.payload) AS size, r.acknowledged FROM ready r
                WHERE r.slot = a.slot AND r.lane = a.lane AND r.seq >= a.floor
                  AND r.relay IS NULL AND r.lease_until <= clock_timestamp()
                  AND CASE WHEN r.endpoint IS NULL THEN claim_v1.kinds IS NULL OR r.kind = ANY (claim_v1.kinds)
                           ELSE r.endpoint = ANY (claim_v1.endpoints) END
                ORDER BY r.seq LIMIT a.most FOR NO KEY UPDATE SKIP LOCKED) r
            LIMIT claim_v1.total
        )
        UPDATE ready r
        SET lease_until = clock_timestamp() + claim_v1.lease, relay = claim_v1.relay, attempt = r.attempt + 1,
            acknowledged = r.acknowledged OR (r.endpoint IS NULL AND coalesce(r.kind = ANY (claim_v1.early), false))
        FROM (SELECT l.slot, l.at, l.acknowledged, sum(l.size) OVER (ROWS UNBOUNDED PRECEDING) - l.size AS before FROM locked l) t
        -- by its place, which it keeps while it is locked: half the price of finding it by the index a second time. One
        -- that somebody changed after this statement began is elsewhere by now, and left for the next claim
        WHERE t.before < claim_v1.bytes AND r.slot = ANY (ARRAY[t.slot]) AND r.ctid = t.at
        RETURNING r.slot, r.lane, r.seq, r.id, r.kind, r.attempt, r.charged, r.crashed,
                  t.acknowledged,   -- what the row said before: then an earlier claim took it for good, and it must not run
                  r.max_attempts, r.idempotency_key, r.endpoint, r.content_type,
                  CASE WHEN r.headers IS NOT NULL THEN   -- name, value, name, value …
                      ARRAY(SELECT unnest(ARRAY[h.key, h.value]) FROM jsonb_each_text(r.headers) h ORDER BY h.key) END,
                  (1000000 * date_part('epoch', clock_timestamp() - coalesce(r.due_at, r.enqueued_at)))::bigint,
                  -- never an error, which would keep every claim from this lane
                  CASE WHEN isfinite(r.expires_at) THEN (1000000 * date_part('epoch', r.expires_at - clock_timestamp()))::bigint END,
                  r.payload, NULL::smallint, NULL::int, NULL::int, NULL::boolean, NULL::int[], NULL::smallint[], NULL::text[];
    END IF;
    current_slot := slot_at(clock_timestamp());
    alert_due := claim_v1.alerts IS NOT NULL AND EXISTS (
        SELECT FROM alerts a WHERE a.due_at <= clock_timestamp() AND a.channel = ANY (claim_v1.alerts)
          AND (a.lease_until <= clock_timestamp() OR a.lease_until > clock_timestamp() + interval '61 minutes'));
    RETURN NEXT;
END $$;

-- Renews leases that are still the caller's and returns their seq. It waits for nobody: a row that somebody has locked,
-- as a handler's transaction does that has completed the task and not yet committed, must not cost the leases of the
-- others. Its lease stays as it is, and counts as held until it ends: so long nobody else can take it.
CREATE FUNCTION renew_v1(slots smallint[], lanes text[], seqs bigint[], attempts int[], ids uuid[], lease interval)
RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s' AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
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
    SELECT h.seq FROM held h WHERE h.lease_until > clock_timestamp();
END $$;

-- Nobody but the owner may call a function until roles are granted: see roles.sql.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', current_schema());
END $$;

COMMIT;
