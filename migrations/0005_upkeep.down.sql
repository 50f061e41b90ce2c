-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0005 upkeep, down: removes alerts and upkeep; stop the relays first. Tasks stay.
--   Locks    none on tables.
--   Time     below a second.
--   Run it   psql -v ON_ERROR_STOP=1 -f 0005_upkeep.down.sql      or      outbox migrate down
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate down --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema)
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 5 THEN
        RAISE EXCEPTION 'the latest migration is %, not 0005', (SELECT max(version) FROM schema_version)
            USING HINT = 'undo migrations in the opposite order of their numbers; see the table schema_version';
    END IF;
END $$;

-- every overload of these, whatever its arguments
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
             WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = ANY ('{origin,home_v1,claim_alerts_v1,settle_alert_v1,heartbeat_v1,unhandled_v1,trim_v1}') LOOP
        EXECUTE 'DROP FUNCTION ' || f;
    END LOOP;
END $$;

DELETE FROM schema_version WHERE version = 5;

COMMIT;
