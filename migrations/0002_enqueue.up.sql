-- SPDX-License-Identifier: Apache-2.0
-- Copyright the Outbox project authors
--
-- 0002 enqueue, up: the functions by which applications enqueue and cancel.
--   Locks    none on tables. A transaction-level advisory lock keeps two migrations apart.
--   Time     below a second.
--   Undo     0002_enqueue.down.sql
--   Run it   psql -v ON_ERROR_STOP=1 -f 0002_enqueue.up.sql      or      outbox migrate
--
-- Another schema name: replace it in the line marked (schema), or run `outbox migrate --schema NAME`.

BEGIN;

SET LOCAL search_path TO outbox, pg_temp;      -- (schema) every function below keeps or names this schema for good
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock(7239417205116);   -- the same number in every migration and in `outbox migrate`
DO $$
BEGIN
    IF (SELECT max(version) FROM schema_version) IS DISTINCT FROM 1 THEN
        RAISE EXCEPTION 'migration 0002 follows 0001, and this schema is at %', (SELECT max(version) FROM schema_version)
            USING HINT = 'apply the migrations in the order of their numbers; see the table schema_version';
    END IF;
END $$;
INSERT INTO schema_version (version, name) VALUES (2, 'enqueue');

-- The leaf for a time. The period, 120 seconds, stands here alone: replace the function to change it; rows stay where
-- they are and are found there. A leaf's turn comes every eight minutes: six of them are time to be drained in and
-- given back by TRUNCATE, more than a handler runs for by default, and while an old snapshot keeps vacuum from cleaning
-- up, what is dead is that of some two leaves. Where the backlog is older than that, the current leaf has old rows too,
-- before the new ones in its order.
-- Not IMMUTABLE, since Postgres holds date_part for no more than STABLE and inlines nothing that claims more than its
-- body: as a call it costs more than all checks of a task together.
-- It is inlined into enqueue, which has the search_path of its caller: what it names, it names with the schema.
CREATE FUNCTION slot_at(at timestamptz) RETURNS smallint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (pg_catalog.date_part('epoch', at)::bigint OPERATOR(pg_catalog./) 120 OPERATOR(pg_catalog.%) 4)::smallint
$$;

