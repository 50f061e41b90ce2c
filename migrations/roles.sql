-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- Least privilege, optional: three roles that may do what their name says and nothing else.
--
--   Purpose  outbox_producer enqueues and cancels; outbox_relay runs tasks; outbox_operator inspects, replays, discards,
--            and says whether the tasks of a copy are run in it.
--            Grant them to the roles that your services log in as. Nobody needs a privilege on a table to do his work.
--   Run it   as the owner of the schema, after the migrations and again after each new one; creating roles needs CREATEROLE:
--            psql -v ON_ERROR_STOP=1 -f roles.sql
--   Undo     DROP OWNED BY outbox_producer, outbox_relay, outbox_operator; DROP ROLE …;

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema)

DO $$
DECLARE
    role text;
    f regprocedure;
BEGIN
    FOREACH role IN ARRAY ARRAY['outbox_producer', 'outbox_relay', 'outbox_operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
        EXECUTE format('GRANT SELECT ON schema_version TO %I', role);
    END LOOP;
    FOR f IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = current_schema()::regnamespace LOOP
        CASE
            WHEN f::text ~ '(^|\.)(enqueue|enqueue_many|cancel)\(' THEN
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO outbox_producer', f);
            WHEN f::text ~ '_v[0-9]+\(' THEN
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO outbox_relay', f);
            WHEN f::text ~ '(^|\.)(replay|discard|origin|adopt|backlog|payload_text)\(' THEN
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO outbox_operator', f);
            ELSE NULL;    -- helpers run as the owner, inside the functions above
        END CASE;
    END LOOP;
END $$;

GRANT SELECT ON tasks, dead_letters, attempts, incidents, alerts, relays, statistics TO outbox_operator;
GRANT EXECUTE ON FUNCTION cancel(uuid) TO outbox_operator;

COMMIT;
