package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/archive"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// openArchive opens what stands before the database: whoever writes or reads raw
// readings does it through the archive.
func (s *Server) openArchive(ctx context.Context) error {
	kv, err := s.journal.KV(ctx, "archive", journal.KVOptions{})
	if err != nil {
		return err
	}
	s.raw, err = archive.Open(ctx, archive.Options{
		Dir: filepath.Join(s.o.Data, "archive"), Database: s.influx, KV: kv,
		Synced: s.synced, Logger: s.log.With("room", "archive"), Registerer: s.metrics,
	})
	return err
}

// startArchive lets old days leave the database, once ingest and the book can say
// what still needs them.
func (s *Server) startArchive() {
	s.raw.Start(func(ctx context.Context, from, to time.Time) (string, error) {
		why, err := s.ingest.Unsettled(ctx, from, to)
		if err == nil && why == "" {
			why, err = s.publication.Unsettled(ctx, from, to)
		}
		return why, err
	})
	s.closers.Add("archive", s.raw.Close)
	s.run("the archive's alert", s.watchArchive)
}

// ruleArchive names the alert that old readings cannot leave the database. It is
// nobody's reading, so its series is empty.
const ruleArchive = "archive-stands"

// archiveEvery is how often the archive is looked at.
const archiveEvery = time.Minute

// watchArchive makes an alert of what keeps the archive from its work, and ends it.
func (s *Server) watchArchive(ctx context.Context) error {
	tick := time.NewTicker(archiveEvery)
	defer tick.Stop()
	for {
		if err := s.book.Keep(ctx, archiveAlarms(s.book.Open(), s.raw.Status(), time.Now())); err != nil && ctx.Err() == nil {
			s.log.Warn("the alert of the archive could not be kept; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// archiveAlarms compares what is open with how the archive fares.
func archiveAlarms(open []ingest.AlertRecord, st archive.Status, now time.Time) []alert.Transition {
	i := slices.IndexFunc(open, func(r ingest.AlertRecord) bool { return r.Firing.Rule == ruleArchive })
	switch {
	case i < 0 && st.Problem != "":
		since := st.Since
		if since.IsZero() {
			since = now
		}
		key := fmt.Sprintf("%s|%d", ruleArchive, since.UnixMilli())
		return []alert.Transition{{Key: key, Alert: key, Rule: ruleArchive, Name: "Arsip data mentah terhenti", NameEN: "The archive of raw readings stands still",
			Severity: alert.Warning, State: alert.Firing, Time: since.UnixMilli()}}
	case i >= 0 && st.Problem == "":
		t := open[i].Firing
		t.Key, t.State, t.Time = t.Key+"|"+string(alert.Resolved), alert.Resolved, now.UnixMilli()
		return []alert.Transition{t}
	}
	return nil
}

// ArchiveList is how the archive fares, and what it holds.
type ArchiveList struct {
	archive.Status
	Retention archive.DatedRetention `json:"retention"` // in force
	List      []archive.File         `json:"list"`
}

// SetRetention is a change of the retention; a zero date means from now on.
type SetRetention struct {
	Since  time.Time         `json:"since,omitzero"`
	Days   archive.Retention `json:"days"`
	Reason string            `json:"reason"`
}

// storage shows the archive to the pages.
type storage struct{ s *Server }

func (x storage) Storage(context.Context) (dashboards.StorageState, error) {
	st := x.s.raw.Status()
	return dashboards.StorageState{Days: x.s.raw.Retention().Days, Files: st.Files, Bytes: st.Bytes, Success: st.Success, Problem: st.Problem}, nil
}

func (x storage) SetRetention(ctx context.Context, since time.Time, days map[telemetry.Kind]int, by, reason string) error {
	return x.s.raw.SetRetention(ctx, archive.DatedRetention{Since: since, Days: days, Reason: reason, By: by})
}

// adminArchive answers `pantau archive`.
func (s *Server) adminArchive(mux *http.ServeMux) {
	mux.Handle("GET /archive", answer(func(*http.Request) (ArchiveList, error) {
		list := s.raw.Files()
		if list == nil {
			list = []archive.File{}
		}
		return ArchiveList{Status: s.raw.Status(), Retention: s.raw.Retention(), List: list}, nil
	}))
	mux.Handle("GET /archive/verify", answer(func(r *http.Request) (archive.Verdict, error) { return s.raw.Verify(r.Context()) }))
	mux.Handle("GET /archive/retention", answer(func(*http.Request) ([]archive.DatedRetention, error) { return s.raw.Retentions(), nil }))
	mux.Handle("PUT /archive/retention", changing(s, s.setRetention))
}

func (s *Server) setRetention(r *http.Request) (Done, error) {
	set, err := decode[SetRetention](r)
	if err != nil {
		return Done{}, err
	}
	since := set.Since
	if since.IsZero() {
		since = time.Now().Add(time.Second) // no date that has passed is taken
	}
	by, _ := r.Context().Value(callerKey{}).(string)
	if err := s.raw.SetRetention(r.Context(), archive.DatedRetention{Since: since, Days: set.Days, Reason: set.Reason, By: by}); err != nil {
		return Done{}, err
	}
	done := Done{"from " + since.In(figures.WIB).Format("2006-01-02 15:04") + " WIB on raw readings stay in the database for: " + retentionText(set.Days)}
	return done, s.tell(r, "retention.set", "", set.Reason+"; "+done.Message)
}

func retentionText(days archive.Retention) string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(days)) {
		out = append(out, fmt.Sprintf("%s %d days", kind, days[kind]))
	}
	return strings.Join(out, ", ")
}

// ParseRetention reads KIND=DAYS.
func ParseRetention(texts []string) (archive.Retention, error) {
	out := archive.Retention{}
	for _, text := range texts {
		var days int
		kind, number, ok := strings.Cut(text, "=")
		if _, err := fmt.Sscanf(number, "%d", &days); !ok || err != nil {
			return nil, fmt.Errorf("%q: want KIND=DAYS, for example waste=90", text)
		}
		out[telemetry.Kind(kind)] = days
	}
	if len(out) == 0 {
		return nil, errors.New("name a kind and its days, for example waste=90")
	}
	return out, out.Check()
}