-- What a name, a kind, a payload and a key may be. Written so that they are inlined where they are called, all but
-- is_payload into enqueue as well.
CREATE FUNCTION is_name(name text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- the length apart: a repetition with a bound costs the regular expression more than all the rest
    SELECT name OPERATOR(pg_catalog.~) '^[a-z0-9][a-z0-9_.-]*$' AND pg_catalog.length(name) OPERATOR(pg_catalog.<=) 63
$$;
CREATE FUNCTION is_kind(kind text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT kind OPERATOR(pg_catalog.~) '^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$'
       AND pg_catalog.length(kind) OPERATOR(pg_catalog.<=) 128
$$;
CREATE FUNCTION is_payload(payload bytea) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT octet_length(payload) <= 1048576
$$;
CREATE FUNCTION is_key(idempotency_key text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT idempotency_key OPERATOR(pg_catalog.~) '^[ -~]+$'
       AND pg_catalog.length(idempotency_key) OPERATOR(pg_catalog.<=) 255
$$;

-- Refuses an argument: SQLSTATE 22023, the argument's name first, what to do in the hint.
CREATE FUNCTION refuse(argument text, problem text, advice text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'outbox.enqueue: % %', argument, problem USING ERRCODE = 'invalid_parameter_value', HINT = advice;
END $$;

-- Checks the options that all ways of enqueueing share, and returns the lane.
CREATE FUNCTION check_options(
    queue text, priority int, delay interval, run_at timestamptz, expires_at timestamptz, headers jsonb,
    content_type text, endpoint text, max_attempts int
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    name text;
    value jsonb;
    bytes int := 0;
    names text[] := '{}';
BEGIN
    IF is_name(queue) IS NOT TRUE THEN
        PERFORM refuse('queue', 'must be 1 to 63 of a-z, 0-9, "_", "." and "-", and begin with a letter or digit',
                       'leave it out for the queue "default"');
    END IF;
    IF priority IS NULL OR priority NOT BETWEEN 0 AND 9 THEN
        PERFORM refuse('priority', 'must be 0 (first) to 9 (last)', 'leave it out for 5');
    END IF;
    IF delay IS NOT NULL THEN
        IF run_at IS NOT NULL THEN
            PERFORM refuse('delay', 'and run_at exclude each other', 'give one of them');
        END IF;
        -- compared as seconds: months and days of an interval may differ in sign
        IF extract(epoch FROM delay) NOT BETWEEN 0 AND 315576000 THEN
            PERFORM refuse('delay', 'must not be negative, and at most ten years', 'leave it out to run at once');
        END IF;
    END IF;
    IF run_at IS NOT NULL AND (NOT isfinite(run_at) OR run_at > now() + interval '10 years') THEN
        PERFORM refuse('run_at', 'must be a time within the next ten years', 'a time in the past means at once');
    END IF;
    -- a claim subtracts it from the time, which infinity does not bear
    IF expires_at IS NOT NULL AND NOT isfinite(expires_at) THEN
        PERFORM refuse('expires_at', 'must be a finite time', 'leave it out for a task that never expires');
    END IF;
    IF expires_at IS NOT NULL AND expires_at <= coalesce(run_at, clock_timestamp() + coalesce(delay, '0'::interval)) THEN
        PERFORM refuse('expires_at', 'must be later than the time at which the task may run',
                       'such a task could never run; give a later time or leave it out');
    END IF;
    IF max_attempts IS NOT NULL AND max_attempts NOT BETWEEN 1 AND 1000 THEN
        PERFORM refuse('max_attempts', 'must be 1 to 1000', 'leave it out for the policy of the handler or endpoint');
    END IF;
    IF NOT is_name(endpoint) THEN
        PERFORM refuse('endpoint', 'must be 1 to 63 of a-z, 0-9, "_", "." and "-", and begin with a letter or digit',
                       'use the name that the relay''s configuration gives the endpoint');
    END IF;
    -- the media type of RFC 9110 section 8.3.1, with any parameters in visible ASCII
    IF content_type IS NOT NULL
       AND (content_type !~ '^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+( ?;[ -~]*)?$' OR length(content_type) > 200) THEN
        PERFORM refuse('content_type', 'is not a media type', 'for example text/plain; charset=utf-8');
    END IF;
    IF headers IS NOT NULL THEN
        IF jsonb_typeof(headers) <> 'object' THEN
            PERFORM refuse('headers', 'must be a JSON object of names and strings', 'for example {"x-tenant": "a"}');
        END IF;
        FOR name, value IN SELECT * FROM jsonb_each(headers) LOOP
            IF name !~ '^[A-Za-z0-9!#$%&''*+.^_`|~-]+$' THEN
                PERFORM refuse('headers', format('has a name that is no HTTP field name: %s', to_json(left(name, 60))),
                               'RFC 9110 section 5.1 allows letters, digits and !#$%&''*+-.^_`|~');
            END IF;
            IF lower(name) ~ '^(host|content-type|content-length|transfer-encoding|connection|te|trailer|upgrade|expect|keep-alive|user-agent|accept-encoding|idempotency-key|traceparent|tracestate|baggage|forwarded)$|^(proxy-|webhook-|ce-|outbox-|x-forwarded-)' THEN
                PERFORM refuse('headers', format('must not set %s', to_json(name)),
                               'the relay sets it itself, or it belongs to the connection');
            END IF;
            IF lower(name) = ANY (names) THEN
                PERFORM refuse('headers', format('has %s twice, since case makes no difference', to_json(lower(name))),
                               'join the values with commas into one');
            END IF;
            names := names || lower(name);
            IF jsonb_typeof(value) <> 'string' OR (value #>> '{}') !~ '^[\t -~]*$' THEN
                PERFORM refuse('headers', format('has a value for %s that is not a string of visible ASCII', to_json(name)),
                               'encode other characters, for example with percent-encoding');
            END IF;
            bytes := bytes + length(name) + length(value #>> '{}') + 4;
            IF bytes > 4096 THEN
                PERFORM refuse('headers', 'take more than 4096 bytes', 'put the data into the payload');
            END IF;
        END LOOP;
    END IF;
    RETURN priority || ':' || queue || coalesce(':e=' || endpoint, '');
END $$;

-- Checks what differs from task to task.
CREATE FUNCTION check_task(kind text, payload bytea, idempotency_key text, which text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF is_kind(kind) IS NOT TRUE THEN
        PERFORM refuse('kind' || which, format('is not a kind: %s', coalesce(to_json(left(kind, 60))::text, 'null')),
                       'use up to 128 letters, digits, "_" and "-" in parts joined by ".", for example orders.created');
    END IF;
    IF payload IS NULL THEN
        PERFORM refuse('payload' || which, 'is null', 'give an empty payload, or the JSON text null');
    END IF;
    IF NOT is_payload(payload) THEN
        PERFORM refuse('payload' || which, format('has %s bytes, more than 1048576', octet_length(payload)),
                       'store the data elsewhere and enqueue a reference to it');
    END IF;
    IF NOT is_key(idempotency_key) THEN
        PERFORM refuse('idempotency_key' || which, 'must be 1 to 255 visible ASCII characters',
                       'it is sent in an HTTP header; leave it out for the task''s id');
    END IF;
END $$;

-- Enqueues a task that has more to it than those that enqueue lets through at once, or refuses it.
CREATE FUNCTION enqueue_checked(
    kind text, payload bytea, queue text, priority int, delay interval, run_at timestamptz, expires_at timestamptz,
    idempotency_key text, headers jsonb, content_type text, endpoint text, max_attempts int, id uuid
) RETURNS uuid LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    lane text := check_options(queue, priority, delay, run_at, expires_at, headers, content_type, endpoint, max_attempts);
    at timestamptz := coalesce(run_at, clock_timestamp() + delay);
BEGIN
    PERFORM check_task(kind, payload, idempotency_key, '');
    id := coalesce(id, gen_random_uuid());
    IF at > clock_timestamp() THEN
        INSERT INTO later (run_at, due_at, id, lane, kind, idempotency_key, headers, content_type, endpoint, max_attempts, expires_at, payload)
        VALUES (at, at, id, lane, kind, idempotency_key, headers, content_type, endpoint, max_attempts, expires_at, payload);
    ELSE
        INSERT INTO ready (slot, id, lane, kind, idempotency_key, headers, content_type, endpoint, max_attempts, expires_at, payload)
        VALUES (slot_at(clock_timestamp()), id, lane, kind, idempotency_key, headers, content_type, endpoint, max_attempts, expires_at, payload);
    END IF;
    RETURN id;
END $$;

-- enqueue: enqueues a task in the caller's transaction and returns its id. The payload's bytes are stored and sent as
-- they are: those of a bytea, the UTF-8 of a text, the UTF-8 of a jsonb's text rendering, made once.
--
--   queue, priority   which lane: priority 0 runs first, 9 last
--   delay, run_at     not before: an interval from now, or a time
--   expires_at        not after: a task that has not succeeded by then becomes a dead letter
--   idempotency_key   the name of the logical operation, sent on every attempt (default: the id)
--   headers           sent to an HTTP endpoint: a JSON object of strings
--   content_type      of the payload (default: application/json)
--   endpoint          the HTTP endpoint (default: the relay's routes decide)
--   max_attempts      charged attempts (default: the policy of the handler or endpoint)
--   id                a UUID made by the caller (default: a random one)
--
-- It stands in the way of every business transaction, so that it is made to cost little more than its INSERT: what is
-- right with nearly every task is tested by one expression, since in plpgsql a statement costs more than ten tests and
-- a call more than ten statements. Only what is not so simple goes through the checks above. The text of the functions
-- is the same for each type of payload, and for none a wrapper of another, which would cost a third of an INSERT. An
-- INSERT into the leaf itself would save what the choice of the leaf by statements costs, 1.5 µs.
--
-- It runs as the owner and does not set the search_path, which would cost a tenth of an INSERT: whoever calls it chooses
-- where names are looked up. Hence everything in it is named with its schema, every operator and every type; BETWEEN,
-- IN, NULLIF and IS DISTINCT FROM, which stand for operators without a schema, must not be used. The price: Postgres
-- makes the plans anew, in a tenth of a millisecond, when a connection comes with another search_path than last time.
DO $do$
DECLARE
    of record;
BEGIN
    FOR of IN VALUES ('bytea', '', 'payload', 'payload'),
                     ('text', '', 'payload', $$pg_catalog.convert_to(payload, 'UTF8')$$),
                     ('jsonb', 'DECLARE rendering pg_catalog.text := payload::pg_catalog.text;',
                      'rendering', $$pg_catalog.convert_to(rendering, 'UTF8')$$) LOOP
        EXECUTE replace(replace(replace(replace(replace($create$
CREATE FUNCTION enqueue(
    kind text, payload <type>,
    queue text DEFAULT 'default', priority int DEFAULT 5,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
    idempotency_key text DEFAULT NULL, headers jsonb DEFAULT NULL, content_type text DEFAULT NULL,
    endpoint text DEFAULT NULL, max_attempts int DEFAULT NULL, id uuid DEFAULT gen_random_uuid()
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER AS $$
<declaration>
BEGIN
    -- The most common task first: an expression is set up anew in each transaction, and each test has its price.
    -- The size is a quarter of what a payload may have, since in UTF-8 it may have more bytes than here.
    IF <schema>.is_kind(kind) AND pg_catalog.octet_length(<source>) OPERATOR(pg_catalog.<=) 262144
       AND queue OPERATOR(pg_catalog.=) 'default' AND priority OPERATOR(pg_catalog.=) 5 AND id IS NOT NULL
       AND pg_catalog.num_nonnulls(idempotency_key, delay, run_at, expires_at, headers, content_type, endpoint, max_attempts) OPERATOR(pg_catalog.=) 0 THEN
        NULL;
    ELSIF <schema>.is_kind(kind) AND pg_catalog.octet_length(<source>) OPERATOR(pg_catalog.<=) 262144
       AND <schema>.is_name(queue) AND priority OPERATOR(pg_catalog.>=) 0 AND priority OPERATOR(pg_catalog.<=) 9
       AND (idempotency_key IS NULL OR <schema>.is_key(idempotency_key)) AND id IS NOT NULL
       AND pg_catalog.num_nonnulls(delay, run_at, expires_at, headers, content_type, endpoint, max_attempts) OPERATOR(pg_catalog.=) 0 THEN
        NULL;
    ELSE
        RETURN <schema>.enqueue_checked(kind, <bytes>, queue, priority, delay, run_at, expires_at, idempotency_key,
                                        headers, content_type, endpoint, max_attempts, id);
    END IF;
    INSERT INTO <schema>.ready (slot, id, lane, kind, idempotency_key, payload)
    VALUES (<schema>.slot_at(pg_catalog.clock_timestamp()), id,
            priority OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) queue, kind, idempotency_key, <bytes>);
    RETURN id;
END $$;
        $create$, '<type>', of.column1), '<declaration>', of.column2), '<source>', of.column3), '<bytes>', of.column4),
            '<schema>', quote_ident(current_schema()));
    END LOOP;
END $do$;

-- Enqueues many tasks with the same options and returns their ids in the order given.
-- kinds, idempotency_keys and ids have an element for each payload; kinds may have a single one for all.
DO $do$
DECLARE
    of record;
BEGIN
    FOR of IN VALUES ('bytea', 't.payload', 'is_payload(t.payload)'),
                     ('text', $$convert_to(t.payload, 'UTF8')$$,
                      $$(octet_length(t.payload) <= 262144 OR is_payload(convert_to(t.payload, 'UTF8')))$$) LOOP
        EXECUTE replace(replace(replace($create$
CREATE FUNCTION enqueue_many(
    kinds text[], payloads <type>[],
    queue text DEFAULT 'default', priority int DEFAULT 5,
    delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
    idempotency_keys text[] DEFAULT NULL, headers jsonb DEFAULT NULL, content_type text DEFAULT NULL,
    endpoint text DEFAULT NULL, max_attempts int DEFAULT NULL, ids uuid[] DEFAULT NULL
) RETURNS SETOF uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    lane text := check_options(queue, priority, delay, run_at, expires_at, headers, content_type, endpoint, max_attempts);
    at timestamptz := coalesce(run_at, clock_timestamp() + delay);
    many int := coalesce(cardinality(payloads), 0);
    slot smallint := slot_at(clock_timestamp());
    one text := CASE cardinality(kinds) WHEN 1 THEN kinds[array_lower(kinds, 1)] END;   -- the kind of all
    is_right boolean := is_kind(one);
    written int;
BEGIN
    IF payloads IS NULL THEN
        PERFORM refuse('payloads', 'is null', 'give an array; an empty one enqueues nothing');
    END IF;
    IF many = 0 THEN
        RETURN;
    END IF;
    IF cardinality(kinds) IS NULL OR cardinality(kinds) NOT IN (1, many) THEN
        PERFORM refuse('kinds', format('has %s elements for %s payloads', coalesce(cardinality(kinds), 0), many),
                       'give one kind for each payload, or a single one for all');
    END IF;
    IF cardinality(idempotency_keys) <> many OR cardinality(ids) <> many THEN
        PERFORM refuse('idempotency_keys', 'and ids need an element for each payload', 'elements may be null');
    END IF;
    -- In one pass, since each pass over the payloads copies them: what is not right is not written, and if there is any,
    -- all is refused. unnest keeps the order, and a sort would be another copy.
    IF at > clock_timestamp() THEN
        RETURN QUERY
        INSERT INTO later (run_at, due_at, id, lane, kind, idempotency_key, headers, content_type, endpoint, max_attempts, expires_at, payload)
        SELECT at, at, coalesce(t.id, gen_random_uuid()), lane, coalesce(one, t.kind), t.key, headers, content_type, endpoint, max_attempts, expires_at, <bytes>
        FROM unnest(ids, kinds, idempotency_keys, payloads) AS t(id, kind, key, payload)
        WHERE (is_right OR is_kind(t.kind)) AND (t.key IS NULL OR is_key(t.key)) AND <is right>
        RETURNING later.id;
    ELSE
        RETURN QUERY
        INSERT INTO ready (slot, id, lane, kind, idempotency_key, headers, content_type, endpoint, max_attempts, expires_at, payload)
        SELECT slot, coalesce(t.id, gen_random_uuid()), lane, coalesce(one, t.kind), t.key, headers, content_type, endpoint, max_attempts, expires_at, <bytes>
        FROM unnest(ids, kinds, idempotency_keys, payloads) AS t(id, kind, key, payload)
        WHERE (is_right OR is_kind(t.kind)) AND (t.key IS NULL OR is_key(t.key)) AND <is right>
        RETURNING ready.id;
    END IF;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written < many THEN
        -- one by one, to say which
        PERFORM check_task(coalesce(one, t.kind), <bytes>, t.key, '[' || t.n || ']')
        FROM unnest(kinds, payloads, idempotency_keys) WITH ORDINALITY AS t(kind, payload, key, n);
        RAISE EXCEPTION 'outbox.enqueue: wrote % of % tasks', written, many;   -- a trigger of somebody's
    END IF;
END $$;
        $create$, '<type>', of.column1), '<bytes>', of.column2), '<is right>', of.column3);
    END LOOP;
END $do$;

-- Cancels a task that no relay is running and says whether there was one. It reads the tables through: there is no
-- index by id, since an index would cost every enqueue.
CREATE FUNCTION cancel(id uuid) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    gone int;
BEGIN
    -- twice: a task that is promoted between the looks at the two tables is in the other one the second time
    FOR look IN 1..2 LOOP
        WITH a AS (DELETE FROM ready WHERE id = cancel.id AND relay IS NULL RETURNING 1),
             b AS (DELETE FROM later WHERE id = cancel.id RETURNING 1)
        SELECT count(*) INTO gone FROM (SELECT FROM a UNION ALL SELECT FROM b) x;
        EXIT WHEN gone > 0;
    END LOOP;
    IF gone > 0 THEN
        DELETE FROM attempts WHERE task = cancel.id AND NOT EXISTS (SELECT FROM dead WHERE id = cancel.id);
    END IF;
    RETURN gone > 0;
END $$;
-- Nobody but the owner may call a function until roles are granted: see roles.sql.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', current_schema());
END $$;

COMMIT;
