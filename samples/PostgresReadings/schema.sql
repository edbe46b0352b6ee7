-- (device, module, epoch, id) never identifies two readings, so a reading that arrives twice is stored once.
CREATE TABLE IF NOT EXISTS reading (
    device   text        NOT NULL,
    module   text        NOT NULL,
    epoch    text        NOT NULL,
    id       bigint      NOT NULL,
    time     timestamptz,
    sensor   text        GENERATED ALWAYS AS (data ->> 'sensor') STORED,
    kind     text        GENERATED ALWAYS AS (data ->> 'kind') STORED,
    quality  text        GENERATED ALWAYS AS (data ->> 'quality') STORED,
    data     jsonb       NOT NULL,
    received timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, module, epoch, id)
);

CREATE INDEX IF NOT EXISTS reading_by_sensor ON reading (device, sensor, time);

-- One row per value, for charts.
CREATE OR REPLACE VIEW value AS
SELECT device, module, sensor, time, quality, name, number::double precision AS value
FROM reading, jsonb_each_text(data -> 'values') AS each (name, number)
WHERE jsonb_typeof(data -> 'values' -> name) = 'number';

-- Readings that the module's buffer dropped or thinned: how many, of which ids, and why.
CREATE OR REPLACE VIEW gap AS
SELECT device, module, time, data #>> '{gap,epoch}' AS epoch, (data #>> '{gap,firstId}')::bigint AS first_id,
       (data #>> '{gap,lastId}')::bigint AS last_id, (data #>> '{gap,count}')::bigint AS count, data #>> '{gap,reason}' AS reason
FROM reading
WHERE kind = 'gap';

-- Events that can never be stored as readings: one that is not a batch, or a reading with U+0000 in a text. Identical bytes are stored once.
-- Only the Azure Function writes this table: over HTTP the module itself keeps refused readings, as dead letters.
CREATE TABLE IF NOT EXISTS refused (
    digest   bytea       GENERATED ALWAYS AS (sha256(body)) STORED PRIMARY KEY,
    body     bytea       NOT NULL,
    reason   text        NOT NULL,
    received timestamptz NOT NULL DEFAULT now()
);
