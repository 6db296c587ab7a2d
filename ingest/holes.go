package ingest

// Holes switches off one safeguard each, so that a simulation can show that it
// notices (the numbers H… are those of the project's list of holes). The zero
// value is the product; nothing but a simulation sets a field.
type Holes struct {
	AnySessionBirth bool // H11: decode with the node's newest birth, of whatever session
	IgnoreFloors    bool // H4: neither floors nor NBIRTH's epochs close anything
	StatusMayFall   bool // H13: the last word on a number counts, not the highest
	ClockNotInKey   bool // H2: the clock id's number does not enter a point's time
	LatestByTime    bool // H6: "newest" goes by event time
	OldSessionLive  bool // H6: an old session's data are not late
	WallFrontier    bool // H7: receive time's frontier follows the wall clock, not uptime
	ClearAtOnce     bool // H9: an hour's mark is cleared by any computation after a write without an answer
	RulesAtOnce     bool // H10: a reader judges by the rules it was started with, not by those at the reading's place
	PurgeAtHead     bool // H14: the journal is purged up to what was read, not to what is durable
}
