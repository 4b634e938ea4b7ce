-- Weeks of the sets of which no hours are kept (5 to 8): they are large, and a question by the week reads a seventh of
-- them. 4 is a week's digit in a series. Weeks of a time zone are a calendar of their own, called `weeks of` that zone,
-- which is made of its days when they are over: those that begin before `until` are there. An instance that does not
-- know weeks takes that for a time zone that it does not know, and leaves the sums to those that do.
ALTER TABLE usage_calendars ADD COLUMN until timestamptz;
CREATE TABLE usage_rollups_fleet_weeks PARTITION OF usage_rollups FOR VALUES IN (54) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_organisation_weeks PARTITION OF usage_rollups FOR VALUES IN (64) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_user_weeks PARTITION OF usage_rollups FOR VALUES IN (74) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_traffic_weeks PARTITION OF usage_rollups FOR VALUES IN (84) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_fleet_weeks PARTITION OF usage_histograms FOR VALUES IN (54) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_organisation_weeks PARTITION OF usage_histograms FOR VALUES IN (64) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_user_weeks PARTITION OF usage_histograms FOR VALUES IN (74) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_traffic_weeks PARTITION OF usage_histograms FOR VALUES IN (84) WITH (fillfactor = 80);
CREATE INDEX usage_rollups_organisation_weeks_by_key ON usage_rollups_organisation_weeks (key_id, calendar, start);
CREATE INDEX usage_rollups_user_weeks_by_key ON usage_rollups_user_weeks (key_id, calendar, start);
CREATE INDEX usage_rollups_traffic_weeks_by_key ON usage_rollups_traffic_weeks (key_id, calendar, start);
CREATE INDEX usage_histograms_organisation_weeks_by_key ON usage_histograms_organisation_weeks (key_id, calendar, start);
CREATE INDEX usage_histograms_user_weeks_by_key ON usage_histograms_user_weeks (key_id, calendar, start);
CREATE INDEX usage_histograms_traffic_weeks_by_key ON usage_histograms_traffic_weeks (key_id, calendar, start);
