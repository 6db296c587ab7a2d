package audit

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// ParseQuery reads a query from an address: who, action, object, from and to
// (2026-11-23 or RFC 3339; a bare day counts in WIB, and "to" includes it),
// before, limit (at most 1,000).
func ParseQuery(v url.Values) (Query, error) {
	q := Query{Who: v.Get("who"), Action: v.Get("action"), Object: v.Get("object")}
	var err error
	if q.From, err = moment(v.Get("from"), 0); err != nil {
		return q, fmt.Errorf("from: %w", err)
	}
	if q.To, err = moment(v.Get("to"), 1); err != nil {
		return q, fmt.Errorf("to: %w", err)
	}
	if s := v.Get("before"); s != "" {
		if q.Before, err = strconv.ParseUint(s, 10, 64); err != nil {
			return q, fmt.Errorf("before = %q: want an entry's number", s)
		}
	}
	if s := v.Get("limit"); s != "" {
		if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > 1000 {
			return q, fmt.Errorf("limit = %q: want 1 to 1000", s)
		}
	}
	return q, nil
}

// wib is Western Indonesian Time, in which agencies count days.
var wib = time.FixedZone("WIB", 7*60*60)

// moment reads a time, or a day plus so many.
func moment(s string, days int) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, s, wib)
	if err != nil {
		return t, fmt.Errorf("%q is no day (2026-11-23) and no time (2026-11-23T14:00:00+07:00)", s)
	}
	return t.AddDate(0, 0, days), nil
}
