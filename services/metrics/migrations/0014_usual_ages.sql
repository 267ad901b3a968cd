-- Replies and conversions within 7 and 30 days, beside the counts by age: the ages at which campaigns are told to be low.
--
-- A diagnosis adds up the days of all other campaigns of the workspace. Of 1710 days it took 2.3 ms to add up the elements of
-- their arrays, and takes 0.2 ms with these columns. Generated, so that replicas of the version before write them, too.
--
-- This rewrites history once, 10 s for a million rows; outcomes and answers wait meanwhile.
DO $$
DECLARE
    columns text;
BEGIN
    SELECT string_agg(format('ADD COLUMN %s_in_%s_days int4 GENERATED ALWAYS AS (%s) STORED', ages, last,
        (SELECT string_agg(format('%s[%s]', ages, age + 1), ' + ') FROM generate_series(0, last) age)), ', ')
    INTO columns
    FROM unnest(ARRAY['replied', 'converted']) ages, unnest(ARRAY[7, 30]) last;
    EXECUTE 'ALTER TABLE history ' || columns;
END
$$;
COMMENT ON COLUMN history.replied_in_7_days IS 'Those of them that replied at most 7 days after the first contact; null for none at any age.';
COMMENT ON COLUMN history.replied_in_30_days IS 'Those that replied at most 30 days after it.';
COMMENT ON COLUMN history.converted_in_7_days IS 'Those that converted at most 7 days after it.';
COMMENT ON COLUMN history.converted_in_30_days IS 'Those that converted at most 30 days after it.';
