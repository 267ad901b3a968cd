-- Holds: pauses of a campaign that its owner does not undo. And the cluster of an owner, which tells a resource that was
-- created again from one of another cluster.

ALTER TABLE campaigns
    ADD COLUMN owner_cluster text,
    ADD COLUMN held_at timestamptz,
    ADD COLUMN hold_reason text,
    ADD COLUMN hold_return_state int2,
    ADD COLUMN hold_generation int8,
    ADD CHECK (hold_return_state IN (campaign_active(), campaign_paused(), campaign_finished())),
    ADD CHECK ((held_at IS NULL) = (hold_reason IS NULL) AND (held_at IS NULL) = (hold_return_state IS NULL));
COMMENT ON COLUMN campaigns.owner_cluster IS
    'UID of the namespace kube-system of the cluster of that resource; null for none or not known.';
COMMENT ON COLUMN campaigns.held_at IS
    'When the hold was placed that keeps the campaign paused; null for none. Means something only while it is paused.';
COMMENT ON COLUMN campaigns.hold_reason IS 'Why it was placed, in the words of a person; may be empty.';
COMMENT ON COLUMN campaigns.hold_return_state IS 'State that the campaign gets when the hold is lifted.';
COMMENT ON COLUMN campaigns.hold_generation IS
    'Latest generation of the owner that does not lift the hold; null if there was no owner.';
