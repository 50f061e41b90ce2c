-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0006 operate, down: removes the views and functions for people; tasks and dead letters stay.
--   Locks    ACCESS EXCLUSIVE on the views.
--   Time     below a second.
--   Run it   psql -v ON_ERROR_STOP=1 -f 0006_operate.down.sql      or      outbox migrate down
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate down --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema)
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 6 THEN
        RAISE EXCEPTION 'the latest migration is %, not 0006', (SELECT max(version) FROM schema_version)
            USING HINT = 'undo migrations in the opposite order of their numbers; see the table schema_version';
    END IF;
END $$;

DROP VIEW tasks, dead_letters;

-- every overload of these, whatever its arguments
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
             WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = ANY ('{payload_text,resolve,replay,discard,bury,adopt,backlog}') LOOP
        EXECUTE 'DROP FUNCTION ' || f;
    END LOOP;
END $$;

DELETE FROM schema_version WHERE version = 6;

COMMIT;
