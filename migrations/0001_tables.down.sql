-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0001 tables, down: removes the tables, with everything in them. It refuses while there is work to lose: tasks, or
--            open dead letters. `SET outbox.force = on` before it in the same session says to lose them.
--   Locks    ACCESS EXCLUSIVE on all tables of the schema.
--   Time     below a second.
--   Run it   psql -v ON_ERROR_STOP=1 -f 0001_tables.down.sql      or      outbox migrate down
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate down --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema)
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 1 THEN
        RAISE EXCEPTION 'the latest migration is %, not 0001', (SELECT max(version) FROM schema_version)
            USING HINT = 'undo migrations in the opposite order of their numbers; see the table schema_version';
    END IF;
END $$;

DO $$
BEGIN
    IF coalesce(current_setting('outbox.force', true), '') <> 'on'
       AND (EXISTS (SELECT FROM ready) OR EXISTS (SELECT FROM later) OR EXISTS (SELECT FROM dead WHERE resolution IS NULL)) THEN
        RAISE EXCEPTION 'there are tasks or open dead letters, which this would lose'
            USING HINT = 'let the relays drain the tasks and replay or discard the dead letters; or SET outbox.force = on';
    END IF;
END $$;

DROP TABLE ready, later, attempts, dead, incidents, alerts, relays, statistics, steps, dedupe, endpoints, home, schema_version;
DROP FUNCTION this_database();
DROP SEQUENCE task_seq;

-- the schema itself goes if nothing else is in it
DO $$
BEGIN
    EXECUTE format('DROP SCHEMA %I', current_schema());
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;
END $$;

COMMIT;
