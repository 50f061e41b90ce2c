-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0002 enqueue, down: removes the functions by which applications enqueue, so that they cannot any more. Tasks stay.
--   Locks    none on tables.
--   Time     below a second.
--   Run it   psql -v ON_ERROR_STOP=1 -f 0002_enqueue.down.sql      or      outbox migrate down
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate down --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema)
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 2 THEN
        RAISE EXCEPTION 'the latest migration is %, not 0002', (SELECT max(version) FROM schema_version)
            USING HINT = 'undo migrations in the opposite order of their numbers; see the table schema_version';
    END IF;
END $$;

-- every overload of these, whatever its arguments
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
             WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = ANY ('{slot_at,is_name,is_kind,is_payload,is_key,refuse,check_options,check_task,enqueue,enqueue_checked,enqueue_many,cancel}') LOOP
        EXECUTE 'DROP FUNCTION ' || f;
    END LOOP;
END $$;

DELETE FROM schema_version WHERE version = 2;

COMMIT;
