-- How often the tools of each skill ran, by day (UTC): counts, and nothing of whom or with what.
--
-- Each counter (one incarnation of the actor that counts) has rows of its own and writes what it has counted in all, so
-- that to write twice is to write once; what was counted of a skill is the sum over its counters.
CREATE TABLE skill_usage (
    day      date NOT NULL,
    skill_id text NOT NULL,
    tool     text NOT NULL,
    counter  text NOT NULL,
    calls    bigint NOT NULL CHECK (calls >= 0),
    errors   bigint NOT NULL CHECK (errors BETWEEN 0 AND calls),
    total_ms bigint NOT NULL CHECK (total_ms >= 0),
    spread   bigint[] NOT NULL,
    PRIMARY KEY (skill_id, day, tool, counter)
);
CREATE INDEX skill_usage_day ON skill_usage (day);
