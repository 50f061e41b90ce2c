-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0005 upkeep, up: what relays do besides: see whether the tasks belong here, alerts, heartbeats, the search for tasks that
--                  nobody runs, the trim.
--   Locks    none on tables. A transaction-level advisory lock keeps two migrations apart.
--   Time     below a second.
--   Undo     0005_upkeep.down.sql
--   Run it   psql -v ON_ERROR_STOP=1 -f 0005_upkeep.up.sql      or      outbox migrate
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema) every function below keeps this search_path for good
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 4 THEN
        RAISE EXCEPTION 'migration 0005 follows 0004, and this schema is at %', (SELECT max(version) FROM schema_version)
            USING HINT = 'apply the migrations in the order of their numbers; see the table schema_version';
    END IF;
END $$;
INSERT INTO schema_version (version, name) VALUES (5, 'upkeep');

-- What 0003_claim says of all functions of relays holds for these too.

-- Which database the tasks belong to, whether it is this one, and which one this is. Always one row: without a home, its
-- columns are null.
CREATE FUNCTION origin() RETURNS TABLE (
    is_here boolean, cluster bigint, database oid, name text, adopted_at timestamptz, adopted_by text,
    here_cluster bigint, here_database oid, here_name text
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT h.cluster IS NOT DISTINCT FROM t.cluster AND h.database IS NOT DISTINCT FROM t.database,
           h.cluster, h.database, h.name, h.adopted_at, h.adopted_by, t.cluster, t.database, t.name
    FROM this_database() t LEFT JOIN home h ON true
$$;

-- Raises SQLSTATE OB002 where the tasks belong to another database. A relay calls it before anything else on a new
-- connection, after an error, and every few seconds, in the transaction of what comes next: then that does not happen
-- either. It is apart from the claim, since it takes 50 microseconds, as much as a claim that finds nothing.
CREATE FUNCTION home_v1() RETURNS void LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    o record;
BEGIN
    SELECT * INTO o FROM origin();
    IF NOT o.is_here THEN
        RAISE EXCEPTION USING ERRCODE = 'OB002',
            MESSAGE = CASE WHEN o.database IS NULL THEN 'the outbox does not say which database its tasks belong to, so no relay runs them'
                ELSE format('the tasks belong to the database %s (oid %s, cluster %s), and this is %s (oid %s, cluster %s), so no relay runs them here',
                            o.name, o.database, coalesce(o.cluster::text, 'unknown'),
                            o.here_name, o.here_database, coalesce(o.here_cluster::text, 'unknown')) END,
            HINT = format('if this is a copy, such as a restored dump: outbox adopt --bury%1$s makes dead letters of the tasks that wait. '
                          'If it takes the other''s place, as after an upgrade or a move: outbox adopt --deliver%1$s runs them from here. '
                          'With psql: SELECT %2$I.adopt(''bury'') or SELECT %2$I.adopt(''deliver'')',
                          CASE WHEN current_schema() <> 'outbox' THEN ' --schema ' || current_schema() ELSE '' END, current_schema());
    END IF;
END $$;

-- Claims alerts that are due for the caller's channels and says what there is to tell.
CREATE FUNCTION claim_alerts_v1(relay uuid, channels text[], lease interval, most int)
RETURNS TABLE (incident bigint, subject text, channel text, attempt int, told bigint, count bigint, open bigint, group_key text, kind text,
               endpoint text, fingerprint text, error_type text, error_message text, sample uuid, opened_at timestamptz,
               last_at timestamptz, failures int, response_excerpt text)
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
    WITH due AS MATERIALIZED (
        SELECT a.incident, a.channel FROM alerts a
        WHERE a.due_at <= clock_timestamp() AND a.channel = ANY (channels)
          AND (a.lease_until <= clock_timestamp() OR a.lease_until > clock_timestamp() + interval '61 minutes')
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
    -- a relay that stops right after its start may say goodbye before its first heartbeat arrives, or without one
    INSERT INTO relays AS r (id, name, version, kinds, endpoints, channels, stopped_at)
    VALUES (heartbeat_v1.relay, heartbeat_v1.name, heartbeat_v1.version, heartbeat_v1.kinds, heartbeat_v1.endpoints,
            heartbeat_v1.channels, CASE WHEN heartbeat_v1.stopping THEN clock_timestamp() END)
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), stopped_at = coalesce(r.stopped_at, excluded.stopped_at);
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
