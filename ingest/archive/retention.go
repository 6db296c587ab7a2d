package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Retention says for how many days raw readings of each kind stay in the
// database. A kind that it does not name stays for ever.
type Retention map[telemetry.Kind]int

// The least and the most days of a retention. Below the least, pages that show
// the last days would read files.
const (
	LeastDays = 7
	MostDays  = 36_500
)

// DefaultRetention is what holds until somebody sets another one: what an
// authority may be asked about stays for five years, what only runs its own
// course for 90 days.
func DefaultRetention() Retention {
	const years5, quarter = 5*365 + 1, 90
	return Retention{
		telemetry.KindAir: years5, telemetry.KindWater: years5, telemetry.KindOther: years5,
		telemetry.KindWaste: quarter, telemetry.KindEnergy: quarter, telemetry.KindGateway: quarter,
	}
}

// Check returns an error that names each kind whose days make no sense.
func (r Retention) Check() error {
	var errs []error
	for kind, days := range r {
		if !slices.Contains(telemetry.Kinds(), kind) {
			errs = append(errs, fmt.Errorf("retention: there is no kind %q", kind))
		}
		if days < LeastDays || days > MostDays {
			errs = append(errs, fmt.Errorf("retention: %s = %d days: want %d to %d", kind, days, LeastDays, MostDays))
		}
	}
	return errors.Join(errs...)
}

// before returns the first instant that stays: what is older leaves the database.
// false: all of the kind stays.
func (r Retention) before(kind telemetry.Kind, now time.Time) (time.Time, bool) {
	days, ok := r[kind]
	return ingest.DayOf(now).Add(-time.Duration(days) * 24 * time.Hour), ok
}

// young returns the first instant of which no retention lets go: older days may
// lie in a file, or be on their way to one.
func young(now time.Time) time.Time {
	return ingest.DayOf(now).Add(-(LeastDays - 3) * 24 * time.Hour)
}

// DatedRetention is a retention with the time from which it holds.
type DatedRetention struct {
	Version int       `json:"version"`
	Since   time.Time `json:"since"`
	Days    Retention `json:"days"`
	Reason  string    `json:"reason"`
	By      string    `json:"by"`
	At      time.Time `json:"at"` // when it was set
}

// inForce picks what holds at a time: of those that began by then the one with
// the latest date, and of several with that date the newest version.
func inForce(all []DatedRetention, at time.Time) DatedRetention {
	best := all[0]
	for _, r := range all[1:] {
		if !r.Since.After(at) && !r.Since.Before(best.Since) {
			best = r
		}
	}
	return best
}

const prefixRetention = "retention/"

func (a *Archive) loadRetention(ctx context.Context) error {
	all, err := a.o.KV.List(ctx, prefixRetention)
	if err != nil {
		return fmt.Errorf("read the retention: %w", err)
	}
	a.retention = []DatedRetention{{Days: DefaultRetention(), Reason: "default", By: "pantau"}}
	for key, body := range all {
		var r DatedRetention
		if err := json.Unmarshal(body, &r); err != nil {
			return fmt.Errorf("read the retention %s: %w", key, err)
		}
		a.retention = append(a.retention, r)
	}
	slices.SortFunc(a.retention, func(x, y DatedRetention) int { return x.Version - y.Version })
	return nil
}

// Retentions lists the retentions that were set, by version; the first is the
// default and holds since ever.
func (a *Archive) Retentions() []DatedRetention {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.retention)
}

// Retention returns what holds now.
func (a *Archive) Retention() DatedRetention { return inForce(a.Retentions(), a.o.Now()) }

// SetRetention sets what holds from r.Since on; kinds that it does not name keep
// what held before. Version and At are given here. A date in the past is refused:
// what has left the database does not come back.
func (a *Archive) SetRetention(ctx context.Context, r DatedRetention) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	now := a.o.Now().UTC()
	switch {
	case r.Since.Before(now):
		return fmt.Errorf("retention: since %s lies in the past: give a coming date", r.Since.In(figures.WIB).Format("2006-01-02 15:04"))
	case strings.TrimSpace(r.Reason) == "" || r.By == "":
		return errors.New("retention: say who changes it and why")
	case len(r.Days) == 0:
		return errors.New("retention: name a kind and its days")
	}
	all := a.Retentions()
	days := Retention{}
	for kind, n := range inForce(all, r.Since).Days {
		days[kind] = n
	}
	for kind, n := range r.Days {
		days[kind] = n
	}
	if err := days.Check(); err != nil {
		return err
	}
	r.Version, r.At, r.Since, r.Days = all[len(all)-1].Version+1, now, r.Since.UTC(), days
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the retention: %w", err)
	}
	if _, err := a.o.KV.Create(ctx, fmt.Sprintf("%s%06d", prefixRetention, r.Version), body); err != nil {
		return fmt.Errorf("keep the retention: %w", err)
	}
	a.mu.Lock()
	a.retention = append(all, r)
	a.mu.Unlock()
	a.wake()
	return nil
}
